"""The launcher `vectorized`: what is grouped, how groups are portioned, what becomes of them."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pebble import ProcessExpired

import kexp
from kexp import runner
from kexp.api import Session
from kexp.backends import Backend
from kexp.cli import main
from kexp.errors import DataError
from kexp.experiment import Experiment
from kexp.noise import Noise
from kexp.progress import Lines, Live
from kexp.store import RunFolder
from kexp.sweeps import local, machine, slots, vectorized
from kexp.sweeps.board import MOST_SHOWN, Board, LiveBoard, last_epoch
from kexp.sweeps.grouping import ALONE, Grouping, grouped
from kexp.sweeps.plan import job_of
from kexp.sweeps.slots import Slot
from kexp.sweeps.vectorized import ON_CPU, Vectorized, split, train_grouped
from kexp.sweeps.work import Job, Outcome, Portion, Work
from kexp.sweeps.worker import fitting
from tests.conftest import history, read

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed"
)


@pytest.fixture(autouse=True)
def any_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs on JAX are described, whatever backend other tests have started in this process."""
    monkeypatch.setattr(Backend, "check", lambda _: None)


DIGITS = ("data=digits", "data.train_size=200", "model=mlp", "training.epochs=2", "backend=jax")
SESSION = Session()


def experiments(*jobs: str, base: tuple[str, ...] = DIGITS) -> list[Experiment]:
    """One experiment for each text of overrides, which take the place of those of `base`."""
    found = []
    for job in jobs:
        chosen = {text.partition("=")[0]: text for text in (*base, *job.split())}
        found.append(SESSION.experiment(list(chosen.values())))
    return found


# What is grouped


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("seed=0", "seed=1"),
        ("regularizer=l2 regularizer.strength=1e-4", "regularizer=l2 regularizer.strength=1e-2"),
        ("dropout.rate=0.1", "dropout.rate=0.5"),
        ("optimizer.learning_rate=0.1", "optimizer.learning_rate=0.001"),
        ("schedule=constant", "schedule=cosine schedule.warmup=0.1"),
        ("loss=focal loss.gamma=1", "loss=focal loss.gamma=2"),
        ("data.label_noise=0.1", "data.label_noise=0.4"),
        ("training.patience=null", "training.patience=3"),
        ("training.monitor=nll", "training.monitor=error"),
        ("track=none", "track=tensorboard"),
        ("name=one", "name=other"),
    ],
)
def test_what_shares_a_program(one: str, other: str) -> None:
    assert grouped(experiments(one, other)).groups == [[0, 1]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("loss=general loss.alpha=1", "loss=general loss.alpha=-2"),
        ("loss=general loss.scale=0.1", "loss=general loss.scale=0.3"),
        ("data.outliers=0.1", "data.outliers=0.3"),
        ("task/noise=gaussian task.noise.sigma=15", "task/noise=gaussian task.noise.sigma=50"),
    ],
)
def test_what_shares_a_program_of_a_denoiser(one: str, other: str) -> None:
    base = ("task=denoise", "data=photos", "backend=jax")
    assert grouped(experiments(one, other, base=base)).groups == [[0, 1]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("training.batch_size=32", "training.batch_size=64"),
        ("training.epochs=2", "training.epochs=3"),
        ("training.mc_passes=0", "training.mc_passes=5"),
        ("training.precision=float32", "training.precision=mixed_bfloat16"),
        ("model.hidden=[64]", "model.hidden=[128]"),
        ("model=mlp", "model=convnet"),
        ("norm=batch norm.momentum=0.9", "norm=batch norm.momentum=0.99"),
        ("norm=none", "norm=batch"),
        ("dropout=none", "dropout=standard"),
        ("dropout.places=[last]", "dropout.places=[hidden]"),
        ("loss=crossentropy", "loss=focal"),
        ("regularizer=none", "regularizer=l2"),
        ("optimizer=adam", "optimizer=sgd"),
        ("optimizer=sgd optimizer.momentum=0.9", "optimizer=sgd optimizer.momentum=0.8"),
        ("data.train_size=200", "data.train_size=100"),
        ("data.validation_size=0.1", "data.validation_size=0.2"),
        ("data.label_noise=0", "data.label_noise=0.1"),
        ("data=digits", "data=mnist"),
        ("paths.data=/here", "paths.data=/there"),
        ("backend.device=cpu", "backend.device=auto"),
    ],
)
def test_what_does_not_share_a_program(one: str, other: str) -> None:
    found = grouped(experiments(f"{one} seed=0", f"{other} seed=0", f"{one} seed=1"))
    assert found.groups == [[0, 2]]
    assert found.reasons == {1: ALONE}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data.outliers=0", "data.outliers=0.1"),
        ("task/noise=gaussian", "task/noise=poisson"),
        ("task.patch=40", "task.patch=32"),
        ("task.augment=true", "task.augment=false"),
        ("task.patches_per_epoch=3200", "task.patches_per_epoch=1600"),
        ("loss=general loss.elements=mean", "loss=general loss.elements=norm"),
    ],
)
def test_what_does_not_share_a_program_of_a_denoiser(one: str, other: str) -> None:
    base = ("task=denoise", "data=photos", "backend=jax")
    assert grouped(experiments(one, other, base=base)).groups == []


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("backend=tensorflow", "backend=tensorflow; add backend=jax"),
        ("training.distribution=data_parallel", "training.distribution=data_parallel"),
        (
            "training.precision=mixed_float16",
            "training.precision=mixed_float16; mixed_bfloat16 can",
        ),
    ],
)
def test_what_cannot_be_vectorized(job: str, reason: str) -> None:
    found = grouped(experiments(f"{job} seed=0", f"{job} seed=1"))
    assert found == Grouping([], [], {0: reason, 1: reason})


