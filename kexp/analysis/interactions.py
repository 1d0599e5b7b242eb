"""Interactions: whether the effect of one factor depends on the level of another."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.effects import FEWEST_SEEDS, SIGNIFICANCE
from kexp.analysis.quantities import Quantity


@dataclass(frozen=True)
class Contrast:
    """How much more a level of the first factor changes things at a level of the second.

    `estimate` is the difference of differences against both baselines, with the bounds of its
    95 % confidence interval.
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

    Seeds that lack a combination of the two are left out.
    """
    shape = len(design.factor(first).levels), len(design.factor(second).levels)
    place = [{le: i for i, le in enumerate(design.factor(n).levels)} for n in (first, second)]
    found: dict[int, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in design.rows:
        value = quantity.of(row.record)
        if value is not None and row.seed is not None:
            cell = place[0][row.levels[first]], place[1][row.levels[second]]
            found[row.seed][cell].append(value)
    whole = [cells for _, cells in sorted(found.items()) if len(cells) == math.prod(shape)]
    every = itertools.product(*map(range, shape))
    values = [[np.mean(cells[cell]) for cells in whole] for cell in every]
    return np.array(values).T.reshape(len(whole), *shape)


def _of_pair(design: Design, first: str, second: str, quantity: Quantity) -> Interaction | None:
    """Repeated-measures analysis of variance: the interaction against that of seeds with it.

    y = seed + A + B + seed·A + seed·B + A·B + e. Orthonormal contrasts of each seed's table keep
    A·B + e alone, so the rest of the model need not be fitted.
    """
    from scipy.linalg import helmert
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
    test = model.f_test(np.eye(count))
    return Interaction(
        first=first,
        second=second,
        quantity=quantity,
        f=float(np.squeeze(test.fvalue)),
        degrees=(count, int(model.df_resid)),
        p=float(np.squeeze(test.pvalue)),
        seeds=len(values),
        contrasts=_contrasts(design, (first, second), (left, right), model),
    )


def _contrasts(
    design: Design, names: tuple[str, str], bases: tuple[np.ndarray, np.ndarray], model: object
) -> tuple[Contrast, ...]:
    """Differences of differences against both baselines, from the orthonormal contrasts."""
    first, second = (design.factor(name).levels for name in names)
    left, right = (basis[:, 1:] - basis[:, :1] for basis in bases)
    found = []
    for i, j in itertools.product(range(left.shape[1]), range(right.shape[1])):
        test = model.t_test(np.kron(left[:, i], right[:, j]))  # type: ignore[attr-defined]
        estimate = float(np.squeeze(test.effect))
        low, high = (float(bound) for bound in np.squeeze(test.conf_int()))
        found.append(Contrast(first[i + 1], second[j + 1], estimate, low, high))
    return tuple(found)


def _corrected(found: Sequence[Interaction]) -> list[Interaction]:
    from statsmodels.stats.multitest import multipletests

    if not found:
        return []
    _, corrected, _, _ = multipletests([i.p for i in found], method="holm")
    return [replace(i, p_holm=float(p)) for i, p in zip(found, corrected, strict=True)]
