"""What the engines have in common whose run is in the variables of Keras's own objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kexp.objective import Objective
from kexp.tasks import Batch
from kexp.training import checkpoint
from kexp.training.engine import Portions, random_layers


class KerasEngine:
    """Reads and sets the state of a run; how steps are taken is for the classes below."""

    replicas = 1
    state_bytes = 0

    def __init__(self, objective: Objective, optimizer: keras.optimizers.Optimizer):
        self.objective = objective
        self.optimizer = optimizer
        self._portions = Portions()

    @property
    def learning_rate(self) -> float:
        """The optimizer's learning rate at this moment."""
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))

    def begin(self) -> None:
        """The run is in Keras's variables already; how fast it is will be seen."""
        self._portions = Portions()

    def release(self) -> None:
        """Let go of the arrays of the last epoch."""
        raise TypeError(f"{type(self).__name__} must define release()")

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The model's output in inference mode."""
        raise TypeError(f"{type(self).__name__} must define predict(x)")

    def measure(self, batches: Sequence[Batch]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Prediction and loss of each example, batch by batch."""
        return [self._measured(np.asarray(batch.x), batch.y) for batch in batches]

    def _measured(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        prediction = self.predict(x)
        tensors = map(keras.ops.convert_to_tensor, (y, prediction))
        return prediction, keras.ops.convert_to_numpy(self.objective.losses(*tensors))

    def penalty(self) -> float:
        """λR(θ) of the present weights."""
        return float(keras.ops.convert_to_numpy(self.objective.penalty()))

    def kernels(self) -> list[np.ndarray]:
        """The present kernels, copied."""
        return checkpoint.values(self.objective.kernels)

    def shown(self) -> dict[str, Any]:
        """What the loss has learned so far, by name."""
        return self.objective.shown()

    def values(self) -> dict[str, list[np.ndarray]]:
        """The variables of the model and of the optimizer, copied."""
        return {name: checkpoint.values(group) for name, group in self._groups().items()}

    def assign(self, **groups: Sequence[np.ndarray]) -> None:
        """Set groups of `values`. Raises `StoreError` where they do not fit."""
        for name, saved in groups.items():
            checkpoint.assign(self._groups()[name], saved)

    def set_streams(self, seed_of: Callable[[str], int]) -> None:
        """Point every random layer to the stream of a seed."""
        for name, generator in random_layers(self.objective.model):
            generator.state.assign([seed_of(name), 0])

    def model(self) -> keras.Model:
        """The network with the present weights."""
        return self.objective.model

    def _groups(self) -> dict[str, list[Any]]:
        return {"model": self.objective.state, "optimizer": self.optimizer.variables}
