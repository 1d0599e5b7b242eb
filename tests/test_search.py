"""Searching with Optuna: the space, samplers, pruning, resuming, and what is said at the end.

Most tests replace the training by a curve that is worked out (`pretended`), so that the best
configuration is known and a run takes no time; the others train.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from kexp import api
from kexp.api import Session
from kexp.errors import ConfigError, Diverged, Held, Interrupted, KexpError, StoreError
from kexp.progress import Reporter
from kexp.recording import recorded
from kexp.store import RunFolder, atomic
from kexp.store.reading import read_history
from kexp.sweeps.search.space import Interval, Levels, Space, Steps, space_of
from tests.conftest import read, tiny

optuna = pytest.importorskip("optuna")

from optuna.trial import TrialState  # noqa: E402

ROOT = Path(__file__).parent.parent
RATE = "optimizer.learning_rate"
RATES = f"{RATE}=tag(log,interval(1e-4,1))"
SEARCH = ("hydra/sweeper=optuna", "hydra/launcher=basic")


def pretended(e: Any, reporter: Reporter, force: bool = False) -> dict[str, Any]:
    """A run without training: NLL 1 + (log₁₀ rate + 2)² + 1/epoch, 0.5 more with dropout.

    A rate above 1.5 diverges. `KEXP_TEST_PAUSE` seconds pass in each epoch; each start of a run
    is written to `starts` in its folder.
    """
    folder = RunFolder(e.folder)
    epochs, rate = e.training.epochs, e.optimizer.learning_rate
    with folder.locked():
        if folder.state().get("state") == "finished":
            return read(e.folder, "summary.json")
        with open(e.folder / "starts", "a") as starts:
            print(os.getpid(), file=starts)
        done = len(read_history(folder.history)[0])
        folder.rewind(done)
        with recorded(folder, e, reporter) as logged, logged.running(epochs, "nll"):
            for epoch in range(done + 1, epochs + 1):
                time.sleep(float(os.environ.get("KEXP_TEST_PAUSE", "0")))
                if rate > 1.5:
                    raise Diverged(f"the objective became nan in epoch {epoch}")
                record = _record(e, epoch)
                folder.append(record)
                logged.epoch(record, epochs)
            _conclude(folder, e)
    return read(e.folder, "summary.json")


def _record(e: Any, epoch: int) -> dict[str, Any]:
    value = 1 + (math.log10(e.optimizer.learning_rate) + 2) ** 2 + 1 / epoch + 0.01 * e.seed
    value += 0.5 if e.options["dropout"] == "standard" else 0.0
    split = dict.fromkeys(("fit", "objective", "nll", "error", "brier", "ece"), value)
    gap = {name: 1 / value for name in split if name != "objective"}
    return {"epoch": epoch, "validation": split, "probe": split, "gap": gap}


def _conclude(folder: RunFolder, e: Any) -> None:
    last = read_history(folder.history)[0][-1]
    none = dict.fromkeys(last["gap"])
    summary = {"schema": 1, "identity": e.identity, "monitor": "nll", "epochs": last["epoch"]}
    summary |= {"best_epoch": last["epoch"], "last": last, "best": last, "onset": none}
    summary |= {"test": {"last": last["validation"], "best": last["validation"]}, "config": {}}
    atomic.write_json(folder.summary, {**summary, "cost": none, "verdict": "as it was meant"})


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are not trained, see `pretended`, and no launcher is in between."""

    def at_once(_: Any, work: Any, numbers: Iterator[int], *__: Any) -> Iterator[Any]:
        work.reporter = Reporter()
        return map(work.train, numbers)

    monkeypatch.setattr(api, "run_experiment", pretended)
    monkeypatch.setattr("kexp.sweeps.launching.Launching.stream", at_once)


