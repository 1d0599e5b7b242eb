"""Losses of whole images: structural similarity, and depth up to scale and shift.

All take target and prediction of one shape (n, h, w, c), where 1.0 is the data range.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from kexp.choice import Count, NonNegative, ProperShare, choice
from kexp.lazy import keras
from kexp.losses.base import Loss, check_same_shape, counted, is_known
from kexp.losses.regression import absolute

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, the finest first (Wang et al. 2003, section 3.2)."""

LEAST_SIMILARITY = 1e-4
"""Similarities count as this at least where they are raised to a power, so that slopes are
finite."""

LEAST_SPREAD = 1e-6
"""A depth map's mean deviation counts as this at least, so that a flat one divides nothing by 0."""


def ssim_and_contrast(y: Any, y_hat: Any) -> tuple[Any, Any]:
    """SSIM and its contrast-structure factor, means over the positions; each (n, c).

    The images are centred first, which changes no variance but keeps its digits in float32.
    """
    ops = keras.ops
    level, level_hat = (
        ops.stop_gradient(ops.mean(image, axis=(1, 2), keepdims=True)) for image in (y, y_hat)
    )
    y, y_hat = y - level, y_hat - level_hat
    stacked = ops.concatenate([y, y_hat, y * y, y_hat * y_hat, y * y_hat], axis=0)
    mean, mean_hat, square, square_hat, product = ops.split(_blurred(stacked), 5, axis=0)
    covariance = product - mean * mean_hat
    variances = square - mean * mean + square_hat - mean_hat * mean_hat
    contrast = (2.0 * covariance + C2) / (variances + C2)
    mean, mean_hat = mean + level, mean_hat + level_hat
    luminance = (2.0 * mean * mean_hat + C1) / (mean * mean + mean_hat * mean_hat + C1)
    return ops.mean(luminance * contrast, axis=(1, 2)), ops.mean(contrast, axis=(1, 2))


def ms_ssim(y: Any, y_hat: Any, scales: int) -> Any:
    """Multi-scale SSIM over the first `scales` scales, mean over channels; shape (n,)."""
    ops = keras.ops
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    similarity = 1.0
    for scale, weight in enumerate(weights):
        ssim, contrast = ssim_and_contrast(y, y_hat)
        factor = ops.maximum(contrast if scale < scales - 1 else ssim, LEAST_SIMILARITY)
        similarity = similarity * ops.power(factor, float(weight))
        if scale < scales - 1:
            y, y_hat = (ops.average_pool(v, 2, strides=2, padding="same") for v in (y, y_hat))
    return ops.mean(similarity, axis=-1)


def aligned(depth: Any, known: Any) -> Any:
    """(d − t)/s of each image with t = median(d) and s = mean|d − t| (Ranftl et al., eq. 5).

    Both are of the known pixels alone; 0 where a pixel is unknown.
    """
    ops = keras.ops
    axes = tuple(range(1, len(depth.shape)))
    median = ops.reshape(median_known(depth, known), (-1, *(1 for _ in axes)))
    centred = ops.where(known, depth - median, 0.0)
    count = counted(known, axes, depth.dtype, keepdims=True)
    spread = ops.sum(absolute(centred), axis=axes, keepdims=True) / count
    return centred / ops.maximum(spread, LEAST_SPREAD)


