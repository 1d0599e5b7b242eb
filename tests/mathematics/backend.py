"""What the tests of this folder need of Keras, the same on every backend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from hypothesis import settings

TENSORFLOW = keras.backend.backend() == "tensorflow"
PROPERTY = settings(
    max_examples=30 if TENSORFLOW else 5, deadline=None, database=None, derandomize=True
)
"""The search is thorough on the default backend; on the others the same formulas are rerun."""


def tensor(values: Any, dtype: str = "float32") -> Any:
    """A tensor of the backend in use."""
    return keras.ops.convert_to_tensor(np.asarray(values, dtype))


def array(values: Any) -> np.ndarray:
    """The NumPy array of a tensor or variable."""
    return np.asarray(keras.ops.convert_to_numpy(values))


@functools.cache
def whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function without side effects, compiled as one where each operation would be apart."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def gradient(function: Callable[[Any], Any], at: Any) -> np.ndarray:
    """Gradient of a scalar function of one float32 tensor, by the backend's own means."""
    at = tensor(at)
    if TENSORFLOW:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(at)
            value = function(at)
        return array(tape.gradient(value, at))
    if keras.backend.backend() == "jax":
        import jax

        return array(jax.grad(function)(at))
    at = at.detach().requires_grad_(True)
    function(at).backward()
    return array(at.grad)


def central_difference(
    function: Callable[[np.ndarray], Any], at: Any, step: float = 1e-5
) -> np.ndarray:
    """Gradient of a scalar function of one float64 array, two evaluations per element."""
    at = np.asarray(at, np.float64)
    result = np.empty(at.shape)
    for place in np.ndindex(*at.shape):
        move = np.zeros(at.shape)
        move[place] = step
        result[place] = (function(at + move) - function(at - move)) / (2 * step)
    return result
