"""The trade-off between a small test error and a small gap: the configurations on its front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.quantities import Quantity

RESAMPLES = 200


@dataclass(frozen=True)
class Point:
    """One configuration: its means over seeds, and whether another is better in both.

    `steady` is the share of bootstrap resamples of the seeds in which it is on the front.
    """

    cell: tuple[str, ...]
    test: float
    gap: float
    seeds: int
    on_front: bool
    steady: float


def tradeoff(design: Design, test: Quantity, gap: Quantity) -> list[Point]:
    """Every configuration with its place, those on the Pareto front first, by their test value."""
    values = _values(design, test, gap)
    if not values:
        return []
    sign = -1 if test.higher_is_better else 1
    means = np.array([np.mean(list(of_seed.values()), axis=0) for of_seed in values.values()])
    front = _front(means, sign)
    steady = _steadiness(list(values.values()), sign)
    points = [
        Point(cell, float(m[0]), float(m[1]), len(of_seed), bool(on), float(share))
        for (cell, of_seed), m, on, share in zip(values.items(), means, front, steady, strict=True)
    ]
    return sorted(points, key=lambda p: (not p.on_front, sign * p.test, p.gap))


def _values(
    design: Design, test: Quantity, gap: Quantity
) -> dict[tuple[str, ...], dict[int | None, tuple[float, float]]]:
    """Test value and gap of each configuration by seed."""
    found: dict[tuple[str, ...], dict[int | None, tuple[float, float]]] = {}
    for cell, rows in design.cells().items():
        for row in rows:
            pair = test.of(row.record), gap.of(row.record)
            if pair[0] is not None and pair[1] is not None:
                found.setdefault(cell, {})[row.seed] = (pair[0], pair[1])
    return found


def _front(means: np.ndarray, sign: int) -> np.ndarray:
    """Which rows of (test, gap) no other row is better than in both, shape (n,)."""
    places, inverse = np.unique(means * np.array([sign, 1]), axis=0, return_inverse=True)
    gaps = places[:, 1]  # in the order of the test value
    smallest_before = np.concatenate([[np.inf], np.minimum.accumulate(gaps)[:-1]])
    return (gaps < smallest_before)[inverse.ravel()]


def _steadiness(values: Sequence[dict[int | None, tuple[float, float]]], sign: int) -> np.ndarray:
    """The share of bootstrap resamples of the seeds with each configuration on the front."""
    seeds = sorted({seed for of_seed in values for seed in of_seed}, key=str)
    table = np.array([[v.get(s, (np.nan, np.nan)) for s in seeds] for v in values])
    rng, count = np.random.default_rng(0), np.zeros(len(values))
    with np.errstate(invalid="ignore"):
        for _ in range(RESAMPLES):
            drawn = table[:, rng.integers(len(seeds), size=len(seeds))]
            known = ~np.isnan(drawn[..., 0])
            usable = known.any(axis=1)
            total = np.nansum(drawn, axis=1) / np.maximum(known.sum(axis=1), 1)[:, None]
            count[usable] += _front(total[usable], sign)
    return count / RESAMPLES
