"""Noise first: how much the seed alone moves a quantity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.quantities import Quantity


@dataclass(frozen=True)
class Noise:
    """The standard deviation over seeds within configurations, pooled, of one quantity."""

    quantity: Quantity
    deviation: float
    configurations: int
    seeds: int


def noise(design: Design, quantities: Sequence[Quantity]) -> list[Noise]:
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
            every.append(Noise(quantity, pooled, len(variances), seeds))
    return every
