"""Engines: the same interface over TensorFlow graphs and over Keras's own steps.

An engine takes a portion of an epoch's steps at once and predicts in inference mode. Both
engines compute the same objective with the same order of examples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import keras
import numpy as np

from kexp.objective import Objective


class Engine(Protocol):
    """What the training loop needs of an engine."""

    objective: Objective
    optimizer: keras.optimizers.Optimizer

    def load(self, x: np.ndarray, y: np.ndarray) -> None:
        """Put the arrays of an epoch on the device."""
        ...

    def steps(self, order: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Take steps; `order` (steps, batch) holds example numbers, `rates` (steps,) the
        learning rates. Returns the objective of each step before it was taken, shape (steps,).
        """
        ...

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The model's output in inference mode."""
        ...

    def sample(self, x: np.ndarray) -> np.ndarray:
        """The model's output in inference mode, but with dropout: another draw at each call."""
        ...


def make_engine(objective: Objective, optimizer: keras.optimizers.Optimizer) -> Engine:
    """The engine for the backend in use."""
    optimizer.build(objective.trainable)
    objective.constrain(optimizer.learning_rate)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.distribute.has_strategy():
            from kexp.training.distributed_engine import DistributedEngine

            return DistributedEngine(objective, optimizer)
        from kexp.training.graph_engine import GraphEngine

        return GraphEngine(objective, optimizer)
    from kexp.training.step_engine import StepEngine

    return StepEngine(objective, optimizer)


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


def as_input(x: Any) -> Any:
    """Model input from an array: uint8 is scaled to [0, 1], anything else taken as it is."""
    scaled = keras.backend.standardize_dtype(x.dtype) == "uint8"
    return keras.ops.cast(x, "float32") / 255.0 if scaled else keras.ops.cast(x, "float32")
