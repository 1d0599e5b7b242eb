"""An eigenspace of images, and the projection onto it by least squares or by an M-estimator.

    x ≈ μ + Uc,    ĉ = argmin Σⱼ ρ((μ + Uc − x)ⱼ)

with μ the mean of the training images and U (d, k) the first k eigenvectors of their covariance.
For ρ(r) = ½ r² that is ĉ = Uᵀ(x − μ). A robust ρ gives pixels that do not fit less weight, so that
what is hidden or corrupted in an image does not move its coefficients. Black and Jepson,
International Journal of Computer Vision 26 (1998) 63–84; Dahyot, Charbonnier and Heitz, CVPR 2000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

Weight = Callable[[np.ndarray], np.ndarray]
"""w(r) = ρ′(r)/r of residuals (n, d), elementwise."""

CHUNK = 4096
"""Images taken as float64 at once."""

BLOCK = 1024
"""Pixels whose products of eigenvectors are in memory at once."""

SHRINKING = 0.5
"""Factor of the scale from one iteration to the next, until it is the loss's own."""

TOLERANCE = 1e-3
"""An estimate has converged when it moves by less than this, relative to its length."""

LEAST, MOST = 1e-6, 1e6
"""The residuals, in units of a pixel, between which a weight is looked at."""

DAMPING = 0.5
"""The part of a step that is taken where weights do not fall: a whole one goes too far."""

MOST_ITERATIONS = 60
PROXIMAL = 1e-10


