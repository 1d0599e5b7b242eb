"""Image denoising: regression from a noisy image to the clean one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from kexp.choice import choice
from kexp.data import Splits
from kexp.noise import Gaussian, Noise
from kexp.tasks.base import Batch
from kexp.tasks.images import ImageRegression


@choice
class Denoise(ImageRegression):
    """Image denoising: trained on patches with fresh noise, measured on whole images.

    Each epoch cuts `patches_per_epoch` patches of `patch` × `patch` pixels at random places of
    the training images (an image's chance goes with its number of places), turned and mirrored
    at random if `augment`, and adds new noise. Probe, validation and test images are measured
    whole, with one fixed draw of noise each.
    """

    target: ClassVar[str] = "image regression"
    yardsticks: ClassVar[tuple[str, ...]] = ("psnr", "mse", "mae", "ssim")

    noise: Noise = Field(default_factory=Gaussian)

    def given(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The images with noise."""
        return self.noise(images, rng)

    def is_within_range(self, x: np.ndarray) -> bool:
        """Never: noise leads out of the range of images."""
        return False

    def trivial(self, splits: Splits, batches: Sequence[Batch]) -> dict[str, list[np.ndarray]]:
        """The noisy image."""
        return {"noisy image": [np.asarray(b.x) for b in batches]}
