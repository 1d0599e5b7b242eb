"""Faults of the disk, by real means: kills, full and read-only disks, damage; f12 is row 12."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexp
from kexp.cli import main
from kexp.errors import KexpError, StoreError
from kexp.store import RunFolder
from tests.conftest import history, read, the_run, tiny
from tests.runs import LONG, assert_same, command, wait_for_epochs, weights

STRESS = Path(__file__).parents[1] / "scripts" / "stress_run.py"


# 38, 42 Kills


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


def stress(*options: str) -> None:
    """`scripts/stress_run.py` finds nothing wrong."""
    done = subprocess.run([sys.executable, str(STRESS), *options], capture_output=True, text=True)
    assert done.returncode == 0, f"{options}\n{done.stdout}{done.stderr}"
    assert done.stdout.endswith(": 0 wrong\n")


@pytest.mark.slow
def test_f38_f42_killed_at_any_moment_and_write() -> None:
    stress("--kills", "3", "--only", "ridge", "--seed", str(random.randrange(10**6)))


@pytest.mark.slow
def test_f42_killed_at_every_so_many_writes() -> None:
    """Before a write and in its middle; with `--every 1` it is done at each of them."""
    stress("--kills", "0", "--only", "ridge", "--every", "16")


@pytest.mark.slow
def test_f38_f42_killed_with_every_kind_of_state() -> None:
    """Dropout, batch norm, schedules and early stopping."""
    names = "convnet,denoise,binary"
    stress("--kills", "12", "--only", names, "--seed", str(random.randrange(10**6)))


# 43 Damage that a crash of the machine leaves


def unfinished(run: Path) -> None:
    """Have a finished run look as if it had been interrupted after its last epoch."""
    status = {**read(run, "status.json"), "state": "interrupted"}
    (run / "status.json").write_text(json.dumps(status))


TORN = {
    "half a line": b'{"epoch": 3, "prob',
    "half a character": '{"epoch": 3, "λ'.encode()[:-1],
    "zeros": bytes(300),
    "a line and zeros": b'{"epoch": 3, "probe": {' + bytes(300),
    "zeros for a line": bytes(200) + b"\n",
    "no object": b"3\n",
    "bytes that are no text": b"\xff\xfe\x00",
}
UNTORN = {
    "empty lines": b"\n\n \n",
    "an epoch beyond the checkpoint": b'{"epoch": 3}\n',
    "the same without its newline": b'{"epoch": 3}',
}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small network, never disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    kexp.run(*tiny("binary", folder), quiet=True)
    return the_run(folder)


@pytest.fixture
def interrupted(calm: Path, folder: Path) -> tuple[Path, list[str]]:
    """A copy of that run, as if it had been interrupted after its last epoch, and its command."""
    run = folder / "results" / "binary" / calm.name
    shutil.copytree(calm, run)
    unfinished(run)
    return run, tiny("binary", folder)


@pytest.mark.parametrize("damage", [*TORN, *UNTORN])
def test_f43_torn_end_of_a_history(
    damage: str,
    interrupted: tuple[Path, list[str]],
    calm: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    """It is left out, which is said where the run is shown and where it goes on."""
    run, overrides = interrupted
    with open(run / "history.jsonl", "ab") as file:
        file.write({**TORN, **UNTORN}[damage])
    warned = f"{run / 'history.jsonl'}: line 3 is torn or damaged; epochs before it are kept"
    assert main(["show", str(run)]) == 0
    assert (warned in flat(capsys)) == (damage in TORN)
    assert main(["run", *overrides]) == 0
    assert (warned in flat(capsys)) == (damage in TORN)
    assert (warned in (run / "log.txt").read_text()) == (damage in TORN)
    assert_same(run, calm)
    assert main(["compare", str(run)]) == 0
    assert "torn" not in capsys.readouterr().out


def flat(capsys: pytest.CaptureFixture) -> str:
    """What was printed, as one line."""
    return capsys.readouterr().out.replace("\n", "")


def test_f43_what_is_no_number_becomes_null(tmp_path: Path) -> None:
    """Another program may have written it; what kexp writes is strict JSON."""
    (tmp_path / "history.jsonl").write_text('{"epoch": 1, "a": NaN, "b": 1e999}\n')
    assert RunFolder(tmp_path).rewind(1)[1] is None
    assert history(tmp_path) == [{"epoch": 1, "a": None, "b": None}]


def test_f43_last_newline_alone_is_missing(interrupted: tuple[Path, list[str]], calm: Path) -> None:
    run, overrides = interrupted
    text = (run / "history.jsonl").read_bytes()
    (run / "history.jsonl").write_bytes(text[:-1])
    kexp.run(*overrides, quiet=True)
    assert_same(run, calm)


@pytest.mark.parametrize("where", ["checkpoint/state.npz", "history.jsonl"])
def test_f43_damaged_state_is_refused_with_advice(
    where: str, interrupted: tuple[Path, list[str]], calm: Path
) -> None:
    run, overrides = interrupted
    (run / where).write_bytes((run / where).read_bytes()[:60])
    with pytest.raises(StoreError, match="--force"):
        kexp.run(*overrides, quiet=True)
    kexp.run(*overrides, quiet=True, force=True)
    assert_same(run, calm)


# 44, 46 Full disks


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """A file system of its own, of `size` bytes, at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size}", "kexp-test", str(folder)]
    try:
        done = subprocess.run(["mount", *options], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"needs to mount a small disk: {error}")
    if done.returncode:
        pytest.skip(f"needs to mount a small disk: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Disk:
    """A small disk, which can be filled."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, but: int = 0) -> None:
        """Leave no room, or only so many bytes."""
        with open(self._filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(self._filler, max(0, self._filler.stat().st_size - but))

    def free(self) -> None:
        """Make room."""
        self._filler.unlink()


@pytest.fixture
def disk(folder: Path) -> Iterator[Disk]:
    """The place of the results of `tiny`, on a disk of its own of 1 MiB."""
    with mounted(folder / "results", 2**20):
        yield Disk(folder / "results")


def before_write(
    patch: pytest.MonkeyPatch, name: str, number: int, action: Callable[[], None]
) -> None:
    """Do something just before a file of a run is written for the nth time."""
    writing, seen = RunFolder.writing, []

    @contextlib.contextmanager
    def watched(self: RunFolder, path: Path) -> Iterator[None]:
        seen.extend([path] if path.name == name else [])
        if path.name == name and len(seen) == number:
            action()
        with writing(self, path):
            yield

    patch.setattr(RunFolder, "writing", watched)


MOMENTS = {
    "before it begins": ("config.yaml", 1, 0, None),
    "first status": ("status.json", 1, 0, None),
    "environment": ("environment.json", 1, 0, None),
    "history begun": ("history.jsonl", 1, 0, None),
    "first checkpoint": ("state.npz", 1, 24 * 1024, 0),
    "second checkpoint": ("state.npz", 2, 24 * 1024, 1),
    "second checkpoint, nothing left": ("state.npz", 2, 0, 1),
    "status after an epoch": ("status.json", 3, 0, 2),
    "examples": ("examples.npz", 1, 0, 2),
    "model": ("model.keras", 1, 24 * 1024, 2),
    "summary": ("summary.json", 1, 0, 2),
    "last status": ("status.json", 4, 0, 2),
}
"""The file that is about to be written when the disk gets full, for which time, how many bytes are
left, and the last epoch that is safe by then.
"""


OFTEN = ("environment", "second checkpoint", "model", "last status")


@pytest.mark.parametrize(
    "moment", [m if m in OFTEN else pytest.param(m, marks=pytest.mark.slow) for m in MOMENTS]
)
def test_f44_f46_full_disk(
    moment: str, disk: Disk, folder: Path, calm: Path, capsys: pytest.CaptureFixture
) -> None:
    """What failed is said, what was safe stays, and with room the run ends as if undisturbed."""
    name, number, but, safe = MOMENTS[moment]
    overrides = tiny("binary", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kexp.store.folder.BEAT_SECONDS", 1000.0)
        before_write(patch, name, number, lambda: disk.fill(but))
        assert main(["run", *overrides]) == 1
    said = capsys.readouterr()
    (run,) = disk.folder.glob("binary/*")
    assert f"/{name}: No space left on device; make room there" in said.err
    assert "Traceback" not in said.err + said.out
    assert not list(run.rglob(".*.tmp*"))
    if safe:
        assert int(weights(run)["epoch"]) == safe <= len(history(run))
    else:
        assert RunFolder(run).load_checkpoint() is None
    if but:
        status = read(run, "status.json")
        assert status["state"] == "failed" and f"{name}: No space left" in status["reason"]
        assert status["reason"] in (run / "log.txt").read_text()
    elif number == 1 and name in ("config.yaml", "status.json"):
        assert not (run / "status.json").exists()
    elif moment != "last status":
        assert "how the run ended cannot be recorded" in said.out
    disk.free()
    assert main(["run", *overrides]) == 0
    assert_same(run, calm)
    assert read(run, "status.json")["state"] == "finished"
    assert {f.name for f in run.rglob("*")} == {f.name for f in calm.rglob("*")}


def test_f43_f44_history_line_that_a_full_disk_cuts(
    disk: Disk, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """Half a line is on disk then, which the same command leaves out, and says so."""
    overrides, cut = tiny("binary", folder, "training.epochs=30"), []
    append = RunFolder.append

    def full_within_a_line(run: RunFolder, record: dict[str, Any]) -> None:
        line = len(json.dumps(record)) + 1
        if not cut and run.history.stat().st_size % 4096 + line > 4096 + 20:
            cut.append(record["epoch"])
            disk.fill()
        append(run, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "append", full_within_a_line)
        assert main(["run", *overrides]) == 1
    run = the_run(disk.folder)
    assert "history.jsonl: No space left on device" in capsys.readouterr().err
    assert (run / "history.jsonl").stat().st_size % 4096 == 0, "the line is cut"
    assert int(weights(run)["epoch"]) == cut[0] - 1
    disk.free()
    assert main(["run", *overrides]) == 0
    assert f"line {cut[0]} is torn or damaged" in flat(capsys)
    kexp.run(*overrides, "name=undisturbed", quiet=True)
    assert_same(run, next(disk.folder.rglob("undisturbed")))


def test_f44_f46_full_disk_for_the_log(
    disk: Disk, folder: Path, calm: Path, capsys: pytest.CaptureFixture
) -> None:
    """A log that has no room for a line costs the run; the line is not lost in silence."""

    def fill() -> None:
        with open(the_run(disk.folder) / "log.txt", "ab") as log:
            log.write(b"#" * (-log.tell() % 4096))
        disk.fill()

    overrides = tiny("binary", folder)
    with pytest.MonkeyPatch.context() as patch:
        before_write(patch, "log.txt", 4, fill)
        assert main(["run", *overrides]) == 1
    assert "log.txt: No space left on device; make room there" in capsys.readouterr().err
    disk.free()
    assert main(["run", *overrides]) == 0
    assert_same(the_run(disk.folder), calm)


def test_f46_full_disk_of_a_tracker_costs_nothing(
    folder: Path, calm: Path, capsys: pytest.CaptureFixture
) -> None:
    """What is sent elsewhere is a copy: that it cannot be written is said, and no more."""
    pytest.importorskip("tensorboard")
    with mounted(folder / "events", 2**16):
        Disk(folder / "events").fill()
        place = f"track.folder={folder / 'events'}"
        assert main(["run", *tiny("binary", folder, "track=tensorboard", place)]) == 0
    said = capsys.readouterr().out
    assert "track=tensorboard" in said and "No space left on device" in said
    assert "the run is not affected" in said
    assert_same(the_run(folder / "results"), calm)


@pytest.mark.slow
def test_f44_f46_full_disk_in_the_worker_of_a_sweep(
    folder: Path, calm: Path, capsys: pytest.CaptureFixture
) -> None:
    """Every run says what it failed of, and the same command goes on once there is room."""
    overrides = ["sweep", *tiny("binary", folder, "seed=0,1"), "hydra.launcher.n_jobs=1"]
    with mounted(folder / "results", 64 * 1024):
        assert main(overrides) == 1
        said = capsys.readouterr().out
        assert said.count("state.npz: No space left on device; make room there") >= 2
        states = [read(p.parent, "status.json") for p in folder.rglob("status.json")]
        assert [status["state"] for status in states] == ["failed", "failed"]
        subprocess.run(["mount", "-o", "remount,size=8m", str(folder / "results")], check=True)
        assert main([*overrides, "--retry-failed"]) == 0
        (first,) = folder.rglob(calm.name)
        assert_same(first, calm)


LIMITED = """
import resource, sys
from kexp.cli import main
import kexp.training.loop as loop
keep = loop.Loop.keep
def limited(self, epoch, trained):
    if epoch == 3:
        size = self.folder.checkpoint.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
    yield from keep(self, epoch, trained)
loop.Loop.keep = limited
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(["run", *sys.argv[1:]]))
"""


@pytest.mark.slow
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


def test_f46_what_a_disk_cannot_keep_is_no_success(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A file that could not be brought to the disk, as after a defect of it, fails the run."""

    def defect(descriptor: int) -> None:
        if "state" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", defect)
    assert main(["run", *tiny("binary", folder)]) == 1
    run = the_run(folder)
    assert "state.npz: Input/output error" in capsys.readouterr().err
    assert "Input/output error" in read(run, "status.json")["reason"]
    assert not (run / "checkpoint" / "state.npz").exists()


