"""Image denoising: regression from a noisy image to the clean one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from kexp import yardsticks
from kexp.choice import Count, choice
from kexp.data import Collection, DataSet, Examples, Splits
from kexp.data.rows import is_mapped
from kexp.errors import DataError
from kexp.losses import Loss
from kexp.noise import Gaussian, Noise
from kexp.streams import Streams
from kexp.tasks.base import Batch, EpochData, Task

SSIM_WINDOW = 11
MOST_EXHIBITS = 3
EXHIBIT_SIDE = 128


@choice
class Denoise(Task):
    """Image denoising: trained on patches with fresh noise, measured on whole images.

    Each epoch cuts `patches_per_epoch` patches of `patch` × `patch` pixels at random places of
    the training images (an image's chance goes with its number of places), turned and mirrored
    at random if `augment`, and adds new noise. Probe, validation and test images are measured
    whole, with one fixed draw of noise each.
    """

    target: ClassVar[str] = "image regression"
    yardsticks: ClassVar[tuple[str, ...]] = ("psnr", "mse", "mae", "ssim")

    noise: Noise = Field(default_factory=Gaussian)
    patch: Annotated[int, Field(ge=SSIM_WINDOW)] = 40
    patches_per_epoch: Count = 3200
    augment: bool = True

    def check(self, data: DataSet, loss: Any) -> None:
        """Refuse label noise, and a loss that needs larger patches."""
        if data.label_noise:
            raise ValueError("data.label_noise flips class labels; for denoising use data.outliers")
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

        All of them are named in one `DataError`.
        """
        patch, window = f"a patch, task.patch={self.patch}", "the window of SSIM"
        small = [
            *_smaller("train", splits.train, self.patch, patch),
            *_smaller("validation", splits.validation, SSIM_WINDOW, window),
            *_smaller("test", splits.test, SSIM_WINDOW, window),
        ]
        if small:
            lines = "\n".join(small)
            raise DataError(
                f"{len(small)} images are too small; remove them, or choose a smaller task.patch "
                f"(at least {SSIM_WINDOW}):\n{lines}"
            )

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """Fresh patches with fresh noise, from the streams `patches` and `noise`."""
        targets = train.inputs if train.targets is None else train.targets
        rng = streams.rng("patches", epoch)
        shape = (self.patches_per_epoch, self.patch, self.patch, train.inputs[0].shape[-1])
        clean, y = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        for row, (image, top, left) in enumerate(self._places(train, rng)):
            window = np.s_[top : top + self.patch, left : left + self.patch]
            clean[row], y[row] = train.inputs[image][window], targets[image][window]
        if self.augment:
            turns = rng.integers(8, size=len(clean))
            clean, y = _turned(clean, turns), _turned(y, turns)
        x = self.noise(_unit(clean), streams.rng("noise/train", epoch))
        return EpochData(x, _unit(y), np.arange(len(x), dtype=np.int32))

    def batches(self, examples: Examples, streams: Streams, split: str) -> Sequence[Batch]:
        """One batch per image, each with a fixed draw of noise of its own.

        Of images on disk, a batch is made anew whenever it is asked for.
        """
        noisy = _Noisy(self.noise, examples, streams, split)
        return noisy if is_mapped(examples.inputs) else list(noisy)

    def measure(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, float]:
        """Mean PSNR (dB), MSE, MAE and SSIM over the images, for a data range of 1."""
        each = [
            [yardsticks.REGRESSION[name](p, b.y).mean() for name in self.yardsticks]
            for p, b in zip(predictions, batches, strict=True)
        ]
        means = map(np.mean, zip(*each, strict=True))
        return {name: float(mean) for name, mean in zip(self.yardsticks, means, strict=True)}

    def exhibits(
        self, predictions: list[np.ndarray], batches: Sequence[Batch]
    ) -> dict[str, np.ndarray]:
        """The centres of the first test images: noisy, denoised and clean, all of one size."""
        shown = [*zip(predictions[:MOST_EXHIBITS], batches, strict=False)]
        side = min(EXHIBIT_SIDE, *(min(b.x.shape[1:3]) for _, b in shown))
        triples = [(b.x, p, b.y if b.truth is None else b.truth) for p, b in shown]
        return {
            name: np.concatenate([_centre(triple[i], side) for triple in triples])
            for i, name in enumerate(("inputs", "outputs", "targets"))
        }

    def fitted(self, prediction: np.ndarray, y: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether the prediction is nearer to the outlier than to the true value."""
        outlier = y != truth
        return np.abs(prediction - y)[outlier] < np.abs(prediction - truth)[outlier]

    def _places(self, train: Examples, rng: np.random.Generator) -> np.ndarray:
        """(image, top, left) of each patch, uniform over all places; shape (patches, 3)."""
        free = train.shapes[:, :2] - self.patch + 1
        count = free.prod(axis=1)
        image = rng.choice(len(free), size=self.patches_per_epoch, p=count / count.sum())
        corner = (rng.random((self.patches_per_epoch, 2)) * free[image]).astype(np.int64)
        return np.column_stack([image, corner])


class _Noisy(Sequence[Batch]):
    """The images of a split as batches of one, with noise from the stream of split and image."""

    def __init__(self, noise: Noise, examples: Examples, streams: Streams, split: str):
        self._noise, self._examples = noise, examples
        self._streams, self._stream = streams, f"noise/{split}"

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: int) -> Batch:
        clean = _unit(self._examples.inputs[i][None])
        noisy = self._noise(clean, self._streams.rng(self._stream, i))
        if self._examples.targets is None:
            return Batch(noisy, clean)
        return Batch(noisy, _unit(self._examples.targets[i][None]), truth=clean)


def _smaller(split: str, part: Examples, least: int, why: str) -> Iterator[str]:
    """A line for each image of a split that has fewer pixels than that in a row or a column."""
    for i, (height, width) in enumerate(part.shapes[:, :2]):
        if min(height, width) < least:
            need = f"at least {least}×{least} ({why})"
            yield f"  {split} {part.name(i)!r}: {height}×{width} pixels, needed {need}"


def _unit(image: np.ndarray) -> np.ndarray:
    """uint8 pixels as float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


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
