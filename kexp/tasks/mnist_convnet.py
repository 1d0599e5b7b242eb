"""Classification of small images: MNIST and the like."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from kexp import yardsticks
from kexp.choice import choice
from kexp.data import Collection, DataSet, Examples, Splits
from kexp.errors import DataError
from kexp.streams import Streams
from kexp.tasks.base import Batch, EpochData, Task

MEASURED_AT_ONCE = 500


@choice
class MnistConvnet(Task):
    """Digit classification with Keras's MNIST convnet; any labelled images of one size will do."""

    target: ClassVar[str] = "classification"
    yardsticks: ClassVar[tuple[str, ...]] = tuple(yardsticks.CLASSIFICATION)

    def check(self, data: DataSet, loss: Any) -> None:
        """Refuse a loss for regression, data without labels, and outliers."""
        super().check(data, loss)
        if not data.labelled:
            raise ValueError(f"data {type(data).__name__} has no class labels to learn")
        if data.outliers:
            raise ValueError(
                "data.outliers replaces pixels of a target image; for classification use "
                "data.label_noise"
            )

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """(height, width, channels) of the images, and the number of classes."""
        return tuple(collection.train.images[0].shape), len(collection.classes)

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Refuse images without labels, of different shapes, or too small for the model."""
        if splits.train.labels is None:
            raise DataError("the data have no class labels; put each class in a folder of its own")
        parts = (splits.train, splits.validation, splits.test)
        shapes = {image.shape for part in parts for image in part.images}
        if len(shapes) > 1:
            raise DataError(
                f"classification needs images of one shape, got {sorted(shapes)[:4]}; "
                "data.side=28 brings a folder's images to 28×28"
            )
        height, width, _ = splits.train.images[0].shape
        if min(height, width) < smallest_side:
            raise DataError(
                f"images of {height}×{width} are too small for this model, which needs "
                f"{smallest_side}×{smallest_side} at least"
            )

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """Every training image once, in the order of the stream `order` at this epoch."""
        order = streams.rng("order", epoch).permutation(len(train)).astype(np.int32)
        return EpochData(_stack(train.images), _targets(train), order)

    def batches(self, examples: Examples, streams: Streams, split: str) -> list[Batch]:
        """The split in order."""
        images, targets = _stack(examples.images), _targets(examples)
        cuts = range(0, len(images), MEASURED_AT_ONCE)
        noisy = examples.targets is not None
        return [
            Batch(
                images[i : i + MEASURED_AT_ONCE],
                targets[i : i + MEASURED_AT_ONCE],
                examples.labels[i : i + MEASURED_AT_ONCE] if noisy else None,
            )
            for i in cuts
        ]

    def measure(self, predictions: list[np.ndarray], batches: list[Batch]) -> dict[str, float]:
        """NLL (nats), error, Brier score and ECE of the logits."""
        logits, labels = np.concatenate(predictions), np.concatenate([b.y for b in batches])
        return {
            name: float(np.mean(metric(logits, labels)))
            for name, metric in yardsticks.CLASSIFICATION.items()
        }

    def fitted(self, prediction: np.ndarray, y: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether the flipped label is the class predicted."""
        flipped = y != truth
        return prediction.argmax(axis=-1)[flipped] == y[flipped]


def _stack(images: Any) -> np.ndarray:
    return images if isinstance(images, np.ndarray) else np.stack(images)


def _targets(examples: Examples) -> np.ndarray:
    return examples.labels if examples.targets is None else examples.targets
