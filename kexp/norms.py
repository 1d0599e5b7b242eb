"""Normalisation as an object that a model places: calling it on a tensor adds the layer."""

from __future__ import annotations

from typing import Any

from kexp.choice import Count, Positive, ProperShare, choice
from kexp.lazy import keras


class NormChoice:
    """Says which normalisation a model uses; the model says where."""

    def check_width(self, key: str, width: int) -> None:
        """Raise `ValueError` where a layer of `width` channels (config key `key`) cannot be."""

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

    epsilon: Positive = 1e-3

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `keras.layers.LayerNormalization`."""
        return keras.layers.LayerNormalization(epsilon=self.epsilon, name=name)(x)


@choice
class Group(NormChoice):
    """Group normalisation: each sample's channels in groups, over all positions. Wu and He 2018.

    γ (x − μ)/√(σ² + ε) + β. The number of groups must divide the number of channels. ε > 0.
    """

    groups: Count = 8
    epsilon: Positive = 1e-3

    def check_width(self, key: str, width: int) -> None:
        """Refuse a width that the groups do not divide."""
        if width % self.groups:
            raise ValueError(
                f"norm.groups must divide the number of channels, got norm.groups={self.groups} "
                f"and {key}={width}"
            )

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `keras.layers.GroupNormalization`."""
        layer = keras.layers.GroupNormalization
        return layer(groups=self.groups, epsilon=self.epsilon, name=name)(x)
