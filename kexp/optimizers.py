"""Optimizers, with parameters checked before Keras is imported."""

from __future__ import annotations

from typing import Any

from kexp.choice import NonNegative, Positive, ProperShare, choice
from kexp.lazy import keras


class Optimizer:
    """An optimizer as a config choice; `build()` gives the Keras object."""

    def build(self) -> Any:
        """A new `keras.optimizers.Optimizer`."""
        raise TypeError(f"{type(self).__name__} must define build()")


@choice
class SGD(Optimizer):
    """Stochastic gradient descent with momentum. Learning rate > 0, 0 ≤ momentum < 1."""

    learning_rate: Positive = 0.01
    momentum: ProperShare = 0.9
    nesterov: bool = False

    def build(self) -> Any:
        """`keras.optimizers.SGD`."""
        return keras.optimizers.SGD(self.learning_rate, self.momentum, self.nesterov)


@choice
class Adam(Optimizer):
    """Adam. Learning rate > 0, 0 ≤ β₁, β₂ < 1, ε > 0. Kingma and Ba 2015."""

    learning_rate: Positive = 1e-3
    beta_1: ProperShare = 0.9
    beta_2: ProperShare = 0.999
    epsilon: Positive = 1e-7

    def build(self) -> Any:
        """`keras.optimizers.Adam`."""
        return keras.optimizers.Adam(self.learning_rate, self.beta_1, self.beta_2, self.epsilon)


@choice
class AdamW(Optimizer):
    """Adam with decoupled weight decay ≥ 0 on kernels. Loshchilov and Hutter 2019."""

    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 4e-3
    beta_1: ProperShare = 0.9
    beta_2: ProperShare = 0.999
    epsilon: Positive = 1e-7

    def build(self) -> Any:
        """`keras.optimizers.AdamW` that leaves biases and norm layers undecayed."""
        optimizer = keras.optimizers.AdamW(
            self.learning_rate, self.weight_decay, self.beta_1, self.beta_2, self.epsilon
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer
