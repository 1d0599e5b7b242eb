"""Effects against SciPy, statsmodels and sums of squares worked out here, and what may be said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import AnovaRM

from kexp.analysis import sentences
from kexp.analysis.analysis import Analysis, Question, analyse
from kexp.analysis.comparable import Comparable
from kexp.analysis.effects import Effect, hedges_g, interval
from kexp.analysis.quantities import Quantity, signed
from kexp.errors import ConfigError
from kexp.measures import YARDSTICKS
from tests.studies import factorial, noisy, record

pytestmark = pytest.mark.usefixtures("no_collection")

GAP = Question(on=("gap",))
THREE = {"dropout": ["none", "standard"], "norm": ["none", "batch"], "data.train_size": [100, 200]}


def only(answer: Analysis, factor: str, quantity: str = "gap.nll") -> Effect:
    (found,) = (e for e in answer.effects if (e.factor, e.quantity.key) == (factor, quantity))
    return found


def table(answer: Analysis, quantity: str = "gap.nll") -> pd.DataFrame:
    (q,) = (q for q in answer.quantities if q.key == quantity)
    rows = [{"y": q.of(r.record), "seed": r.seed, **r.levels} for r in answer.design.rows]
    return pd.DataFrame(rows).rename(columns=lambda name: name.replace(".", "_"))


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_one_factor_is_the_paired_t_test(seeds: int) -> None:
    runs = factorial({"dropout": ["none", "standard"]}, range(seeds), noisy(rng(seeds)))
    answer = analyse(runs, GAP)
    found, values = only(answer, "dropout"), table(answer)
    after, before = (
        values[values.dropout == label].sort_values("seed").y for label in ("standard(0.5)", "none")
    )
    expected = stats.ttest_rel(after, before)
    assert_allclose(found.p, expected.pvalue)
    bounds = expected.confidence_interval()
    assert_allclose([found.low, found.high], [bounds.low, bounds.high])
    assert_allclose(found.mean, after.mean() - before.mean())
    assert (found.seeds, found.pairs, found.baseline) == (seeds, seeds, "none")


def test_one_factor_is_the_linear_model_with_seed_as_block() -> None:
    runs = factorial({"dropout": ["none", "standard"]}, range(6), noisy(rng(1)))
    answer = analyse(runs, GAP)
    model = ols("y ~ C(seed) + C(dropout)", table(answer)).fit()
    found, name = only(answer, "dropout"), "C(dropout)[T.standard(0.5)]"
    assert_allclose(found.mean, model.params[name])
    assert_allclose([found.low, found.high], model.conf_int().loc[name])
    assert_allclose(found.p, model.pvalues[name])


def test_other_factors_are_averaged_within_a_seed() -> None:
    answer = analyse(factorial(THREE, range(4), noisy(rng(2))), GAP)
    found = only(answer, "dropout")
    wide = table(answer).pivot_table(index="seed", columns="dropout", values="y")
    expected = stats.ttest_rel(wide["standard(0.5)"], wide["none"])
    assert_allclose(found.p, expected.pvalue)
    assert_allclose(found.mean, expected.statistic * expected_error(wide))
    assert (found.seeds, found.pairs) == (4, 16)
    model = ols("y ~ C(seed) + dropout + norm + data_train_size", table(answer)).fit()
    assert_allclose(found.mean, model.params["dropout[T.standard(0.5)]"])


def expected_error(wide: pd.DataFrame) -> float:
    return float((wide["standard(0.5)"] - wide["none"]).sem())


def test_holm_is_as_in_the_paper() -> None:
    """Sorted p times n, n − 1, …, made monotone. Holm 1979."""
    answer = analyse(factorial(THREE, range(5), noisy(rng(3))))
    judged = [e for e in answer.effects if e.seeds]
    order = np.argsort([e.p for e in judged])
    stepped = np.array([judged[i].p for i in order]) * np.arange(len(judged), 0, -1)
    expected = np.minimum(1, np.maximum.accumulate(stepped))
    assert_allclose([judged[i].p_holm for i in order], expected)
    assert len(judged) == 15 == 3 * len({e.quantity for e in answer.effects})


def test_interaction_is_that_of_repeated_measures() -> None:
    """Against statsmodels' AnovaRM, three levels by two, the third factor averaged out."""
    factors = {"dropout": ["none", "standard", "spatial"], "norm": ["none", "batch"]}
    factors["data.train_size"] = [100, 200]
    answer = analyse(factorial(factors, range(4), noisy(rng(4))), GAP)
    (found,) = (i for i in answer.interactions if (i.first, i.second) == ("dropout", "norm"))
    expected = AnovaRM(
        table(answer), "y", "seed", within=["dropout", "norm"], aggregate_func="mean"
    ).fit()
    row = expected.anova_table.loc["dropout:norm"]
    assert (row["Num DF"], row["Den DF"]) == (2, 6) and found.degrees == (1, 3)
    assert_allclose([found.f, found.p], [row["F Value"], stats.f.sf(row["F Value"], 1, 3)])
    assert len(answer.interactions) == 3


