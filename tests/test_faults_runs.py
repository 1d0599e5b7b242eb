"""Faults of training, storage and concurrency, by real means; f12 is row 12 of the fault table."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexp
from kexp.analysis.load import read_records
from kexp.cli import main
from kexp.errors import (
    ConfigError,
    DataError,
    DataMissing,
    Diverged,
    Held,
    Interrupted,
    KexpError,
    StoreError,
)
from kexp.store import RunFolder, read_run
from kexp.training.loop import Loop
from tests.conftest import HERE, history, read, the_run, tiny

LONG = (
    "data.train_size=800",
    "training.epochs=6",
    "norm=batch",
    "schedule=cosine",
    "regularizer=l2",
    "training.patience=5",
)
"""A run of some seconds with dropout, batch norm, a schedule and early stopping."""


def command(*overrides: str) -> list[str]:
    """`kexp run` in a process of its own."""
    return [sys.executable, "-m", "kexp", "run", *overrides]


def wait_for_epochs(results: Path, count: int, process: subprocess.Popen) -> None:
    """Wait until a run has written `count` epochs."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        files = list(results.rglob("history.jsonl"))
        if files and files[0].read_text().count("\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"the run ended or stalled: {process.poll()}")


def weights(run: Path) -> dict[str, np.ndarray]:
    """Everything in the checkpoint of a run."""
    state = RunFolder(run).load_checkpoint()
    assert state is not None
    return state


def assert_same(run: Path, other: Path) -> None:
    """Two runs have the same history, byte for byte, and the same weights, bit for bit."""
    assert (run / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()
    left, right = weights(run), weights(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run LONG, never interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    kexp.run(*tiny("mnist_convnet", folder, *LONG), quiet=True)
    return the_run(folder)


def killed_and_resumed(folder: Path, kills: int) -> Path:
    """LONG, killed `kills` times at random moments after a first epoch, then left to finish."""
    overrides = tiny("mnist_convnet", folder, *LONG)
    for kill in range(kills):
        with subprocess.Popen(command(*overrides), stdout=subprocess.DEVNULL) as process:
            wait_for_epochs(folder / "results", min(kill + 1, 5), process)
            time.sleep(random.uniform(0, 0.3))
            process.kill()
    assert read(the_run(folder), "status.json")["state"] in ("running", "finished")
    kexp.run(*overrides, quiet=True)
    return the_run(folder)


def test_f38_killed_run_resumes_bit_for_bit(folder: Path, undisturbed: Path) -> None:
    assert_same(killed_and_resumed(folder, kills=1), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(5))
def test_f42_killed_at_many_moments(attempt: int, folder: Path, undisturbed: Path) -> None:
    assert_same(killed_and_resumed(folder, kills=4), undisturbed)


def test_f42_interrupted_between_history_and_checkpoint(
    folder: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch that the checkpoint does not hold is neither lost nor there twice."""
    save = RunFolder.save_checkpoint

    def die_at_third(self: RunFolder, arrays: dict[str, np.ndarray]) -> None:
        if int(arrays["epoch"]) == 3:
            raise SystemExit("killed")
        save(self, arrays)

    overrides = tiny("mnist_convnet", folder, *LONG)
    with monkeypatch.context() as patch, pytest.raises(KexpError, match="sys.exit"):
        patch.setattr(RunFolder, "save_checkpoint", die_at_third)
        kexp.run(*overrides, quiet=True)
    assert len(history(the_run(folder))) == 3
    kexp.run(*overrides, quiet=True)
    assert_same(the_run(folder), undisturbed)


def test_f43_torn_last_line(folder: Path) -> None:
    kexp.run(*tiny("mnist_convnet", folder), quiet=True)
    run = the_run(folder)
    with open(run / "history.jsonl", "ab") as file:
        file.write(b'{"epoch": 3, "prob')
    record = read_run(run)
    assert len(record.history()) == 2
    assert "line 3 is torn" in record.problems[0]


@pytest.mark.parametrize("where", ["checkpoint/state.npz", "history.jsonl"])
def test_f43_damaged_state_is_refused_with_advice(where: str, folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder)
    kexp.run(*overrides, quiet=True)
    run = the_run(folder)
    status = {**read(run, "status.json"), "state": "interrupted"}
    (run / "status.json").write_text(json.dumps(status))
    (run / where).write_bytes((run / where).read_bytes()[:60])
    with pytest.raises(StoreError, match="--force"):
        kexp.run(*overrides, quiet=True)
    assert kexp.run(*overrides, quiet=True, force=True)["epochs"] == 2


@pytest.mark.parametrize("task", ["mnist_convnet", "denoise"])
def test_f33_divergence(task: str, folder: Path) -> None:
    blow_up = ("optimizer=sgd", "optimizer.learning_rate=1e30")
    with pytest.raises(Diverged, match=r"became (nan|inf|-inf).*learning_rate"):
        kexp.run(*tiny(task, folder, *blow_up), quiet=True)
    status = read(the_run(folder), "status.json")
    assert status["state"] == "diverged" and "step" in status["reason"]
    history(the_run(folder))


def test_f33_sweep_goes_on_after_divergence(folder: Path, capsys: pytest.CaptureFixture) -> None:
    overrides = tiny("mnist_convnet", folder, "optimizer=sgd", "training.epochs=1")
    code = main(["sweep", *overrides, "optimizer.learning_rate=1e30,0.01", HERE])
    assert code == 1
    states = {run["state"]: run["path"] for _, run in kexp.load(folder / "results").iterrows()}
    assert set(states) == {"diverged", "finished"}
    out = capsys.readouterr().out
    assert "1 of 2 runs finished" in out and "learning_rate=1e+30" in out
    assert main(["compare", str(folder / "results")]) == 0
    assert "diverged" in capsys.readouterr().out


def test_f34_empty_validation(folder: Path) -> None:
    with pytest.raises((ConfigError, DataError), match="validation"):
        kexp.run(*tiny("mnist_convnet", folder, "data.validation_size=0"), quiet=True)


def test_f35_batch_larger_than_data(folder: Path, capsys: pytest.CaptureFixture) -> None:
    options = ("training.batch_size=1000", "training.epochs=1")
    assert main(["run", *tiny("mnist_convnet", folder, *options)]) == 0
    assert "batch_size=1000 is more than the 64 examples" in capsys.readouterr().out


def test_f36_train_and_validation_overlap(folder: Path) -> None:
    from PIL import Image
    from skimage import data

    for split in ("train", "val"):
        target = folder / "images" / split
        target.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(data.camera()[i : i + 40, :40]).save(target / f"{split}{i}.png")
    options = ["task=denoise", "data=folder", f"data.path={folder / 'images'}", "task.patch=16"]
    with pytest.raises(DataError, match="overlap: train/train0.png and val/val0.png"):
        kexp.run(*options, f"paths.results={folder / 'results'}", quiet=True)


def test_f39_resume_with_changed_config(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", *tiny("mnist_convnet", folder, "name=mine")]) == 0
    code = main(["run", *tiny("mnist_convnet", folder, "name=mine", "training.epochs=3")])
    assert code == 1
    assert "training.epochs: recorded 2, now 3" in capsys.readouterr().err
    assert len(history(the_run(folder))) == 2


def test_f41_shapes_are_never_broadcast() -> None:
    from kexp.losses import Quadratic

    with pytest.raises(ValueError, match=r"target \(20, 1\) and prediction \(20, 3\)"):
        Quadratic()(np.zeros((20, 1), np.float32), np.zeros((20, 3), np.float32))


LIMITED = """
import resource, sys
from kexp.cli import main
import kexp.training.loop as loop
keep = loop.Loop.keep
def limited(self, epoch, trained):
    if epoch == 3:
        size = self.folder.checkpoint.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
    keep(self, epoch, trained)
loop.Loop.keep = limited
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(["run", *sys.argv[1:]]))
"""


def test_f44_f46_full_disk_keeps_the_checkpoint(folder: Path, undisturbed: Path) -> None:
    """A write that the system refuses fails the run with its reason, and costs nothing older."""
    overrides = tiny("mnist_convnet", folder, *LONG)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *overrides], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    run = the_run(folder)
    status = read(run, "status.json")
    assert status["state"] == "failed" and "File too large" in status["reason"]
    assert "File too large" in done.stderr
    assert int(weights(run)["epoch"]) == 2
    assert not list(run.rglob("*.tmp"))
    kexp.run(*overrides, quiet=True)
    assert_same(run, undisturbed)


def test_f45_results_that_are_a_file(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "file").write_text("in the way")
    code = main(["run", *tiny("mnist_convnet", folder, f"paths.results={folder / 'file'}")])
    assert code == 2
    assert "paths.results" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a place nobody may write to")
def test_f45_results_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", *tiny("mnist_convnet", folder, "paths.results=/proc/kexp")]) == 1
    err = capsys.readouterr().err
    assert "cannot write to /proc/kexp" in err and "paths.results=" in err


def test_f48_finished_run_is_a_no_op(folder: Path, capsys: pytest.CaptureFixture) -> None:
    overrides = tiny("mnist_convnet", folder)
    assert main(["run", *overrides]) == 0
    before = {f: f.stat().st_mtime_ns for f in the_run(folder).rglob("*") if f.name != ".lock"}
    capsys.readouterr()
    assert main(["run", *overrides]) == 0
    assert "already finished" in capsys.readouterr().out
    assert {f: f.stat().st_mtime_ns for f in before} == before
    assert main(["run", *overrides, "--force"]) == 0
    assert "epoch 1/2" in capsys.readouterr().out


def test_f49_moved_results_are_compared(folder: Path, capsys: pytest.CaptureFixture) -> None:
    kexp.sweep(*tiny("mnist_convnet", folder, "seed=0,1", "training.epochs=1", HERE), quiet=True)
    shutil.move(folder / "results", folder / "elsewhere")
    assert main(["compare", str(folder / "elsewhere")]) == 0
    assert "±" in capsys.readouterr().out


def test_f51_one_corrupt_run(folder: Path, capsys: pytest.CaptureFixture) -> None:
    kexp.sweep(*tiny("mnist_convnet", folder, "seed=0,1,2", "training.epochs=1", HERE), quiet=True)
    broken = sorted((folder / "results").rglob("summary.json"))[0]
    broken.write_text('{"schema": 1, "conf')
    records = read_records([folder / "results"])
    assert sum(bool(record.problems) for record in records) == 1
    assert main(["compare", str(folder / "results")]) == 0
    assert str(broken) in capsys.readouterr().out.replace("\n", "")


def test_f53_the_same_run_twice_at_once(folder: Path, capsys: pytest.CaptureFixture) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=100000")
    with subprocess.Popen(command(*overrides), stdout=subprocess.DEVNULL) as process:
        wait_for_epochs(folder / "results", 1, process)
        assert main(["run", *overrides]) == 1
        process.kill()
    message = capsys.readouterr().err
    assert "another process" in message and f"PID {process.pid}" in message


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGUSR1, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR2, 143, marks=pytest.mark.slow),
    ],
)
def test_f68_f69_signals(number: int, code: int, folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=100000")
    with subprocess.Popen(command(*overrides), stdout=subprocess.DEVNULL) as process:
        wait_for_epochs(folder / "results", 2, process)
        process.send_signal(number)
        assert process.wait(timeout=30) == code
    run = the_run(folder)
    assert read(run, "status.json")["state"] == "interrupted"
    assert int(weights(run)["epoch"]) == len(history(run)) >= 2


def left_running(folder: Path, host: str, age: float, **changes: Any) -> tuple[Path, list[str]]:
    """A run left in its second epoch by a process of `host`, which last beat `age` seconds ago."""
    overrides = tiny("mnist_convnet", folder)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        Steps(patch).stop_after = 6
        kexp.run(*overrides, quiet=True)
    run = the_run(folder)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    status = {**read(run, "status.json"), "state": "running", "host": host, "pid": gone.pid}
    (run / "status.json").write_text(json.dumps({**status, **changes}))
    (run / ".torn.tmp").touch()
    then = (run / ".torn.tmp").stat().st_mtime - age
    os.utime(run / "status.json", (then, then))
    return run, overrides


def test_f54_dead_pid_is_taken_over(folder: Path) -> None:
    run, overrides = left_running(folder, platform.node(), age=0)
    assert kexp.run(*overrides, quiet=True)["epochs"] == 2
    assert not (run / ".torn.tmp").exists()


def test_f54_another_host_that_beats_is_left_alone(folder: Path) -> None:
    run, overrides = left_running(folder, "elsewhere", age=60)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    for force in (False, True):
        with pytest.raises(Held, match=r"another process.*host elsewhere, PID \d+, started 20"):
            kexp.run(*overrides, quiet=True, force=force)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_f54_another_host_that_no_longer_beats_is_taken_over(folder: Path) -> None:
    run, overrides = left_running(folder, "elsewhere", age=121)
    assert kexp.run(*overrides, quiet=True)["epochs"] == 2
    assert "going on after epoch 1, step 2 of 4" in (run / "log.txt").read_text()
    assert read(run, "status.json")["host"] == platform.node()


@pytest.mark.parametrize("clock", ["1999-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"])
def test_f54_clocks_of_hosts_are_not_compared(
    clock: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what the other host's clock wrote nor what this one's says decides."""
    run, overrides = left_running(folder, "elsewhere", age=60, heartbeat=clock)
    with monkeypatch.context() as patch, pytest.raises(Held):
        patch.setattr(time, "time", lambda: 4e9 if clock < "2" else 1e9)
        kexp.run(*overrides, quiet=True)
    then = run.stat().st_mtime - 300
    os.utime(run / "status.json", (then, then))
    assert kexp.run(*overrides, quiet=True)["epochs"] == 2


def test_heartbeat_in_the_middle_of_an_epoch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on by itself, is whole whenever it is read, and never undoes the final state."""
    monkeypatch.setattr("kexp.store.folder.BEAT_SECONDS", 0.001)
    monkeypatch.setattr("kexp.store.folder.now", iter(range(10**9)).__next__)
    seen, train = [], Loop.train_epoch

    def watched(loop: Loop, epoch: int, check: Any) -> dict[str, float]:
        for _ in range(50):
            seen.append(json.loads(loop.folder.status.read_text()))
            time.sleep(0.002)
        return train(loop, epoch, check)

    monkeypatch.setattr(Loop, "train_epoch", watched)
    kexp.run(*tiny("mnist_convnet", folder), quiet=True)
    assert {status["state"] for status in seen} == {"running"}
    assert len({status["heartbeat"] for status in seen}) > 10
    run = the_run(folder)
    assert read(run, "status.json")["state"] == "finished"
    assert not [t for t in threading.enumerate() if t.name == "heartbeat"]
    assert not list(run.rglob("*.tmp"))
    assert stat.S_IMODE((run / "status.json").stat().st_mode) == stat.S_IMODE(
        (run / "summary.json").stat().st_mode
    )


def test_heartbeat_that_cannot_be_written_is_no_fault_of_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kexp.store.folder.BEAT_SECONDS", 0.001)
    tried = []

    def full_disk(run: RunFolder) -> None:
        tried.append(run)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "beat", full_disk)
    with RunFolder(folder / "run").beating():
        time.sleep(0.1)
    assert len(tried) > 1


class Steps:
    """Counts the steps taken, and sends this process a signal after some of them."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int = signal.SIGUSR2):
        self.taken, self.stop_after = 0, -1
        take = Loop._take

        def counted(loop: Loop, order: np.ndarray, *others: Any) -> np.ndarray:
            objectives = take(loop, order, *others)
            self.taken += len(order)
            if self.taken == self.stop_after:
                os.kill(os.getpid(), number)
            return objectives

        patch.setattr("kexp.training.loop.PORTION_SECONDS", 0.0)  # one step at a time
        patch.setattr(Loop, "_take", counted)


def interrupted_and_resumed(overrides: list[str], stops: list[int], steps: Steps) -> None:
    """A run that is sent a signal after each of the steps `stops`, and resumed each time."""
    for stop in stops:
        steps.stop_after = stop
        with pytest.raises(Interrupted, match="SIG"):
            kexp.run(*overrides, quiet=True)
    kexp.run(*overrides, quiet=True)


def test_f68_f69_interrupted_in_the_middle_of_an_epoch(
    folder: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 steps to an epoch: stopped at the first, in the middle, at once again, and at the end."""
    overrides = tiny("mnist_convnet", folder, *LONG)
    steps = Steps(monkeypatch)
    interrupted_and_resumed(overrides, [1, 167, 168, 250], steps)
    run = the_run(folder)
    assert_same(run, undisturbed)
    assert steps.taken == 50 * len(history(run)), "no step was taken twice"
    said = [line for line in (run / "log.txt").read_text().splitlines() if "going on" in line]
    assert said == [
        "going on after epoch 0, step 1 of 50",
        "going on after epoch 3, step 17 of 50",
        "going on after epoch 3, step 18 of 50",
        "going on after epoch 4, step 50 of 50",
    ]


UNEVEN = {
    "mnist_convnet": ("dropout=dropconnect", "norm=decorrelated", "norm.group_size=4"),
    "denoise": ("loss=adaptive", "norm=batch", "dropout=spatial", "optimizer=sgd"),
    "binary": ("dropout=gaussian", "schedule=exponential", "training.patience=1"),
}


@pytest.mark.parametrize("task", UNEVEN)
def test_f68_f69_with_every_kind_of_state(
    task: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random streams, running statistics, a loss that learns; a last batch that is smaller."""
    options = (*UNEVEN[task], "training.epochs=3", "training.batch_size=12")
    kexp.run(*tiny(task, folder, *options, "name=undisturbed"), quiet=True)
    steps = Steps(monkeypatch)
    interrupted_and_resumed(tiny(task, folder, *options, "name=stopped"), [2, 5], steps)
    left, right = (next((folder / "results").rglob(n)) for n in ("stopped", "undisturbed"))
    assert_same(left, right)
    assert "going on after epoch" in (left / "log.txt").read_text()


def test_f68_what_is_saved_in_the_middle_of_an_epoch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history has full epochs only; a checkpoint at the end of one is as it always was."""
    overrides = tiny("mnist_convnet", folder)  # 4 steps to an epoch, 2 epochs
    steps = Steps(monkeypatch)
    steps.stop_after = 6
    with pytest.raises(Interrupted):
        kexp.run(*overrides, quiet=True)
    run = the_run(folder)
    state = weights(run)
    assert int(state["epoch"]) == 1 == len(history(run))
    assert state["objectives/0"].shape == (2,) and state["objectives/0"].dtype == np.float32
    assert read(run, "status.json")["state"] == "interrupted"
    assert [file.name for file in (run / "checkpoint").iterdir()] == ["state.npz"]
    summary = kexp.run(*overrides, quiet=True)
    assert not any(name.startswith("objectives") for name in weights(run))
    assert summary["throughput"]["epoch_seconds"] == [], "no whole epoch was timed"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_f68_f69_interrupted_on_jax(folder: Path) -> None:
    """The same with Keras's own steps, in a process of its own."""
    code = (
        "import sys, pytest\nfrom tests.test_faults_runs import *\n"
        "overrides = sys.argv[1:]\n"
        "with pytest.MonkeyPatch.context() as patch:\n"
        "    steps = Steps(patch)\n"
        "    kexp.run(*overrides, 'name=undisturbed', quiet=True)\n"
        "    steps.taken = 0\n"
        "    interrupted_and_resumed([*overrides, 'name=stopped'], [1, 8], steps)\n"
    )
    options = ("backend=jax", "norm=batch", "schedule=cosine", "training.batch_size=12")
    overrides = tiny("mnist_convnet", folder, *options, "training.epochs=3")
    root, env = Path(__file__).parents[1], {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code, *overrides], cwd=root, env=env, check=True)
    left, right = (next((folder / "results").rglob(n)) for n in ("stopped", "undisturbed"))
    assert_same(left, right)
    assert "going on after epoch 1, step 2 of 6" in (left / "log.txt").read_text()


def test_f50_record_of_a_newer_schema(folder: Path, capsys: pytest.CaptureFixture) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=1")
    kexp.run(*overrides, quiet=True)
    run = the_run(folder)
    newer = {**read(run, "summary.json"), "schema": 99}
    (run / "summary.json").write_text(json.dumps(newer))
    assert main(["compare", str(folder / "results")]) == 0
    assert "written by a newer kexp (schema 99)" in capsys.readouterr().out
    with pytest.raises(StoreError, match="newer kexp"):
        kexp.run(*overrides, quiet=True)


def test_finished_run_needs_its_data_no_more(folder: Path) -> None:
    """Neither is the data looked for again, nor another data set trained on in its place."""
    overrides = tiny("denoise", folder, "training.epochs=1")
    kexp.run(*overrides, quiet=True)
    (folder / "data").unlink()
    assert kexp.run(*overrides, quiet=True)["epochs"] == 1
    with pytest.raises(DataMissing, match="tiny.npz"):
        kexp.run(*overrides, quiet=True, force=True)


def test_resume_on_other_data_is_refused(folder: Path) -> None:
    overrides = tiny("denoise", folder)
    kexp.run(*overrides, quiet=True)
    run = the_run(folder)
    status = {**read(run, "status.json"), "state": "interrupted"}
    (run / "status.json").write_text(json.dumps(status))
    (folder / "data").unlink()
    (folder / "data").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32), np.uint8)
    np.savez(folder / "data" / "tiny.npz", x=images)
    with pytest.raises(StoreError, match="begun on other data"):
        kexp.run(*overrides, quiet=True)


@pytest.mark.skipif(os.environ.get("KEXP_TEST_GPU") == "1", reason="there is a GPU")
def test_f72_gpu_asked_for_and_absent(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", *tiny("mnist_convnet", folder, "backend.device=gpu")]) == 2
    assert "backend.device=gpu was asked for" in capsys.readouterr().err
