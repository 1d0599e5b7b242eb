"""Interactions: whether the effect of one factor depends on the level of another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.effects import CONFIDENCE, FEWEST_SEEDS, SIGNIFICANCE, holm, interval
from kexp.analysis.quantities import Quantity


@dataclass(frozen=True)
class Contrast:
    """How much more a level of the first factor changes things at a level of the second.

    `estimate` is the difference of differences against both baselines; `low` and `high` bound it,
    together with all other contrasts of the interaction, at 95 % (Bonferroni).
    """

    first_level: str
    second_level: str
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Interaction:
    """The F test of an interaction in a linear model with the seed as block."""

    first: str
    second: str
    quantity: Quantity
    f: float
    degrees: tuple[int, int]
    p: float
    seeds: int
    contrasts: tuple[Contrast, ...]
    p_holm: float = math.nan

    @property
    def detected(self) -> bool:
        """Whether it is significant after correction over all interactions."""
        return self.p_holm < SIGNIFICANCE


def interactions(design: Design, quantities: Sequence[Quantity]) -> list[Interaction]:
    """Every pair of factors, by every quantity, where at least 3 seeds have all their levels."""
    pairs = list(itertools.combinations(design.names, 2))
    found = [_of_pair(design, first, second, q) for q in quantities for first, second in pairs]
    return _corrected([interaction for interaction in found if interaction])


def tables(design: Design, first: str, second: str, quantity: Quantity) -> np.ndarray:
    """Means over all other factors, shape (seeds, levels of first, levels of second).

    Within a seed only those levels of the others count that were run with every combination of the
    two: else an effect of the others would look like an interaction. A seed without such is left
    out.
    """
    levels = [design.factor(name).levels for name in (first, second)]
    places = [design.names.index(name) for name in (first, second)]
    found: dict[int, dict[tuple[str, ...], dict[tuple[int, ...], float]]] = {}
    for (seed, cell), value in sorted(design.values(quantity).items()):
        others = tuple(level for i, level in enumerate(cell) if i not in places)
        index = tuple(names.index(cell[i]) for names, i in zip(levels, places, strict=True))
        found.setdefault(seed, {}).setdefault(others, {})[index] = value
    shape = tuple(map(len, levels))
    every = [[t for t in of.values() if len(t) == math.prod(shape)] for of in found.values()]
    means = [
        [np.mean([t[index] for t in whole]) for index in np.ndindex(shape)]
        for whole in every
        if whole
    ]
    return np.array(means).reshape(len(means), *shape)


def _of_pair(design: Design, first: str, second: str, quantity: Quantity) -> Interaction | None:
    """Repeated-measures analysis of variance: the interaction against that of seeds with it.

    y = seed + A + B + seed·A + seed·B + A·B + e. Orthonormal contrasts of each seed's table keep
    A·B + e alone, so the rest of the model need not be fitted. p is by the lower bound of the
    degrees of freedom, (1, seeds − 1), which holds however the contrasts vary and covary. Geisser
    and Greenhouse 1958.
    """
    from scipy.linalg import helmert
    from scipy.stats import f as f_distribution
    from statsmodels.regression.linear_model import OLS

    values = tables(design, first, second, quantity)
    if len(values) < FEWEST_SEEDS:
        return None
    left, right = (helmert(side) for side in values.shape[1:])
    contrasts = np.einsum("ai,nij,bj->nab", left, values, right).reshape(len(values), -1)
    if np.ptp(contrasts, axis=0).max() <= 1e-12 * np.abs(values).max():
        return None
    count = contrasts.shape[1]
    model = OLS(contrasts.ravel(), np.tile(np.eye(count), (len(values), 1))).fit()
    f = float(np.squeeze(model.f_test(np.eye(count)).fvalue))
    return Interaction(
        first=first,
        second=second,
        quantity=quantity,
        f=f,
        degrees=(1, len(values) - 1),
        p=float(f_distribution.sf(f, 1, len(values) - 1)),
        seeds=len(values),
        contrasts=_contrasts(design, (first, second), values),
    )


def _contrasts(design: Design, names: tuple[str, str], values: np.ndarray) -> tuple[Contrast, ...]:
    """Differences of differences against both baselines, their intervals 95 % all together."""
    first, second = (design.factor(name).levels for name in names)
    pairs = list(itertools.product(range(1, len(first)), range(1, len(second))))
    found = []
    for i, j in pairs:
        of_seeds = values[:, i, j] - values[:, 0, j] - values[:, i, 0] + values[:, 0, 0]
        mean, low, high, _ = interval(of_seeds.tolist(), 1 - (1 - CONFIDENCE) / len(pairs))
        found.append(Contrast(first[i], second[j], mean, low, high))
    return tuple(found)


def _corrected(found: Sequence[Interaction]) -> list[Interaction]:
    corrected = holm([i.p for i in found])
    return [replace(i, p_holm=p) for i, p in zip(found, corrected, strict=True)]
