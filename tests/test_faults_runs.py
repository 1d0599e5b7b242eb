"""Faults of training, storage and concurrency, by real means; f12 is row 12 of the fault table."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexp
from kexp.analysis.load import read_records
from kexp.api import Session
from kexp.cli import main
from kexp.data.base import Collection, Examples, _refuse_twins
from kexp.errors import (
    ConfigError,
    DataError,
    DataMissing,
    Diverged,
    Held,
    Interrupted,
    StoreError,
)
from kexp.store import RunFolder
from kexp.training import course
from kexp.training.loop import Loop
from kexp.training.measuring import Meter
from tests.conftest import HERE, TINY, history, read, the_run, tiny
from tests.runs import LONG, assert_same, command, wait_for_epochs, weights


@pytest.mark.parametrize("task", ["mnist_convnet", "denoise"])
def test_f33_divergence(task: str, folder: Path) -> None:
    blow_up = ("optimizer=sgd", "optimizer.learning_rate=1e30")
    with pytest.raises(Diverged, match=r"became (nan|inf|-inf).*learning_rate"):
        kexp.run(*tiny(task, folder, *blow_up), quiet=True)
    status = read(the_run(folder), "status.json")
    assert status["state"] == "diverged" and "step" in status["reason"]
    history(the_run(folder))


def test_f33_what_a_bounded_loss_does_not_see(folder: Path, capfd: pytest.CaptureFixture) -> None:
    """Tukey's loss of a prediction of 1e25 is a number like any other; its PSNR is none."""
    blow_up = ("loss=tukey", "optimizer=sgd", "optimizer.learning_rate=1e25")
    assert main(["run", *tiny("denoise", folder, *blow_up)]) == 1
    err = capfd.readouterr().err
    assert "the PSNR on probe is not finite after epoch 1" in err and "Warning" not in err
    assert read(the_run(folder), "status.json")["state"] == "diverged"
    assert history(the_run(folder)) == []


@pytest.mark.parametrize("split", ["probe", "validation", "test"])
def test_f33_a_number_that_is_none_on_one_split_alone(
    split: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it comes after a resume: what is recorded stays strict JSON."""
    overrides = tiny("ridge", folder, "training.epochs=3")
    with monkeypatch.context() as patch:
        Steps(patch).stop_after = 10  # 9 steps to an epoch
        with pytest.raises(Interrupted):
            kexp.run(*overrides, quiet=True)
    measure = Meter._split

    def poisoned(meter: Meter, engine: Any, batches: Any, name: str) -> Any:
        bad = [replace(b, x=b.x * np.float32(np.nan)) for b in batches]
        return measure(meter, engine, bad if name == split else batches, name)

    monkeypatch.setattr(Meter, "_split", poisoned)
    with pytest.raises(Diverged, match=f"the objective on {split} is not finite"):
        kexp.run(*overrides, quiet=True)
    assert read(the_run(folder), "status.json")["state"] == "diverged"
    assert len(history(the_run(folder))) == (3 if split == "test" else 1)


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


@pytest.mark.parametrize("task", TINY)
def test_f34_empty_validation(task: str, folder: Path) -> None:
    for nothing in ("0", "0.0"):
        with pytest.raises(ConfigError, match="data.validation_size must be > 0, got 0"):
            kexp.run(*tiny(task, folder, f"data.validation_size={nothing}"), quiet=True)


@pytest.mark.parametrize(("task", "total"), [("denoise", 8), ("ridge", 442)])
def test_f34_validation_share_of_less_than_one_example(task: str, total: int, folder: Path) -> None:
    wanted = rf"split is empty \(data.validation_size=0.001 of {total} examples\)"
    with pytest.raises(DataError, match=wanted):
        kexp.run(*tiny(task, folder, "data.validation_size=0.001"), quiet=True)


@pytest.mark.parametrize(
    ("task", "size"), [("mnist_convnet", 64), ("denoise", 32), ("binary", 341), ("ridge", 266)]
)
def test_f35_batch_larger_than_data(
    task: str, size: int, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ("training.batch_size=1000", "training.epochs=1")
    assert main(["run", *tiny(task, folder, *options)]) == 0
    assert f"batch_size=1000 is more than the {size} examples" in capsys.readouterr().out
    assert read(the_run(folder), "summary.json")["throughput"]["examples_per_epoch"] == size


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


TWINS = {
    "train/a.png val/b.bmp": "train and validation overlap: train/a.png and val/b.bmp",
    "train/a.png test/b.png": "train and test overlap: train/a.png and test/b.png",
    "val/a.png test/b.png": "validation and test overlap: val/a.png and test/b.png",
    "a.png b.tif": "a.png and b.tif are the same image, which could get into training and",
}


def test_f36_also_where_data_have_no_files() -> None:
    """Data of the user's own that bring a validation split."""
    images = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 1), dtype=np.uint8)
    train, other = Examples(images[:3]), Examples(images[3:])
    _refuse_twins(Collection(train=train, validation=other, test=other))
    _refuse_twins(Collection(train=train, validation=None, test=train))
    with pytest.raises(DataError, match="train and validation overlap: number 1 and number 0"):
        twin = Examples(images[1:2])
        _refuse_twins(Collection(train=train, validation=twin, test=other))


