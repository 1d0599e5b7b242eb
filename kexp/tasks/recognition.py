"""Recognition of occluded and corrupted images in an eigenspace, over the share that is hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from kexp.eigenspace import Space, Weight, robust_projection
from kexp.streams import Streams

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""The shares of an image's pixels that are hidden or replaced."""

SHOWN_SHARE = 0.3
"""The share in pictures."""

Occluder = Literal["texture", "white", "grey"]
Damage = Callable[[float], np.ndarray]


class Gallery(NamedTuple):
    """Coefficients of the training images, (n, k), and their class numbers, (n,)."""

    coefficients: np.ndarray
    labels: np.ndarray

    def recognised(self, coefficients: np.ndarray) -> np.ndarray:
        """The class of the nearest coefficients for each row, shape (m,)."""
        from sklearn.neighbors import NearestNeighbors

        nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(self.coefficients)
        return self.labels[nearest.kneighbors(coefficients, return_distance=False)[:, 0]]


def occlusion(images: np.ndarray, occluder: Occluder, streams: Streams) -> Damage:
    """A function from a share to the images (n, h, w, c) with one block each that hides so much.

    The block has the image's proportions and a random place. `texture`: every value of it is
    uniform in [0, 1], `grey`: all are one such value, `white`: all are 1. The draws, from the
    stream `occlusion`, are the same for every share.
    """
    rng, (count, height, width, _) = streams.rng("occlusion"), images.shape
    place = rng.random((count, 2))
    shades = {"texture": images.shape, "grey": (count, 1, 1, 1), "white": (1, 1, 1, 1)}
    values = np.broadcast_to(rng.random(shades[occluder]), images.shape)
    values = np.ones_like(values) if occluder == "white" else values

    def of(share: float) -> np.ndarray:
        rows = round(height * np.sqrt(share))
        columns = min(width, round(share * height * width / rows)) if rows else 0
        result = images.copy()
        corners = (place * [height - rows + 1, width - columns + 1]).astype(int)
        for image, value, (top, left) in zip(result, values, corners, strict=True):
            block = np.s_[top : top + rows, left : left + columns]
            image[block] = value[block]
        return result

    return of


def corruption(images: np.ndarray, streams: Streams) -> Damage:
    """A function from a share to the images with each pixel replaced with that probability.

    By uniform values in [0, 1], from the stream `corruption`. What is replaced at a share is
    replaced, by the same, at every larger one.
    """
    rng = streams.rng("corruption")
    chance = rng.random((*images.shape[:3], 1))
    values = rng.random(images.shape)
    return lambda share: np.where(chance < share, values, images)


def recognition(
    space: Space,
    gallery: Gallery,
    images: np.ndarray,
    labels: np.ndarray,
    damage: Damage,
    weight: Weight,
) -> dict[str, Any]:
    """How many of the images are recognised at every share, by each way to find coefficients.

    `least_squares`, the `m_estimator` of `weight`, and for reference `known`, least squares
    if one knew which pixels are undamaged, on these alone. For each the number `correct`, the
    `rate` with `low` and `high`, Wilson's 95 % interval, for each share; of the M-estimator also
    the mean number of `iterations`, the share of estimates that had `converged` by then, and how
    many images it alone recognises, `gained`, and least squares alone, `lost`.
    """
    hits: dict[str, list[np.ndarray]] = {"least_squares": [], "m_estimator": [], "known": []}
    iterations, converged = [], []
    flat = images.reshape(len(images), -1)
    for share in SHARES:
        damaged = damage(share).reshape(len(images), -1)
        projected = robust_projection(space, damaged, weight)
        iterations.append(float(projected.iterations.mean()))
        converged.append(float(projected.converged.mean()))
        found = {
            "least_squares": space.coefficients(damaged),
            "m_estimator": projected.coefficients,
            "known": space.known(damaged, damaged == flat),
        }
        for name, coefficients in found.items():
            hits[name].append(gallery.recognised(coefficients) == labels)
    pairs = list(zip(hits["m_estimator"], hits["least_squares"], strict=True))
    count = len(images)
    record: dict[str, Any] = {name: _rates(np.sum(h, axis=1), count) for name, h in hits.items()}
    record["m_estimator"] |= {
        "iterations": iterations,
        "converged": converged,
        "gained": [int((robust & ~plain).sum()) for robust, plain in pairs],
        "lost": [int((plain & ~robust).sum()) for robust, plain in pairs],
    }
    return record


def _rates(correct: np.ndarray, count: int) -> dict[str, list]:
    """Numbers of right answers, their share and its 95 % interval (Wilson 1927)."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct, count, method="wilson")
    return {
        "correct": correct.tolist(),
        "rate": (correct / count).tolist(),
        "low": np.asarray(low).tolist(),
        "high": np.asarray(high).tolist(),
    }
