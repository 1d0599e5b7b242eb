"""TensorFlow: many steps in one graph over in-memory tensors.

Without a Python call per step, and with the examples gathered inside the graph, small networks
train several times as fast as with `fit`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kexp.objective import Objective
from kexp.training.engine import as_input, dropout_at_inference

ORDER = tf.TensorSpec([None, None], tf.int32)
RATES = tf.TensorSpec([None], tf.float32)


class GraphEngine:
    """Runs the steps of an epoch as TensorFlow graphs."""

    def __init__(self, objective: Objective, optimizer: keras.optimizers.Optimizer):
        self.objective = objective
        self.optimizer = optimizer
        self._loaded: tuple[np.ndarray, np.ndarray] | None = None
        self._steps = tf.function(self._many_steps)
        self._predict = tf.function(self._inference)
        self._sample = tf.function(self._inference)

    def load(self, x: np.ndarray, y: np.ndarray) -> None:
        """Make the arrays tensors, unless they are those of the epoch before."""
        if self._loaded is None or self._loaded[0] is not x or self._loaded[1] is not y:
            self._loaded = (x, y)
            self._x, self._y = tf.constant(x), tf.constant(y)
            self._compiled = self._steps.get_concrete_function(
                _any_number_of(x), _any_number_of(y), ORDER, RATES
            )

    def steps(self, order: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Take the steps in one graph."""
        rates = tf.constant(rates, tf.float32)
        return self._compiled(self._x, self._y, tf.constant(order, tf.int32), rates).numpy()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The model's output in inference mode."""
        return self._predict.get_concrete_function(self._spec(x))(tf.constant(x)).numpy()

    def sample(self, x: np.ndarray) -> np.ndarray:
        """The model's output in inference mode, but with dropout."""
        with dropout_at_inference(self.objective.model):
            return self._sample.get_concrete_function(self._spec(x))(tf.constant(x)).numpy()

    def _spec(self, x: np.ndarray) -> tf.TensorSpec:
        return tf.TensorSpec(self.objective.model.input_shape, x.dtype)

    def _inference(self, x: Any) -> Any:
        return self.objective.model(as_input(x), training=False)

    def _many_steps(self, x: Any, y: Any, order: Any, rates: Any) -> Any:
        objectives = tf.TensorArray(tf.float32, size=tf.shape(order)[0])

        def one(i: Any, objectives: Any) -> tuple:
            picked = order[i]
            self.optimizer.learning_rate.assign(rates[i])
            value = self._step(as_input(tf.gather(x, picked)), tf.gather(y, picked))
            return i + 1, objectives.write(i, value)

        _, objectives = tf.while_loop(
            lambda i, _: i < tf.shape(order)[0], one, (0, objectives), parallel_iterations=1
        )
        return objectives.stack()

    def _step(self, x: Any, y: Any) -> Any:
        variables = self.objective.trainable
        with tf.GradientTape() as tape:
            value = self.objective(y, self.objective.model(x, training=True))
        gradients = tape.gradient(value, variables)
        self.optimizer.apply(gradients, variables)
        return value


def _any_number_of(array: np.ndarray) -> tf.TensorSpec:
    """The shape of such arrays whatever their length, so that one graph serves all epochs."""
    return tf.TensorSpec([None, *array.shape[1:]], array.dtype)
