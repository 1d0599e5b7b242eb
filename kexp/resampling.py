"""Blur and bicubic resampling of images, as matrices along their rows and columns.

Every one of them is a sum over neighbours with weights k((i − u)/w) that add up to 1, for the
place u of an output pixel among the input pixels i: a sparse matrix. Beyond a border the image goes
on mirrored, edge pixel first (…, 1, 0, 0, 1, …), as in MATLAB's `imresize`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from scipy import sparse

TRUNCATE = 4.0
"""Where a Gaussian is cut off, in standard deviations, as in SciPy."""

CUBIC = 2
"""Half the width of Keys's kernel, in pixels of the coarser of two grids."""


def degrade(images: np.ndarray, blur: float, scale: int) -> np.ndarray:
    """Images (n, h, w, c) blurred, made smaller by `scale`, and enlarged again to their size.

    x = U D G y along rows and columns: G is a Gaussian of standard deviation `blur` pixels (0 is
    none), D bicubic downsampling with antialiasing and U bicubic upsampling, both as MATLAB's
    `imresize`. Sides must be multiples of `scale`; float32, not clipped to the range of y.
    """
    for axis in (1, 2):
        images = along(_degradation(images.shape[axis], blur, scale), images, axis)
    return images


def reach(blur: float, scale: int) -> int:
    """How many pixels away a pixel of y can be that still counts in a pixel of U D G y."""
    return 2 * CUBIC * scale + _radius(blur)


def along(matrix: sparse.csr_array, images: np.ndarray, axis: int) -> np.ndarray:
    """The matrix times every column of `images` along an axis."""
    first = np.moveaxis(images, axis, 0)
    product = matrix @ first.reshape(len(first), -1)
    return np.moveaxis(product.reshape(-1, *first.shape[1:]), 0, axis)


def gaussian(size: int, blur: float) -> sparse.csr_array:
    """Blur with standard deviation `blur` > 0 pixels, cut off at 4 of them; (size, size)."""
    return _weighted(size, size, lambda x: np.exp(-0.5 * (x / blur) ** 2), _radius(blur))


def bicubic(size: int, new: int) -> sparse.csr_array:
    """Resampling from `size` to `new` pixels with Keys's kernel; (new, size).

    To fewer pixels the kernel is stretched by size/new, so that there is no aliasing.
    """
    stretch = max(1.0, size / new)
    return _weighted(size, new, lambda x: cubic(x / stretch), CUBIC * stretch)


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys's kernel with a = −½, zero for |x| ≥ 2 (1981, equation 15)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < CUBIC, far, 0.0))


@functools.lru_cache(maxsize=64)
def _degradation(size: int, blur: float, scale: int) -> sparse.csr_array:
    """U D G for images of `size` pixels, in float32."""
    if size % scale:
        raise ValueError(f"sides must be multiples of scale={scale}, got {size}")
    small = size // scale
    matrix = bicubic(small, size) @ bicubic(size, small)
    matrix = matrix @ gaussian(size, blur) if _radius(blur) else matrix
    return sparse.csr_array(matrix, dtype=np.float32)


def _radius(blur: float) -> int:
    return int(TRUNCATE * blur + 0.5)


def _weighted(
    size: int, new: int, kernel: Callable[[np.ndarray], np.ndarray], radius: float
) -> sparse.csr_array:
    """Weights of `size` input pixels in `new` output pixels; those farther than radius have none.

    Output pixel o lies at u = (o + ½) size/new − ½ among the input pixels.
    """
    at = (np.arange(new)[:, None] + 0.5) * size / new - 0.5
    pixels = np.floor(at).astype(int) + np.arange(-math.ceil(radius), math.ceil(radius) + 2)
    weights = np.where(np.abs(pixels - at) <= radius, kernel(pixels - at), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = pixels % (2 * size)
    columns = np.where(mirrored < size, mirrored, 2 * size - 1 - mirrored)
    rows = np.broadcast_to(np.arange(new)[:, None], columns.shape)
    matrix = sparse.coo_array((weights.ravel(), (rows.ravel(), columns.ravel())), (new, size))
    found = matrix.tocsr()
    found.eliminate_zeros()
    return found
