"""Normalisation as an object that a model places: calling it on a tensor adds the layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from kexp.choice import Count, Positive, ProperShare, choice
from kexp.lazy import keras, layers


class NormChoice:
    """Says which normalisation a model uses; the model says where."""

    def check_width(self, key: str, width: int) -> None:
        """Raise `ValueError` where a layer of `width` channels (config key `key`) cannot be."""

    def check_positions(self, model: str, widths: Sequence[int]) -> None:
        """Raise `ValueError` where it needs several positions and layers of a model have none."""

    formula: ClassVar[str] = ""
    """What it makes of a value x, in TeX."""

    def __call__(self, x: Any, name: str) -> Any:
        """`x` (n, …, channels) after normalisation; `name` is the layer's name."""
        raise TypeError(f"{type(self).__name__} must define __call__(x, name)")


@choice
class NoNorm(NormChoice):
    """No normalisation."""

    def __call__(self, x: Any, name: str) -> Any:
        """`x` itself."""
        return x


@choice
class Batch(NormChoice):
    """Batch normalisation: each channel to mean 0, variance 1 over the batch. Ioffe 2015.

    γ (x − μ)/√(σ² + ε) + β. At inference μ and σ² are moving averages, with
    moving ← momentum · moving + (1 − momentum) · batch. 0 ≤ momentum < 1, ε > 0.
    """

    formula: ClassVar[str] = r"\gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta"

    momentum: ProperShare = 0.9
    epsilon: Positive = 1e-3

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `keras.layers.BatchNormalization`."""
        layer = keras.layers.BatchNormalization
        return layer(momentum=self.momentum, epsilon=self.epsilon, name=name)(x)


@choice
class Layer(NormChoice):
    """Layer normalisation over the channels of each sample and position. Ba et al. 2016.

    γ (x − μ)/√(σ² + ε) + β with μ and σ² over the last axis alone, so that an image's size
    does not matter. ε > 0.
    """

    formula: ClassVar[str] = Batch.formula

    epsilon: Positive = 1e-3

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `keras.layers.LayerNormalization`."""
        return keras.layers.LayerNormalization(epsilon=self.epsilon, name=name)(x)


@choice
class Group(NormChoice):
    """Group normalisation: each sample's channels in groups, over all positions. Wu and He 2018.

    γ (x − μ)/√(σ² + ε) + β. The number of groups must divide the number of channels. ε > 0.
    """

    formula: ClassVar[str] = Batch.formula

    groups: Count = 8
    epsilon: Positive = 1e-3

    def check_width(self, key: str, width: int) -> None:
        """Refuse a width that the groups do not divide."""
        if width % self.groups:
            raise ValueError(
                f"norm.groups must divide the number of channels, got norm.groups={self.groups} "
                f"and {key}={width}"
            )

    def check_positions(self, model: str, widths: Sequence[int]) -> None:
        """Refuse groups of one channel, whose only value would always become 0."""
        if self.groups in widths:
            raise ValueError(
                f"norm.groups must be less than the width of a layer of {model}, "
                f"got norm.groups={self.groups} and a width of {self.groups}"
            )

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `keras.layers.GroupNormalization`."""
        layer = keras.layers.GroupNormalization
        return layer(groups=self.groups, epsilon=self.epsilon, name=name)(x)


@choice
class Instance(NormChoice):
    """Instance normalisation: each sample's each channel over its positions. Ulyanov et al. 2016.

    γ (x − μ)/√(σ² + ε) + β, with the same values in training and at inference: group
    normalisation with one channel in each group. Of an image with one position β is left. ε > 0.
    """

    formula: ClassVar[str] = Batch.formula

    epsilon: Positive = 1e-3

    def check_positions(self, model: str, widths: Sequence[int]) -> None:
        """Refuse a model without positions, where every value would become 0."""
        raise ValueError(
            f"norm=instance needs images, but the layers of {model} have no positions: "
            "norm=layer, batch or decorrelated fit there"
        )

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `keras.layers.GroupNormalization` with as many groups as channels."""
        layer = keras.layers.GroupNormalization
        return layer(groups=x.shape[-1], epsilon=self.epsilon, name=name)(x)


@choice
class Decorrelated(NormChoice):
    """Batch normalisation that whitens groups of neighbouring channels (ZCA). Huang et al. 2018.

    γ W (x − μ) + β with W = (Σ + εI)^(−1/2), μ and Σ the mean and covariance of `group_size`
    channels over the batch and all positions: mean 0, variance 1 and no correlation within the
    group. At inference μ and Σ are moving averages (Huang et al. average W, which one small batch
    can spoil), with moving ← momentum · moving + (1 − momentum) · batch. The group size must divide
    the number of channels; 1 is batch normalisation. 0 ≤ momentum < 1, ε > 0.
    """

    formula: ClassVar[str] = r"\gamma\, (\Sigma + \epsilon I)^{-1/2} (x - \mu) + \beta"

    group_size: Count = 16
    momentum: ProperShare = 0.9
    epsilon: Positive = 1e-5

    def check_width(self, key: str, width: int) -> None:
        """Refuse a width that the group size does not divide."""
        if width % self.group_size:
            raise ValueError(
                "norm.group_size must divide the number of channels, got "
                f"norm.group_size={self.group_size} and {key}={width}"
            )

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `kexp.layers.DecorrelatedBatchNormalization`."""
        return layers.DecorrelatedBatchNormalization(
            group_size=self.group_size, momentum=self.momentum, epsilon=self.epsilon, name=name
        )(x)