# 45 Places that cannot be written to


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


def test_f45_results_on_a_disk_to_be_read_only(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Nothing is trained for a record that cannot be kept; nor is one there that is disturbed."""
    with mounted(folder / "results", 2**20):
        kexp.run(*tiny("binary", folder), quiet=True)
        unfinished(run := the_run(folder))
        before = {f: f.read_bytes() for f in run.rglob("*") if f.is_file()}
        subprocess.run(["mount", "-o", "remount,ro", str(folder / "results")], check=True)
        for force in ([], ["--force"]):
            assert main(["run", *tiny("binary", folder), *force]) == 1
            said = capsys.readouterr()
            assert f"cannot write to {run} (Read-only file system)" in said.err
            assert "paths.results=DIR" in said.err and "epoch" not in said.out
        assert {f: f.read_bytes() for f in run.rglob("*") if f.is_file()} == before
        assert main(["sweep", *tiny("binary", folder, "seed=0,1")]) == 1
        said = capsys.readouterr().err
        assert "Read-only file system" in said and "paths.results=DIR" in said
        assert main(["compare", str(run)]) == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_f45_results_of_somebody_else(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "results").mkdir(mode=0o500)
    assert main(["run", *tiny("binary", folder)]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_f45_results_removed_while_a_run_is_trained(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """The run fails, and does not leave a part of a record in the place of the one removed."""
    with pytest.MonkeyPatch.context() as patch:
        before_write(patch, "history.jsonl", 3, lambda: shutil.rmtree(folder / "results"))
        assert main(["run", *tiny("binary", folder)]) == 1
    said = capsys.readouterr()
    assert "was removed or replaced while the run was being trained" in said.err
    assert "Traceback" not in said.err + said.out
    assert not (folder / "results").exists()


def test_f45_results_that_another_process_has_begun_again(folder: Path) -> None:
    """A record that is another's by now is not written to."""
    other = []

    def begun_again() -> None:
        run = the_run(folder)
        shutil.rmtree(run)
        with RunFolder(run).locked():
            RunFolder(run).rewind(0)
        other.append(run)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError, match="replaced"):
        before_write(patch, "history.jsonl", 3, begun_again)
        kexp.run(*tiny("binary", folder), quiet=True)
    assert (other[0] / "history.jsonl").read_bytes() == b""
    assert {f.name for f in other[0].iterdir()} == {".lock", "history.jsonl"}