def test_interaction_of_two_by_two_is_a_paired_t_test() -> None:
    factors = {"dropout": ["none", "standard"], "norm": ["none", "batch"]}
    answer = analyse(factorial(factors, range(5), noisy(rng(14))), GAP)
    (found,) = answer.interactions
    y = table(answer).pivot(index="seed", columns=["dropout", "norm"], values="y")
    change = {norm: y["standard(0.5)", norm] - y["none", norm] for norm in ("none", "batch")}
    expected = stats.ttest_rel(change["batch"], change["none"])
    bounds = expected.confidence_interval()
    (contrast,) = found.contrasts
    assert_allclose([found.p, found.f], [expected.pvalue, expected.statistic**2])
    assert_allclose([contrast.low, contrast.high], [bounds.low, bounds.high])


def test_contrasts_are_differences_of_differences() -> None:
    planted = noisy(rng(5), within=0.01)

    def values(levels: dict[str, Any], seed: int) -> dict[str, Any]:
        extra = 3.0 if levels["dropout"] == "standard" and levels["norm"] == "batch" else 0.0
        return {name: value + extra for name, value in planted(levels, seed).items()}

    factors = {"dropout": ["none", "standard"], "norm": ["none", "batch"]}
    answer = analyse(factorial(factors, range(4), values), GAP)
    ((contrast,),) = (i.contrasts for i in answer.interactions)
    assert (contrast.first_level, contrast.second_level) == ("standard(0.5)", "batch")
    assert contrast.low < 3.0 < contrast.high and abs(contrast.estimate - 3) < 0.1
    within = {(e.factor, e.within): e for e in answer.simple}
    assert within["dropout", "norm=batch"].verdict == "detected"
    assert within["dropout", "norm=none"].verdict == "none"
    said = sentences.of_level([within["dropout", "norm=batch"]])
    assert said.startswith("dropout=standard(0.5) against none, with norm=batch: NLL gap +3.0")
    assert any("depend on each other" in check for check in answer.checks)


def test_no_interaction_is_told_where_there_is_none() -> None:
    factors = {"dropout": ["none", "standard"], "norm": ["none", "batch"]}
    answer = analyse(factorial(factors, range(5), noisy(rng(6))), GAP)
    assert not answer.interactions[0].detected and not answer.simple
    assert "no interaction detected" in sentences.of_interaction(answer.interactions[0])


def test_effect_size_by_hand() -> None:
    """Differences 1, 2, 3: d = 2, times 1 − 3/7."""
    assert_allclose(hedges_g([1.0, 2.0, 3.0]), 2 * 4 / 7)


def test_equal_differences_are_judged_by_their_sign_alone() -> None:
    assert interval([2.0] * 5) == (2.0, 2.0, 2.0, 2.0**-4)
    assert interval([0.0] * 5) == (0.0, 0.0, 0.0, 1.0)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(-3, 3))
@settings(max_examples=150, deadline=None)
def test_nothing_is_claimed_against_the_interval(noise: list[float], shift: float) -> None:
    """Zero in the interval, or fewer than 3 seeds, or p not below 5 %: no claim, in words too."""

    def values(levels: dict[str, Any], seed: int) -> dict[str, Any]:
        return {"gap": 100.0 + (noise[seed] + shift if levels["dropout"] == "standard" else 0.0)}

    runs = factorial({"dropout": ["none", "standard"]}, range(len(noise)), values)
    (found,) = analyse(runs, GAP).effects
    said = sentences.of_level([found])
    if len(noise) < 3:
        assert found.verdict == "too few" and "too few seeds" in said
    elif found.low <= 0 <= found.high:
        assert found.verdict == "none" and "no effect detected on NLL gap" in said
    elif found.verdict == "detected":
        assert found.p_holm < 0.05 and ("narrower" in said) == (found.mean < 0)
    else:
        assert found.p_holm >= 0.05 and "narrower" not in said and "wider" not in said


