"""Regression from image to image: trained on patches, measured on whole images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from kexp import yardsticks
from kexp.choice import Count, choice
from kexp.data import Collection, DataSet, Examples, Splits
from kexp.data.rows import is_mapped
from kexp.errors import DataError
from kexp.losses import Loss
from kexp.streams import Streams
from kexp.tasks.base import Batch, EpochData, Task

SSIM_WINDOW = 11
MOST_EXHIBITS = 3
MOST_NAMED = 20
EXHIBIT_SIDE = 128


@choice
class ImageRegression(Task):
    """A task that cuts its inputs and targets out of images.

    Each epoch cuts `patches_per_epoch` patches of `patch` × `patch` pixels at random places of
    the training images (an image's chance goes with its number of places), turned and mirrored
    at random if `augment`. `given` makes the inputs of them and `wanted` the targets. Probe,
    validation and test images are measured whole.
    """

    patch: Annotated[int, Field(ge=SSIM_WINDOW)] = 40
    patches_per_epoch: Count = 3200
    augment: bool = True

    levers: ClassVar[str] = "task.patch"
    """The keys that make what is cut out of an image smaller."""

    def seen(self, images: np.ndarray) -> np.ndarray:
        """What `given` and `wanted` take of uint8 images (n, h, w, c): mostly [0, 1]."""
        return unit(images)

    def given(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Inputs of the model from images (n, h, w, c) as they are `seen`."""
        raise TypeError(f"{type(self).__name__} must define given(images, rng)")

    def wanted(self, images: np.ndarray) -> np.ndarray:
        """Targets from images (n, h, w, c) as they are `seen`: mostly these images."""
        return images

    def whole(self, images: np.ndarray) -> np.ndarray:
        """The part of images (n, h, w, c) that the model gets whole: all of it."""
        return images

    @property
    def margin(self) -> int:
        """Pixels around a patch that `given` must see for the patch's border to be right."""
        return 0

    @property
    def grid(self) -> int:
        """Tops, lefts and sides of what is cut out of an image are multiples of this."""
        return 1

    @property
    def border(self) -> int:
        """Pixels along the borders of whole images that the yardsticks leave out."""
        return 0

    def check(self, data: DataSet, loss: Any) -> None:
        """Refuse label noise, and a loss that needs larger patches."""
        if data.label_noise:
            raise ValueError("data.label_noise flips class labels; for images use data.outliers")
        if isinstance(loss, Loss):
            loss.check_side("task.patch", self.patch)

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """(None, None, channels): an image may have any size. As many outputs as channels."""
        channels = set(collection.train.shapes[:, -1].tolist())
        if len(channels) > 1:
            raise DataError(f"images must be all grey or all colour, got {channels} channels")
        (count,) = channels
        return (None, None, count), count

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Refuse training images smaller than a patch, and others smaller than SSIM's window.

        They are named in one `DataError`.
        """
        if self.patch < smallest_side:
            raise DataError(
                f"task.patch={self.patch} is too small for this model, which needs patches of "
                f"{smallest_side}×{smallest_side} at least; choose a larger one, or fewer levels"
            )
        patch, window = f"a patch, task.patch={self.patch}", "the window of SSIM"
        if self.margin:
            patch += f" and {self.margin} pixels on each side"
        if self.border:
            window += f" and {self.border} pixels on each side"
        least = _multiple(max(SSIM_WINDOW + 2 * self.border, smallest_side), self.grid)
        small = [
            *_smaller("train", splits.train, self._cut, patch),
            *_smaller("validation", splits.validation, least, window),
            *_smaller("test", splits.test, least, window),
        ]
        if small:
            more = f"\n  … and {len(small) - MOST_NAMED} more" if small[MOST_NAMED:] else ""
            lines = "\n".join(small[:MOST_NAMED]) + more
            raise DataError(
                f"{len(small)} images are too small; remove them, or choose a smaller "
                f"{self.levers}; task.patch is at least {SSIM_WINDOW}:\n{lines}"
            )

    def check_loss(self, splits: Splits, loss: Any) -> None:
        """Refuse validation and test images that are too small for the loss."""
        for part in (splits.validation, splits.test) if isinstance(loss, Loss) else ():
            sides = part.shapes[:, :2].min(axis=1) // self.grid * self.grid
            smallest = int(np.argmin(sides))
            try:
                loss.check_side(f"the image {part.name(smallest)}, side", int(sides[smallest]))
            except ValueError as error:
                raise DataError(f"{error}; remove smaller ones, or choose another loss") from None

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """Fresh patches, from the streams `patches` and `noise`."""
        targets = train.inputs if train.targets is None else train.targets
        rng = streams.rng("patches", epoch)
        channels = train.inputs[0].shape[-1]
        shape = (self.patches_per_epoch, self._cut, self._cut, channels)
        clean, y = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        for row, (image, top, left) in enumerate(self._places(train, rng)):
            window = np.s_[top : top + self._cut, left : left + self._cut]
            clean[row], y[row] = train.inputs[image][window], targets[image][window]
        if self.augment:
            turns = rng.integers(8, size=len(clean))
            clean, y = _turned(clean, turns), _turned(y, turns)
        seen = self.seen(clean)
        x = self.given(seen, streams.rng("noise/train", epoch))
        y = self.wanted(seen if train.targets is None else self.seen(y))
        return EpochData(self._inner(x), self._inner(y), np.arange(len(x), dtype=np.int32))

    def batches(self, examples: Examples, streams: Streams, split: str) -> Sequence[Batch]:
        """One batch per image, each with a random stream of its own that is always the same.

        Of images on disk, a batch is made anew whenever it is asked for.
        """
        images = _Whole(self, examples, streams, split)
        return images if is_mapped(examples.inputs) else list(images)

    def batch(self, examples: Examples, i: int, rng: np.random.Generator) -> Batch:
        """An image of a split as a batch of one."""
        clean = self.whole(self.seen(examples.inputs[i][None]))
        x, truth = self.given(clean, rng), self.wanted(clean)
        if examples.targets is None:
            return Batch(x, truth)
        return Batch(x, self.wanted(self.whole(self.seen(examples.targets[i][None]))), truth=truth)

    def measure(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, float]:
        """Mean of each yardstick over the images."""
        each = [self.measured(p, b) for p, b in zip(predictions, batches, strict=True)]
        return {name: float(np.mean([one[name] for one in each])) for name in self.yardsticks}

    def measured(self, prediction: np.ndarray, batch: Batch) -> dict[str, float]:
        """PSNR (dB), MSE, MAE and SSIM of an image without its border, for a data range of 1."""
        inner, y = (_without(values, self.border) for values in (prediction, batch.y))
        return {name: yardsticks.REGRESSION[name](inner, y).mean() for name in self.yardsticks}

    def exhibits(
        self, predictions: list[np.ndarray], batches: Sequence[Batch]
    ) -> dict[str, np.ndarray]:
        """The centres of the first test images: input, output and target, all of one size."""
        shown = [*zip(predictions[:MOST_EXHIBITS], batches, strict=False)]
        side = min(EXHIBIT_SIDE, *(min(b.x.shape[1:3]) for _, b in shown))

        def centres(name: str, values_of: Callable[[Any, Batch], np.ndarray]) -> np.ndarray:
            pictures = [self.picture(name, values_of(p, b), b) for p, b in shown]
            return np.concatenate([_centre(picture, side) for picture in pictures])

        return {
            "inputs": centres("inputs", lambda _, b: np.asarray(b.x)),
            "outputs": centres("outputs", lambda p, _: p),
            "targets": centres("targets", lambda _, b: b.y if b.truth is None else b.truth),
        }

    def picture(self, name: str, values: np.ndarray, batch: Batch) -> np.ndarray:
        """`inputs`, `outputs` or `targets` of a batch as images to look at, (n, h, w, c) in [0, 1].

        All three have the same channels.
        """
        return values

    def fitted(self, prediction: np.ndarray, y: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether the prediction is nearer to the outlier than to the true value."""
        outlier = y != truth
        return np.abs(prediction - y)[outlier] < np.abs(prediction - truth)[outlier]

    @property
    def _cut(self) -> int:
        """Side of what is cut out of an image for a patch."""
        return _multiple(self.patch + 2 * self.margin, self.grid)

    def _inner(self, cut: np.ndarray) -> np.ndarray:
        """The patches in what was cut out, without the margin."""
        inside = np.s_[self.margin : self.margin + self.patch]
        return cut[:, inside, inside]

    def _places(self, train: Examples, rng: np.random.Generator) -> np.ndarray:
        """(image, top, left) of each cut, uniform over all places; shape (patches, 3)."""
        free = (train.shapes[:, :2] - self._cut) // self.grid + 1
        count = free.prod(axis=1)
        image = rng.choice(len(free), size=self.patches_per_epoch, p=count / count.sum())
        corner = (rng.random((self.patches_per_epoch, 2)) * free[image]).astype(np.int64)
        return np.column_stack([image, corner * self.grid])


class _Whole(Sequence[Batch]):
    """The images of a split as batches of one, each with the stream of split and image."""

    def __init__(self, task: ImageRegression, examples: Examples, streams: Streams, split: str):
        self._task, self._examples = task, examples
        self._streams, self._stream = streams, f"noise/{split}"

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: int) -> Batch:
        return self._task.batch(self._examples, i, self._streams.rng(self._stream, i))