@pytest.mark.parametrize("places", TWINS)
def test_f36_the_same_image_under_another_name(places: str, folder: Path) -> None:
    """Whatever its format, and also where kexp draws the splits: whatever the seed."""
    from PIL import Image
    from skimage import data

    photo = Image.fromarray(data.camera()[:40, :40])
    twins = [folder / "images" / place for place in places.split()]
    split = len(twins[0].relative_to(folder / "images").parts) > 1
    parts = [folder / "images" / (part if split else "") for part in ("train", "val", "test")]
    for number, part in enumerate(parts):
        part.mkdir(parents=True, exist_ok=True)
        other = Image.fromarray(data.camera()[40 * number : 40 * number + 40, 60:100])
        other.save(part / f"other{number}.png")
    for twin in twins:
        photo.save(twin)
    options = ["task=denoise", "data=folder", f"data.path={folder / 'images'}", "task.patch=16"]
    with pytest.raises(DataError, match=TWINS[places]):
        kexp.run(*options, f"paths.results={folder / 'results'}", quiet=True)


CHANGES = {
    "seed=1": "seed: recorded 0, now 1",
    "loss=focal": "loss.gamma: recorded (absent), now 2.0",
    "regularizer=l2": "regularizer._target_: recorded 'kexp.regularizers.Zero', now",
    "dropout=standard": "dropout.rate: recorded (absent), now 0.5",
    "norm=batch": "norm.momentum: recorded (absent), now 0.9",
    "optimizer=sgd": "optimizer._target_: recorded 'kexp.optimizers.Adam', now",
    "optimizer.learning_rate=0.01": "optimizer.learning_rate: recorded 0.001, now 0.01",
    "schedule=cosine": "schedule.warmup: recorded (absent), now 0.0",
    "model.hidden=[3]": "model.hidden: recorded",
    "data.label_noise=0.1": "data.label_noise: recorded 0.0, now 0.1",
    "data.train_size=50": "data.train_size: recorded None, now 50",
    "training.batch_size=7": "training.batch_size: recorded 32, now 7",
    "training.mc_passes=2": "training.mc_passes: recorded 0, now 2",
    "backend.device=cpu": "backend.device: recorded 'auto', now 'cpu'",
    "backend.threads=1": "backend.threads: recorded None, now 1",
}