def test_two_seeds_claim_nothing() -> None:
    effect = {("dropout", "standard"): 100.0}
    runs = factorial({"dropout": ["none", "standard"]}, range(2), noisy(rng(7), effect))
    answer = analyse(runs)
    assert {e.verdict for e in answer.effects} == {"too few"}
    assert any("2 seeds" in check for check in answer.checks)


def test_sentence_of_an_effect() -> None:
    shifts = iter([-0.030, -0.031, -0.032, -0.031])
    runs = factorial(
        {"dropout": ["none", "standard"]},
        range(4),
        lambda levels, seed: {"gap": 0.2 + (next(shifts) if levels["dropout"] != "none" else 0)},
    )
    (said,) = map(sentences.of_level, sentences.by_level(analyse(runs, GAP).effects))
    assert said == (
        "dropout=standard(0.5) against none: NLL gap −0.0310 [−0.0323, −0.0297], narrower; "
        "4 paired seeds"
    )


def test_share_changes_are_percentage_points() -> None:
    error = Quantity("test", YARDSTICKS["error"])
    assert error.change(-0.0012) == "−0.120 pp" and error.show(0.0123) == "1.23 %"
    psnr = Quantity("gap", YARDSTICKS["psnr"])
    assert psnr.change(1.25) == "+1.25 dB" and not psnr.higher_is_better
    assert Quantity("validation", YARDSTICKS["psnr"]).higher_is_better
    assert [signed(v) for v in (0.0, 1234.5, -1e-9, 0.05)] == ["0", "+1234", "−1.00e-09", "+0.0500"]


def test_levels_are_named_and_ordered() -> None:
    factors = {"dropout": ["spatial", "standard", "none"], "optimizer.learning_rate": [0.01, 0.001]}
    answer = analyse(factorial(factors, range(3), noisy(rng(8)), label="dropout=,"), GAP)
    dropout, rate = answer.design.factors
    assert dropout.levels == ("none", "spatial(0.2)", "standard(0.5)")
    assert rate.name == "optimizer.learning_rate" and rate.levels == ("0.001", "0.01")


def test_baseline_is_the_studys_or_the_one_asked_for() -> None:
    study = {"factors": {"dropout": [["standard", "dropout.rate=0.5"], "none"]}}
    runs = factorial({"dropout": ["none", "standard"]}, range(3), noisy(rng(9)), study=study)
    assert analyse(runs, GAP).design.factors[0].baseline == "standard(0.5)"
    asked = Question(on=("gap",), baselines={"dropout": "none"})
    assert analyse(runs, asked).design.factors[0].baseline == "none"
    with pytest.raises(ConfigError, match=r"dropout=l2: there is no such level; dropout has none"):
        analyse(runs, Question(baselines={"dropout": "l2"}))
    with pytest.raises(ConfigError, match="do not differ in norm; what varies is dropout"):
        analyse(runs, Question(baselines={"norm": "none"}))


def test_a_study_says_what_it_is_about() -> None:
    study = {"quantities": ["gap", "test.error"]}
    runs = factorial({"dropout": ["none", "standard"]}, range(3), noisy(rng(17)), study=study)
    assert [q.key for q in analyse(runs).quantities] == ["gap.nll", "test.error"]
    assert [q.key for q in analyse(runs, Question(on=("cost",))).quantities] == ["cost.nll"]
    assert len(analyse(runs, Question(metric="error")).quantities) == 5


def test_unknown_quantities_name_the_known_ones() -> None:
    runs = factorial({"dropout": ["none", "standard"]}, range(3), noisy(rng(10)))
    with pytest.raises(ConfigError, match="there are memorisation and gap, train"):
        analyse(runs, Question(on=("gain",)))
    with pytest.raises(ConfigError, match="--metric psnr: these runs have nll, error"):
        analyse(runs, Question(metric="psnr"))


def test_memorisation_is_told_where_targets_are_wrong() -> None:
    runs = factorial({"dropout": ["none", "standard"]}, range(4), noisy(rng(16)))
    assert all(q.key != "memorisation" for q in analyse(runs).quantities)
    for number, made in enumerate(runs.records):
        made.config["data"]["label_noise"] = 0.4
        learned = 0.6 if made.summary["options"]["dropout"] == "none" else 0.2
        made.summary["last"]["memorisation"] = learned + 0.001 * number**2
    answer = analyse(runs)
    found = only(answer, "dropout", "memorisation")
    assert -0.4 < found.mean < -0.38 and found.verdict == "detected"
    assert found.quantity.change(found.mean).endswith(" pp")
    assert "less learned by heart" in sentences.of_effect(found)
    assert any("in the probe too" in check for check in answer.checks)


