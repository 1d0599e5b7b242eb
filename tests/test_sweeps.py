"""Sweeps: what is planned, who trains it, what is said of it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kexp
from kexp.api import Session
from kexp.cli import main
from kexp.progress import Lines, Live
from kexp.store import RunFolder
from kexp.sweeps import machine
from kexp.sweeps.board import Board, LiveBoard, last_epoch
from kexp.sweeps.machine import Share, shares
from kexp.sweeps.plan import labels, planned
from kexp.sweeps.work import Job, Outcome, Work
from tests.conftest import history, read, tiny

LAUNCHERS = (
    "local",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("basic", "joblib", "submitit_local")),
)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture):
    """What `kexp sweep` says when it refuses some overrides."""

    def refused(*overrides: str) -> str:
        assert main(["sweep", *overrides]) == 2
        said = capsys.readouterr()
        assert not said.out
        return said.err.removeprefix("kexp: ").strip()

    return refused


# What is planned


def test_labels_are_what_tells_runs_apart() -> None:
    jobs = [["task=ridge", "seed=0", "loss=mse"], ["task=ridge", "seed=1", "loss=mse"]]
    assert labels(jobs) == ["seed=0", "seed=1"]
    assert labels(jobs[:1]) == ["task=ridge seed=0 loss=mse"]


@pytest.mark.parametrize(
    ("state", "action", "because"),
    [
        (None, "train", "new"),
        ("finished", "skip", "finished"),
        ("failed", "leave", "failed: why (--retry-failed trains it again)"),
        ("diverged", "leave", "diverged: why (--retry-failed trains it again)"),
        ("oom", "leave", "oom: why (--retry-failed trains it again)"),
        ("timeout", "leave", "timeout: why (--retry-failed trains it again)"),
        ("interrupted", "go on", "after epoch 1 of 2 (interrupted before)"),
        ("pruned", "go on", "after epoch 1 of 2 (pruned before)"),
        ("running", "go on", "after epoch 1 of 2 (running before, PID 1 on there)"),
    ],
)
def test_what_happens_to_a_run(state: str | None, action: str, because: str, folder: Path) -> None:
    job = tiny("ridge", folder)
    session = Session()
    run = session.experiment(job).folder
    if state:
        run.mkdir(parents=True)
        status = {"state": state, "reason": "why", "pid": 1, "host": "there"}
        (run / "status.json").write_text(json.dumps(status))
        (run / "history.jsonl").write_text('{"epoch": 1}\n{"epoch": 2, "torn')
    if state == "finished":
        (run / "summary.json").write_text('{"verdict": "fine"}')
    (plan,) = planned(session, [job], force=False, retry_failed=False)
    assert (plan.action, plan.because) == (action, because)
    (again,) = planned(session, [job], force=False, retry_failed=True)
    assert again.action == ("retry" if action == "leave" else action)
    (forced,) = planned(session, [job], force=True, retry_failed=False)
    assert forced.action == "train"


def test_a_combination_given_twice_is_one_run(folder: Path) -> None:
    done = kexp.sweep(*tiny("ridge", folder, "seed=0,0,1"), dry_run=True, quiet=True)
    assert len(done.folders) == 2


def test_dry_run_trains_nothing(folder: Path, capsys: pytest.CaptureFixture) -> None:
    overrides = tiny("ridge", folder, "seed=0,1", "optimizer.learning_rate=0.1,0.2")
    assert main(["sweep", *overrides, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "sweep of 4 runs: 4 to train"
    assert said[1] == "1  train  seed=0 optimizer.learning_rate=0.1: new"
    assert len(said) == 5
    assert not (folder / "results").exists()


# Who trains


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The histories of two runs, each trained by `kexp run` with one thread."""
    folder = tmp_path_factory.mktemp("alone")
    for seed in (0, 1):
        kexp.run(*tiny("mnist_convnet", folder, f"seed={seed}"), quiet=True)
    return histories(folder)


