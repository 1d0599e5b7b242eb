"""Effects: what one level of a factor changed against its baseline, and how sure that is.

Runs that share a seed share their split, their initial weights and their order of examples, so an
effect is a mean of differences within seeds. In a factorial study the differences of a seed are
first averaged over the levels of the other factors: the seeds, not the runs, are the sample.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.quantities import Quantity

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
POWER = 0.8
FEWEST_SEEDS = 3
"""With fewer paired seeds than this nothing is claimed."""


@dataclass(frozen=True)
class Effect:
    """The change of a quantity from the baseline to a level of a factor, over paired seeds.

    `differences` has one mean difference per seed; `mean` is theirs, `low` and `high` bound its
    95 % confidence interval, `p` is that of the paired t test and `p_holm` the same corrected over
    all effects of the analysis. `size` is Hedges' g of the differences: their mean over their
    standard deviation, with the factor for small samples. `within` names the level of another
    factor at which it was taken, as `norm=batch`; empty where it is over all of them.
    """

    factor: str
    level: str
    baseline: str
    quantity: Quantity
    differences: Mapping[int, float]
    pairs: int
    baseline_mean: float
    mean: float
    low: float
    high: float
    p: float
    size: float
    p_holm: float = math.nan
    within: str = ""

    @property
    def seeds(self) -> int:
        """The number of paired seeds."""
        return len(self.differences)

    @property
    def verdict(self) -> str:
        """`detected`, `uncertain` (not after correction), `none`, or `too few` seeds to say."""
        if self.seeds < FEWEST_SEEDS:
            return "too few"
        if self.p_holm < SIGNIFICANCE and not self.low <= 0 <= self.high:
            return "detected"
        uncertain = self.p < SIGNIFICANCE and not self.low <= 0 <= self.high
        return "uncertain" if uncertain else "none"

    @property
    def detectable(self) -> float | None:
        """The effect that as many seeds would find in 4 studies of 5, by the spread of these.

        By the power of the paired t test at 5 %, before correction; None with too few seeds or
        where the differences have no spread.
        """
        spread = float(np.std(list(self.differences.values()), ddof=1)) if self.seeds > 1 else 0
        return _found_with(self.seeds) * spread if self.seeds >= FEWEST_SEEDS and spread else None

    @property
    def better(self) -> bool:
        """Whether the mean change is for the better."""
        return (self.mean > 0) == self.quantity.higher_is_better


def effects(design: Design, quantities: Sequence[Quantity]) -> list[Effect]:
    """Every level of every factor under study against its baseline, by every quantity."""
    found = [
        effect
        for name in design.names
        for level in design.factor(name).levels[1:]
        for quantity in quantities
        if (effect := _effect(design, name, level, quantity))
    ]
    return _corrected(found)


def simple_effects(
    design: Design, crossed: Iterable[tuple[str, str]], quantity: Quantity
) -> list[Effect]:
    """For pairs of factors that depend on each other, those of each at every level of the other.

    Corrected by Holm among themselves; they are worth telling where the interaction is.
    """
    found = []
    for first, second in crossed:
        for name, other in ((first, second), (second, first)):
            for at in design.factor(other).levels:
                part = design.restricted(other, at)
                every = [_effect(part, name, le, quantity) for le in design.factor(name).levels[1:]]
                found += [replace(e, within=f"{other}={at}") for e in every if e]
    return _corrected(found)


def _effect(design: Design, name: str, level: str, quantity: Quantity) -> Effect | None:
    """The effect of one level; None where no two runs differ in nothing else."""
    baseline = design.factor(name).baseline
    pairs = paired(design, name, level, quantity)
    if not pairs:
        return None
    of_seed: dict[int, list[float]] = defaultdict(list)
    for seed, before, after in pairs:
        of_seed[seed].append(after - before)
    differences = {seed: float(np.mean(values)) for seed, values in sorted(of_seed.items())}
    mean, low, high, p = interval(list(differences.values()))
    return Effect(
        factor=name,
        level=level,
        baseline=baseline,
        quantity=quantity,
        differences=differences,
        pairs=len(pairs),
        baseline_mean=float(np.mean([before for _, before, _ in pairs])),
        mean=mean,
        low=low,
        high=high,
        p=p,
        size=hedges_g(list(differences.values())),
    )


def paired(
    design: Design, name: str, level: str, quantity: Quantity
) -> list[tuple[int, float, float]]:
    """Seed, value at the baseline and value at the level, of runs that differ in nothing else."""
    place, baseline = design.names.index(name), design.factor(name).baseline
    values = design.values(quantity)
    pairs = []
    for (seed, cell), after in sorted(values.items()):
        partner = (seed, (*cell[:place], baseline, *cell[place + 1 :]))
        if cell[place] == level and partner in values:
            pairs.append((seed, values[partner], after))
    return pairs


def interval(
    differences: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float, float, float]:
    """Mean, bounds of its confidence interval, and p of the paired t test.

    Where all differences are the same number but 0 there is no spread to judge it by, and p is
    that of the sign test, 2^(1 − n).
    """
    from scipy import stats

    values = np.asarray(differences, dtype=float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return mean, -math.inf, math.inf, math.nan
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        return mean, mean, mean, 2.0 ** (1 - n) if mean else 1.0
    test: Any = stats.ttest_1samp(values, 0.0)
    bounds = test.confidence_interval(confidence)
    return mean, float(bounds.low), float(bounds.high), float(test.pvalue)


def hedges_g(differences: Sequence[float]) -> float:
    """Mean over standard deviation, times 1 − 3/(4(n − 1) − 1). Hedges 1981, equation 10."""
    values = np.asarray(differences, dtype=float)
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    if not deviation:
        return math.nan
    return float(values.mean() / deviation * (1 - 3 / (4 * (len(values) - 1) - 1)))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number. Holm 1979."""
    from statsmodels.stats.multitest import multipletests

    corrected: Any = multipletests(p, method="holm")[1] if p else []
    return [float(value) for value in corrected]


def _corrected(found: Sequence[Effect]) -> list[Effect]:
    """The effects with Holm's correction over those that could be claimed."""
    judged = [e for e in found if e.seeds >= FEWEST_SEEDS and math.isfinite(e.p)]
    of = {id(e): p for e, p in zip(judged, holm([e.p for e in judged]), strict=True)}
    return [replace(e, p_holm=of[id(e)]) if id(e) in of else e for e in found]


@lru_cache
def _found_with(seeds: int) -> float:
    """The effect that is found with the stated power, in standard deviations of differences."""
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(None, nobs=seeds, alpha=SIGNIFICANCE, power=POWER))