def test_nuisance_levels_are_chosen_on_validation() -> None:
    """Each dropout gets its own best learning rate, though the other is better on test."""
    best = {"none": 0.01, "standard": 0.001}

    def values(levels: dict[str, Any], seed: int) -> dict[str, Any]:
        right = levels["optimizer.learning_rate"] == best[levels["dropout"]]
        return {"validation": 1.0 if right else 2.0, "test": 7.0 if right else 0.0, "gap": seed}

    factors = {"dropout": ["none", "standard"], "optimizer.learning_rate": [0.001, 0.01]}
    study = {"nuisance": {"optimizer.learning_rate": [0.001, 0.01]}}
    runs = factorial(factors, range(3), values, study=study)
    answer = analyse(runs)
    assert answer.chosen and answer.chosen.levels == {
        ("none",): ("0.01",),
        ("standard(0.5)",): ("0.001",),
    }
    assert answer.design.names == ("dropout",) and len(answer.design.rows) == 6
    assert len(answer.every_run) == 12
    assert {row.record.summary["test"]["last"]["nll"] for row in answer.design.rows} == {7.0}
    assert any("chosen on validation" in check for check in answer.checks)
    runs = factorial(factors, range(3), values)
    asked = analyse(runs, Question(nuisance=("optimizer.learning_rate",)))
    assert asked.chosen and asked.chosen.levels == answer.chosen.levels


def test_nuisance_level_that_lost_a_seed_is_not_chosen() -> None:
    """A lucky few of diverging runs do not win."""
    factors = {"dropout": ["none", "standard"], "optimizer.learning_rate": [0.001, 0.01]}

    def values(levels: dict[str, Any], seed: int) -> dict[str, Any]:
        return {"validation": 1.0 if levels["optimizer.learning_rate"] == 0.01 else 2.0}

    runs = factorial(factors, range(3), values)
    runs.records = [r for r in runs.records if not (r.summary["seed"] == 2 and rate(r) == 0.01)]
    answer = analyse(runs, Question(nuisance=("optimizer.learning_rate",)))
    assert answer.chosen and set(answer.chosen.levels.values()) == {("0.001",)}


def rate(made: Any) -> float:
    return made.config["optimizer"]["learning_rate"]


def test_missing_cells_and_unpaired_levels_are_told() -> None:
    factors = {"dropout": ["none", "standard"], "norm": ["none", "batch"]}
    runs = factorial(factors, range(4), noisy(rng(11)))
    runs.records = [
        r
        for r in runs.records
        if not (
            r.summary["options"]["norm"] == "batch" and r.summary["options"]["dropout"] != "none"
        )
    ]
    runs.records.pop()
    runs.records.append(record({"dropout": "spatial", "norm": "none"}, 9, {}))
    said = "\n".join(analyse(runs, GAP).checks)
    assert "combinations of levels have no run" in said and "unbalanced" in said
    assert "dropout=spatial(0.2) cannot be compared with none: no two runs" in said


def test_diverged_and_failed_runs_are_told() -> None:
    runs = factorial({"dropout": ["none", "standard"]}, range(3), noisy(rng(12)))
    for state in ("diverged", "failed", "running"):
        runs.unfinished.append(record({}, 0, {}, state=state))
    said = "\n".join(analyse(runs, GAP).checks)
    assert "1 run diverged and is left out" in said
    assert "2 runs did not finish and are left out: 1 failed, 1 running" in said


@pytest.mark.parametrize(
    ("shifts", "edge"), [([1.0, 1.1, 0.9, 1.2, 0.8], False), ([0.5, 0.6, 0.1, 0.05, 0.4], True)]
)
def test_effect_that_one_seed_decides_is_told(shifts: list[float], edge: bool) -> None:

    def values(levels: dict[str, Any], seed: int) -> dict[str, Any]:
        return {"gap": shifts[seed] if levels["dropout"] != "none" else 0.0}

    answer = analyse(factorial({"dropout": ["none", "standard"]}, range(5), values), GAP)
    assert answer.effects[0].verdict == "detected"
    said = [check for check in answer.checks if "is on the edge" in check]
    assert bool(said) == edge and (not edge or "without seed 0 or 1 or 4 its" in said[0])


