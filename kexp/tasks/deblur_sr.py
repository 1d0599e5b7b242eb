"""Joint deblurring and super-resolution: regression from a blurred, coarse image to the sharp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from kexp import resampling
from kexp.choice import choice
from kexp.data import Collection, Splits
from kexp.data.images import luma
from kexp.tasks.base import Batch
from kexp.tasks.images import ImageRegression, unit


@choice
class DeblurSr(ImageRegression):
    """Joint deblurring and super-resolution by a factor, of the luminance of images.

    The sharp image is blurred by a Gaussian of standard deviation `blur` (0 to 16 of its pixels;
    0 is none), made smaller by `scale` and enlarged to its size again, both bicubically: that is
    the model's input. Each epoch cuts `patches_per_epoch` patches of `patch` × `patch` pixels at
    random places of the training images, turned and mirrored at random if `augment`; a patch is
    degraded as within its image. Validation and test images are measured whole, less a border of
    `scale` pixels. Albluwi et al. 2018, after the super-resolution of Dong et al. 2014.
    """

    target: ClassVar[str] = "image regression"
    levers: ClassVar[str] = "task.patch, task.blur or task.scale"
    yardsticks: ClassVar[tuple[str, ...]] = ("psnr", "ssim", "mse", "mae")

    patch: Annotated[int, Field(ge=11)] = 33
    scale: Literal[2, 3, 4] = 3
    blur: Annotated[float, Field(ge=0, le=16)] = 1.0

    def seen(self, images: np.ndarray) -> np.ndarray:
        """The luminance, in [0, 1]: ITU-R 601 luma of images in colour."""
        return unit(luma(images) if images.shape[-1] == 3 else images)

    def given(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The images blurred, made smaller and enlarged again."""
        return resampling.degrade(images, self.blur, self.scale)

    def whole(self, images: np.ndarray) -> np.ndarray:
        """The top left part whose sides are multiples of `scale`."""
        height, width = (side - side % self.scale for side in images.shape[1:3])
        return images[:, :height, :width]

    @property
    def margin(self) -> int:
        """As far as a degraded pixel depends on its neighbours, in multiples of `scale`."""
        return -(-resampling.reach(self.blur, self.scale) // self.scale) * self.scale

    @property
    def grid(self) -> int:
        """That of the pixels of the small image."""
        return self.scale

    @property
    def border(self) -> int:
        """`scale` pixels, as usual in super-resolution."""
        return self.scale

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """(None, None, 1), and one output, whether the images are grey or in colour."""
        super().shapes(collection)
        return (None, None, 1), 1

    def is_within_range(self, x: np.ndarray) -> bool:
        """Never: interpolation overshoots the range of images."""
        return False

    def trivial(self, splits: Splits, batches: Sequence[Batch]) -> dict[str, list[np.ndarray]]:
        """The bicubic enlargement."""
        return {"bicubic enlargement": [np.asarray(b.x) for b in batches]}