def median_known(depth: Any, known: Any) -> Any:
    """Median over the known pixels of each image, shape (n, 1); 0 where none is."""
    ops = keras.ops
    size = math.prod(depth.shape[1:])
    rows, known = ops.reshape(depth, (-1, size)), ops.reshape(known, (-1, size))
    ordered = ops.sort(ops.where(known, rows, np.inf), axis=-1)
    count = ops.sum(ops.cast(known, "int32"), axis=-1, keepdims=True)
    middle = ops.concatenate([ops.maximum(count - 1, 0) // 2, count // 2], axis=-1)
    two = ops.take_along_axis(ordered, ops.minimum(middle, size - 1), axis=-1)
    return ops.mean(ops.where(count > 0, two, 0.0), axis=-1, keepdims=True)


def trimmed_mean(values: Any, known: Any, trim: Any) -> Any:
    """Σ of all but the largest `trim` share of the known values, over their number; shape (n,).

    The values (n, m) are not negative, and 0 where unknown. Sorted, the unknown ones come first,
    add nothing, and leave the ranks of the others behind them.
    """
    ops = keras.ops
    size = values.shape[-1]
    count = ops.sum(ops.cast(known, values.dtype), axis=-1, keepdims=True)
    ranks = ops.arange(1, size + 1, dtype=values.dtype) - (size - count)
    kept = ops.cast(ranks <= (1.0 - trim) * count + 0.02, values.dtype)
    total = ops.sum(ops.sort(values, axis=-1) * kept, axis=-1)
    return total / ops.maximum(count[:, 0], 1.0)


def gradient_term(residual: Any, known: Any, scales: int) -> Any:
    """Σ_k mean(|∇x R_k| + |∇y R_k|), R_k every 2^k-th pixel of R (eq. 11); shape (n,).

    Of neighbours that are both known, over the known pixels of each scale.
    """
    ops, total = keras.ops, 0.0
    for scale in range(scales):
        part, there = residual[:, :: 2**scale, :: 2**scale], known[:, :: 2**scale, :: 2**scale]
        count = counted(there, (1, 2, 3), part.dtype)
        for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
            both = ops.logical_and(there[one], there[other])
            if 0 not in both.shape[1:]:
                steps = ops.where(both, part[one] - part[other], 0.0)
                total = total + ops.sum(absolute(steps), axis=(1, 2, 3)) / count
    return total


@choice
class ImageLoss(Loss):
    """A loss of images (n, h, w, c) on the scale where 1.0 is the data range."""

    targets: ClassVar[tuple[str, ...]] = ("image regression",)

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """Loss of each image, shape (n,). Raises `ValueError` where the shapes do not fit."""
        self.check_images(y, y_hat)
        return self.of_images(y, y_hat)

    def check_images(self, y: Any, y_hat: Any) -> None:
        """Raise `ValueError` where the shapes do not fit."""
        check_same_shape(y, y_hat)
        if len(y.shape) != 4:
            raise ValueError(
                f"{type(self).__name__} needs images of shape (n, height, width, channels), "
                f"got {tuple(y.shape)}"
            )
        for side in (*y.shape[1:3], *y_hat.shape[1:3]):
            if side is not None:
                self.check_side("an image side", side)

    def of_images(self, y: Any, y_hat: Any) -> Any:
        """Loss of each image, shape (n,), for shapes that are known to fit."""
        raise TypeError(f"{type(self).__name__} must define of_images(y, y_hat)")


@choice
class Ssim(ImageLoss):
    """Structural dissimilarity, L = 1 − SSIM(y, ŷ), in [0, 2].

    Mean over channels and over the positions where the window fits: Gaussian of σ = 1.5 on 11×11
    pixels, C₁ = 0.01², C₂ = 0.03², population covariance. Images of 11×11 pixels at least.
    Wang, Bovik, Sheikh and Simoncelli 2004, equation 13.
    """

    formula: ClassVar[str] = (
        r"L = 1 - \frac{(2 \mu_y \mu_{\hat{y}} + C_1)(2 \sigma_{y \hat{y}} + C_2)}"
        r"{(\mu_y^2 + \mu_{\hat{y}}^2 + C_1)(\sigma_y^2 + \sigma_{\hat{y}}^2 + C_2)}"
    )

    def check_side(self, key: str, side: int) -> None:
        """Refuse images smaller than the window."""
        if side < WINDOW:
            raise ValueError(f"SSIM needs images of {WINDOW}×{WINDOW} at least, got {key}={side}")

    def of_images(self, y: Any, y_hat: Any) -> Any:
        """1 − SSIM."""
        return 1.0 - keras.ops.mean(ssim_and_contrast(y, y_hat)[0], axis=-1)


@choice
class MsSsim(ImageLoss):
    """Multi-scale structural dissimilarity, L = 1 − MS-SSIM(y, ŷ), in [0, 1].

    The contrast-structure factors of all scales and the SSIM of the coarsest, raised to the
    weights 0.0448, 0.2856, 0.3001, 0.2363, 0.1333, which are made to sum to 1 over the first
    `scales` of them; 2×2 means lie between the scales, at an odd border those of the pixels that
    are there. 1 ≤ scales ≤ 5: 5 is the published
    measure and needs images of 176×176, each scale less half of that; 1 is `Ssim`. Factors below
    1e-4 count as that, so that gradients are finite. Wang, Simoncelli and Bovik 2003, equation 7.
    """

    formula: ClassVar[str] = (
        r"L = 1 - \mathrm{SSIM}_M^{\,w_M} \prod_{j=1}^{M-1} \mathrm{CS}_j^{\,w_j},"
        r"\quad \sum_j w_j = 1"
    )

    scales: Annotated[int, Field(ge=1, le=len(WEIGHTS))] = 2

    def check_side(self, key: str, side: int) -> None:
        """Refuse images whose coarsest scale is smaller than the window."""
        least = WINDOW * 2 ** (self.scales - 1)
        if side < least:
            raise ValueError(
                f"loss.scales={self.scales} needs images of {least}×{least} at least, "
                f"got {key}={side}"
            )

    def of_images(self, y: Any, y_hat: Any) -> Any:
        """1 − MS-SSIM."""
        return 1.0 - ms_ssim(y, y_hat, self.scales)


@choice
class ScaleShiftInvariant(ImageLoss):
    """Depth up to an unknown scale and shift: both maps are aligned before they are compared.

    d̂ = (d − t)/s with t = median(d), s = mean|d − t| of each image; L = 1/(2M) Σ |d̂ − d̂*| over
    the M pixels, of which the largest `trim` share is left out (0 ≤ trim < 1; 0.2 is the trimmed
    loss of the paper), plus `gradient_weight` ≥ 0 times the mean gradient of d̂ − d̂* over `scales`
    scales. It says nothing of the absolute level: a network that must restore an image's
    brightness needs another loss. Of a map that is known in part, all of this is of its known
    pixels alone. Ranftl et al. 2022 (MiDaS), equations 5 to 11.
    """

    targets: ClassVar[tuple[str, ...]] = ("image regression", "depth regression")

    formula: ClassVar[str] = (
        r"L = \frac{1}{2M} \sum_{j \leq U} |\hat{d} - \hat{d}^*|_{(j)}"
        r" + \frac{w}{M} \sum_k \sum |\nabla R_k|,\quad"
        r" \hat{d} = \frac{d - \mathrm{median}(d)}{\mathrm{mean}\,|d - \mathrm{median}(d)|}"
    )

    trim: ProperShare = 0.0
    gradient_weight: NonNegative = 0.5
    scales: Count = 4

    def check_side(self, key: str, side: int) -> None:
        """Refuse images of one pixel."""
        if side < 2:
            raise ValueError(f"the depth loss needs images of 2×2 at least, got {key}={side}")

    def of_images(self, y: Any, y_hat: Any) -> Any:
        """½ trimmed mean |R| + w Σ_k mean |∇R_k|, with R = d̂ − d̂*."""
        return self._of_known(y, y_hat, keras.ops.ones_like(y, dtype="bool"))

    def of_known(self, y: Any, y_hat: Any) -> Any:
        """The same over the pixels whose y is not NaN; 0 for a map without any."""
        self.check_images(y, y_hat)
        known = is_known(y)
        return self._of_known(keras.ops.where(known, y, 0.0), y_hat, known)

    def _of_known(self, y: Any, y_hat: Any, known: Any) -> Any:
        ops = keras.ops
        residual = aligned(y_hat, known) - aligned(y, known)
        pixels = math.prod(residual.shape[1:])
        sizes, there = (ops.reshape(v, (-1, pixels)) for v in (absolute(residual), known))
        fit = 0.5 * trimmed_mean(sizes, there, self.trim)
        return fit + self.gradient_weight * gradient_term(residual, known, self.scales)


def _blurred(images: Any) -> Any:
    """The Gaussian mean around each position where the window fits; (n, h − 10, w − 10, c).

    Row by row and column by column as products with banded matrices, which is several times as
    fast on a CPU as a convolution per channel.
    """
    ops = keras.ops
    rows, columns = (ops.convert_to_tensor(_band(side), images.dtype) for side in images.shape[1:3])
    return ops.einsum("ph,nhwc,qw->npqc", rows, images, columns)


@lru_cache(maxsize=16)
def _band(side: int) -> np.ndarray:
    """The matrix (side − 10, side) that takes weighted means of 11 neighbours."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    window = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    band = np.zeros((side - WINDOW + 1, side))
    for row in range(len(band)):
        band[row, row : row + WINDOW] = window / window.sum()
    return band