def test_f45_history_removed_while_a_run_is_trained(folder: Path) -> None:
    """It is not begun again with an epoch from the middle."""
    with pytest.MonkeyPatch.context() as patch:
        before_write(patch, "history.jsonl", 3, lambda: history_of(folder).unlink())
        with pytest.raises(StoreError, match="history.jsonl: No such file"):
            kexp.run(*tiny("binary", folder), quiet=True)
    assert not history_of(folder).exists()


def history_of(folder: Path) -> Path:
    """The history of the only run."""
    return the_run(folder) / "history.jsonl"


def test_f45_disk_that_does_not_synchronise_folders(
    folder: Path, calm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network disks refuse that; there is nothing to be done, and nothing wrong."""
    sync = os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", refused)
    kexp.run(*tiny("binary", folder), quiet=True)
    assert_same(the_run(folder), calm)


def test_f45_disk_without_locks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert main(["run", *tiny("binary", folder)]) == 1
    said = capsys.readouterr()
    assert "no lock can be had: No locks available" in said.err
    assert "paths.results=DIR" in said.err and "epoch" not in said.out


# A record that is removed to be trained afresh


def test_f42_record_whose_removal_was_cut_short(
    folder: Path, calm: Path, capsys: pytest.CaptureFixture
) -> None:
    """At no moment is there a state that a run of another config would take for its own."""
    kexp.run(*tiny("binary", folder, "name=mine", "optimizer.learning_rate=0.5"), quiet=True)
    other, codes = the_run(folder), []
    for number in range(1, 10):
        results = folder / str(number)
        shutil.copytree(other, results / "binary" / "mine")
        overrides = tiny("binary", folder, f"paths.results={results}", "name=mine")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KexpError, match="sys.exit"):
            cut_removal(patch, number)
            kexp.run(*overrides, quiet=True, force=True)
        codes.append(main(["run", *overrides]))
        if codes[-1]:
            assert "holds a run of another config" in capsys.readouterr().err
        else:
            assert_same(the_run(results), calm)
    assert codes == [1] * 8 + [0], "refused, until nothing says any more whose it was"


def cut_removal(patch: pytest.MonkeyPatch, number: int) -> None:
    """End the process, as it were, before the nth part of a record is removed."""
    seen, writing = [], RunFolder.writing

    def counted(self: RunFolder, path: Path) -> Any:
        seen.append(path)
        if len(seen) == number:
            raise SystemExit
        return writing(self, path)

    patch.setattr(RunFolder, "writing", counted)
