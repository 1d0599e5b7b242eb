"""Any backend: one Keras `train_on_batch` per step."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

from kexp.objective import Objective
from kexp.tasks import EpochData
from kexp.training.engine import as_input, dropout_at_inference
from kexp.training.keras_engine import KerasEngine


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
        return self.objective.output(x, training=training)

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


class StepEngine(KerasEngine):
    """Runs each step through Keras's own compiled training step."""

    def __init__(self, objective: Objective, optimizer: keras.optimizers.Optimizer):
        super().__init__(objective, optimizer)
        self._problem = Problem(objective)
        self._problem.compile(optimizer=optimizer, jit_compile="auto")

    def load(self, data: EpochData) -> None:
        """Keep the arrays; batches are cut from them on the host."""
        self._data: EpochData | None = data

    def release(self) -> None:
        """Let go of the arrays."""
        self._data = None

    def steps(self, order: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Take some of the steps, one after the other."""
        count, started = self._portions.of(len(order)), time.perf_counter()
        objectives = [self._step(*step) for step in zip(order[:count], rates[:count], strict=True)]
        self._portions.took(count, time.perf_counter() - started)
        return np.array(objectives, np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The model's output in inference mode."""
        return self._problem.predict_on_batch(keras.ops.convert_to_numpy(as_input(x)))

    def sample(self, x: np.ndarray, passes: int) -> list[np.ndarray]:
        """The model's output in inference mode, but with dropout."""
        with dropout_at_inference(self.objective.model):
            outputs = [self.objective.output(as_input(x), training=False) for _ in range(passes)]
        return [keras.ops.convert_to_numpy(output) for output in outputs]

    def slopes(self, x: np.ndarray, y: np.ndarray, loss: Any) -> np.ndarray:
        """The slope of a loss over the inputs, in inference mode."""
        if keras.backend.backend() == "torch":
            return self._slopes_of_torch(x, y, loss)
        import jax

        def value(x: Any) -> Any:
            return keras.ops.sum(loss(keras.ops.convert_to_tensor(y), self._inferred(x)))

        return np.asarray(jax.grad(value)(keras.ops.convert_to_tensor(x)))

    def _slopes_of_torch(self, x: np.ndarray, y: np.ndarray, loss: Any) -> np.ndarray:
        import torch

        inputs = keras.ops.convert_to_tensor(x).requires_grad_()
        value = loss(keras.ops.convert_to_tensor(y), self._inferred(inputs)).sum()
        (slopes,) = torch.autograd.grad(value, inputs)
        return keras.ops.convert_to_numpy(slopes)

    def _inferred(self, x: Any) -> Any:
        return self.objective.output(as_input(x), training=False)

    def _step(self, picked: np.ndarray, rate: float) -> float:
        data = self._data
        assert data is not None
        rows = picked if data.rows is None else data.rows[picked]
        self.optimizer.learning_rate = float(rate)
        x = keras.ops.convert_to_numpy(as_input(data.x[rows]))
        return self._problem.train_on_batch(x, data.y[picked])