def test_different_environments_are_told(tmp_path: Path) -> None:
    runs = factorial({"dropout": ["none", "standard"]}, range(3), noisy(rng(15)))
    for number, made in enumerate(runs.records):
        made.path = tmp_path / str(number)
        made.path.mkdir()
        environment = {"device": "cpu", "packages": {"keras": f"3.{number // 3}"}}
        (made.path / "environment.json").write_text(json.dumps(environment))
    said = [check for check in analyse(runs, GAP).checks if "runs differ in" in check]
    assert len(said) == 1 and "the version of keras (3.0; 3.1)" in said[0]


def test_runs_without_an_onset_are_counted() -> None:
    runs = factorial(
        {"dropout": ["none", "standard"]},
        range(3),
        lambda levels, seed: {"onset": 5 if levels["dropout"] == "none" else None},
    )
    answer = analyse(runs, Question(on=("gap", "onset")))
    assert {e.quantity.part for e in answer.effects} == {"gap"}
    assert any("3 of 6 runs had no onset of overfitting in NLL" in check for check in answer.checks)


def test_front_is_what_no_other_is_better_than() -> None:
    """Against the definition, by comparing every pair; with ties."""
    from kexp.analysis.tradeoff import _front

    for seed in range(20):
        means = rng(seed).integers(0, 6, size=(12, 2)).astype(float)
        for sign in (1, -1):
            costs = means * [sign, 1]
            beaten = [any(np.all(b <= a) and np.any(b < a) for b in costs) for a in costs]
            assert (_front(means, sign) == ~np.array(beaten)).all()


def test_tradeoff_names_the_front() -> None:
    worth = {"none": (1.0, 3.0), "standard": (2.0, 1.0), "spatial": (3.0, 2.0)}
    runs = factorial(
        {"dropout": list(worth)},
        range(3),
        lambda levels, seed: dict(
            zip(("test", "gap"), (v + 0.01 * seed for v in worth[levels["dropout"]]), strict=True)
        ),
    )
    answer = analyse(runs)
    front = [answer.design.label(p.cell) for p in answer.points if p.on_front]
    assert front == ["dropout=none", "dropout=standard(0.5)"]
    assert [p.steady for p in answer.points] == [1.0, 1.0, 0.0]


def test_noise_is_the_pooled_deviation_over_seeds() -> None:
    answer = analyse(factorial(THREE, range(5), noisy(rng(13))), GAP)
    (found,) = answer.noise
    groups = table(answer).groupby(["dropout", "norm", "data_train_size"]).y
    assert_allclose(found.deviation, np.sqrt(groups.var().mean()))
    assert (found.configurations, found.seeds) == (8, 5)
    assert sentences.of_noise(found).startswith("the seed alone moves NLL gap by ")


def test_missing_combination_makes_no_interaction() -> None:
    """Three additive factors, one combination not run: the third's effect must not leak."""
    effect = {("data.train_size", 200): 5.0, ("norm", "batch"): 1.0}
    runs = factorial(THREE, range(5), noisy(rng(20), effect, within=0.01))
    lost = ("standard", "batch", 200)
    runs.records = [r for r in runs.records if levels_of(r) != lost]
    found = {(i.first, i.second): i for i in analyse(runs, GAP).interactions}
    assert not any(i.detected for i in found.values())
    kept = found["dropout", "norm"]
    assert abs(kept.contrasts[0].estimate) < 0.1 and kept.seeds == 5


def levels_of(made: Any) -> tuple[Any, ...]:
    options, data = made.summary["options"], made.config["data"]
    return options["dropout"], options["norm"], data["train_size"]


def test_tradeoff_compares_the_same_seeds() -> None:
    """Better on each shared seed is better, though it has the two easy seeds not."""
    easy = {3: -5.0, 4: -5.0}

    def values(levels: dict[str, Any], seed: int) -> dict[str, Any]:
        own = easy.get(seed, 0.0) + (0.5 if levels["dropout"] == "none" else 0.0)
        return {"gap": 10 + own + 0.01 * seed, "test": 10 + own}

    runs = factorial({"dropout": ["none", "standard"]}, range(5), values)
    runs.records = [
        r for r in runs.records if levels_of_dropout(r) == "none" or r.summary["seed"] < 3
    ]
    points = analyse(runs).points
    assert [(p.cell, p.on_front) for p in points] == [
        (("standard(0.5)",), True),
        (("none",), False),
    ]
    assert {p.seeds for p in points} == {3}