def histories(folder: Path) -> dict[str, bytes]:
    """The history of each run below a folder, by the run's name."""
    return {p.parent.name: p.read_bytes() for p in folder.glob("results/*/*/history.jsonl")}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_train_the_same(launcher: str, folder: Path, alone: dict) -> None:
    words = [*tiny("mnist_convnet", folder, "seed=0,1"), f"hydra/launcher={launcher}"]
    done = subprocess.run(
        [sys.executable, "-m", "kexp", "sweep", *words], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert "sweep of 2 runs: 2 to train" in done.stdout
    assert "2 of 2 runs finished" in done.stdout
    found = histories(folder)
    assert found.keys() == alone.keys()
    for name, content in found.items():
        for line, other in zip(content.splitlines(), alone[name].splitlines(), strict=True):
            one, two = json.loads(line), json.loads(other)
            assert one["validation"]["nll"] == pytest.approx(two["validation"]["nll"], rel=1e-4)
    leftovers = [path for path in (folder / "results").glob(".sweeps/**/*") if path.is_file()]
    assert bool(leftovers) == launcher.startswith("submitit")


def test_a_launcher_that_gives_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from hydra.core.plugins import Plugins

    Plugins.instance()  # it imports the launchers once more
    from hydra_plugins.hydra_joblib_launcher import joblib_launcher

    def fails(self, job_overrides, initial_job_idx):
        raise RuntimeError("no workers today")

    monkeypatch.setattr(joblib_launcher.JoblibLauncher, "launch", fails)
    assert main(["sweep", *tiny("ridge", folder, "seed=0,1"), "hydra/launcher=joblib"]) == 1
    said = capsys.readouterr().out
    assert "failed: seed=1: joblib gave up: RuntimeError: no workers today" in said


@pytest.mark.slow
def test_a_script_needs_no_main_guard(folder: Path) -> None:
    """Worker processes do not import the program that started the sweep."""
    overrides = tiny("ridge", folder, "seed=0,1")
    script = folder / "script.py"
    script.write_text(
        f"import kexp\nprint('imported')\ndone = kexp.sweep(*{overrides!r})\nprint(done.finished)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("imported") == 1 and done.stdout.splitlines()[-1] == "2"


def test_work_carries_what_another_process_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    monkeypatch.setenv("KEXP_DATA_DIR", "/data")
    jobs = [Job((f"seed={n}",), folder, f"seed={n}", 1) for n in range(3)]
    work = Work(jobs, folder, ("mine",), threads=2)
    work.board = io.StringIO()  # type: ignore[assignment]
    twin = pickle.loads(pickle.dumps(work.only(1)))
    assert [job and job.label for job in twin.jobs] == [None, "seed=1"]
    assert (twin.folder, twin.environment["KEXP_DATA_DIR"]) == (os.getcwd(), "/data")
    assert (twin.config_dir, twin.modules, twin.threads, twin.board) == (folder, ("mine",), 2, None)


def test_a_failure_found_by_another_sweep_is_left(folder: Path) -> None:
    """Two sweeps at once do not both train what fails."""
    session = Session()
    overrides = tiny("ridge", folder)
    (plan,) = planned(session, [overrides], force=False, retry_failed=False)
    run = plan.job.folder
    run.mkdir(parents=True)
    (run / "status.json").write_text(json.dumps({"state": "oom", "reason": "too large"}))
    assert Work([plan.job]).train(0) == Outcome(0, "oom", "too large", pytest.approx(0, abs=1e5))
    (again,) = planned(session, [overrides], force=False, retry_failed=True)
    assert Work([again.job]).train(0).state == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_other_launchers_wait_for_runs_that_are_held(launcher: str, folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=1", "seed=0,1")
    first = kexp.sweep(*overrides, dry_run=True, quiet=True).folders[0]
    holder = (
        "import sys, time, pathlib; from kexp.store import RunFolder\n"
        f"with RunFolder(pathlib.Path({str(first)!r})).locked():\n"
        "    print('held', flush=True); time.sleep(20)"
    )
    words = [sys.executable, "-m", "kexp", "sweep", *overrides, f"hydra/launcher={launcher}"]
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("waiting: this run is being trained by another process") == 1
    assert "2 of 2 runs finished" in done.stdout


def test_results_that_cannot_be_written(capsys: pytest.CaptureFixture) -> None:
    assert main(["sweep", "task=ridge", "seed=0,1", "paths.results=/proc/kexp"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kexp: cannot write to /proc/kexp (")
    assert "choose another place with paths.results=DIR" in said


def test_closed_output(folder: Path) -> None:
    command = f"{sys.executable} -m kexp sweep --dry-run task=ridge seed=0,1 >&- 2>&-"
    assert subprocess.run(command, shell=True, cwd=folder).returncode == 0


# How the machine is shared out


@pytest.mark.parametrize(
    ("given", "count", "threads"),
    [((None, None, 100), 8, 1), ((None, None, 3), 3, 2), ((None, 4, 100), 2, 4),
     ((3, None, 100), 3, 2), ((2, 1, 100), 2, 1), ((16, None, 100), 16, 1),
     ((None, None, 1), 1, 8)],
)  # fmt: skip
def test_shares_of_a_cpu(
    given: tuple, count: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "RUN_MIB", 1)
    n_jobs, per_job, runs = given
    assert shares(n_jobs, per_job, 1, [], runs) == [Share(threads)] * count


def test_memory_limits_how_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 64)
    free = machine.psutil.virtual_memory().available / 2**20
    monkeypatch.setattr(machine, "RUN_MIB", free / 3.5)
    assert len(shares(None, None, 1, [], 100)) == 3


def test_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, found in (("", []), ("-1", []), ("0,2", ["0", "2"]), ("GPU-ab", ["GPU-ab"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert machine.gpus() == found


# What is said


def job(folder: Path, name: str, epochs: int = 4) -> Job:
    (folder / name).mkdir()
    return Job((), folder / name, name, epochs)


def finished(job: Job, value: float) -> None:
    """Write what a finished run leaves."""
    summary = {"monitor": "nll", "best": {"validation": {"nll": value}}, "best_epoch": 3}
    (job.folder / "summary.json").write_text(json.dumps(summary))


def test_lines_of_a_sweep(folder: Path, capsys: pytest.CaptureFixture) -> None:
    jobs = [job(folder, name) for name in ("a", "b", "c")]
    finished(jobs[0], 0.25)
    board = Board(Lines(), jobs, 3)
    with board.shown():
        board.workers([Share(1, "0", 0.5), Share(1, "0", 0.5)])
        for number in (0, 1):
            board.started(number, RunFolder(jobs[number].folder))
        (jobs[1].folder / "history.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"ep')
        board._began = time.monotonic() - 60
        assert board.time_left() == ""  # nothing has ended, so nothing is known
        board.ended(Outcome(0, "finished"))
        assert board.time_left() == "1:00"  # 1.5 of 3 runs in a minute
        board.ended(Outcome(1, "failed", "the reason"))
        board.held(Outcome(2, "held", "it is held"))
        board.held(Outcome(2, "held", "it is held"))
        board.look()
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "2 runs at once on 1 GPU, 1 thread each",
        "[1/3] a: finished, validation NLL 0.25 at epoch 3; 1:00 left",
        "[2/3] b: failed: the reason; 0:30 left",
        "waiting: it is held",
    ]
    assert board.best == "best NLL 0.25: a"
    assert board.counts == {"finished": 1, "pruned": 0, "failed": 1}


def test_live_view(folder: Path) -> None:
    from rich.console import Console

    jobs = [job(folder, name) for name in ("a", "b")]
    finished(jobs[0], 0.25)
    reporter = Live()
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    reporter.console = lambda: console  # type: ignore[method-assign]
    board = LiveBoard(reporter, jobs, 2)
    with board.shown():
        for number in (0, 1):
            board.started(number, RunFolder(jobs[number].folder))
        board.look()
        board.ended(Outcome(0, "finished"))
        values = dict.fromkeys(("probe", "validation", "gap"), {"nll": 0.5})
        (jobs[1].folder / "history.jsonl").write_text(json.dumps({"epoch": 2, **values}) + "\n")
        board.look()
        shown = [str(task.description) for task in board._progress.tasks]
        completed = [task.completed for task in board._progress.tasks]
    assert shown[0].startswith("1/2  1 running  1 finished  ")
    assert shown[0].endswith("left  best NLL 0.25: a")
    assert shown[1] == "  b  epoch 2/4  NLL  train 0.5  validation 0.5  gap 0.5"
    assert completed == [1.5, 2]
    assert "a: finished, validation NLL 0.25 at epoch 3" in console.file.getvalue()  # type: ignore


@pytest.mark.parametrize(
    ("text", "epoch"),
    [(b"", None), (b'{"epoch": 1', None), (b'{"epoch": 1}\n', 1), (b'{"epoch": 1}\n{"e', 1),
     (b'{"epoch": 1}\nrubbish\n', 1), (b"[1]\n", None), (b'{"epoch": 7}\n' * 9000, 7)],
)  # fmt: skip
def test_last_epoch(text: bytes, epoch: int | None, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert last_epoch(path) is None
    path.write_bytes(text)
    record = last_epoch(path)
    assert (record and record["epoch"]) == epoch


# What is refused


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra/launcher=lokal", "hydra/launcher=lokal: no such launcher; there are local, basic"),
        ("hydra/sweeper=grid", "hydra/sweeper=grid: no such sweeper; there are basic"),
        ("hydra/launcher=local,basic", "a sweep has one hydra/launcher"),
        ("hydra.sweep.dir=x", "hydra.sweep.dir: of Hydra's own settings, kexp sweep takes"),
        ("hydra/job_logging=none", "hydra/job_logging: of Hydra's own settings"),
        ("hydra.launcher.n_job=2", "hydra/launcher=local has no setting hydra.launcher.n_job; did "
         "you mean hydra.launcher.n_jobs"),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs must be a whole number ≥ 1 or null, "
         "got 0"),
        ("hydra.launcher.n_jobs=two", "hydra.launcher.n_jobs must be a whole number ≥ 1 or null"),
        ("hydra.launcher.time_limit=-1", "hydra.launcher.time_limit must be a number > 0 or null"),
        ("hydra.sweeper.n_trials=3", "hydra/sweeper=basic has no setting hydra.sweeper.n_trials"),
    ],
)  # fmt: skip
def test_settings_of_hydra(override: str, said: str, refusal) -> None:
    assert said in refusal("task=ridge", override)


def test_settings_of_other_launchers(refusal) -> None:
    said = refusal("hydra/launcher=submitit_slurm", "hydra.launcher.partitio=gpu")
    assert "did you mean hydra.launcher.partition" in said
    said = refusal("hydra/launcher=joblib", "hydra.launcher.n_jobs=many")
    assert said.startswith("hydra.launcher.n_jobs=many: Value 'many'")


def test_joblib_with_no_jobs(refusal) -> None:
    said = refusal("hydra/launcher=joblib", "hydra.launcher.n_jobs=0")
    assert said.endswith("or -1 for all cores, got 0")


def test_a_launcher_that_is_not_installed(refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    known = lambda self, group: ["basic", "local"]  # noqa: E731
    monkeypatch.setattr(
        "hydra._internal.config_loader_impl.ConfigLoaderImpl.get_group_options", known
    )
    said = refusal("hydra/launcher=ray")
    assert said == "hydra/launcher=ray needs a package more: pip install 'kexp[ray]'"


def test_launchers_are_for_sweeps(capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "hydra/launcher=joblib"]) == 2
    assert "launchers and sweepers belong to kexp sweep" in capsys.readouterr().err


def test_everything_is_checked_before_a_worker_starts(refusal) -> None:
    said = refusal("task=ridge", "optimizer.learning_rate=0.1,-1")
    assert "optimizer.learning_rate must be a number > 0, got -1" in said


def test_what_a_record_tells_of_its_threads(folder: Path) -> None:
    done = kexp.sweep(*tiny("ridge", folder, "seed=0,1"), "hydra.launcher.threads=1", quiet=True)
    assert {read(run, "environment.json")["threads"] for run in done.folders} == {1}
    assert all(len(history(run)) == 2 for run in done.folders)
