"""Any backend: one Keras `train_on_batch` per step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kexp.objective import Objective
from kexp.training.engine import as_input, dropout_at_inference


class Problem(keras.Model):
    """A model whose Keras loss is kexp's objective."""

    def __init__(self, objective: Objective):
        super().__init__(name="problem")
        self.network = objective.model
        self.objective = objective
        self.numbers = [*objective.loss_numbers.values(), *objective.regularizer_numbers.values()]
        self.learned = objective.learned
        self.built = True

    @property
    def trainable_variables(self) -> list[Any]:
        """In the order in which the optimizer has them: what the loss learns comes last."""
        return self.objective.trainable

    def call(self, x: Any, training: bool = False) -> Any:
        """The network's output."""
        return self.network(x, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """fit + penalty."""
        return self.objective(y, y_pred)


class StepEngine:
    """Runs each step through Keras's own compiled training step."""

    def __init__(self, objective: Objective, optimizer: keras.optimizers.Optimizer):
        self.objective = objective
        self.optimizer = optimizer
        self._problem = Problem(objective)
        self._problem.compile(optimizer=optimizer, jit_compile="auto")

    def load(self, x: np.ndarray, y: np.ndarray) -> None:
        """Keep the arrays; batches are cut from them on the host."""
        self._x, self._y = x, y

    def steps(self, order: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Take the steps one after the other."""
        values = []
        for picked, rate in zip(order, rates, strict=True):
            self.optimizer.learning_rate = float(rate)
            x = keras.ops.convert_to_numpy(as_input(self._x[picked]))
            values.append(self._problem.train_on_batch(x, self._y[picked]))
        return np.array(values, np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The model's output in inference mode."""
        return self._problem.predict_on_batch(keras.ops.convert_to_numpy(as_input(x)))

    def sample(self, x: np.ndarray) -> np.ndarray:
        """The model's output in inference mode, but with dropout."""
        with dropout_at_inference(self.objective.model):
            output = self.objective.model(as_input(x), training=False)
        return keras.ops.convert_to_numpy(output)