@dataclass(frozen=True)
class Space:
    """The mean (d,), the first eigenvectors as orthonormal columns (d, k), and the variances.

    `variances` (k,) are those along the eigenvectors, `total` is the variance of all pixels.
    """

    mean: np.ndarray
    basis: np.ndarray
    variances: np.ndarray
    total: float

    @property
    def explained(self) -> float:
        """The share of the variance that is along the eigenvectors; 1 where there is none."""
        return float(self.variances.sum() / self.total) if self.total > 0 else 1.0

    def coefficients(self, images: np.ndarray) -> np.ndarray:
        """ĉ = Uᵀ(x − μ) by least squares, of images (n, d): shape (n, k)."""
        return (images - self.mean) @ self.basis

    def known(self, images: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """ĉ by least squares on those pixels alone where `mask` (n, d) is true: shape (n, k)."""
        nothing = np.zeros((len(images), self.basis.shape[1]))
        return _weighted(self.basis, mask.astype(np.float64), images - self.mean, nothing)

    def images(self, coefficients: np.ndarray) -> np.ndarray:
        """μ + Uc, shape (n, d)."""
        return self.mean + coefficients @ self.basis.T


class Projection(NamedTuple):
    """Coefficients (n, k), the weights (n, d) that they rest on, and how many iterations (n,).

    And whether the coefficients had converged by then, (n,).
    """

    coefficients: np.ndarray
    weights: np.ndarray
    iterations: np.ndarray
    converged: np.ndarray


def eigenspace(images: np.ndarray, components: int) -> Space:
    """The principal components of images (n, d), by the smaller of XᵀX and XXᵀ.

    The sign of each eigenvector makes its largest value positive. Raises `ValueError` where there
    are more components than images or pixels. Pearson 1901; Sirovich and Kirby 1987.
    """
    count, pixels = images.shape
    if not 1 <= components <= min(count, pixels):
        raise ValueError(
            f"components must be from 1 to the smaller of {count} images and {pixels} values of an "
            f"image, got {components}"
        )
    mean = np.sum([c.sum(axis=0) for c in _chunks(images)], axis=0) / count
    if count > pixels:
        scatter = np.zeros((pixels, pixels))
        for chunk in _chunks(images):
            scatter += (chunk - mean).T @ (chunk - mean)
        variances, vectors = np.linalg.eigh(scatter / count)
        basis = vectors[:, : -components - 1 : -1]
    else:
        centred = images.astype(np.float64) - mean
        variances, vectors = np.linalg.eigh(centred @ centred.T / count)
        basis, _ = np.linalg.qr(centred.T @ vectors[:, : -components - 1 : -1])
    largest = np.abs(basis).argmax(axis=0)
    basis = basis * np.where(basis[largest, np.arange(components)] < 0, -1.0, 1.0)
    variances = np.maximum(variances, 0.0)
    return Space(mean, basis, variances[: -components - 1 : -1], float(variances.sum()))


def half_weight(weight: Weight, pixels: int) -> float | None:
    """The |residual| at which a pixel's weight falls below half of that near 0; None if none does.

    Where pixels have weights of their own, as channels may, or positive and negative residuals,
    that of the first to fall. By bisection between 1e-6 and 1e6.
    """

    def both(r: float) -> np.ndarray:
        return weight(np.stack([np.full(pixels, r), np.full(pixels, -r)]))

    whole = both(1e-12)

    def has_fallen(r: float) -> bool:
        return bool((both(r) < 0.5 * whole).any())

    low, high = LEAST, MOST
    if not has_fallen(high):
        return None
    for _ in range(24):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if has_fallen(middle) else (middle, high)
    return high


def is_constant(weight: Weight, pixels: int) -> bool:
    """Whether all residuals of all pixels have the same weight, so that it is least squares."""
    sizes = np.geomspace(LEAST, MOST, 49)
    weights = weight(np.tile(np.concatenate([-sizes, sizes])[:, None], pixels))
    return bool(weights.max() - weights.min() <= 1e-5 * weights.max())


def robust_projection(
    space: Space,
    images: np.ndarray,
    weight: Weight,
    tolerance: float = TOLERANCE,
    most: int = MOST_ITERATIONS,
) -> Projection:
    """ĉ = argmin Σⱼ ρ(rⱼ), r = μ + Uc − x, of images (n, d), by reweighted least squares.

    From least squares on, ĉ ← (UᵀWU)⁻¹ UᵀW(x − μ) with W = diag w(r). Where ρ is not convex there
    are several minima; so the scale is large at first and shrinks (graduated non-convexity, Blake
    and Zisserman 1987, as Black and Jepson do): the weights are w(r/s) with s from where no pixel
    of the image has less than half weight down to 1, which is the loss's own scale, by the factor
    `SHRINKING` each time. It ends when s = 1 and ĉ moves by less than `tolerance` of its length,
    or after `most` iterations. Where all weights vanish, and where too few pixels are left for all
    coefficients, these stay where they are (a proximal term of 1e-10 of the largest weight, which
    moves no solution). If w falls nowhere to half of w(0), s is 1 from the start and steps are
    shortened by `DAMPING`; if it is constant, as of the quadratic loss, the answer is least
    squares, without iterations.
    """
    centred = images - space.mean
    coefficients = centred @ space.basis
    iterations = np.zeros(len(images), int)
    if is_constant(weight, len(space.mean)):
        every = np.ones(len(images), bool)
        return Projection(coefficients, np.ones_like(centred), iterations, every)
    half = half_weight(weight, len(space.mean))
    part = DAMPING if half is None else 1.0
    residual = coefficients @ space.basis.T - centred
    start = np.maximum(np.abs(residual).max(axis=1) / (half or np.inf), 1.0)
    active = np.arange(len(images))
    for iteration in range(1, most + 1):
        scale = np.maximum(start * SHRINKING ** (iteration - 1), 1.0)
        # Of all images, as JAX compiles for every shape anew.
        weights = _weights(weight, residual, scale)[active]
        found = _weighted(space.basis, weights, centred[active], coefficients[active])
        found = coefficients[active] + part * (found - coefficients[active])
        moved = np.linalg.norm(found - coefficients[active], axis=1)
        coefficients[active], iterations[active] = found, iteration
        residual[active] = found @ space.basis.T - centred[active]
        done = (scale[active] == 1.0) & (moved <= tolerance * np.linalg.norm(found, axis=1))
        active = active[~done]
        if not active.size:
            break
    weights = _weights(weight, residual, np.ones(len(images)))
    return Projection(coefficients, weights, iterations, ~np.isin(np.arange(len(images)), active))


def _weights(weight: Weight, residual: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """w(r/s), over the largest of each image."""
    weights = weight(residual / scale[:, None])
    largest = weights.max(axis=1, keepdims=True)
    return weights / np.where(largest > 0, largest, 1.0)


def _weighted(
    basis: np.ndarray, weights: np.ndarray, centred: np.ndarray, before: np.ndarray
) -> np.ndarray:
    """The coefficients of weighted least squares for each image, shape (n, k)."""
    count, components = before.shape
    rows, columns = np.triu_indices(components)
    upper = np.zeros((count, len(rows)))
    for first in range(0, len(basis), BLOCK):
        part = basis[first : first + BLOCK]
        upper += weights[:, first : first + BLOCK] @ (part[:, rows] * part[:, columns])
    gram = np.empty((count, components, components))
    gram[:, rows, columns] = gram[:, columns, rows] = upper
    gram[:, range(components), range(components)] += PROXIMAL
    right = (weights * centred) @ basis + PROXIMAL * before
    # Of one small matrix after another: several threads only wait for each other.
    with threadpool_limits(1, "blas"):
        return np.linalg.solve(gram, right[..., None])[..., 0]


def _chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """The images as float64, some at a time."""
    for first in range(0, len(images), CHUNK):
        yield images[first : first + CHUNK].astype(np.float64)
