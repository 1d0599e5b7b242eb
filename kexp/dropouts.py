"""Dropout as an object that a model places: calling it on a tensor adds the layer, or nothing."""

from __future__ import annotations

from typing import Any

from kexp.choice import ProperShare, choice
from kexp.lazy import layers


class DropoutChoice:
    """Says which dropout a model uses; the model says where."""

    def __call__(self, x: Any, name: str) -> Any:
        """`x` (n, …, channels) after dropout; `name` is the layer's name."""
        raise TypeError(f"{type(self).__name__} must define __call__(x, name)")


@choice
class NoDropout(DropoutChoice):
    """No dropout."""

    def __call__(self, x: Any, name: str) -> Any:
        """`x` itself."""
        return x


@choice
class Standard(DropoutChoice):
    """Dropout: each unit is 0 with probability `rate` in training. Srivastava et al. 2014.

    0 ≤ rate < 1. The units that stay are scaled by 1/(1 − rate), so nothing changes at inference.
    """

    rate: ProperShare = 0.5

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `kexp.layers.Dropout`."""
        return layers.Dropout(self.rate, name=name)(x)


@choice
class Spatial(DropoutChoice):
    """Spatial dropout: whole feature maps are 0 with probability `rate`. Tompson et al. 2015.

    0 ≤ rate < 1. Neighbouring pixels carry the same information, so dropping them singly does
    little in a convolutional layer.
    """

    rate: ProperShare = 0.2

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `kexp.layers.SpatialDropout`."""
        return layers.SpatialDropout(self.rate, name=name)(x)


@choice
class Gaussian(DropoutChoice):
    """Gaussian dropout: units are multiplied by N(1, rate/(1 − rate)). Srivastava et al. 2014.

    0 ≤ rate < 1. The same mean and variance as standard dropout of the same rate (section 10).
    """

    rate: ProperShare = 0.5

    def __call__(self, x: Any, name: str) -> Any:
        """`x` after `kexp.layers.GaussianDropout`."""
        return layers.GaussianDropout(self.rate, name=name)(x)