class Plain:
    """A choice of a user's whose state is not known."""


def test_a_choice_that_is_no_dataclass_cannot_be_vectorized() -> None:
    runs = [dataclasses.replace(e, loss=Plain()) for e in experiments("seed=0", "seed=1")]
    assert set(grouped(runs).reasons.values()) == {"loss=crossentropy is no dataclass"}


@pytest.mark.parametrize("name", ["loss", "data", "task"])
def test_a_choice_that_cannot_be_compared_cannot_be_vectorized(name: str) -> None:
    """Or one of two runs would be trained with the other's."""
    runs = experiments("seed=0", "seed=1")
    held = dataclasses.make_dataclass("Held", [*vars(getattr(runs[0], name)), "weights"])
    made = [held(**vars(getattr(e, name)), weights=np.full(3, i)) for i, e in enumerate(runs)]
    other: list[Any] = [
        dataclasses.replace(e, **{name: m}) for e, m in zip(runs, made, strict=True)
    ]
    for e in other if name == "task" else ():
        object.__setattr__(e.task, "target", "classification")
    found = grouped(other)
    assert found.groups == []
    assert set(found.reasons.values()) == {"a choice holds a value that cannot be compared"}


def test_noise_that_is_no_dataclass_is_not_taken_for_another() -> None:
    base = ("task=denoise", "data=photos", "backend=jax")
    runs = experiments("seed=0", "seed=1", base=base)
    noisy = [dataclasses.replace(e.task, noise=Noise()) for e in runs]  # type: ignore[type-var]
    other = [dataclasses.replace(e, task=t) for e, t in zip(runs, noisy, strict=True)]
    assert grouped(other).groups == []


def test_the_sentence() -> None:
    focal = [f"loss=focal loss.gamma={gamma} seed={seed}" for gamma in (1, 2) for seed in (0, 1)]
    l2 = [f"regularizer=l2 regularizer.strength={s} seed=0" for s in (1e-4, 1e-3, 1e-2)]
    found = grouped(experiments(*focal, *l2, "backend=tensorflow", "norm=batch"))
    assert str(found) == (
        "7 of 9 runs in 2 programs: 4 that differ in loss.gamma, seed; 3 that differ in "
        "regularizer.strength. 2 as usual: backend=tensorflow (1; add backend=jax), "
        "no other run has the same program (1)"
    )


