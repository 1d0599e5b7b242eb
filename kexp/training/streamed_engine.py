"""TensorFlow: the steps of `GraphEngine` on data that are not in memory, or too large for a device.

The batches of a portion of steps come through tf.data: while a step is taken, the next batches are
gathered on the host. The steps themselves are the same, and so are their results.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf

from kexp.data.rows import is_mapped
from kexp.objective import Objective
from kexp.tasks import EpochData
from kexp.training.graph_engine import RATES, GraphEngine, any_number_of, batches_like

MOST_SHARE = 0.5
"""Share of the machine's memory that an epoch's inputs may take twice over."""


class StreamedEngine(GraphEngine):
    """A `GraphEngine` that streams what it should not hold; see `streams`."""

    def __init__(
        self, objective: Objective, optimizer: keras.optimizers.Optimizer, jit: bool = False
    ):
        super().__init__(objective, optimizer, jit)
        self._streamed: EpochData | None = None
        self._too_large: np.ndarray | None = None
        self._batch: tuple[tf.TensorSpec, ...] = ()

    @property
    def traces(self) -> int:
        """How many programs have been compiled for the steps of this engine."""
        streamed = self._from_host.experimental_get_tracing_count() if self._batch else 0
        return super().traces + streamed

    def begin(self) -> None:
        """What was too large for the device is not kept for another run."""
        super().begin()
        self._too_large = None

    def load(self, data: EpochData) -> None:
        """Make the arrays tensors, or have their batches streamed."""
        self._streamed = None
        if not streams(data) and data.x is not self._too_large:
            try:
                return super().load(data)
            except tf.errors.ResourceExhaustedError:
                self._too_large = data.x
        self.release()
        self._streamed = data
        batch = any_number_of(data.x), any_number_of(data.y)
        if batch != self._batch:
            self._batch = batch
            self._from_host = tf.function(self._streamed_steps)

    def release(self) -> None:
        """Let go of the arrays."""
        super().release()
        self._streamed = None

    def _take(self, order: Any, rates: Any) -> Any:
        if self._streamed is None:
            return super()._take(order, rates)
        compiled = self._from_host.get_concrete_function(batches_like(order), RATES)
        return compiled(order, rates)

    def _streamed_steps(self, order: Any, rates: Any) -> Any:
        examples = tf.data.Dataset.from_tensor_slices(order)
        batches = iter(examples.map(self._gathered).prefetch(tf.data.AUTOTUNE))
        return self._loop(lambda i: batches.get_next(), rates)

    def _gathered(self, picked: Any) -> tuple[Any, ...]:
        """Inputs and targets of a batch, from the host."""
        kinds = [spec.dtype for spec in self._batch]
        found = tf.numpy_function(self._gather, [picked], kinds)
        shapes = [[*picked.shape, *spec.shape[1:]] for spec in self._batch]
        return tuple(map(tf.ensure_shape, found, shapes))

    def _gather(self, picked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data = self._streamed
        assert data is not None
        rows = picked if data.rows is None else data.rows[picked]
        return np.asarray(data.x[rows]), data.y[picked]


def streams(data: EpochData) -> bool:
    """Whether no device is to hold an epoch: its inputs are on disk, or too large for a copy."""
    return is_mapped(data.x) or data.x.nbytes > MOST_SHARE * psutil.virtual_memory().total
