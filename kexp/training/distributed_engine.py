"""TensorFlow on several devices: the steps of `GraphEngine`, each shared out among replicas."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kexp.layers import DecorrelatedBatchNormalization
from kexp.layers.stochastic import Stream
from kexp.objective import Objective
from kexp.training.graph_engine import GraphEngine


class DistributedEngine(GraphEngine):
    """Runs the steps of an epoch as TensorFlow graphs over the devices of the strategy in scope.

    A step is that of one device, but for rounding and for what layers draw at random: the
    objective is the mean over the whole batch, with the penalty once, however unevenly the batch
    divides, and batch statistics are those of the whole batch. Measuring is for one device.
    """

    def __init__(self, objective: Objective, optimizer: keras.optimizers.Optimizer):
        super().__init__(objective, optimizer)
        self._strategy = tf.distribute.get_strategy()

    def _take(self, order: Any, rates: Any) -> Any:
        with _as_replicas(self.objective.model):
            return super()._take(order, rates)

    def _step(self, x: Any, y: Any) -> Any:
        parts = self._strategy.run(self._part_of_step, args=(x, y))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    def _part_of_step(self, x: Any, y: Any) -> Any:
        """One replica's part of a step; the parts of the objective and of gradients add up."""
        replicas = self._strategy.num_replicas_in_sync
        first, last, weight = _part(tf.shape(x)[0], replicas)
        x, y = x[first:last], y[first:last]
        trainable = self.objective.trainable
        with tf.GradientTape() as tape:
            losses = self.objective.losses(y, self.objective.output(x, training=True))
            value = weight * tf.reduce_sum(losses) + self.objective.penalty() / replicas
            scaled = self.optimizer.scale_loss(value)
        gradients = tape.gradient(scaled, [variable.value for variable in trainable])
        self.optimizer.apply(gradients, trainable)
        return value


def _part(size: Any, replicas: int) -> tuple[Any, Any, Any]:
    """First and last + 1 of a replica's examples in a batch, and the weight of each.

    Of a batch with fewer examples than replicas, every replica takes all.
    """
    small = size < replicas
    replica = _replica()
    first = tf.where(small, 0, size * replica // replicas)
    last = tf.where(small, size, size * (replica + 1) // replicas)
    return first, last, 1.0 / tf.cast(tf.where(small, size * replicas, size), tf.float32)


def _replica() -> Any:
    """The number of the replica that is being compiled."""
    return _context().replica_id_in_sync_group


def _total(value: Any) -> Any:
    """The sum of a tensor over all replicas."""
    return _context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def _context() -> Any:
    context = tf.distribute.get_replica_context()
    assert context is not None, "only the steps of a replica ask for this"
    return context


@contextlib.contextmanager
def _as_replicas(model: keras.Model) -> Iterator[None]:
    """Inside, layers are compiled to look at the whole batch, and to draw for each replica anew."""
    with contextlib.ExitStack() as undone:

        def change(part: Any, name: str, value: Any) -> None:
            undone.callback(setattr, part, name, getattr(part, name))
            setattr(part, name, value)

        for layer in model._flatten_layers(include_self=False):
            stream = getattr(layer, "seed_generator", None)
            if isinstance(stream, Stream):
                change(stream, "replica", _replica)
            if isinstance(layer, keras.layers.BatchNormalization):
                change(layer, "synchronized", True)
            if isinstance(layer, DecorrelatedBatchNormalization):
                change(layer, "total", _total)
        yield
