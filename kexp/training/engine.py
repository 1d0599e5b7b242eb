"""Engines: one interface over TensorFlow graphs, JAX programs and Keras's own steps.

An engine takes steps and predicts in inference mode; every engine computes the same objective
with the same order of examples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from kexp.objective import Objective
from kexp.tasks import Batch, EpochData

PORTION_SECONDS = 0.5
"""Steps are taken in portions of about this long, between which signals are heeded."""


class Engine(Protocol):
    """What a course needs of its engine."""

    objective: Objective
    replicas: int
    """How many runs its program trains at once."""

    @property
    def learning_rate(self) -> float:
        """The optimizer's learning rate at this moment."""
        ...

    def begin(self) -> None:
        """Take up the values of Keras's variables, where a run starts."""
        ...

    def load(self, data: EpochData) -> None:
        """Put the arrays of an epoch on the device."""
        ...

    def release(self) -> None:
        """Let go of the arrays of the last epoch."""
        ...

    def steps(self, order: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Answer `Steps`."""
        ...

    def measure(self, batches: Sequence[Batch]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Answer `Measure`."""
        ...

    def sample(self, x: np.ndarray, passes: int) -> list[np.ndarray]:
        """Answer `Sample`."""
        ...

    def slopes(self, x: np.ndarray, y: np.ndarray, loss: Any) -> np.ndarray:
        """Answer `Slopes`."""
        ...

    def penalty(self) -> float:
        """λR(θ) of the present weights."""
        ...

    def kernels(self) -> list[np.ndarray]:
        """The present kernels, copied."""
        ...

    def shown(self) -> dict[str, Any]:
        """What the loss has learned so far, by name."""
        ...

    def values(self) -> dict[str, list[np.ndarray]]:
        """The state of the training, copied: the variables of `model` and of `optimizer`."""
        ...

    def assign(self, **groups: Sequence[np.ndarray]) -> None:
        """Set groups of `values`. Raises `StoreError` where they do not fit."""
        ...

    def set_streams(self, seed_of: Callable[[str], int]) -> None:
        """Point every random layer to the stream of a seed, by the layer's name."""
        ...

    def model(self) -> keras.Model:
        """The network with the present weights."""
        ...


class Portions:
    """How many steps to take at once, so that a portion lasts about `PORTION_SECONDS`."""

    def __init__(self) -> None:
        self._next = 1

    def of(self, wanted: int) -> int:
        """As many of the wanted steps as to take now."""
        return min(self._next, wanted)

    def took(self, count: int, seconds: float) -> None:
        """Learn from how long a portion took."""
        self._next = max(1, min(2 * self._next, int(PORTION_SECONDS * count / max(seconds, 1e-9))))


def make_engine(
    objective: Objective, optimizer: keras.optimizers.Optimizer, jit: bool = False
) -> Engine:
    """The engine for the backend in use; with `jit`, TensorFlow's steps are compiled by XLA."""
    built(objective, optimizer)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.distribute.has_strategy():
            from kexp.training.distributed_engine import DistributedEngine

            return DistributedEngine(objective, optimizer)
        from kexp.training.streamed_engine import StreamedEngine

        return StreamedEngine(objective, optimizer, jit)
    if keras.backend.backend() == "jax" and keras.distribution.distribution() is None:
        from kexp.training.vector_engine import VectorEngine

        return VectorEngine(objective, optimizer).seats[0]
    from kexp.training.step_engine import StepEngine

    return StepEngine(objective, optimizer)


def built(objective: Objective, optimizer: keras.optimizers.Optimizer) -> None:
    """Make the optimizer's variables, and have it heed the regularizer's rule."""
    optimizer.build(objective.trainable)
    objective.constrain(optimizer.learning_rate)


@contextlib.contextmanager
def dropout_at_inference(model: keras.Model) -> Iterator[None]:
    """Inside, the layers of `model` that drop at random do so at inference too."""
    random = [la for la in model._flatten_layers() if hasattr(la, "active_at_inference")]
    for layer in random:
        layer.active_at_inference = True
    try:
        yield
    finally:
        for layer in random:
            layer.active_at_inference = False


def random_layers(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Name and stream of every layer that draws numbers."""
    for layer in model._flatten_layers(include_self=False):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            yield layer.name, generator


def as_input(x: Any) -> Any:
    """Model input from an array: uint8 is scaled to [0, 1], anything else taken as it is."""
    dtype = keras.config.floatx()
    scaled = keras.backend.standardize_dtype(x.dtype) == "uint8"
    return keras.ops.cast(x, dtype) / 255.0 if scaled else keras.ops.cast(x, dtype)