class Said(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep it."""
        self.lines += text.split("\n")

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines)


def setting(**settings: Any) -> list[str]:
    """Settings of the sweeper as overrides."""
    return [f"hydra.sweeper.{name}={value}" for name, value in settings.items()]


def search(
    folder: Path, *overrides: str, how: dict[str, Any] | None = None, **settings: Any
) -> Any:
    """A search in this process: what became of it, and what was said."""
    said = Said()
    chosen = [*tiny("mnist_convnet", folder, *SEARCH, *overrides), *setting(**settings)]
    done = Session(reporter=said).sweep(chosen, **(how or {}))
    return done, said.text


def studies(folder: Path, storage: str | None = None) -> list[Any]:
    """The Optuna studies of a test's folder."""
    storage = storage or f"sqlite:///{folder / 'results' / 'mnist_convnet' / 'search.db'}"
    names = optuna.study.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def trials(folder: Path) -> list[Any]:
    """The trials of the only study, in order."""
    (study,) = studies(folder)
    return study.trials


def starts(folder: Path) -> dict[str, int]:
    """How often each run was begun."""
    found = (folder / "results").rglob("starts")
    return {file.parent.name: len(file.read_text().split()) for file in found}


def space(*overrides: str) -> Space:
    """The space that overrides describe."""
    return space_of(Session().composer, overrides)


# The space


@pytest.mark.parametrize(
    ("typed", "dimension"),
    [
        (
            "dropout=none,standard",
            Levels("dropout", {"none": ("dropout=none",), "standard": ("dropout=standard",)}),
        ),
        (
            "training.epochs=choice(3,5)",
            Levels("training.epochs", {"3": ("training.epochs=3",), "5": ("training.epochs=5",)}),
        ),
        ("training.epochs=range(1,10,2)", Steps("training.epochs", (1, 3, 5, 7, 9))),
        ("training.epochs=range(3,0,-1)", Steps("training.epochs", (1, 2, 3))),
        ("dropout.rate=range(0.1,0.45,0.1)", Steps("dropout.rate", (0.1, 0.2, 0.1 + 2 * 0.1, 0.4))),
        (f"{RATE}=interval(1e-5,1e-1)", Interval(RATE, 1e-5, 0.1)),
        (f"{RATE}=tag(log, interval(1e-5,1e-1))", Interval(RATE, 1e-5, 0.1, log=True)),
        ("training.epochs=int(interval(1,10))", Interval("training.epochs", 1, 10, whole=True)),
        (
            "training.epochs=tag(log,int(interval(1,10)))",
            Interval("training.epochs", 1, 10, True, True),
        ),
        ("dropout.rate=float(range(0,1))", Steps("dropout.rate", (0.0,))),
        (
            "model.filters=[8,8],[16,16]",
            Levels(
                "model.filters",
                {"[8,8]": ("model.filters=[8,8]",), "[16,16]": ("model.filters=[16,16]",)},
            ),
        ),
    ],
)
def test_each_way_of_writing_a_dimension(typed: str, dimension: Any) -> None:
    assert space(typed).dimensions == (dimension,)


def test_a_glob_is_the_options_that_fit_the_task() -> None:
    (dimension,) = space("task=denoise", "loss=glob(ms*)").dimensions
    assert dimension.values == ["ms_ssim", "mse"]


def test_the_studys_factors_are_dimensions_and_its_seeds_are_not(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text(
        "# @package _global_\nstudy:\n  name: mine\n  seeds: 2\n  factors:\n"
        "    regularizer: [none, [l2, regularizer.strength=0.01]]\n    dropout: [none, standard]\n"
        f"  nuisance:\n    {RATE}: [0.001, 0.01]\n"
    )
    found = space_of(Session(tmp_path).composer, ["study=mine", "dropout=spatial"])
    assert [d.key for d in found.dimensions] == ["regularizer", RATE]
    chosen = {"regularizer": "l2 regularizer.strength=0.01", RATE: "0.01"}
    assert found.runs(chosen) == [
        [
            "study=mine",
            "dropout=spatial",
            "regularizer=l2",
            "regularizer.strength=0.01",
            f"{RATE}=0.01",
            f"seed={seed}",
        ]
        for seed in (0, 1)
    ]


def test_what_is_suggested_can_be_said_again_as_an_override() -> None:
    """Every value that Optuna may draw makes an override that means the same value."""
    found = space("training.epochs=range(1,10,2)", RATES, "dropout.rate=range(0.1,0.45,0.1)")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        drawn = study.ask(found.distributions()).params
        read_again = [OverridesParser.create().parse_override(o) for o in found.overrides(drawn)]
        assert {o.key_or_group: pytest.approx(o.value()) for o in read_again} == drawn


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["data=digits"], "there is nothing to search"),
        (["seed=0,1"], "there is nothing to search"),
        ([f"{RATE}=interval(1,1)"], "first end of an interval must be below the second"),
        ([f"{RATE}=tag(log,interval(0,1))"], "with log, both ends must be > 0, got 0"),
        ([f"{RATE}=tag(logarithm,interval(0.1,1))"], "the only tag is log, of an interval"),
        (["training.epochs=tag(log,range(1,9))"], "the only tag is log, of an interval"),
        ([f"{RATE}=interval(0.1,inf)"], "must be finite numbers"),
        (["training.epochs=range(1,1)"], "the range is empty"),
        (["training.epochs=range(1,9,0)"], "the step of a range must not be 0"),
        (["training.epochs=range(1,10000000000)"], "more than 10,000; write an interval"),
        (
            ["seed=interval(0,3)", "dropout=none,standard"],
            "seeds are listed, as in 'seed=range(3)'",
        ),
        (["paths.results=a,b"], "changes nothing about a run"),
    ],
)
def test_a_dimension_that_makes_no_sense_is_told_in_words(typed: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as told:
        space(*typed)
    assert words in str(told.value)


# Faults before the first trial


@pytest.mark.parametrize(
    ("overrides", "settings", "words"),
    [
        ([f"{RATE}=interval(-1,1)"], {}, f"{RATE} must be a number > 0, got -1.0"),
        (
            ["dropout.rate=interval(0.1,1.5)"],
            {},
            "dropout.rate must be a number ≥ 0 and < 1, got 1.5",
        ),
        (["loss=crossentropy,mse"], {}, "loss=mse is for regression"),
        (["dropout=none,standart", RATES], {}, "dropout=standart: no such option"),
        (["training.epochs=interval(2,4)"], {}, "training.epochs=int(interval(2,4))"),
        ([RATES, "name=mine"], {}, "several runs would be written to"),
        ([RATES], {"sampler": "grid"}, "has no end of them; list values"),
        (
            ["dropout=none,standard", RATES],
            {"sampler": "cmaes"},
            "dropout: none, standard is a choice",
        ),
        ([RATES], {"sampler": "cmaes"}, "two intervals or ranges at least"),
        (
            [RATES, "dropout.rate=interval(0,0.5)"],
            {"sampler": "cmaes", "objective": "[gap,test]"},
            "has one objective",
        ),
        (
            [RATES],
            {"sampler": "bayes"},
            "hydra.sweeper.sampler must be one of tpe, random, grid, cmaes",
        ),
        (
            [RATES],
            {"n_trials": 0},
            "hydra.sweeper.n_trials must be a whole number ≥ 1 or null, got 0",
        ),
        ([RATES], {"trials": 9}, "did you mean hydra.sweeper.n_trials"),
        ([RATES], {"min_epochs": 2}, "means nothing to pruner=none; asha and hyperband have it"),
        ([RATES], {"pruner": "median", "objective": "[best,gap]"}, "needs one objective"),
        (
            [RATES],
            {"pruner": "median", "objective": "test.error"},
            "test.error is known only at the end",
        ),
        ([RATES, "seed=0,1"], {"pruner": "asha"}, "needs one seed"),
        ([RATES], {"objective": "psnr"}, "hydra.sweeper.objective=psnr: nothing that a run has"),
        ([RATES], {"objective": "test.psnr"}, "nothing that a run has"),
        ([RATES], {"objective": "[]"}, "must name one quantity"),
        (
            [RATES],
            {"objective": "best,gap"},
            "several are a list: 'hydra.sweeper.objective=[best,gap]'",
        ),
        ([RATES], {"objective": "memorisation"}, "set data.label_noise or data.outliers"),
        (
            ["loss=crossentropy,focal"],
            {"objective": "validation.fit"},
            "choose a yardstick, as validation.nll",
        ),
        ([RATES], {"batch": 2, "launcher": "local"}, "set hydra.launcher.n_jobs"),
        (
            ["training.epochs=range(1,9999)", "data.train_size=range(1,99)"],
            {"sampler": "grid"},
            "combinations, more than 100,000",
        ),
        ([RATES], {"storage": "search.db"}, "write journal:PATH, or a URL"),
        ([RATES], {"n_trials": 1001}, "1,001 runs, more than 1,000; add --yes"),
    ],
)
def test_f12_a_fault_is_told_before_the_first_trial(
    tmp_path: Path, overrides: list[str], settings: dict[str, Any], words: str
) -> None:
    settings = dict(settings)
    launcher = settings.pop("launcher", "basic")
    with pytest.raises(ConfigError) as told:
        search(tmp_path, *overrides, f"hydra/launcher={launcher}", **settings)
    assert words in str(told.value)
    assert not (tmp_path / "results").exists()


def test_f13_the_size_is_said_and_yes_lifts_the_limit(tmp_path: Path) -> None:
    how = {"limit": None, "dry_run": True}
    _, said = search(tmp_path, RATES, "seed=range(3)", how=how, n_trials=400)
    assert "search of 400 trials of 3 seeds (1,200 runs)" in said
    assert not (tmp_path / "results").exists()


def test_without_optuna_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    hidden = {"optuna", "cmaes"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n in hidden else found(n, *a)
    )
    with pytest.raises(ConfigError, match=r"pip install 'kexp\[optuna\]'"):
        search(tmp_path, RATES)


def test_force_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--force is for sweeps"):
        search(tmp_path, RATES, how={"force": True})


# Samplers


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_sampler_comes_close_to_the_best(tmp_path: Path, pretend: None, sampler: str) -> None:
    """The best rate is 0.01; another dimension that does nothing is there for cmaes."""
    other = "data.train_size=int(interval(50,64))"
    done, said = search(tmp_path, RATES, other, sampler=sampler, n_trials=20)
    (study,) = studies(tmp_path)
    assert (done.finished, done.failures) == (20, [])
    assert study.best_trial.params[RATE] == pytest.approx(0.01, rel=0.9)
    assert f"best: trial {study.best_trial.number}, NLL best validation" in said
    assert all(float(f"{t.params[RATE]:.4g}") == t.params[RATE] for t in study.trials)


def test_a_grid_tries_every_combination_once_and_finds_the_best(
    tmp_path: Path, pretend: None
) -> None:
    overrides = ("dropout=none,standard", f"{RATE}=0.001,0.01,0.1")
    done, said = search(tmp_path, *overrides, sampler="grid")
    assert "search of 6 trials for NLL best validation (lower is better)" in said
    assert Counter(starts(tmp_path).values()) == {1: 6} and done.finished == 6
    (study,) = studies(tmp_path)
    assert study.best_trial.params == {"dropout": "none", RATE: "0.01"}
    again, said = search(tmp_path, *overrides, sampler="grid")
    assert again.finished == 6 and len(trials(tmp_path)) == 6
    assert Counter(starts(tmp_path).values()) == {1: 6}


def test_the_same_search_draws_the_same_and_another_seed_does_not(
    tmp_path: Path, pretend: None
) -> None:
    drawn = []
    for number, seed in enumerate((0, 0, 1)):
        search(tmp_path / str(number), RATES, n_trials=5, seed=seed, sampler="random")
        drawn.append([t.params for t in trials(tmp_path / str(number))])
    assert drawn[0] == drawn[1] != drawn[2]


def test_f47_a_search_in_two_parts_is_the_search_in_one(tmp_path: Path, pretend: None) -> None:
    search(tmp_path / "one", RATES, n_trials=12)
    search(tmp_path / "two", RATES, n_trials=6)
    _, said = search(tmp_path / "two", RATES, n_trials=12)
    one, two = trials(tmp_path / "one"), trials(tmp_path / "two")
    assert [t.params for t in one] == [t.params for t in two]
    assert "search of 12 trials: 12 finished" in said


# Values


def test_a_value_is_the_mean_over_the_seeds(tmp_path: Path, pretend: None) -> None:
    _, said = search(tmp_path, f"{RATE}=0.01,0.1", "seed=0,1,5", sampler="grid")
    best = min(trials(tmp_path), key=lambda t: t.value)
    assert best.value == pytest.approx(1 + 1 / 2 + 0.01 * (0 + 1 + 5) / 3 + 0.5)
    assert len(best.user_attrs["runs"]) == 3
    assert "mean over 3 seeds" in said and "seed=0,1,5" in said and "'seed=range(6,11)'" in said


def test_several_objectives_give_a_front(tmp_path: Path, pretend: None) -> None:
    """The gap is 1/NLL, so that no configuration beats another."""
    rates = f"{RATE}=0.01,0.03,0.1"
    _, said = search(tmp_path, rates, sampler="grid", objective="[validation,gap.error]")
    (study,) = studies(tmp_path)
    assert len(study.best_trials) == 3
    assert "no other trial beats these 3 in everything" in said
    assert said.count("    kexp run ") == 3


def test_higher_is_better_where_the_yardstick_says_so(folder: Path) -> None:
    given = tiny("denoise", folder, *SEARCH, f"{RATE}=0.1,0.01", *setting(objective="test.psnr"))
    said = Said()
    Session(reporter=said).sweep(given, dry_run=True)
    assert "test PSNR (higher is better)" in said.text


def test_a_test_value_that_was_chosen_by_is_called_no_estimate(
    tmp_path: Path, pretend: None
) -> None:
    _, said = search(tmp_path, RATES, n_trials=2, objective="test.error")
    assert "no honest estimate is left" in said


def test_no_onset_counts_as_the_epochs_trained(tmp_path: Path, pretend: None) -> None:
    search(tmp_path, RATES, n_trials=1, objective="onset")
    assert trials(tmp_path)[0].value == 2


def test_the_best_is_a_command_that_is_already_done(tmp_path: Path, pretend: None) -> None:
    import shlex

    _, said = search(tmp_path, RATES, "dropout=none,standard", n_trials=3)
    command = next(line for line in said.split("\n") if line.startswith("  kexp run "))
    e = Session().experiment(shlex.split(command)[2:])
    assert read(e.folder, "status.json")["state"] == "finished"


# What is logged is not trained again


def test_f48_runs_of_an_earlier_sweep_are_reused(tmp_path: Path, pretend: None) -> None:
    given = tiny("mnist_convnet", tmp_path, "hydra/launcher=basic", f"{RATE}=0.01,0.1")
    Session().sweep(given)
    done, said = search(tmp_path, f"{RATE}=0.001,0.01,0.1", sampler="grid")
    assert Counter(starts(tmp_path).values()) == {1: 3}
    assert done.finished == 3
    assert "2 of them logged before" in said


def test_a_configuration_that_comes_twice_is_trained_once(tmp_path: Path, pretend: None) -> None:
    done, said = search(tmp_path, "dropout=none,standard", n_trials=8)
    assert "there are only 2 configurations; hydra.sweeper.sampler=grid tries each once" in said
    assert Counter(starts(tmp_path).values()) == {1: 2}
    assert len(trials(tmp_path)) == 8 and len(done.folders) == 2


def test_another_search_in_the_same_folder_is_another_study(tmp_path: Path, pretend: None) -> None:
    search(tmp_path, RATES, n_trials=2)
    search(tmp_path, RATES, n_trials=2, objective="gap")
    search(tmp_path, RATES, "dropout=none", n_trials=2)
    search(tmp_path, RATES, "seed=1", n_trials=2)
    assert [len(study.trials) for study in studies(tmp_path)] == [2, 2, 2, 2]
    search(tmp_path, RATES, n_trials=1, name="mine")
    with pytest.raises(ConfigError, match="has a study mine of another search"):
        search(tmp_path, RATES, n_trials=1, name="mine", objective="gap")


# Failures


def test_f33_f58_a_trial_that_fails_does_not_end_the_search(tmp_path: Path, pretend: None) -> None:
    rates = f"{RATE}=0.01,2,0.1"
    done, said = search(tmp_path, rates, sampler="grid")
    assert done.finished == 2
    ((label, reason),) = done.failures
    assert f"{RATE}=2" in label and "diverged: the objective became nan" in reason
    assert Counter(t.state for t in trials(tmp_path)) == {
        TrialState.COMPLETE: 2,
        TrialState.FAIL: 1,
    }
    again, _ = search(tmp_path, rates, sampler="grid")
    assert sum(starts(tmp_path).values()) == 3 and again.failures == done.failures
    once_more, said = search(tmp_path, rates, how={"retry_failed": True}, sampler="grid")
    assert sum(starts(tmp_path).values()) == 4 and len(once_more.failures) == 1
    assert "--retry-failed: 1 trial to try again" in said and "search of 3 trials" in said


def test_a_trial_tried_again_with_success_counts_once(
    tmp_path: Path, pretend: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KexpError("the machine was tired")

    with monkeypatch.context() as patch:
        patch.setattr(api, "run_experiment", broken)
        done, _ = search(tmp_path, RATES, n_trials=3)
        assert len(done.failures) == 3 and done.finished == 0
    done, said = search(tmp_path, RATES, n_trials=3, how={"retry_failed": True})
    assert (done.finished, done.failures) == (3, [])
    assert "search of 3 trials: 3 finished" in said


def test_a_combination_at_fault_costs_a_trial_not_the_search(
    tmp_path: Path, pretend: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are too many combinations to check, one may show only when it is drawn."""
    monkeypatch.setattr("kexp.sweeps.search.space.MOST_CHECKED", 1)
    sizes = "data.validation_size=800,40", "data.test_size=40,10"
    session_experiment = Session.experiment

    def picky(session: Session, overrides: Sequence[str]) -> Any:
        if {"data.validation_size=40", "data.test_size=10"} <= set(overrides):
            raise ConfigError("these two do not go together")
        return session_experiment(session, overrides)

    monkeypatch.setattr(Session, "experiment", picky)
    done, said = search(tmp_path, *sizes, sampler="grid")
    assert done.finished == 3 and "these two do not go together" in done.failures[0][1]


# Pruning


@pytest.mark.parametrize(
    ("pruner", "settings"),
    [
        ("median", {"startup_trials": 2, "warmup_epochs": 2}),
        ("asha", {"min_epochs": 2, "reduction": 3}),
        ("hyperband", {"min_epochs": 2}),
    ],
)
def test_pruning_saves_epochs_and_keeps_the_best(
    tmp_path: Path, pretend: None, pruner: str, settings: dict[str, Any]
) -> None:
    rates = f"{RATE}=0.01,0.011,0.2,0.3,0.4,0.5,0.6,0.7"
    given = (rates, "training.epochs=12")
    done, said = search(tmp_path, *given, sampler="grid", pruner=pruner, **settings)
    states = Counter(t.state for t in trials(tmp_path))
    assert states[TrialState.PRUNED] >= 3 and states[TrialState.FAIL] == 0
    assert done.failures == []
    trained = sum(len(read_history(f / "history.jsonl")[0]) for f in done.folders)
    assert f"pruning saved {8 * 12 - trained} of 96 epochs" in said
    pruned = [f for f in done.folders if read(f, "status.json")["state"] == "pruned"]
    assert len(pruned) == states[TrialState.PRUNED]
    assert f"stopped by {pruner} after epoch" in read(pruned[0], "status.json")["reason"]
    assert "stopped by" in (pruned[0] / "log.txt").read_text()
    again, _ = search(tmp_path, *given, sampler="grid", pruner=pruner, **settings)
    assert Counter(starts(tmp_path).values()) == {1: 8} and again.folders == done.folders


def test_without_a_pruner_a_pruned_run_is_trained_to_its_end(tmp_path: Path, pretend: None) -> None:
    given = (f"{RATE}=0.01,0.3,0.5,0.7", "training.epochs=9")
    search(tmp_path, *given, sampler="grid", pruner="asha", name="first")
    done, _ = search(tmp_path, *given, sampler="grid", name="second")
    assert done.finished == 4
    assert {len(read_history(f / "history.jsonl")[0]) for f in done.folders} == {9}


def test_epochs_of_an_earlier_process_are_reported_first(tmp_path: Path) -> None:
    """A run that goes on after epoch 3 reports those three too, from its history."""
    from kexp.analysis.quantities import Quantity
    from kexp.measures import YARDSTICKS
    from kexp.sweeps.search.methods import search_settings
    from kexp.sweeps.search.trial import Trial

    url = f"sqlite:///{tmp_path / 'search.db'}"
    study = optuna.create_study(storage=url, study_name="s")
    study.ask()
    folder = RunFolder(tmp_path)
    folder.rewind(0)
    records = [
        {"epoch": i, "validation": {"nll": value}} for i, value in enumerate((3, 1, 2, 4), 1)
    ]
    for record in records:
        folder.append(record)
    settings = search_settings({"pruner": "median"})
    trial = Trial(url, "s", 0, Quantity("best", YARDSTICKS["nll"]), settings, 9)
    watching = pickle.loads(pickle.dumps(trial)).watching(Reporter(), tmp_path)
    with watching.running(9, "nll"):
        watching.epoch(records[-1], 9)
    assert study.trials[0].intermediate_values == {1: 3, 2: 1, 3: 1, 4: 1}


REPORTING = """
import pickle, sys
from pathlib import Path
from kexp.progress import Reporter
from tests.test_search import RunFolder
trial, folder = pickle.loads(bytes.fromhex(sys.argv[1])), Path(sys.argv[2])
RunFolder(folder).rewind(0)
watching = trial.watching(Reporter(), folder)
with watching.running(40, "nll"):
    for epoch in range(1, 41):
        record = {"epoch": epoch, "validation": {"nll": epoch * 1.0}}
        RunFolder(folder).append(record)
        watching.epoch(record, 40)
"""


@pytest.mark.slow
def test_f57_ten_processes_report_to_one_storage(tmp_path: Path) -> None:
    from kexp.analysis.quantities import Quantity
    from kexp.measures import YARDSTICKS
    from kexp.sweeps.search.methods import search_settings
    from kexp.sweeps.search.trial import Trial

    url = f"sqlite:///{tmp_path / 'search.db'}"
    study = optuna.create_study(storage=url, study_name="s")
    settings = search_settings({"pruner": "median", "startup_trials": 99})
    aim, processes = Quantity("validation", YARDSTICKS["nll"]), []
    for number in range(10):
        study.ask()
        (tmp_path / str(number)).mkdir()
        trial = pickle.dumps(Trial(url, "s", number, aim, settings, 40)).hex()
        words = [sys.executable, "-c", REPORTING, trial, str(tmp_path / str(number))]
        processes.append(subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    assert [p.communicate(timeout=300)[0] for p in processes] == [""] * 10
    assert [p.returncode for p in processes] == [0] * 10
    assert [len(t.intermediate_values) for t in study.trials] == [40] * 10


def test_a_storage_that_fails_costs_no_run(
    tmp_path: Path, pretend: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports fail as those to a locked database would; the run goes on and says so in its log."""
    from optuna.storages import RDBStorage

    def locked(*_: Any) -> None:
        raise optuna.exceptions.StorageInternalError("database is locked")

    monkeypatch.setattr("kexp.sweeps.search.storage.PAUSES", (0.0, 0.0))
    monkeypatch.setattr(RDBStorage, "set_trial_intermediate_value", locked)
    done, _ = search(tmp_path, RATES, n_trials=2, pruner="median", startup_trials=0)
    assert done.finished == 2 and not done.failures
    log = (done.folders[0] / "log.txt").read_text()
    assert "the search cannot be reached, this run goes on without pruning: database is" in log


# Storage


def test_f46_a_storage_that_fails_is_told_and_gone_on_from(
    tmp_path: Path, pretend: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any, **__: Any) -> None:
        raise optuna.exceptions.StorageInternalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr("kexp.sweeps.search.storage.PAUSES", (0.0,))
        patch.setattr(optuna.study.Study, "tell", locked)
        with pytest.raises(StoreError, match="has failed: database is locked; the same command"):
            search(tmp_path, RATES, n_trials=3)
    done, _ = search(tmp_path, RATES, n_trials=3)
    assert done.finished == 3 and Counter(starts(tmp_path).values()) == {1: 3}


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_storage_of_ones_own(tmp_path: Path, pretend: None, kind: str) -> None:
    file = tmp_path / "elsewhere" / "searches"
    url = f"journal:{file}" if kind == "journal" else f"sqlite:///{file}"
    given = (RATES, "training.epochs=4")
    for n_trials in (3, 5):
        _, said = search(tmp_path, *given, n_trials=n_trials, storage=url, pruner="asha")
    assert "search of 5 trials" in said and str(file) in said
    assert file.is_file() and not (tmp_path / "results/mnist_convnet/search.db").exists()
    how = said.split("\n")[-1].strip().removesuffix(".trials_dataframe()")
    assert len(eval(how, {"optuna": optuna}).trials) == 5


def test_f45_a_place_that_cannot_be_written_is_told(tmp_path: Path, pretend: None) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another place"):
        search(tmp_path, RATES, storage=f"sqlite:///{tmp_path / 'file' / 'search.db'}")
    (tmp_path / "garbage.db").write_text("this is no database" * 100)
    with pytest.raises(StoreError, match="choose another place"):
        search(tmp_path, RATES, storage=f"sqlite:///{tmp_path / 'garbage.db'}")


@pytest.mark.parametrize("name", ["é ü", "{braces}", "100%20", "what?", "n#1"])
def test_f73_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    from kexp.sweeps.search.storage import address, file_of, how_to_load, opened

    url = address(None, tmp_path / name)
    with opened(url) as storage:
        optuna.create_study(storage=storage, study_name="s")
    assert (
        file_of(url) == tmp_path / name / "search.db" and (tmp_path / name / "search.db").exists()
    )
    if "{" not in name:  # which Optuna takes for the version of its tables
        assert eval(how_to_load(url, "s"), {"optuna": optuna}).trials == []


def test_a_password_is_not_said() -> None:
    from kexp.sweeps.search.storage import how_to_load, shown

    url = "postgresql://me:secret@host/searches"
    assert "secret" not in shown(url) + how_to_load(url, "s")


# Resuming


def test_f68_a_search_that_was_interrupted_goes_on(
    tmp_path: Path, pretend: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done_before = iter(range(3))

    def stopped(e: Any, reporter: Reporter, force: bool = False) -> Any:
        if next(done_before, None) is None:
            raise Interrupted(signal.SIGTERM)
        return pretended(e, reporter, force)

    said = Said()
    given = [*tiny("mnist_convnet", tmp_path, *SEARCH, RATES), *setting(n_trials=6)]
    with monkeypatch.context() as patch:
        patch.setattr(api, "run_experiment", stopped)
        with pytest.raises(Interrupted):
            Session(reporter=said).sweep(given)
    assert "search of 4 trials: 3 finished, 1 begun" in said.text and "best: trial" in said.text
    _, dry = search(tmp_path, RATES, n_trials=6, how={"dry_run": True})
    assert "3 finished, 1 begun" in dry and "2 trials still to be asked for" in dry
    done, _ = search(tmp_path, RATES, n_trials=6)
    assert done.finished == 6 and Counter(starts(tmp_path).values()) == {1: 6}
    assert [t.number for t in trials(tmp_path)] == list(range(6))


def process(folder: Path, *overrides: str, pause: float = 0.0, **settings: Any) -> Any:
    """The same search as a process of its own, with pretended training."""
    given = [*tiny("mnist_convnet", folder, *SEARCH, *overrides), *setting(**settings)]
    code = (
        "import sys; from tests.test_search import api, pretended; import kexp.cli\n"
        "api.run_experiment = pretended\nsys.exit(kexp.cli.main(['sweep', *sys.argv[1:]]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *given],
        cwd=ROOT,
        env={**os.environ, "KEXP_TEST_PAUSE": str(pause)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(condition: Any, seconds: float = 60.0) -> None:
    """Wait until the condition holds."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def epochs_on_disk(folder: Path) -> int:
    """How many epochs are recorded."""
    return sum(len(read_history(f)[0]) for f in (folder / "results").rglob("history.jsonl"))


def test_f47_after_sigkill_every_trial_is_there_once(tmp_path: Path, pretend: None) -> None:
    given = (RATES, "training.epochs=6")
    killed = process(tmp_path, *given, pause=0.15, n_trials=6)
    with killed:
        until(lambda: epochs_on_disk(tmp_path) >= 9)
        killed.kill()
    assert TrialState.RUNNING in [t.state for t in trials(tmp_path)]
    done, said = search(tmp_path, *given, n_trials=6)
    found = trials(tmp_path)
    assert [t.number for t in found] == list(range(6))
    assert {t.state for t in found} == {TrialState.COMPLETE}
    assert epochs_on_disk(tmp_path) == 36, "no epoch was trained twice"
    assert sorted(starts(tmp_path).values()) == [1, 1, 1, 1, 1, 2]
    search(tmp_path / "whole", *given, n_trials=6)
    assert [t.params for t in trials(tmp_path / "whole")] == [t.params for t in found]


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("grid", marks=pytest.mark.slow)])
def test_f53_f55_two_processes_search_one_study(tmp_path: Path, sampler: str) -> None:
    rates = f"{RATE}={','.join(str(i / 100) for i in range(1, 13))}"
    given = (rates if sampler == "grid" else RATES, "training.epochs=2")
    both = [process(tmp_path, *given, pause=0.05, sampler=sampler, n_trials=12) for _ in range(2)]
    texts = [one.communicate(timeout=100)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], texts
    found = trials(tmp_path)
    assert len(found) == 12 and {t.state for t in found} == {TrialState.COMPLETE}
    assert len({t.params[RATE] for t in found}) == 12
    assert Counter(starts(tmp_path).values()) == {1: 12}
    assert len({t.user_attrs["owner"]["pid"] for t in found}) == 2, "both took part"


def owned(folder: Path, **owner: Any) -> Any:
    """A study with one trial, asked for by another process, that has not ended."""
    search(folder, RATES, n_trials=1)
    (study,) = studies(folder)
    params = {RATE: 0.02}
    study.enqueue_trial(params)
    space_ = space(RATES)
    trial = study.ask(space_.distributions())
    trial.set_user_attr("owner", {"host": os.uname().nodename, "began": 0.0, **owner})
    e = Session().experiment(tiny("mnist_convnet", folder, f"{RATE}=0.02"))
    return trial, RunFolder(e.folder)


def test_f54_a_trial_of_a_dead_process_is_taken_over(tmp_path: Path, pretend: None) -> None:
    owned(tmp_path, pid=2**22 + 1)
    done, _ = search(tmp_path, RATES, n_trials=2)
    assert done.finished == 2 and len(trials(tmp_path)) == 2


def test_f54_a_trial_of_another_host_is_judged_by_its_heartbeat(
    tmp_path: Path, pretend: None
) -> None:
    _, folder = owned(tmp_path, host="elsewhere", pid=1)
    done, said = search(tmp_path, RATES, n_trials=2)
    assert done.finished == 1 and "trial 1 is left to PID 1 on elsewhere" in said
    folder.path.mkdir()
    atomic.write_json(folder.status, {"state": "running", "host": "elsewhere", "pid": 1})
    done, said = search(tmp_path, RATES, n_trials=2)
    assert done.finished == 1 and "trial 1 is left to PID 1 on elsewhere" in said
    os.utime(folder.status, (time.time() - 600,) * 2)
    done, said = search(tmp_path, RATES, n_trials=2)
    assert done.finished == 2 and len(trials(tmp_path)) == 2


def test_a_trial_that_was_half_asked_for_is_put_away(tmp_path: Path, pretend: None) -> None:
    search(tmp_path, RATES, n_trials=1)
    (study,) = studies(tmp_path)
    study.ask()
    done, said = search(tmp_path, RATES, n_trials=3)
    assert done.finished == 3 and not done.failures and "search of 3 trials: 3 finished" in said


def test_f53_a_run_that_another_process_holds_is_waited_for(
    tmp_path: Path, pretend: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a launcher that takes all numbers at once, too."""
    held = iter(range(2))

    def once_held(e: Any, reporter: Reporter, force: bool = False) -> Any:
        if next(held, None) is not None:
            raise Held("this run is being trained by another process")
        return pretended(e, reporter, force)

    def all_at_once(_: Any, work: Any, numbers: Iterator[int], *__: Any) -> Iterator[Any]:
        return map(work.train, list(numbers))

    monkeypatch.setattr(api, "run_experiment", once_held)
    monkeypatch.setattr("kexp.sweeps.launching.Launching.stream", all_at_once)
    monkeypatch.setattr("kexp.sweeps.search.course.HELD_SECONDS", 0.01)
    done, _ = search(tmp_path, f"{RATE}=0.01,0.1,0.2", sampler="grid")
    assert (done.finished, done.failures) == (3, [])
    assert {t.state for t in trials(tmp_path)} == {TrialState.COMPLETE}


# Real training


def test_a_search_trains_and_prunes(tmp_path: Path) -> None:
    given = (f"{RATE}=0.1,0.00001,0.00002,0.00003", "training.epochs=6", "dropout=none")
    done, said = search(tmp_path, *given, sampler="grid", pruner="median", startup_trials=1)
    states = Counter(read(f, "status.json")["state"] for f in done.folders)
    assert states["pruned"] >= 1 and states["finished"] >= 1 and not done.failures
    saved = int(said.split("pruning saved ")[1].split()[0])
    assert saved > 0
    for folder in done.folders:
        if read(folder, "status.json")["state"] == "finished":
            assert "kexp" in json.dumps(read(folder, "summary.json")["command"])


@contextlib.contextmanager
def command(folder: Path, *overrides: str, **settings: Any) -> Iterator[Any]:
    """`kexp sweep` in a process group of its own, with the launcher `local`."""
    given = tiny("mnist_convnet", folder, "hydra/sweeper=optuna", *overrides)
    with subprocess.Popen(
        [sys.executable, "-m", "kexp", "sweep", *given, *setting(**settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as started:
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


@pytest.mark.slow
def test_f47_local_workers_after_sigkill_of_the_search(tmp_path: Path) -> None:
    given = (RATES, "training.epochs=40", "hydra.launcher.n_jobs=2")
    with command(tmp_path, *given, n_trials=5, pruner="asha") as killed:
        until(lambda: epochs_on_disk(tmp_path) >= 10, 120)
        os.kill(killed.pid, signal.SIGKILL)
    with command(tmp_path, *given, n_trials=5, pruner="asha") as going_on:
        text, _ = going_on.communicate(timeout=300)
    assert going_on.returncode == 0, text
    found = trials(tmp_path)
    assert [t.number for t in found] == list(range(5))
    assert {t.state for t in found} <= {TrialState.COMPLETE, TrialState.PRUNED}
    for history in (tmp_path / "results").rglob("history.jsonl"):
        epochs = [r["epoch"] for r in read_history(history)[0]]
        assert epochs == list(range(1, len(epochs) + 1))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_f68_f69_a_signal_ends_the_search_with_what_is_known(
    tmp_path: Path, name: str, code: int
) -> None:
    given = (RATES, "training.epochs=60", "hydra.launcher.n_jobs=2")
    with command(tmp_path, *given, n_trials=20) as started:
        until(lambda: "finished" in {_state(s) for s in tmp_path.rglob("status.json")}, 120)
        os.kill(started.pid, getattr(signal, name))
        text, _ = started.communicate(timeout=100)
    assert started.returncode == code, text
    assert "best: trial" in text and "the same command goes on" in text
    assert "running" not in {_state(s) for s in tmp_path.rglob("status.json")}


def _state(status: Path) -> str:
    return read(status.parent, status.name)["state"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "joblib"])
def test_f58_a_search_with_another_launcher(tmp_path: Path, launcher: str) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    given = (f"{RATE}=0.01,0.1,1e30", f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=2")
    with command(tmp_path, *given, sampler="grid") as started:
        text, _ = started.communicate(timeout=200)
    assert started.returncode == 1, text
    states = Counter(t.state for t in trials(tmp_path))
    assert states == {TrialState.COMPLETE: 2, TrialState.FAIL: 1}
    assert "diverged" in text and "best: trial" in text
