"""Classification: of images into many classes, and of anything into two."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import scipy

from kexp import yardsticks
from kexp.choice import choice
from kexp.data import Collection, DataSet, Examples, Splits
from kexp.data.rows import Rows
from kexp.errors import DataError
from kexp.losses import CrossEntropy
from kexp.streams import Streams
from kexp.tasks.base import Batch, EpochData, Task

MEASURED_AT_ONCE = 500
"""Most examples of a batch to measure."""

MOST_VALUES = 2**23
"""Most values (pixels by channels) of a batch to measure: fewer large images than small ones."""

MOST_CLASSES = 50
MOST_EXHIBITS = 18


class Classification(Task):
    """What the tasks with class labels have in common."""

    yardsticks: ClassVar[tuple[str, ...]] = tuple(yardsticks.CLASSIFICATION)

    def check(self, data: DataSet, loss: Any) -> None:
        """Refuse outliers."""
        if data.outliers:
            raise ValueError(
                "data.outliers replaces values of a regression's target; for classification use "
                "data.label_noise"
            )

    def adapted(self, collection: Collection) -> Collection:
        """The data as they are. Raises `DataError` where a label is no class number."""
        classes = len(collection.classes)
        for part in (collection.train, collection.validation, collection.test):
            labels = np.empty(0, int) if part is None or part.labels is None else part.labels
            wrong = np.flatnonzero((labels < 0) | (labels >= classes))
            if wrong.size:
                raise DataError(
                    f"labels must be from 0 to {classes - 1}, one for each of {classes} classes, "
                    f"got {labels[wrong[0]]} for the example {part.name(wrong[0])}"
                )
        return collection

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """The shape of an input, and the number of classes."""
        return tuple(collection.train.inputs[0].shape), len(collection.classes)

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Refuse images without labels, of different shapes, or too small for the model."""
        if splits.train.labels is None:
            raise DataError("the data have no class labels; put each class in a folder of its own")
        if splits.train.inputs[0].ndim == 1:
            return
        parts = (splits.train, splits.validation, splits.test)
        shapes = np.concatenate([part.shapes for part in parts])
        if (shapes != shapes[0]).any():
            got = [tuple(shape) for shape in np.unique(shapes, axis=0)[:4].tolist()]
            raise DataError(
                f"classification needs images of one shape, got {got}; "
                "data.side=28 brings a folder's images to 28×28"
            )
        height, width, _ = splits.train.inputs[0].shape
        if min(height, width) < smallest_side:
            raise DataError(
                f"images of {height}×{width} are too small for this model, which needs "
                f"{smallest_side}×{smallest_side} at least"
            )

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """Every training image once, in the order of the stream `order` at this epoch."""
        order = streams.rng("order", epoch).permutation(len(train)).astype(np.int32)
        images, targets = _stack(train.inputs), _targets(train)
        if isinstance(images, Rows):
            return EpochData(images.base, targets, order, images.index)
        return EpochData(images, targets, order)

    def batches(self, examples: Examples, streams: Streams, split: str) -> Sequence[Batch]:
        """The split in order."""
        images, targets = _stack(examples.inputs), _targets(examples)
        size = min(MEASURED_AT_ONCE, max(1, MOST_VALUES // math.prod(images.shape[1:])))
        cuts = [slice(i, i + size) for i in range(0, len(images), size)]
        truth = None if examples.targets is None else examples.labels
        return [Batch(images[c], targets[c], None if truth is None else truth[c]) for c in cuts]

    def measure(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, float]:
        """NLL (nats), error, Brier score and ECE of the logits."""
        logits = self.all_logits(np.concatenate(predictions))
        labels = np.concatenate([b.y for b in batches])
        return {
            name: float(np.mean(metric(logits, labels)))
            for name, metric in yardsticks.CLASSIFICATION.items()
        }

    def adversary(self) -> Any:
        """Cross-entropy."""
        return CrossEntropy()

    def trivial(self, splits: Splits, batches: Sequence[Batch]) -> dict[str, list[np.ndarray]]:
        """Every class with its share of the training labels, each counted once more."""
        classes = max(2, *(b.y.max() + 1 for b in batches), _targets(splits.train).max() + 1)
        counts = np.bincount(_targets(splits.train), minlength=classes) + 1.0
        log_p = np.log(counts / counts.sum()).astype(np.float32)
        name = "class frequencies of the training labels"
        return {name: [np.tile(log_p, (len(b.y), 1)) for b in batches]}

    def diagnosis(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, Any]:
        """Confusion matrix, rows for the true class (of up to 50), and reliability diagram."""
        logits = self.all_logits(np.concatenate(predictions))
        labels = np.concatenate([b.y for b in batches])
        few = logits.shape[-1] <= MOST_CLASSES
        return {
            **({"confusion": yardsticks.confusion(logits, labels).tolist()} if few else {}),
            "reliability": {
                name: values.tolist()
                for name, values in yardsticks.reliability(logits, labels).items()
            },
        }

    def exhibits(
        self, predictions: list[np.ndarray], batches: Sequence[Batch]
    ) -> dict[str, np.ndarray]:
        """The misclassified images of which the model is most confident."""
        first, labels = batches[0].x, np.concatenate([b.y for b in batches])
        if first.ndim != 4 or first.dtype != np.uint8:
            return {}
        p = scipy.special.softmax(self.all_logits(np.concatenate(predictions)), axis=-1)
        predicted, confidence = p.argmax(axis=-1), p.max(axis=-1)
        wrong = np.flatnonzero(predicted != labels)
        worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_EXHIBITS]
        return {
            "inputs": _inputs(batches, worst),
            "label": labels[worst].astype(np.int32),
            "predicted": predicted[worst].astype(np.int32),
            "confidence": confidence[worst].astype(np.float32),
        }

    def all_logits(self, predictions: np.ndarray) -> np.ndarray:
        """The logits of every class, shape (n, classes)."""
        return predictions

    def average(self, predictions: list[np.ndarray]) -> np.ndarray:
        """Logits of the mean of the predicted probabilities."""
        logits = np.stack([self.all_logits(p) for p in predictions]).astype(np.float64)
        log_p = scipy.special.log_softmax(logits, axis=-1)
        return scipy.special.logsumexp(log_p, axis=0) - np.log(len(predictions))

    def fitted(self, prediction: np.ndarray, y: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether the flipped label is the class predicted."""
        flipped = y != truth
        return self.all_logits(prediction).argmax(axis=-1)[flipped] == y[flipped]


@choice
class MnistConvnet(Classification):
    """Digit classification with Keras's MNIST convnet; any labelled images of one size will do."""

    target: ClassVar[str] = "classification"


@choice
class Binary(Classification):
    """Binary classification: one logit z, and ŷ = 1/(1 + exp(−z)) the probability of class 1.

    `positive` names the classes that count as 1. Left out, those are the odd-numbered ones: of two
    classes the second, of digits the odd ones. Features are standardised by the training split.
    """

    target: ClassVar[str] = "binary"

    positive: list[str] | None = None

    def adapted(self, collection: Collection) -> Collection:
        """Labels 0 and 1. Raises `DataError` where `positive` names none or all of the classes."""
        names = super().adapted(collection).classes
        positive = names[1::2] if self.positive is None else self.positive
        unknown = [name for name in positive if name not in names]
        chosen = [name for name in names if name in positive]
        if unknown or not 0 < len(chosen) < len(names):
            raise DataError(
                f"task.positive must name some of the classes and not all, got {positive}; "
                f"the classes are {', '.join(names) or 'not known'}"
            )
        others = [name for name in names if name not in chosen]
        is_positive = np.array([name in chosen for name in names], np.int32)

        def of(part: Any) -> Any:
            if part is None or part.labels is None:
                return part
            return dataclasses.replace(part, labels=is_positive[part.labels])

        return Collection(
            train=of(collection.train),
            validation=of(collection.validation),
            test=of(collection.test),
            classes=["+".join(others), "+".join(chosen)],
        )

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """The shape of an input, and one output."""
        return super().shapes(collection)[0], 1

    def all_logits(self, predictions: np.ndarray) -> np.ndarray:
        """(0, z), whose softmax is (1 − ŷ, ŷ); shape (n, 2)."""
        if predictions.shape[-1] == 2:
            return predictions
        return np.concatenate([np.zeros_like(predictions), predictions], axis=-1)


def _stack(images: Any) -> Any:
    return np.stack(images) if isinstance(images, list) else images


def _inputs(batches: Sequence[Batch], numbers: np.ndarray) -> np.ndarray:
    """The inputs with these numbers, counted through all batches, and no others."""
    ends = np.cumsum([len(b.x) for b in batches])
    batch = np.searchsorted(ends, numbers, side="right")
    place = numbers - ends[batch]  # from the batch's end: negative
    found = [batches[k].x[i] for k, i in zip(batch, place, strict=True)]
    return np.array(found, np.uint8).reshape(-1, *batches[0].x.shape[1:])


def _targets(examples: Examples) -> np.ndarray:
    return examples.labels if examples.targets is None else examples.targets
