"""Images as points of an eigenspace, and their recognition by robust projection onto it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from kexp import yardsticks
from kexp.choice import Count, choice
from kexp.data import Collection, DataSet, Examples, Splits
from kexp.data.rows import Rows
from kexp.eigenspace import Weight, eigenspace, half_weight, robust_projection
from kexp.errors import DataError
from kexp.lazy import keras
from kexp.streams import Streams
from kexp.tasks.base import Batch, EpochData, Task
from kexp.tasks.images import unit
from kexp.tasks.recognition import (
    SHARES,
    SHOWN_SHARE,
    Gallery,
    Occluder,
    corruption,
    occlusion,
    recognition,
)

MEASURED_AT_ONCE = 500
MOST_EXHIBITS = 6
MOST_EIGENVECTORS = 8
NEGLIGIBLE = 1e-12
"""The share of the variance up to which a direction is no principal component but rounding."""


@choice
class Eigenspace(Task):
    """Reconstruction of images from a few coefficients, and recognition under occlusion.

    Training is that of a linear autoencoder, `model=eigenspace`, like any other. At the end comes
    what has a closed form: principal components of the training images, and how many of
    `recognised` test images are still recognised, by the nearest training image, when a block
    (`occluder`) hides a share of their pixels, or a share is replaced at random. Their
    coefficients are found by least squares, and by the M-estimator of the loss. Black and Jepson
    1998; Dahyot, Charbonnier and Heitz 2000.
    """

    target: ClassVar[str] = "projection"
    yardsticks: ClassVar[tuple[str, ...]] = ("psnr", "mse", "mae")

    occluder: Occluder = "texture"
    recognised: Count = 300

    def check(self, data: DataSet, loss: Any) -> None:
        """Refuse label noise, and a loss that has neither a weight nor ρ of a residual."""
        if data.label_noise:
            raise ValueError(
                "data.label_noise flips class labels, which task=eigenspace does not train on; "
                "for values of training images use data.outliers"
            )
        if not (hasattr(loss, "weight") or hasattr(loss, "rho")):
            raise ValueError(
                f"task=eigenspace projects by the M-estimator of its loss, for which "
                f"{type(loss).__name__} needs rho(residual) or weight(residual); derive it from "
                "kexp.losses.base.RegressionLoss"
            )

    def check_model(self, model: Any) -> None:
        """Refuse a model that does not say how many principal components to compare it with."""
        if not hasattr(model, "components"):
            raise ValueError(
                f"task=eigenspace compares its model with as many principal components; give "
                f"{type(model).__name__} the parameter components"
            )

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """The shape of an image, and its number of channels."""
        shape = tuple(collection.train.inputs[0].shape)
        return shape, shape[-1]

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Refuse images without classes to recognise, and images of different shapes."""
        if splits.train.labels is None:
            raise DataError(
                "the data have no class labels, so there is nothing to recognise; put the images "
                "of each class in a folder of its own"
            )
        parts = (splits.train, splits.validation, splits.test)
        shapes = np.concatenate([part.shapes for part in parts])
        if (shapes != shapes[0]).any():
            got = [tuple(shape) for shape in np.unique(shapes, axis=0)[:4].tolist()]
            raise DataError(
                f"an eigenspace needs images of one shape, got {got}; "
                "data.side=28 brings a folder's images to 28×28"
            )

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """Every training image once, in the order of the stream `order` at this epoch."""
        order = streams.rng("order", epoch).permutation(len(train)).astype(np.int32)
        if isinstance(train.images, Rows):
            return EpochData(train.images.base, train.unit_images, order, train.images.index)
        return EpochData(train.images, train.unit_images, order)

    def batches(self, examples: Examples, streams: Streams, split: str) -> Sequence[Batch]:
        """The split in order."""
        images = examples.unit_images
        truth = None if examples.targets is None else _unit(examples.inputs)
        cuts = [slice(i, i + MEASURED_AT_ONCE) for i in range(0, len(images), MEASURED_AT_ONCE)]
        return [Batch(images[c], images[c], None if truth is None else truth[c]) for c in cuts]

    def measure(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, float]:
        """Mean PSNR (dB), MSE and MAE of the reconstructions, for a data range of 1."""
        prediction, y = np.concatenate(predictions), np.concatenate([b.y for b in batches])
        return {
            name: float(np.mean(yardsticks.REGRESSION[name](prediction, y)))
            for name in self.yardsticks
        }

    def trivial(self, splits: Splits, batches: Sequence[Batch]) -> dict[str, list[np.ndarray]]:
        """The mean of the training images."""
        mean = splits.train.unit_images.mean(axis=0, dtype=np.float64).astype(np.float32)
        return {"mean of the training images": [np.broadcast_to(mean, b.y.shape) for b in batches]}

    def fitted(self, prediction: np.ndarray, y: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether the prediction is nearer to the outlier than to the true value."""
        outlier = y != truth
        return np.abs(prediction - y)[outlier] < np.abs(prediction - truth)[outlier]

    def exhibits(
        self, predictions: list[np.ndarray], batches: Sequence[Batch]
    ) -> dict[str, np.ndarray]:
        """The first test images: input, reconstruction and target."""
        shown = slice(MOST_EXHIBITS)
        images = _pixels(batches[0].x[shown])
        return {"inputs": images, "outputs": _pixels(predictions[0][shown]), "targets": images}

    def closing(
        self, splits: Splits, kernels: list[np.ndarray], e: Any
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Recognition over the hidden share, and how far the trained span is from the best one.

        To show: mean and eigenvectors; occluded images, both reconstructions of them, and weights.
        """
        found = _Closed(self, splits, e)
        return self._recorded(found, splits, kernels[-1], e), self._shown(found)

    def _recorded(
        self, found: _Closed, splits: Splits, kernel: np.ndarray, e: Any
    ) -> dict[str, Any]:
        space = found.space
        held = space.basis.T[space.variances > NEGLIGIBLE * space.total]
        return {
            "eigenspace": {
                "components": e.model.components,
                "explained": space.explained,
                "images": len(found.images),
                "occluder": self.occluder,
                "half_weight": half_weight(found.weight, len(space.mean)),
                "shares": list(SHARES),
                "occlusion": found.recognised(found.occlusion),
                "corruption": found.recognised(found.corruption),
                "angle": largest_angle(kernel.astype(np.float64), held),
                "principal_mse": {
                    part: found.error(getattr(splits, part))
                    for part in ("probe", "validation", "test")
                },
            }
        }

    def _shown(self, found: _Closed) -> dict[str, np.ndarray]:
        images = found.images[:MOST_EXHIBITS]
        occluded = found.occlusion(SHOWN_SHARE)[:MOST_EXHIBITS]
        flat = occluded.reshape(len(images), -1)
        robust = robust_projection(found.space, flat, found.weight)
        plain = found.space.coefficients(flat)

        def shaped(values: np.ndarray) -> np.ndarray:
            return _pixels(values.reshape(-1, *images.shape[1:]))

        vectors = found.space.basis.T[:MOST_EIGENVECTORS]
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        return {
            "mean": shaped(found.space.mean),
            "eigenvectors": shaped(0.5 + 0.5 * vectors / largest),
            "clean": _pixels(images),
            "occluded": _pixels(occluded),
            "least_squares": shaped(found.space.images(plain)),
            "m_estimator": shaped(found.space.images(robust.coefficients)),
            "weights": shaped(robust.weights),
        }


class _Closed:
    """The principal components of a run's training images, and the test images to recognise."""

    def __init__(self, task: Eigenspace, splits: Splits, e: Any):
        train, streams = splits.train.unit_images, Streams(e.seed)
        flat = train.reshape(len(train), -1)
        self.space = eigenspace(flat, e.model.components)
        self._gallery = Gallery(self.space.coefficients(flat), np.asarray(splits.train.labels))
        chosen = np.sort(streams.rng("recognised").permutation(len(splits.test))[: task.recognised])
        test = splits.test.take(chosen)
        self.images, self._labels = _unit(test.inputs).astype(np.float64), np.asarray(test.labels)
        self.weight = weights_of(e.loss, train.shape[-1])
        self.occlusion = occlusion(self.images, task.occluder, streams)
        self.corruption = corruption(self.images, streams)

    def recognised(self, damage: Any) -> dict[str, Any]:
        """The record of one kind of damage."""
        return recognition(
            self.space, self._gallery, self.images, self._labels, damage, self.weight
        )

    def error(self, part: Examples) -> float:
        """Mean squared error of a split's reconstructions by least squares."""
        flat = part.unit_images.reshape(len(part), -1)
        return float(np.mean(np.square(self.space.images(self.space.coefficients(flat)) - flat)))


def weights_of(loss: Any, channels: int) -> Weight:
    """w(r) = ρ′(r)/r of a loss for residuals (n, h·w·channels), by its backend.

    With `elements="norm"` all pixels of an image have one weight: ρ rises with ‖r‖, so that its
    minimum is that of least squares.
    """
    if getattr(loss, "elements", None) == "norm":
        return np.ones_like
    return partial(_weight, loss, channels)


def _weight(loss: Any, channels: int, residual: np.ndarray) -> np.ndarray:
    from kexp.losses.base import weight_by_slope

    of = getattr(loss, "weight", None) or partial(weight_by_slope, loss.rho)
    rows = keras.ops.convert_to_tensor(residual.reshape(-1, channels))
    found = keras.ops.convert_to_numpy(of(rows))
    return np.asarray(found, np.float64).reshape(residual.shape)


def largest_angle(one: np.ndarray, other: np.ndarray) -> float:
    """The largest principal angle in degrees between the spans of rows, (k, d) and (m, d), m ≤ k.

    Where m < k, how far the second is from lying in the first; 90 where rows of the second depend
    on each other, and where the first has a smaller rank. Björck and Golub 1973, by SciPy.
    """
    from scipy.linalg import subspace_angles

    if not len(other):
        return 0.0
    if np.linalg.matrix_rank(one) < len(other) or np.linalg.matrix_rank(other) < len(other):
        return 90.0
    return math.degrees(float(subspace_angles(one.T, other.T).max()))


def _unit(images: Any) -> np.ndarray:
    stacked = np.asarray(images) if isinstance(images, Rows) else np.stack(list(images))
    return unit(stacked)


def _pixels(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1] as uint8."""
    return np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)
