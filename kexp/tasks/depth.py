"""Depth from a single image: regression from colours to inverse depth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from kexp import yardsticks
from kexp.choice import choice
from kexp.data import Collection, DataSet, Examples, Splits
from kexp.errors import DataError
from kexp.losses import Loss, ScaleShiftInvariant
from kexp.losses.base import defines_of_known
from kexp.streams import Streams
from kexp.tasks.base import Batch, EpochData, Task

MOST_VALUES = 2**20
"""Most values (pixels by channels) of a batch to measure."""

MOST_EXHIBITS = 3
SHORTEST, LONGEST = 1e-6, 1e9
"""Depths in metres whose inverse, too, is a sensible number in float32."""

NEAR = 0.01
"""The quantile of the known depths of the training split that an inverse depth of 1 stands for."""

DISTANCE = ScaleShiftInvariant(gradient_weight=0.0)
"""What an adversary raises: one object, since an engine knows a compiled loss by its identity."""


@choice
class Depth(Task):
    """Depth from a single image: the network sees colours and predicts inverse depth.

    y = d₀/d, with d the depth along the optical axis in metres and d₀ the 1 % quantile of the known
    depths of the training split: 1 is near, 0 infinitely far. Whole images are trained on, mirrored
    left to right at random if `augment`. Pixels of unknown depth are in no loss and no yardstick.

    A single image does not tell the absolute scale, and a scale- and shift-invariant loss does not
    learn it. So, whatever the loss, each prediction is aligned to its target by the scale s ≥ 0 and
    the shift t of least squares in inverse depth before it is measured (Ranftl et al. 2022, section
    6), and depths are cut at half the nearest and twice the farthest one of the target; see
    `kexp.yardsticks`.
    """

    target: ClassVar[str] = "depth regression"
    yardsticks: ClassVar[tuple[str, ...]] = tuple(yardsticks.DEPTH)
    partial: ClassVar[bool] = True

    augment: bool = True

    def check(self, data: DataSet, loss: Any) -> None:
        """Refuse label noise, and a loss that needs larger images."""
        if data.label_noise:
            raise ValueError("data.label_noise flips class labels; for depths use data.outliers")
        side = getattr(data, "side", None)
        if side is not None and isinstance(loss, Loss):
            loss.check_side("data.side", side)

    def adapted(self, collection: Collection) -> Collection:
        """The data as they are. Raises `DataError` where no depths fit the images."""
        for part in (collection.train, collection.validation, collection.test):
            if part is not None:
                _check_depths(part)
        return collection

    def prepared(self, splits: Splits) -> Splits:
        """Depths as inverse depths y, in the unit of the training split."""
        unit = np.float32(np.nanquantile(np.asarray(splits.train.depths), NEAR))

        def inverse(depths: Any) -> Any:
            return None if depths is None else unit / np.asarray(depths)

        def of(part: Examples) -> Examples:
            targets, depths = inverse(part.targets), inverse(part.depths)
            return dataclasses.replace(part, targets=targets, depths=depths)

        return Splits(**{name: of(getattr(splits, name)) for name in Splits.__annotations__})

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """The shape of an image, and one output per pixel."""
        return tuple(collection.train.inputs[0].shape), 1

    def adversary(self) -> Any:
        """What is measured leaves scale and shift open, and so does what an adversary raises."""
        return DISTANCE.of_known

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Refuse images that are too small for the model."""
        height, width = splits.train.inputs[0].shape[:2]
        if min(height, width) < smallest_side:
            raise DataError(
                f"images of {height}×{width} are too small for this model, which needs "
                f"{smallest_side}×{smallest_side} at least; choose a larger data.side or fewer "
                "model.levels"
            )

    def check_loss(self, splits: Splits, loss: Any) -> None:
        """Refuse unknown depths where the loss does not define `of_known`."""
        if defines_of_known(loss):
            return
        for name in Splits.__annotations__:
            unknown = np.isnan(np.asarray(getattr(splits, name).depths)).mean()
            if unknown > 0:
                raise DataError(
                    f"{unknown:.2g} of the depths of the {name} split are unknown, and the loss "
                    f"{type(loss).__name__} would be NaN: it must define of_known(y, y_hat), the "
                    "loss of what is known (docs/extending.md), or inherit it along with __call__"
                )

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """Every image once, in the order of the stream `order`; the stream `mirror` turns some."""
        x, y = np.array(train.inputs), np.array(_targets(train))
        order = streams.rng("order", epoch).permutation(len(x)).astype(np.int32)
        if self.augment:
            mirrored = streams.rng("mirror", epoch).random(len(x)) < 0.5
            x[mirrored], y[mirrored] = x[mirrored, :, ::-1], y[mirrored, :, ::-1]
        return EpochData(x, y, order)

    def batches(self, examples: Examples, streams: Streams, split: str) -> Sequence[Batch]:
        """The split in order, images as they are."""
        x, y = examples.inputs, _targets(examples)
        size = max(1, MOST_VALUES // math.prod(x.shape[1:]))
        truth = None if examples.targets is None else examples.depths
        return [
            Batch(x[cut], y[cut], None if truth is None else truth[cut])
            for cut in (slice(i, i + size) for i in range(0, len(x), size))
        ]

    def measure(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, float]:
        """Absolute relative error and share of pixels within 25 %, each a mean over the images."""
        pairs = [
            (yardsticks.measured_inverse_depth(p, b.y), b.y)
            for p, b in zip(predictions, batches, strict=True)
        ]
        return {
            name: float(np.mean(np.concatenate([metric(*pair) for pair in pairs])))
            for name, metric in yardsticks.DEPTH.items()
        }

    def trivial(self, splits: Splits, batches: Sequence[Batch]) -> dict[str, list[np.ndarray]]:
        """The mean training scene, and the same depth everywhere."""
        mean = _mean_map(_targets(splits.train))
        return {
            "mean inverse depth of the training scenes": [_repeated(mean, b) for b in batches],
            "same depth everywhere": [_repeated(np.ones_like(mean), b) for b in batches],
        }

    def exhibits(
        self, predictions: list[np.ndarray], batches: Sequence[Batch]
    ) -> dict[str, np.ndarray]:
        """The first test images; outputs, aligned, and targets as grey, the nearest pixel white.

        The farthest pixel of a target is black; so is what is unknown, in both.
        """
        first = batches[0]
        truth = (first.y if first.truth is None else first.truth)[:MOST_EXHIBITS]
        aligned = yardsticks.aligned_inverse_depth(predictions[0][:MOST_EXHIBITS], truth)
        return {
            "inputs": np.asarray(first.x[:MOST_EXHIBITS]),
            "outputs": _grey(aligned, truth),
            "targets": _grey(truth, truth),
        }

    def fitted(self, prediction: np.ndarray, y: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether the prediction is nearer to the outlier than to the true inverse depth.

        It is aligned to those pixels of its image that are no outliers, if there are any.
        """
        outlier = (y != truth) & ~np.isnan(truth)
        clean = np.where(outlier, np.nan, truth)
        none = np.isnan(clean).all(axis=(1, 2, 3), keepdims=True)
        clean = np.where(none, truth, clean)
        aligned = yardsticks.aligned_inverse_depth(prediction, clean)
        return np.abs(aligned - y)[outlier] < np.abs(aligned - truth)[outlier]


def _targets(examples: Examples) -> np.ndarray:
    return examples.depths if examples.targets is None else examples.targets


def _check_depths(part: Examples) -> None:
    """Raise `DataError` unless every image has a depth map of its size with a known pixel."""
    if part.depths is None:
        raise DataError("the data have no depths; choose data=scenes or data=depth_folder")
    if isinstance(part.inputs, list) or part.inputs.shape[1:3] != part.depths.shape[1:3]:
        raise DataError(
            "task=depth needs images and depths of one size; data.side=64 brings those of a folder "
            "to 64×64 pixels"
        )
    for number, depth in enumerate(part.depths):
        known = depth[~np.isnan(depth)]
        if not known.size:
            raise DataError(f"no depth is known in the example {part.name(number)}")
        if not SHORTEST <= known.min() <= known.max() <= LONGEST:
            raise DataError(
                f"depths must be from {SHORTEST:g} to {LONGEST:g} metres, or NaN where they are "
                f"unknown, got {known.min():g} to {known.max():g} in the example "
                f"{part.name(number)}"
            )


def _mean_map(inverse: np.ndarray) -> np.ndarray:
    """The mean over the images of each pixel where it is known; else over all; (h, w, 1)."""
    known = ~np.isnan(inverse)
    count = known.sum(axis=0)
    total = np.where(known, inverse, 0).sum(axis=0, dtype=np.float64)
    mean = np.where(count > 0, total / np.maximum(count, 1), total.sum() / count.sum())
    return mean.astype(np.float32)


def _repeated(image: np.ndarray, batch: Batch) -> np.ndarray:
    return np.broadcast_to(image, batch.y.shape)


def _grey(inverse: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Maps (n, h, w, 1) as uint8 (n, h, w, 3), 0 and 255 for the ends of the truth's range."""
    axes = (1, 2, 3)
    low, high = (f(truth, axis=axes, keepdims=True) for f in (np.nanmin, np.nanmax))
    scaled = (inverse - low) / np.where(high > low, high - low, 1)
    known = np.where(np.isnan(truth), 0, np.clip(scaled, 0, 1))
    return np.rint(255 * known).astype(np.uint8).repeat(3, axis=-1)
