"""Blur and bicubic resampling against Pillow and SciPy, at the border on mirrored images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from kexp import resampling

RNG = np.random.default_rng(5)
MIRRORED = 48
"""Pixels, a multiple of every scale, and more than blur and bicubic kernels reach."""


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def degraded(image: np.ndarray, blur: float, scale: int) -> np.ndarray:
    """By SciPy and Pillow, of an image that goes on mirrored beyond its borders."""
    around = np.pad(image.astype(float), MIRRORED, mode="symmetric")
    blurred = ndimage.gaussian_filter(around, blur, mode="reflect", truncate=4.0)
    height, width = blurred.shape
    small = resized(blurred.astype(np.float32), height // scale, width // scale)
    return resized(small, height, width)[MIRRORED:-MIRRORED, MIRRORED:-MIRRORED]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("blur", [0.0, 0.1, 1.0, 2.5])
def test_degraded_as_by_scipy_and_pillow(blur, scale):
    images = RNG.random((2, 48, 36, 1), np.float32)
    found = resampling.degrade(images, blur, scale)
    assert found.dtype == np.float32 and found.shape == images.shape
    for image, ours in zip(images[..., 0], found[..., 0], strict=True):
        np.testing.assert_allclose(ours, degraded(image, blur, scale), atol=1e-6)


@pytest.mark.parametrize("size", [7, 40])
@pytest.mark.parametrize("blur", [0.6, 3.0])
def test_blur_is_scipys(size, blur):
    """Also where the kernel is wider than the image, which is mirrored over and over then."""
    signal = RNG.random(size)
    found = resampling.gaussian(size, blur) @ signal
    expected = ndimage.gaussian_filter1d(signal, blur, mode="reflect", truncate=4.0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_kernel_by_hand():
    """Keys 1981: 1 at 0, 9/16 at ½, −1/16 at 3/2, 0 at 1 and from 2 on."""
    values = resampling.cubic(np.array([0, 0.5, -0.5, 1, 1.5, 2, 7]))
    assert values.tolist() == [1, 9 / 16, 9 / 16, 0, -1 / 16, 0, 0]


@pytest.mark.parametrize(("size", "new"), [(30, 10), (10, 30), (12, 12)])
def test_weights_add_up_to_one_and_keep_straight_lines(size, new):
    matrix = resampling.bicubic(size, new)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
    there = (np.arange(new) + 0.5) * size / new - 0.5
    inner = (there > 2 * max(1, size / new)) & (there < size - 1 - 2 * max(1, size / new))
    np.testing.assert_allclose((matrix @ np.arange(size))[inner], there[inner], rtol=1e-12)


def test_nothing_is_seen_beyond_the_reach():
    """A pixel that changes, changes the degraded image as far as `reach` says, and no farther."""
    for blur, scale in ((0.0, 2), (1.0, 3), (2.0, 4)):
        image = np.zeros((1, 120, 120, 1), np.float32)
        image[0, 60, 60] = 1
        changed = np.argwhere(resampling.degrade(image, blur, scale)[0, ..., 0])
        reach = resampling.reach(blur, scale)
        assert reach - scale <= np.abs(changed - 60).max() <= reach


def test_sides_must_be_multiples_of_the_scale():
    with pytest.raises(ValueError, match="multiples of scale=3, got 10"):
        resampling.degrade(np.zeros((1, 9, 10, 1), np.float32), 0, 3)
