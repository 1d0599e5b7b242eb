"""Image noise: what a denoiser is trained to take away. σ is on the 0–255 scale.

Images are float32 arrays where 1.0 is white. The noisy image is not clipped: a network sees the
values as they are, and clipping would change the noise's mean near black and white. The noise
is drawn by NumPy, so that every backend sees the same.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from kexp.choice import Positive, Share, choice

Sigma = Annotated[float, Field(ge=0, le=255)]


class Noise:
    """A random corruption of a batch of images."""

    def __call__(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """`clean` (n, h, w, c) after noise, float32."""
        raise TypeError(f"{type(self).__name__} must define __call__(clean, rng)")


@choice
class Gaussian(Noise):
    """Additive white Gaussian noise of standard deviation σ (0–255 scale)."""

    sigma: Sigma = 25.0

    def __call__(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """clean + N(0, (σ/255)²)."""
        return clean + _normal(clean, rng) * np.float32(self.sigma / 255)


@choice
class BlindGaussian(Noise):
    """Gaussian noise whose σ is drawn for each image or patch from [low, high] (0–255 scale).

    "Blind" because the network is not told σ: DnCNN-B of Zhang et al. 2017 uses [0, 55].
    """

    low: Sigma = 0.0
    high: Sigma = 55.0

    @model_validator(mode="after")
    def _ordered(self) -> BlindGaussian:
        if self.low > self.high:
            raise ValueError(f"low must be ≤ high, got low={self.low:g} and high={self.high:g}")
        return self

    def __call__(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """clean + N(0, (σ/255)²), σ uniform in [low, high] per image."""
        sigma = rng.uniform(self.low, self.high, size=(len(clean), 1, 1, 1)).astype(np.float32)
        return clean + _normal(clean, rng) * (sigma / 255)


@choice
class Poisson(Noise):
    """Photon noise: Poisson counts with on average `peak` > 0 photons at white, over `peak`."""

    peak: Positive = 30.0

    def __call__(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Poisson(peak · clean) / peak."""
        return (rng.poisson(self.peak * clean) / self.peak).astype(np.float32)


@choice
class SaltAndPepper(Noise):
    """Impulse noise: each value is black or white, half each, with probability `share`."""

    share: Share = 0.1

    def __call__(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """clean, or 0 or 1 where the draw says so."""
        draws = rng.random(clean.shape, dtype=np.float32)
        salted = np.where(draws > 1 - self.share / 2, np.float32(1), clean)
        return np.where(draws < self.share / 2, np.float32(0), salted)


def _normal(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(clean.shape, dtype=np.float32)
