"""Noise first: how much the seed alone moves a quantity, and what effect could be found in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.effects import FEWEST_SEEDS, SIGNIFICANCE, Effect
from kexp.analysis.quantities import Quantity

POWER = 0.8


@dataclass(frozen=True)
class Noise:
    """The standard deviation over seeds within configurations, pooled, of one quantity.

    `detectable` is the size of a paired effect that would be found in 4 studies of 5 with as many
    seeds, at 5 % before correction; None where there are no effects to take its spread from.
    """

    quantity: Quantity
    deviation: float
    configurations: int
    seeds: int
    detectable: float | None


def noise(
    design: Design, quantities: Sequence[Quantity], found: Sequence[Effect] = ()
) -> list[Noise]:
    """The spread over seeds alone of every quantity, where any configuration has several seeds."""
    every = []
    for quantity in quantities:
        groups = [
            [v for row in rows if (v := quantity.of(row.record)) is not None]
            for rows in design.cells().values()
        ]
        variances = [(np.var(g, ddof=1), len(g)) for g in groups if len(g) > 1]
        if any(variance for variance, _ in variances):
            freedom = sum(n - 1 for _, n in variances)
            pooled = math.sqrt(sum(v * (n - 1) for v, n in variances) / freedom)
            seeds = max(n for _, n in variances)
            detectable = _detectable([e for e in found if e.quantity == quantity])
            every.append(Noise(quantity, pooled, len(variances), seeds, detectable))
    return every


def _detectable(found: Sequence[Effect]) -> float | None:
    """From the pooled spread of the paired differences, by the power of the paired t test."""
    judged = [e for e in found if e.seeds >= FEWEST_SEEDS]
    if not judged:
        return None
    spread = math.sqrt(np.mean([np.var(list(e.differences.values()), ddof=1) for e in judged]))
    seeds = min(e.seeds for e in judged)
    return _found_with(seeds) * spread


@lru_cache
def _found_with(seeds: int) -> float:
    """The effect that is found with the stated power, in standard deviations of differences."""
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(None, nobs=seeds, alpha=SIGNIFICANCE, power=POWER))
