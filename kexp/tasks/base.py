"""What every task answers: which choices fit it, what an epoch is, how predictions are measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kexp.data import Collection, DataSet, Examples, Splits
from kexp.data.rows import Rows
from kexp.losses import Quadratic
from kexp.streams import Streams


@dataclass(frozen=True)
class EpochData:
    """Arrays of one epoch and the order, shape (n,), in which their examples are visited.

    uint8 arrays `x` are scaled to [0, 1] on the device. `rows`, shape (n,), is the row of `x` of
    each example; null where example i is row i.
    """

    x: np.ndarray
    y: np.ndarray
    order: np.ndarray
    rows: np.ndarray | None = None


@dataclass(frozen=True)
class Batch:
    """Some examples to measure: inputs, targets, and the truth where targets are corrupted.

    Of images the inputs may be `Rows`, for `np.asarray` to make an array of.
    """

    x: np.ndarray | Rows
    y: np.ndarray
    truth: np.ndarray | None = None


class Task:
    """A task as a config choice."""

    target: ClassVar[str]
    """Kind of target: `"classification"`, `"binary"`, `"regression"` (of a number), `"image
    regression"` (an image restored), `"colour regression"`, `"depth regression"` or `"projection"`.
    """

    yardsticks: ClassVar[tuple[str, ...]]
    """The yardsticks it is measured by, the one for the verdict first."""

    partial: ClassVar[bool] = False
    """Whether targets may be known in part, NaN elsewhere: no loss and no yardstick sees that."""

    def check(self, data: DataSet, loss: Any) -> None:
        """Raise `ValueError` where the data set or the loss cannot be used. Loads nothing."""

    def check_model(self, model: Any) -> None:
        """Raise `ValueError` where the task cannot use the model (see `kexp.models.base.Model`)."""

    def adapted(self, collection: Collection) -> Collection:
        """The data as this task sees them, before they are split; mostly as they are."""
        return collection

    def prepared(self, splits: Splits) -> Splits:
        """The splits as the model sees them: features are standardised, images as they are."""
        return splits if splits.train.inputs[0].ndim > 1 else standardised(splits)

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """Input shape of the model (None where it may vary) and its number of outputs."""
        raise TypeError(f"{type(self).__name__} must define shapes(collection)")

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Raise `DataError` where the images are too small for the model."""

    def check_loss(self, splits: Splits, loss: Any) -> None:
        """Raise `DataError` where the loss cannot be of these data: of small images, say."""

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """What is trained on in an epoch (counted from 1), a function of the seed and the epoch."""
        raise TypeError(f"{type(self).__name__} must define epoch(train, streams, epoch)")

    def batches(self, examples: Examples, streams: Streams, split: str) -> Sequence[Batch]:
        """The examples of a split as batches to measure, the same ones at every epoch."""
        raise TypeError(f"{type(self).__name__} must define batches(examples, streams, split)")

    def measure(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, float]:
        """Every yardstick, as a mean over the samples of all batches."""
        raise TypeError(f"{type(self).__name__} must define measure(predictions, batches)")

    def trivial(self, splits: Splits, batches: Sequence[Batch]) -> dict[str, list[np.ndarray]]:
        """What to beat: predictions for test batches that take no training, by name in words."""
        return {}

    def adversary(self) -> Any:
        """The loss that an adversary raises: that of the task, whatever a run was trained on."""
        return Quadratic()

    def is_within_range(self, x: np.ndarray) -> bool:
        """Whether perturbed inputs are to stay in [0, 1] as these do: images are, features not."""
        return x.ndim == 4

    def average(self, predictions: list[np.ndarray]) -> np.ndarray:
        """One prediction from several of the same batch; by default their mean."""
        return np.mean(predictions, axis=0, dtype=np.float64)

    def closing(
        self, splits: Splits, kernels: list[np.ndarray], e: Any
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the task adds to the summary of a trained run `e`, by name; mostly nothing.

        And what it shows of that, beside `exhibits` and as these.
        """
        return {}, {}

    def diagnosis(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, Any]:
        """What else is told of the predictions on the test split, by name; mostly nothing."""
        return {}

    def exhibits(
        self, predictions: list[np.ndarray], batches: Sequence[Batch]
    ) -> dict[str, np.ndarray]:
        """Some test examples with their predictions to look at, as arrays by name.

        Images are uint8, (n, h, w, c). Classification has `inputs`, `label`, `predicted` and
        `confidence`; image regression `inputs`, `outputs` and `targets`; regression of numbers
        `outputs` and `targets`, float32 of shape (n,).
        """
        return {}

    def memorisation(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> float | None:
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


def standardised(splits: Splits) -> Splits:
    """Each feature, and the values if there are any, less its mean and over its deviation.

    Mean and standard deviation are those of the training split; a constant feature becomes 0.
    """
    mean, deviation = _moments(splits.train.inputs)
    centre, unit = (0.0, 1.0) if splits.train.values is None else _moments(splits.train.values)

    def scaled(values: Any) -> Any:
        return None if values is None else ((values - centre) / unit).astype(np.float32)

    def of(part: Examples) -> Examples:
        inputs = ((part.inputs - mean) / deviation).astype(np.float32)
        targets = part.targets if part.values is None else scaled(part.targets)
        return dataclasses.replace(
            part,
            inputs=inputs,
            targets=targets,
            values=scaled(part.values),
            expected=scaled(part.expected),
        )

    return Splits(**{name: of(getattr(splits, name)) for name in Splits.__annotations__})


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column in float64; 1 where it is constant."""
    values = values.astype(np.float64)
    deviation = values.std(axis=0)
    constant = deviation <= 1e-9 * np.abs(values).max(axis=0)
    return values.mean(axis=0), np.where(constant, 1.0, deviation)
