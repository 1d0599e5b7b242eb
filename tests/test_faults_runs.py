"""Faults of training, storage and concurrency, by real means; f12 is row 12 of the fault table."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kexp
from kexp.analysis.load import read_records
from kexp.cli import main
from kexp.errors import ConfigError, DataError, DataMissing, Diverged, KexpError, StoreError
from kexp.store import RunFolder, read_run
from tests.conftest import history, read, the_run, tiny

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
    code = main(["sweep", *overrides, "optimizer.learning_rate=1e30,0.01"])
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
    kexp.sweep(*tiny("mnist_convnet", folder, "seed=0,1", "training.epochs=1"), quiet=True)
    shutil.move(folder / "results", folder / "elsewhere")
    assert main(["compare", str(folder / "elsewhere")]) == 0
    assert "±" in capsys.readouterr().out


def test_f51_one_corrupt_run(folder: Path, capsys: pytest.CaptureFixture) -> None:
    kexp.sweep(*tiny("mnist_convnet", folder, "seed=0,1,2", "training.epochs=1"), quiet=True)
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
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)]
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
