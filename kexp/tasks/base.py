"""What every task answers: which choices fit it, what an epoch is, how predictions are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kexp.data import Collection, DataSet, Examples, Splits
from kexp.streams import Streams


@dataclass(frozen=True)
class EpochData:
    """Arrays of one epoch and the order, shape (n,), in which their examples are visited.

    uint8 arrays `x` are scaled to [0, 1] on the device.
    """

    x: np.ndarray
    y: np.ndarray
    order: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Some examples to measure: inputs, targets, and the truth where targets are corrupted."""

    x: np.ndarray
    y: np.ndarray
    truth: np.ndarray | None = None


class Task:
    """A task as a config choice."""

    target: ClassVar[str]
    """Kind of target: `"classification"` or `"regression"`."""

    yardsticks: ClassVar[tuple[str, ...]]
    """The yardsticks it is measured by, the one for the verdict first."""

    def check(self, data: DataSet, loss: Any) -> None:
        """Raise `ValueError` where the data set or the loss does not fit. Loads nothing."""
        if loss.target != self.target:
            raise ValueError(
                f"loss {type(loss).__name__} is for {loss.target}, this task is {self.target}"
            )

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """Input shape of the model (None where it may vary) and its number of outputs."""
        raise TypeError(f"{type(self).__name__} must define shapes(collection)")

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Raise `DataError` where the images are too small for the model."""

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """What is trained on in an epoch (counted from 1), a function of the seed and the epoch."""
        raise TypeError(f"{type(self).__name__} must define epoch(train, streams, epoch)")

    def batches(self, examples: Examples, streams: Streams, split: str) -> list[Batch]:
        """The examples of a split as batches to measure, the same ones at every epoch."""
        raise TypeError(f"{type(self).__name__} must define batches(examples, streams, split)")

    def measure(self, predictions: list[np.ndarray], batches: list[Batch]) -> dict[str, float]:
        """Every yardstick, as a mean over the samples of all batches."""
        raise TypeError(f"{type(self).__name__} must define measure(predictions, batches)")

    def memorisation(self, predictions: list[np.ndarray], batches: list[Batch]) -> float | None:
        """Share in [0, 1] of the corrupted targets that are fitted; None where there are none."""
        fitted = [
            self.fitted(p, b.y, b.truth)
            for p, b in zip(predictions, batches, strict=True)
            if b.truth is not None
        ]
        every = np.concatenate(fitted) if fitted else np.empty(0)
        return float(every.mean()) if every.size else None

    def fitted(self, prediction: np.ndarray, y: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """For each corrupted target whether the prediction follows it, shape (corrupted,)."""
        raise TypeError(f"{type(self).__name__} must define fitted(prediction, y, truth)")