def test_f39_every_section_counts(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Where a run is sent to matters not."""
    base = tiny("binary", folder, "name=mine", "training.epochs=1")
    with pytest.MonkeyPatch.context() as patch:
        Steps(patch).stop_after = 2
        assert main(["run", *base]) == 143
    for change, said in CHANGES.items():
        capsys.readouterr()
        assert main(["run", *base, change]) == 1, change
        assert said in capsys.readouterr().err, change
    assert main(["run", *base, "track=tensorboard"]) == 0
    assert len(history(the_run(folder))) == 1


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


def losses() -> list[Any]:
    """Every loss, as configs have it by default."""
    from kexp import losses as module

    classes = (getattr(module, name) for name in module.__all__)
    return [c() for c in classes if isinstance(c, type) and c is not module.Loss]


MISFITS = {
    "classification": [
        ((5, 1), (5, 3)),
        ((5,), (5,)),
        ((4,), (5, 3)),
        ((5,), (5, 3, 1)),
        ((5, 3), (5, 3)),
        ((1,), (5, 3)),
        ((5,), (1, 3)),
        ((), (5, 3)),
    ],
    "regression": [
        ((5, 1), (5, 3)),
        ((5,), (5, 1)),
        ((5, 1), (5,)),
        ((1,), (5,)),
        ((), (5,)),
        ((5, 32, 32, 1), (5, 32, 32, 3)),
        ((5, 32, 32, 1), (5, 32, 32)),
        ((5, 32, 32, 3), (1, 32, 32, 3)),
        ((5, 1, 32, 3), (5, 32, 32, 3)),
    ],
}


def test_f41_every_loss_refuses_every_misfit() -> None:
    assert len(losses()) > 20
    for loss in losses():
        kind = "classification" if {"classification", "binary"} & {*loss.targets} else "regression"
        for target, prediction in MISFITS[kind]:
            for dtype in ("int32", "float32"):
                with pytest.raises(ValueError, match=r"(must|needs).*got"):
                    loss(np.zeros(target, dtype), np.zeros(prediction, np.float32))


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


@pytest.mark.slow
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
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
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


PHASES: dict[str, tuple[Any, str]] = {
    "fetching data": (Session, "_fetch"),
    "taking the lock": (RunFolder, "_tidy"),
    "beginning": (RunFolder, "start"),
    "testing": (Loop, "test"),
    "writing the model": (RunFolder, "save_model"),
    "ending": (RunFolder, "end"),
}


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
@pytest.mark.parametrize("phase", PHASES)
def test_f68_f69_in_every_phase(
    phase: str,
    number: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Before the training, and when there are no more steps: the status is true, and it goes on."""
    place, name = PHASES[phase]
    work, before = getattr(place, name), signal.getsignal(signal.SIGTERM)
    overrides = tiny("binary", folder)

    def signalled(*given: Any, **named: Any) -> Any:
        done = work(*given, **named)
        os.kill(os.getpid(), number)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(place, name, signalled)
        assert main(["run", *overrides]) == (130 if number == signal.SIGINT else 143)
    assert "stopped by" in (said := capsys.readouterr().err) or "keyboard" in said
    state = [read(run.parent, "status.json")["state"] for run in folder.rglob("status.json")]
    early = phase in ("fetching data", "taking the lock", "beginning")
    assert state in ([["interrupted"], []] if early else [["finished"]])
    assert main(["run", *overrides]) == 0
    assert read(the_run(folder), "status.json")["state"] == "finished"
    assert signal.getsignal(signal.SIGTERM) == before


def test_f68_the_reader_of_what_is_said_has_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `tee` in `kexp run 2>&1 | tee log`, to which a terminal's Ctrl-C goes as well."""

    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            """Nothing is left to write."""

    overrides = tiny("binary", folder)
    with monkeypatch.context() as patch:
        Steps(patch, signal.SIGINT).stop_after = 3
        patch.setattr(sys, "stderr", Gone())
        assert main(["run", *overrides]) == 130
    run = the_run(folder)
    assert read(run, "status.json")["state"] == "interrupted"
    assert len(weights(run)["objectives/0"]) == 3


def test_f68_a_signal_in_the_last_moment_ends_a_sweep(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sweep within one process it is not taken for the run's that had finished."""
    test = Loop.test

    def signalled(loop: Loop) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return test(loop)

    monkeypatch.setattr(Loop, "test", signalled)
    assert main(["sweep", *tiny("binary", folder, "seed=0,1", HERE)]) == 130
    assert read(the_run(folder), "status.json")["state"] == "finished"


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


def test_f54_a_heartbeat_in_the_future_holds_nothing_for_years(folder: Path) -> None:
    run = RunFolder(folder / "run")
    run.path.mkdir()
    run.status.write_text('{"state": "running", "host": "elsewhere", "pid": 1}')
    with pytest.raises(Held), run.locked():
        pass
    then = run.status.stat().st_mtime + 1e8
    os.utime(run.status, (then, then))
    with run.locked():
        pass


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
        answer = course.Steps.answer

        def counted(wish: course.Steps) -> np.ndarray:
            objectives = answer(wish)
            self.taken += len(objectives)
            if self.taken == self.stop_after:
                os.kill(os.getpid(), number)
            return objectives

        patch.setattr("kexp.training.engine.PORTION_SECONDS", 0.0)  # one step at a time
        patch.setattr(course.Steps, "answer", counted)


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


@pytest.mark.slow
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
    """The same as a JAX program, in a process of its own."""
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