def levels_of_dropout(made: Any) -> str:
    return made.summary["options"]["dropout"]


def test_two_seeds_have_no_front() -> None:
    assert not analyse(
        factorial({"dropout": ["none", "standard"]}, range(2), noisy(rng(21)))
    ).points


def test_runs_of_one_seed_and_combination_count_as_one() -> None:
    runs = factorial({"dropout": ["none", "standard"]}, range(3), noisy(rng(22)))
    before = analyse(runs, GAP).effects[0].mean
    runs.records.append(runs.records[0])
    answer = analyse(runs, GAP)
    assert answer.effects[0].mean == pytest.approx(before) and answer.effects[0].pairs == 3
    assert any("2 runs of dropout=none share the seed 0: their mean" in c for c in answer.checks)


def test_nearly_equal_numbers_are_different_levels() -> None:
    factors = {"optimizer.learning_rate": [0.001, 0.00100000004]}
    answer = analyse(factorial(factors, range(3), noisy(rng(23))), GAP)
    assert answer.design.factors[0].levels == ("0.001", "0.00100000004")


def test_gap_below_zero_is_not_called_narrow() -> None:
    """From −1 to −4 the distance between train and validation grows."""
    runs = factorial(
        {"dropout": ["none", "standard"]},
        range(4),
        lambda levels, seed: {
            "gap": (-1.0 if levels["dropout"] == "none" else -4.0)
            + 0.01 * seed**2 * (levels["dropout"] == "none")
        },
    )
    said = sentences.of_level(list(analyse(runs, GAP).effects))
    assert ", lower;" in said and "narrower" not in said


def test_wrong_targets_leave_no_trade_off_with_the_gap() -> None:
    runs = factorial({"dropout": ["none", "standard"]}, range(4), noisy(rng(24)))
    assert analyse(runs).points
    for made in runs.records:
        made.config["data"]["label_noise"] = 0.4
    assert not analyse(runs).points


def test_nuisance_levels_are_compared_on_shared_seeds() -> None:
    """0.01 is better on every seed that both have; each lacks another seed."""

    def values(levels: dict[str, Any], seed: int) -> dict[str, Any]:
        better = levels["optimizer.learning_rate"] == 0.01
        return {"validation": (0.0 if better else 1.0) + (10.0 if seed == 3 else 0.0)}

    factors = {"dropout": ["none", "standard"], "optimizer.learning_rate": [0.001, 0.01]}
    runs = factorial(factors, range(4), values)
    runs.records = [r for r in runs.records if (rate(r), r.summary["seed"]) not in MISSED]
    answer = analyse(runs, Question(nuisance=("optimizer.learning_rate",)))
    assert answer.chosen and set(answer.chosen.levels.values()) == {("0.01",)}
    assert any("chosen at the edge of what was tried" in check for check in answer.checks)


MISSED = ((0.01, 0), (0.001, 3))


def test_planned_nuisance_is_never_part_of_another_level() -> None:
    """Each optimizer has rates of its own; they stay nuisance."""
    study = {"nuisance": {"optimizer.learning_rate": [0.001, 0.01, 0.1]}}
    made = []
    for name, rates in (("adam", (0.001, 0.01)), ("sgd", (0.01, 0.1))):
        for seed in range(3):
            for value in rates:
                levels = {"optimizer": name, "optimizer.learning_rate": value}
                made.append(record(levels, seed, {"validation": value}, study=study))
    answer = analyse(Comparable("made up", made), GAP)
    assert answer.design.names == ("optimizer",)
    assert answer.chosen and set(answer.chosen.levels.values()) == {("0.001",), ("0.01",)}


def test_companion_of_a_level_is_no_factor() -> None:
    study = {"factors": {"norm": ["none", ["batch", "optimizer.learning_rate=0.01"]]}}
    made = []
    for seed in range(3):
        made.append(record({"norm": "none"}, seed, {"gap": 1.0 + 0.1 * seed**2}, study=study))
        levels = {"norm": "batch", "optimizer.learning_rate": 0.01}
        made.append(record(levels, seed, {"gap": 2.0}, study=study))
    answer = analyse(Comparable("made up", made), GAP)
    assert answer.design.names == ("norm",) and answer.effects[0].seeds == 3


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