def _smaller(split: str, part: Examples, least: int, why: str) -> Iterator[str]:
    """A line for each image of a split that has fewer pixels than that in a row or a column."""
    for i, (height, width) in enumerate(part.shapes[:, :2]):
        if min(height, width) < least:
            need = f"at least {least}×{least} ({why})"
            yield f"  {split} {part.name(i)!r}: {height}×{width} pixels, needed {need}"


def unit(image: np.ndarray) -> np.ndarray:
    """uint8 pixels as float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def _multiple(least: int, of: int) -> int:
    """The smallest multiple of a number that is not below `least`."""
    return -(-least // of) * of


def _without(images: np.ndarray, border: int) -> np.ndarray:
    """Images (n, h, w, c) without so many pixels on each side."""
    height, width = images.shape[1:3]
    return images[:, border : height - border, border : width - border]


def _centre(images: np.ndarray, side: int) -> np.ndarray:
    """The middle `side` × `side` pixels of images (n, h, w, c) in [0, 1], as uint8."""
    top, left = ((size - side) // 2 for size in images.shape[1:3])
    cut = images[:, top : top + side, left : left + side]
    return np.rint(255 * np.clip(cut, 0, 1)).astype(np.uint8)


def _turned(patches: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Square patches (n, s, s, c), each under one of the 8 symmetries of the square."""
    result = patches.copy()
    for turn in range(1, 8):
        chosen = patches[turns == turn]
        turned = np.rot90(chosen, turn % 4, axes=(1, 2))
        result[turns == turn] = turned[:, :, ::-1] if turn >= 4 else turned
    return result