def test_groups_alike_are_told_together() -> None:
    runs = experiments(*(f"norm={n} seed={s}" for n in ("none", "batch", "layer") for s in (0, 1)))
    assert str(grouped(runs)) == "6 of 6 runs in 3 programs: 3 × 2 that differ in seed"


def test_nothing_to_group() -> None:
    runs = experiments("backend=tensorflow seed=0", "backend=tensorflow seed=1")
    assert str(grouped(runs)) == (
        "none of 2 runs. 2 as usual: backend=tensorflow (2; add backend=jax)"
    )


# How it is chosen and set


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("replicas=0", "hydra.launcher.replicas must be a whole number ≥ 1 or null, got 0"),
        ("on_cpu=never", "hydra.launcher.on_cpu must be one of workers, vectorized, got 'never'"),
        ("time_limit=5", "hydra/launcher=vectorized has no setting hydra.launcher.time_limit"),
    ],
)
def test_settings_that_are_refused(setting: str, said: str, capsys: pytest.CaptureFixture) -> None:
    assert (
        main(["sweep", "seed=0,1", "hydra/launcher=vectorized", f"hydra.launcher.{setting}"]) == 2
    )
    assert said in capsys.readouterr().err


def test_a_dry_run_tells_the_groups(folder: Path, capsys: pytest.CaptureFixture) -> None:
    words = [*DIGITS, f"paths.results={folder}", "hydra/launcher=vectorized", "seed=0,1,2"]
    assert main(["sweep", *words, "hydra.launcher.on_cpu=vectorized", "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "vectorized: 3 of 3 runs in 1 program: 3 that differ in seed"
    assert said[2] == "1  train  seed=0: new"


# How groups are trained


class Scripted(Slot):
    """A worker whose process is a function of the test's."""

    fits: Any = (4, "42 MiB each, 9 GiB free")
    taken: list[Portion] = []

    @staticmethod
    def train(work: Work, portion: Portion) -> list[Outcome]:
        """What becomes of a portion: by default, all finish."""
        return [Outcome(number, "finished") for number in portion.numbers]

    def ask(self, function: Any, *arguments: Any) -> Future:
        """The answer, at once."""
        future: Future = Future()
        try:
            future.set_result(self.answer(function, *arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def answer(self, function: Any, work: Work, asked: Any) -> Any:
        """What the process would say."""
        if function is fitting:
            if isinstance(self.fits, Exception):
                raise self.fits
            return self.fits
        self.taken.append(asked)
        return type(self).train(work, asked)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    """Workers on one GPU, as a test has them; those of the local launcher finish all they get."""

    class Worker(Scripted):
        taken: list[Portion] = []
        usual: list[int] = []

    def finished(_settings: Any, _work: Work, numbers: Iterator[int], _most: int) -> Any:
        for number in numbers:
            Worker.usual.append(number)
            yield Outcome(number, "finished", "as usual")

    monkeypatch.setattr(vectorized, "Slot", Worker)
    monkeypatch.setattr(vectorized, "train_all", finished)
    monkeypatch.setattr(machine, "gpus", lambda: ["0"])
    monkeypatch.setattr(local, "HELD_SECONDS", 0.0)
    return Worker


def work_of(folder: Path, *jobs: str) -> Work:
    """The work that a sweep would have for these jobs."""
    every = experiments(*jobs, base=(*DIGITS, f"paths.results={folder}"))
    work = Work([job_of(e, job.split(), job) for e, job in zip(every, jobs, strict=True)])
    work.reporter = Lines()
    work.board = Board(work.reporter, work.jobs, len(jobs))  # type: ignore[assignment]
    return work


def seeds(count: int) -> list[str]:
    return [f"seed={seed}" for seed in range(count)]


def trained(work: Work, batch: int = 0, **settings: Any) -> dict[int, tuple[str, str | None]]:
    """State and reason of each job, trained by the launcher."""
    count = len(work.jobs)
    outcomes = train_grouped(Vectorized(**settings), work, iter(range(count)), count, batch)
    return {o.number: (o.state, o.reason) for o in outcomes}


def killed(work: Work, portion: Portion) -> list[Outcome]:
    """The end of a process that was killed in the middle of its runs."""
    for number in portion.numbers:
        RunFolder(work.jobs[number].folder).path.mkdir(parents=True, exist_ok=True)
    raise ProcessExpired("it died", code=-signal.SIGKILL)


def test_portions_are_equal_and_for_one_program() -> None:
    sizes = {n: [len(p.numbers) for p in split(range(10), n)] for n in (1, 2, 3, 4, 10)}
    assert sizes == {1: [10], 2: [5, 5], 3: [3, 3, 4], 4: [2, 3, 2, 3], 10: [1] * 10}
    assert {p.seats for p in split(range(10), 3)} == {4}
    assert [n for p in split(range(10), 3) for n in p.numbers] == list(range(10))


@pytest.mark.parametrize(
    ("fits", "settings", "gpus", "portions", "told"),
    [
        (9, {}, 1, [(0, 1, 2, 3, 4)], "all at once"),
        (4, {}, 1, [(0, 1), (2, 3, 4)], "2 portions of 3 or 2"),
        (9, {"replicas": 3}, 1, [(0, 1), (2, 3, 4)], "2 portions of 3 or 2"),
        (2, {"replicas": 3}, 1, [(0,), (1, 2), (3, 4)], "3 portions of 2 or 1"),
        (9, {}, 2, [(0, 1), (2, 3, 4)], "2 portions of 3 or 2"),
        (0, {}, 1, [(0,), (1,), (2,), (3,), (4,)], "5 portions of 1"),
    ],
)
def test_groups_are_portioned_by_memory(
    fits: int, settings: dict, gpus: int, portions: list, told: str, folder: Path,
    scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    scripted.fits = fits, "42 MiB each, 9 GiB free"
    monkeypatch.setattr(machine, "gpus", lambda: list("01")[:gpus])
    found = trained(work_of(folder, *seeds(5)), **settings)
    assert found == dict.fromkeys(range(5), ("finished", None))
    assert [portion.numbers for portion in scripted.taken] == portions
    assert len({portion.seats for portion in scripted.taken}) == 1
    assert f"5 runs, 42 MiB each, 9 GiB free: {told}" in capsys.readouterr().out


def test_what_is_in_no_group_is_trained_afterwards(
    folder: Path, scripted: type[Scripted], capsys: pytest.CaptureFixture
) -> None:
    work = work_of(folder, "norm=batch", "seed=0", "backend=tensorflow", "seed=1")
    found = trained(work)
    assert list(found)[:2] == [1, 3]
    assert found[0] == found[2] == ("finished", "as usual")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("vectorized: 2 of 4 runs in 1 program: 2 that differ in seed. 2 as")


def test_batches_are_grouped_apart(folder: Path, scripted: type[Scripted]) -> None:
    trained(work_of(folder, *seeds(5)), batch=2)
    assert [portion.numbers for portion in scripted.taken] == [(0, 1), (2, 3)]
    assert scripted.usual == [4]


def test_a_group_that_cannot_be_measured_is_trained_as_usual(
    folder: Path, scripted: type[Scripted], capsys: pytest.CaptureFixture
) -> None:
    scripted.fits = DataError("the data have gone")
    assert set(trained(work_of(folder, *seeds(3))).values()) == {("finished", "as usual")}
    assert "vectorized: 3 runs as usual: the data have gone" in capsys.readouterr().out


def test_without_a_gpu_workers_train(
    folder: Path,
    scripted: type[Scripted],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: [])
    assert set(trained(work_of(folder, *seeds(3))).values()) == {("finished", "as usual")}
    assert capsys.readouterr().out.splitlines() == [ON_CPU]
    trained(work_of(folder, *seeds(3)), on_cpu="vectorized")
    assert [portion.numbers for portion in scripted.taken] == [(0, 1, 2)]


def test_a_killed_process_ends_its_portion_only(folder: Path, scripted: type[Scripted]) -> None:
    def second_lives(work: Work, portion: Portion) -> list[Outcome]:
        return (killed if 0 in portion.numbers else Scripted.train)(work, portion)

    scripted.train = staticmethod(second_lives)  # type: ignore[method-assign]
    work = work_of(folder, *seeds(4))
    found = trained(work, replicas=2)
    reason = "its process was ended by SIGKILL"
    assert found[0] == found[1] == ("failed", reason)
    assert found[2] == found[3] == ("finished", None)
    for number in (0, 1):
        status = read(work.jobs[number].folder, "status.json")
        assert status == {"state": "failed", "reason": reason}


def test_what_had_ended_before_its_process_was_killed_stays(
    folder: Path, scripted: type[Scripted]
) -> None:
    def diverged(work: Work, portion: Portion) -> list[Outcome]:
        RunFolder(work.jobs[1].folder).conclude("diverged", "it is nan")
        return killed(work, portion)

    scripted.train = staticmethod(diverged)  # type: ignore[method-assign]
    work = work_of(folder, *seeds(3))
    RunFolder(work.jobs[2].folder).conclude("oom", "another time")
    found = trained(work)
    assert found[1] == ("diverged", "it is nan")
    assert found[0] == found[2] == ("failed", "its process was ended by SIGKILL")


@pytest.mark.parametrize("enough", [True, False])
def test_out_of_memory_is_tried_again_in_halves_once(
    enough: bool,
    folder: Path,
    scripted: type[Scripted],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    counts = iter(range(1000))
    monkeypatch.setattr(slots, "processes_killed_for_memory", lambda: next(counts))

    def too_many(work: Work, portion: Portion) -> list[Outcome]:
        told = pickle.loads(pickle.dumps(work))
        assert not any(map(told._failed, portion.numbers))
        few = enough and len(portion.numbers) < 4
        return (Scripted.train if few else killed)(work, portion)

    scripted.train = staticmethod(too_many)  # type: ignore[method-assign]
    found = trained(work_of(folder, *seeds(4)))
    assert [portion.numbers for portion in scripted.taken] == [(0, 1, 2, 3), (0, 1), (2, 3)]
    assert {state for state, _ in found.values()} == {"finished" if enough else "oom"}
    said = capsys.readouterr().out
    assert said.count("vectorized: memory ran out; 4 runs again, 2 at a time") == 1
    assert ("hydra.launcher.replicas" in said) is not enough


def test_runs_that_are_held_come_again_alone(
    folder: Path, scripted: type[Scripted], capsys: pytest.CaptureFixture
) -> None:
    def held_at_first(_work: Work, portion: Portion) -> list[Outcome]:
        state = "held" if len(portion.numbers) > 1 else "finished"
        return [Outcome(n, state if n == 1 else "finished") for n in portion.numbers]

    scripted.train = staticmethod(held_at_first)  # type: ignore[method-assign]
    assert trained(work_of(folder, *seeds(3))) == dict.fromkeys(range(3), ("finished", None))
    assert scripted.taken == [Portion((0, 1, 2), 3), Portion((1,))]


@pytest.mark.parametrize(
    ("replicas", "seeds", "batch"),
    [(8, (0, 1), 8), (8, (), 8), (3, (0, 1, 2, 3), 4), (None, (0, 1), 20)],
)
def test_a_search_is_given_as_many_trials_as_are_trained_at_once(
    replicas: int | None, seeds: tuple, batch: int
) -> None:
    from kexp.sweeps.search import Searched

    config = SimpleNamespace(hydra=SimpleNamespace(launcher=SimpleNamespace(replicas=replicas)))
    launch = SimpleNamespace(launcher_name="vectorized", config=config)
    plan = SimpleNamespace(
        settings=SimpleNamespace(batch=None), space=SimpleNamespace(seeds=seeds), target=50
    )
    assert Searched(SESSION, launch)._batch(plan) == batch  # type: ignore[arg-type]


def test_the_live_view_of_many_runs_fits_a_terminal(folder: Path) -> None:
    from rich.console import Console

    reporter = Live()
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    reporter.console = lambda: console  # type: ignore[method-assign]
    jobs = [Job((), folder / str(n), f"run {n}", 4) for n in range(64)]
    board, values = LiveBoard(reporter, jobs, 64), {"nll": 0.5}
    with board.shown():
        for number, job in enumerate(jobs):
            job.folder.mkdir()
            epoch = {"epoch": number % 4, **dict.fromkeys(("probe", "validation", "gap"), values)}
            (job.folder / "history.jsonl").write_text(json.dumps(epoch) + "\n")
            board.started(number, RunFolder(job.folder))
        for ended in (None, 3):
            if ended is not None:
                board.ended(Outcome(ended, "diverged", "it is nan"))
            board.look()
            first, *others = board._progress.tasks
            assert len(others) == MOST_SHOWN
        assert first.completed == 1 + 64 * 1.5 / 4 - 3 / 4  # the epochs of all, and a whole run
        assert str(others[-1].description).startswith(f"  run {MOST_SHOWN}")


# What happens in the worker


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the engine was given; it finishes all."""
    found: dict[str, Any] = {}

    def run_group(runs: list, reporters: list, force: bool, seats: int) -> list:
        assert len(runs) == len(reporters)
        found.update(seeds=[e.seed for e in runs], force=force, seats=seats)
        return [("finished", None)] * len(runs)

    monkeypatch.setattr(runner, "run_group", run_group)
    return found


def test_a_portion_goes_to_the_engine(folder: Path, given: dict) -> None:
    work = work_of(folder, *seeds(4))
    work.force = True
    twin = pickle.loads(pickle.dumps(work.only(1, 3)))
    assert work.jobs[1].experiment and not twin.jobs[1].experiment  # it may hold a user's classes
    outcomes = twin.train_together(Portion((1, 3), 4))
    assert given == {"seeds": [1, 3], "force": True, "seats": 4}
    assert [(o.number, o.state) for o in outcomes] == [(1, "finished"), (3, "finished")]


def test_failures_found_by_another_sweep_are_left(folder: Path, given: dict) -> None:
    work = work_of(folder, *seeds(3))
    RunFolder(work.jobs[1].folder).conclude("diverged", "it is nan")
    outcomes = {o.number: o.state for o in work.train_together(Portion((0, 1, 2), 3))}
    assert outcomes == {0: "finished", 1: "diverged", 2: "finished"}
    assert given["seeds"] == [0, 2]
    assert [o.state for o in work.train_together(Portion((1,), 3))] == ["diverged"]


@pytest.mark.parametrize("error", [DataError("no data"), SystemExit(3)])
def test_what_the_engine_raises_is_told_of_every_run(
    error: BaseException, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(runner, "run_group", fails)
    outcomes = work_of(folder, *seeds(2)).train_together(Portion((0, 1), 2))
    assert [o.state for o in outcomes] == ["failed", "failed"]
    assert {str(o.reason) for o in outcomes} <= {
        "no data",
        "something in the run called sys.exit(3)",
    }


def test_what_is_tried_again_is_not_begun_afresh(folder: Path, given: dict) -> None:
    """With --force, the checkpoint of before the memory ran out is kept."""
    work = work_of(folder, *seeds(4))
    work.force = True
    work.retried.update((0, 1))
    work.only(0, 1).train_together(Portion((0, 1), 2))
    assert given["force"] is False
    work.only(2, 3).train_together(Portion((2, 3), 2))
    assert given["force"] is True


# From end to end


ALL = ("hydra/launcher=vectorized", "hydra.launcher.on_cpu=vectorized")
FILES = ("config.yaml", "environment.json", "examples.npz", "log.txt", "model.keras")
LONG = (*DIGITS[:3], "training.epochs=60", "backend=jax")


def sweeping(folder: Path, *words: str) -> list[str]:
    """The command of a sweep in which groups are one program."""
    where = f"paths.results={folder / 'results'}"
    return [sys.executable, "-m", "kexp", "sweep", *words, *ALL, where]


def swept(folder: Path, *words: str) -> str:
    """What such a sweep says, with its exit code at the end."""
    done = subprocess.run(sweeping(folder, *words), stdout=subprocess.PIPE, text=True, timeout=120)
    return f"{done.stdout}{done.returncode}"


def records(folder: Path) -> dict[int, Path]:
    """The folders of the runs by their seeds, which are all different."""
    found = {}
    for config in (folder / "results").glob("*/*/config.yaml"):
        found[int(re.findall(r"^seed: (\d+)$", config.read_text(), re.MULTILINE)[0])] = (
            config.parent
        )
    return found


def states(folder: Path) -> list[str]:
    """The state of each run, in the order of the seeds."""
    return [RunFolder(run).state().get("state", "") for _, run in sorted(records(folder).items())]


def wait_for_an_epoch(folder: Path, seed: int, process: subprocess.Popen) -> None:
    """Wait until a run has logged an epoch."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        run = records(folder).get(seed)
        if run and last_epoch(RunFolder(run).history):
            return
        time.sleep(0.05)
    raise AssertionError(f"the sweep ended or stalled: {process.poll()}")


@pytest.mark.slow
def test_a_sweep_of_two_groups(folder: Path, capsys: pytest.CaptureFixture) -> None:
    words = (*DIGITS, "seed=0,1,2", "norm=none,batch")
    said = swept(folder, *words)
    assert "vectorized: 6 of 6 runs in 2 programs: 2 × 3 that differ in seed" in said
    assert said.count(": all at once\n") == 2
    assert said.count("finished, validation NLL") == 6 and said.endswith("\n0")
    runs = kexp.load(folder / "results")
    assert len(runs) == 6 and set(runs["state"]) == {"finished"}
    for run in (folder / "results").glob("*/*/"):
        assert all((run / name).exists() for name in FILES)
        assert [record["epoch"] for record in history(run)] == [1, 2]
    assert main(["compare", str(folder / "results")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^batch +3 ", said, re.MULTILINE)
    assert re.search(r"^none +3 ", said, re.MULTILINE)
    assert set(kexp.effects(folder / "results")["level"]) == {"batch"}


@pytest.mark.slow
def test_a_signal_saves_and_the_same_command_goes_on(folder: Path) -> None:
    words = (*LONG, "seed=0,1")
    with subprocess.Popen(sweeping(folder, *words), stdout=subprocess.PIPE) as process:
        wait_for_an_epoch(folder, 1, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert states(folder) == ["interrupted"] * 2
    said = swept(folder, *LONG, "seed=0,1,2")
    assert "1 to train, 2 to go on" in said
    assert "3 of 3 runs finished" in said
    for run in records(folder).values():
        assert [record["epoch"] for record in history(run)] == list(range(1, 61))


@pytest.mark.slow
def test_a_killed_worker_ends_its_portion_only(folder: Path) -> None:
    words = (*LONG, "seed=0,1,2,3", "hydra.launcher.replicas=2")
    with subprocess.Popen(sweeping(folder, *words), stdout=subprocess.PIPE) as process:
        wait_for_an_epoch(folder, 0, process)
        os.kill(read(records(folder)[0], "status.json")["pid"], signal.SIGKILL)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert states(folder) == ["failed", "failed", "finished", "finished"]
    assert said.decode().count("failed: its process was ended by SIGKILL") == 2
