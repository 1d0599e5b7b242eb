"""The method is itself tested: identical arms are not told apart, a planted effect is found.

Each share is compared with the stated rate within the interval that a binomial count of that rate
has with probability 95 %. The seeds of the simulations are fixed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

import kexp
from kexp.analysis.analysis import Analysis, Question, analyse
from kexp.analysis.comparable import Comparable
from kexp.analysis.effects import POWER
from kexp.analysis.load import read_records
from kexp.store import Record
from tests.studies import factorial, noisy

pytestmark = pytest.mark.usefixtures("no_collection")

ARMS = {"dropout": ["none", "standard"]}
CROSSED = {"dropout": ["none", "standard"], "norm": ["none", "batch"]}
GAP = Question(on=("gap",))


def expected_counts(n: int, rate: float) -> tuple[int, int]:
    """The smallest and the largest count that `n` tries of a rate allow."""
    low, high = stats.binom.interval(0.95, n, rate)
    return int(low), int(high)


@lru_cache(maxsize=1)
def identical_arms() -> list[Analysis]:
    """200 studies of two equal arms with 5 seeds, each with all its usual quantities."""
    return [analyse(factorial(ARMS, range(5), noisy(rng(i)))) for i in range(200)]


def test_identical_arms_are_flagged_at_the_nominal_rate() -> None:
    """Before correction: p < 5 % in 5 % of studies, neither more often nor never."""
    flagged = sum(a.effects[0].p < 0.05 for a in identical_arms())
    low, high = expected_counts(200, 0.05)
    assert low <= flagged <= high


def test_a_study_of_identical_arms_makes_no_claim() -> None:
    """After correction: any claim at all, on any of its quantities, in at most 5 % of studies."""
    claimed = sum(any(e.verdict == "detected" for e in a.effects) for a in identical_arms())
    assert claimed <= expected_counts(200, 0.05)[1]


@pytest.mark.slow
def test_many_identical_levels_make_no_claim() -> None:
    """Crossed factors with 4 seeds: claims on effects, on interactions, on simple effects."""
    answers = [analyse(factorial(CROSSED, range(4), noisy(rng(1000 + i)))) for i in range(200)]
    low, high = expected_counts(200, 0.05)
    effects = sum(any(e.verdict == "detected" for e in a.effects) for a in answers)
    between = sum(any(i.detected for i in a.interactions) for a in answers)
    simple = sum(any(e.verdict == "detected" for e in a.simple) for a in answers)
    assert effects <= high >= between >= simple
    assert low <= sum(i.p < 0.05 for a in answers for i in a.interactions) <= high


@pytest.mark.slow
def test_a_noisier_level_makes_no_interaction() -> None:
    """Four levels by two, one of them 5 times as noisy: no more claims, intervals still cover."""
    factors = {"model.width": [8, 16, 32, 64], "norm": ["none", "batch"]}
    claimed, covered = 0, 0
    for i in range(200):
        draw = noisy(rng(5000 + i))

        def values(levels: dict[str, Any], seed: int, draw: Any = draw) -> dict[str, float]:
            scale = 5.0 if levels["model.width"] == 64 else 1.0
            return {name: scale * value for name, value in draw(levels, seed).items()}

        (found,) = analyse(factorial(factors, range(5), values), GAP).interactions
        claimed += found.p < 0.05
        covered += all(c.low <= 0 <= c.high for c in found.contrasts)
    assert claimed <= expected_counts(200, 0.05)[1]
    assert covered >= expected_counts(200, 0.95)[0]


@pytest.mark.parametrize("seeds", [3, 8])
def test_intervals_cover_at_their_level(seeds: int) -> None:
    effect = {("dropout", "standard"): -0.7}
    covered = 0
    for i in range(300):
        runs = factorial(ARMS, range(seeds), noisy(rng(2000 + i), effect))
        (found,) = analyse(runs, GAP).effects
        covered += found.low <= -0.7 <= found.high
    low, high = expected_counts(300, 0.95)
    assert low <= covered <= high


@pytest.mark.slow
def test_a_planted_effect_is_found_with_the_stated_power() -> None:
    """An effect as large as `detectable` says, by the true spread, is found 4 times in 5."""
    size = TTestPower().solve_power(None, nobs=8, alpha=0.05, power=POWER) * np.sqrt(2.0)
    effect = {("dropout", "standard"): float(size)}
    answers = [
        analyse(factorial(ARMS, range(8), noisy(rng(3000 + i), effect, between=3)), GAP)
        for i in range(300)
    ]
    found = sum(a.effects[0].verdict == "detected" for a in answers)
    low, high = expected_counts(300, POWER)
    assert low <= found <= high
    detectable = [a.effects[0].detectable for a in answers]
    assert np.median([d for d in detectable if d]) == pytest.approx(size, rel=0.1)


def test_pairing_is_what_finds_it() -> None:
    """Where seeds differ more than arms, the same numbers paired wrongly show nothing."""
    effect = {("dropout", "standard"): 1.0}
    runs = factorial(ARMS, range(6), noisy(rng(4), effect, between=20, within=0.2))
    assert analyse(runs, GAP).effects[0].verdict == "detected"
    for record in runs.records:
        if record.summary["options"]["dropout"] == "standard":
            record.summary["seed"] = (record.summary["seed"] + 1) % 6
    assert analyse(runs, GAP).effects[0].verdict == "none"


@pytest.mark.slow
def test_trained_identical_arms_are_not_told_apart(tmp_path: Path) -> None:
    """20 comparisons of 4 pairs of runs that differ in nothing but their random streams."""
    tiny = ("data=digits", "data.side=8", "data.train_size=100", "data.validation_size=200")
    tiny += ("data.test_size=200", "model=mlp", "dropout=none", "training.epochs=8")
    where = f"paths.results={tmp_path}"
    kexp.sweep(*tiny, "training.batch_size=32", "seed=range(160)", where, quiet=True)
    answers = [analyse(runs) for runs in comparisons(read_records([tmp_path]))]
    assert len(answers) == 20 and {a.effects[0].seeds for a in answers} == {4}
    parts = ("gap", "validation", "test")  # after 8 epochs there is no onset and no cost yet
    effects = [e for a in answers for e in a.effects if e.quantity.part in parts]
    assert len(effects) == 80
    flagged = sum(a.effects[0].p < 0.05 for a in answers)
    claimed = sum(any(e.verdict == "detected" for e in a.effects) for a in answers)
    highest = expected_counts(20, 0.05)[1]
    assert flagged <= highest and claimed <= highest
    assert all(np.ptp(list(e.differences.values())) > 0 for e in effects)


def comparisons(records: list[Record]) -> Iterator[Comparable]:
    """Runs of one arm, two by two as if the second were of another arm and of the same seed."""
    by_seed = sorted(records, key=lambda record: record.summary["seed"])
    for start in range(0, len(by_seed), 8):
        part = by_seed[start : start + 8]
        yield Comparable("identical", [as_arm(r, i % 2, i // 2) for i, r in enumerate(part)])


def as_arm(record: Record, arm: int, seed: int) -> Record:
    options = {**record.summary["options"], "dropout": ("none", "sham")[arm]}
    summary: dict[str, Any] = {**record.summary, "options": options, "seed": seed}
    return dataclasses.replace(record, summary=summary)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
