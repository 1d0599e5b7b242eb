"""Dropout as an object that a model places: on its activations, or on the weights of its layers."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from kexp.choice import ProperShare, choice
from kexp.lazy import keras, layers

Place = Literal["input", "hidden", "last"]
"""The input of a network, what its hidden layers pass on to each other, and what its last layer
gets."""


@choice
class DropoutChoice:
    """Says which dropout a model uses and at which places; the model knows where those are."""

    formula: ClassVar[str] = ""
    """What it does to a unit or a weight, in TeX."""

    def __call__(self, x: Any, name: str, place: Place = "last") -> Any:
        """`x` (n, …, channels) after dropout, if it has any at `place`; `name` is the layer's."""
        return x

    def connected(self, layer: Any, *places: Place) -> Any:
        """`layer`, a new dense or convolution layer that stands at `places`, or one in its stead
        that drops weights."""
        return layer


@choice
class NoDropout(DropoutChoice):
    """No dropout."""


@choice
class PlacedDropout(DropoutChoice):
    """A dropout with a rate, 0 ≤ rate < 1, at some of a network's places."""

    rate: ProperShare = 0.5
    places: list[Place] = Field(default_factory=lambda: ["last"], min_length=1)


@choice
class Standard(PlacedDropout):
    """Dropout: each unit is 0 with probability `rate` in training. Srivastava et al. 2014.

    0 ≤ rate < 1. The units that stay are scaled by 1/(1 − rate), so nothing changes at inference.
    """

    formula: ClassVar[str] = (
        r"\tilde{x} = \frac{m}{1 - p}\, x,\quad m \sim \mathrm{Bernoulli}(1 - p)"
    )

    def __call__(self, x: Any, name: str, place: Place = "last") -> Any:
        """`x` after `kexp.layers.Dropout`."""
        return layers.Dropout(self.rate, name=name)(x) if place in self.places else x


@choice
class Spatial(PlacedDropout):
    """Spatial dropout: whole feature maps are 0 with probability `rate`. Tompson et al. 2015.

    0 ≤ rate < 1. On features, which have no positions, it is standard dropout.
    """

    formula: ClassVar[str] = (
        r"\tilde{x}_c = \frac{m_c}{1 - p}\, x_c,\quad m_c \sim \mathrm{Bernoulli}(1 - p)"
    )

    rate: ProperShare = 0.2

    def __call__(self, x: Any, name: str, place: Place = "last") -> Any:
        """`x` after `kexp.layers.SpatialDropout`."""
        return layers.SpatialDropout(self.rate, name=name)(x) if place in self.places else x


@choice
class Gaussian(PlacedDropout):
    """Gaussian dropout: units are multiplied by N(1, rate/(1 − rate)). Srivastava et al. 2014.

    0 ≤ rate < 1. The same mean and variance as standard dropout of the same rate (section 10).
    """

    formula: ClassVar[str] = (
        r"\tilde{x} = m\, x,\quad m \sim \mathcal{N}\left(1, \frac{p}{1 - p}\right)"
    )

    def __call__(self, x: Any, name: str, place: Place = "last") -> Any:
        """`x` after `kexp.layers.GaussianDropout`."""
        return layers.GaussianDropout(self.rate, name=name)(x) if place in self.places else x


@choice
class DropConnect(PlacedDropout):
    """DropConnect: each weight is 0 with probability `rate` in training. Wan et al. 2013.

    0 ≤ rate < 1. One mask per step for the whole batch (Wan et al. draw one per example), and no
    bias is dropped. The weights that stay are scaled by 1/(1 − rate); at inference all are used.
    """

    formula: ClassVar[str] = (
        r"\tilde{\theta} = \frac{m}{1 - p}\, \theta,\quad m \sim \mathrm{Bernoulli}(1 - p)"
    )

    def connected(self, layer: Any, *places: Place) -> Any:
        """The layer as `kexp.layers.DropConnectDense` or `DropConnectConv2D`."""
        if not set(places) & set(self.places):
            return layer
        dense = isinstance(layer, keras.layers.Dense)
        kind = layers.DropConnectDense if dense else layers.DropConnectConv2D
        return kind.from_config({**layer.get_config(), "rate": self.rate})
