"""Colourisation: regression from the lightness of an image to its two colour channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from kexp import yardsticks
from kexp.choice import choice
from kexp.data import Collection, DataSet, Examples, Splits
from kexp.errors import DataError
from kexp.tasks.base import Batch
from kexp.tasks.images import ImageRegression

LIGHTNESS, COLOUR = 100.0, 128.0
"""What L*, and a* and b*, are divided by: L* is in [0, 1] then, and sRGB's a*, b* in [−1, 1]."""

MOST_AVERAGED = 1000
"""Most training images whose mean colour is taken, the first ones: an image takes milliseconds."""

NEED = "task=colorize learns the colours of images: it needs images in colour"


@choice
class Colorize(ImageRegression):
    """Colourisation: the channels a*, b* of CIELAB from the lightness L* alone.

    L*/100 is the input, and a*/128 and b*/128 are the targets (sRGB under D65). Each epoch cuts
    `patches_per_epoch` patches of `patch` × `patch` pixels at random places of the training
    images, turned and mirrored at random if `augment`. Validation and test images are measured
    whole: ΔE₀₀ in CIELAB, the others in sRGB with a data range of 1, colours outside of it clipped.
    """

    target: ClassVar[str] = "colour regression"
    yardsticks: ClassVar[tuple[str, ...]] = ("delta_e", "psnr", "mse", "mae")

    def check(self, data: DataSet, loss: Any) -> None:
        """Refuse label noise, and data that are read as grey images."""
        super().check(data, loss)
        if getattr(data, "colour", "rgb") != "rgb":
            raise ValueError(f"{NEED}; add data.colour=rgb")

    def seen(self, images: np.ndarray) -> np.ndarray:
        """L*, a* and b* on the scale of inputs and targets."""
        from skimage.color import rgb2lab

        return rgb2lab(images.astype(np.float32) / 255) / SCALE

    def given(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """L*/100."""
        return images[..., :1]

    def wanted(self, images: np.ndarray) -> np.ndarray:
        """a*/128 and b*/128."""
        return images[..., 1:]

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """(None, None, 1), and two outputs. Raises `DataError` for grey images."""
        parts = (collection.train, collection.validation, collection.test)
        if any((part.shapes[:, -1] != 3).any() for part in parts if part is not None):
            raise DataError(f"{NEED}, and these are grey")
        return (None, None, 1), 2

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Refuse small images, and training images that are all grey, though read as RGB."""
        super().check_splits(splits, smallest_side)
        if all((image == image[..., :1]).all() for image in splits.train.inputs):
            raise DataError(f"{NEED}; in every training image, red, green and blue are the same")

    def measured(self, prediction: np.ndarray, batch: Batch) -> dict[str, float]:
        """Mean ΔE₀₀ of an image, and PSNR (dB), MSE and MAE in sRGB."""
        found, wanted = lab(batch.x, prediction), lab(batch.x, batch.y)
        values = {"delta_e": yardsticks.delta_e(found, wanted).mean()}
        found, wanted = rgb(found), rgb(wanted)
        for name in ("psnr", "mse", "mae"):
            values[name] = yardsticks.REGRESSION[name](found, wanted).mean()
        return values

    def trivial(self, splits: Splits, batches: Sequence[Batch]) -> dict[str, list[np.ndarray]]:
        """No colour at all, and one colour everywhere."""
        mean = self._mean_colour(splits.train)
        first = "" if len(splits.train) <= MOST_AVERAGED else f"first {MOST_AVERAGED:,} "
        return {
            "grey image": [np.zeros_like(b.y) for b in batches],
            f"mean colour of the {first}training images": [
                np.full_like(b.y, mean) for b in batches
            ],
        }

    def picture(self, name: str, values: np.ndarray, batch: Batch) -> np.ndarray:
        """The grey image, or the image in colour, in sRGB."""
        return rgb(lab(batch.x, np.zeros_like(batch.y) if name == "inputs" else values))

    def _mean_colour(self, train: Examples) -> np.ndarray:
        """Mean target over all pixels of the first `MOST_AVERAGED` images, shape (2,)."""
        images = train.inputs if train.targets is None else train.targets
        sums = [
            self.wanted(self.seen(image)).sum(axis=(0, 1), dtype=np.float64)
            for image in islice(images, MOST_AVERAGED)
        ]
        return np.sum(sums, axis=0) / train.shapes[:MOST_AVERAGED, :2].prod(axis=1).sum()


SCALE = np.array([LIGHTNESS, COLOUR, COLOUR], np.float32)


def lab(x: Any, ab: np.ndarray) -> np.ndarray:
    """CIELAB images (n, h, w, 3) from inputs (n, h, w, 1) and outputs (n, h, w, 2)."""
    return np.concatenate([np.asarray(x), ab], axis=-1) * SCALE


def rgb(images: np.ndarray) -> np.ndarray:
    """CIELAB images (n, h, w, 3) as sRGB in [0, 1]; colours outside of it are clipped.

    scikit-image warns of colours with less than no blue light (Z < 0), and takes Z as 0: those
    get the b* that gives Z = 0 before. a* and b* beyond 128 are far outside: they count as 128.
    """
    from skimage.color import lab2rgb

    lightness, a, b = np.moveaxis(images, -1, 0)
    a, b = np.clip(a, -COLOUR, COLOUR), np.clip(b, -COLOUR, COLOUR)
    b = np.minimum(b, (200 / 116 - 1e-5) * (lightness + 16))
    return lab2rgb(np.stack([lightness, a, b], axis=-1))
