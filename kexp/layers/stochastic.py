"""Layers that draw while training, their rate a weight and their random stream set from outside.

Keras's own layers take the rate as a Python number, so that every rate is another program, and
make no random stream at rate 0, which shifts the initial weights of the layers after it. Here
the rate is a non-trainable weight and the stream is always there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

DRAWS = 2**22
"""A device that shares a batch draws fewer times than this in an epoch."""


class Stream(keras.random.SeedGenerator):
    """A seed generator from which each device that shares a batch draws numbers of its own."""

    replica: Callable[[], Any] | None = None
    """The number of the device; set while a call is compiled."""

    def next(self, ordered: bool = True) -> Any:
        """The next seed; on devices after the first it is beyond all those of the one before."""
        seed = super().next(ordered)
        if self.replica is None:
            return seed
        return seed + DRAWS * keras.ops.cast(self.replica(), seed.dtype) * np.array([0, 1])


class Stochastic(keras.layers.Layer):
    """A layer with a rate and a random stream; comes before another layer among the bases."""

    active_at_inference: bool = False
    """Whether it draws at inference too (Monte-Carlo dropout); read when a call is compiled."""

    def __init__(self, *args: Any, rate: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), got rate={rate}")
        self._initial_rate = float(rate)
        self.seed_generator = Stream(seed=0, name="seed_generator")
        self.rate = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(rate),
            trainable=False,
            dtype="float32",
            autocast=False,
            name="rate",
        )

    def set_rate(self, rate: float) -> None:
        """Change the rate, also that of the layer's description."""
        self._initial_rate = float(rate)
        self.rate.assign(rate)

    def _draws(self, training: bool | None) -> bool:
        """Whether this call is random."""
        return bool(training or self.active_at_inference)

    def _kept(self, shape: tuple) -> Any:
        """1/(1 − rate) with probability 1 − rate, else 0."""
        draws = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return keras.ops.cast(draws >= self.rate, "float32") / (1.0 - self.rate)

    def get_config(self) -> dict[str, Any]:
        """The rate, beside Keras's own settings."""
        return {**super().get_config(), "rate": self._initial_rate}


class _Multiplicative(Stochastic):
    """A layer that multiplies its input by random factors of mean 1 while training."""

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(rate=rate, **kwargs)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The input, times random factors if `training`."""
        if not self._draws(training):
            return inputs
        return inputs * keras.ops.cast(self._factors(keras.ops.shape(inputs)), inputs.dtype)

    def _factors(self, shape: tuple) -> Any:
        raise TypeError(f"{type(self).__name__} must define _factors(shape)")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="kexp")
class Dropout(_Multiplicative):
    """Sets each element to 0 with probability `rate`, and scales the others by 1/(1 − rate)."""

    def _factors(self, shape: tuple) -> Any:
        return self._kept(shape)


@keras.saving.register_keras_serializable(package="kexp")
class SpatialDropout(_Multiplicative):
    """`Dropout` of whole channels: input (n, …, channels), one draw per sample and channel."""

    def _factors(self, shape: tuple) -> Any:
        return self._kept((shape[0], *(1,) * (len(shape) - 2), shape[-1]))


@keras.saving.register_keras_serializable(package="kexp")
class GaussianDropout(_Multiplicative):
    """Multiplies each element by a draw from N(1, rate/(1 − rate))."""

    def _factors(self, shape: tuple) -> Any:
        deviation = keras.ops.sqrt(self.rate / (1.0 - self.rate))
        draws = keras.random.normal(shape, dtype="float32", seed=self.seed_generator)
        return 1.0 + deviation * draws
