"""The trade-off between a small test error and a small gap: the configurations on its front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.effects import FEWEST_SEEDS
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
    """Every configuration with its place, those on the Pareto front first, by their test value.

    Means are over seeds that all of them have. Configurations that lack a seed are left out where
    two or more have all; none are told with fewer than 3 seeds.
    """
    cells, seeds, values = _table(design, test, gap)
    if len(seeds) < FEWEST_SEEDS:
        return []
    sign = -1 if test.higher_is_better else 1
    means = values.mean(axis=1)
    front, steady = _front(means, sign), _steadiness(values, sign)
    points = [
        Point(cell, float(m[0]), float(m[1]), len(seeds), bool(on), float(share))
        for cell, m, on, share in zip(cells, means, front, steady, strict=True)
    ]
    return sorted(points, key=lambda p: (not p.on_front, sign * p.test, p.gap))


def _table(
    design: Design, test: Quantity, gap: Quantity
) -> tuple[list[tuple[str, ...]], list[int], np.ndarray]:
    """Configurations, the seeds that all of them have, and values (configurations, seeds, 2)."""
    tests, gaps = design.values(test), design.values(gap)
    of_cell: dict[tuple[str, ...], set[int]] = {cell: set() for cell in design.cells()}
    for seed, cell in tests.keys() & gaps.keys():
        of_cell[cell].add(seed)
    of_cell = {cell: seeds for cell, seeds in of_cell.items() if seeds}
    every = set().union(*of_cell.values())
    whole = [cell for cell, seeds in of_cell.items() if seeds == every]
    cells = whole if len(whole) > 1 else list(of_cell)
    shared = sorted(set.intersection(*(of_cell[cell] for cell in cells))) if cells else []
    values = [[(tests[seed, cell], gaps[seed, cell]) for seed in shared] for cell in cells]
    return cells, shared, np.array(values).reshape(len(cells), len(shared), 2)


def _front(means: np.ndarray, sign: int) -> np.ndarray:
    """Which rows of (test, gap) no other row is better than in both, shape (n,)."""
    places, inverse = np.unique(means * np.array([sign, 1]), axis=0, return_inverse=True)
    gaps = places[:, 1]  # in the order of the test value
    smallest_before = np.concatenate([[np.inf], np.minimum.accumulate(gaps)[:-1]])
    return (gaps < smallest_before)[inverse.ravel()]


def _steadiness(values: np.ndarray, sign: int) -> np.ndarray:
    """The share of bootstrap resamples of the seeds with each configuration on the front."""
    rng, count = np.random.default_rng(0), np.zeros(len(values))
    for _ in range(RESAMPLES):
        drawn = rng.integers(values.shape[1], size=values.shape[1])
        count += _front(values[:, drawn].mean(axis=1), sign)
    return count / RESAMPLES
