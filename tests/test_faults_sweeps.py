"""Faults of sweeps, by real means; f58 is row 58 of the fault table."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import kexp
from kexp.backends import TensorFlow
from kexp.cli import main
from kexp.errors import Interrupted, KexpError, StoreError
from kexp.store import RunFolder, read_run
from kexp.sweeps import slots
from kexp.sweeps.machine import Share, gpus, processes_killed_for_memory, shares
from tests.conftest import history, read, tiny
from tests.test_faults_runs import assert_same
from tests.trouble import HOARD_MIB, OUTCOMES, config_dir

ROOT = Path(kexp.__file__).parent.parent
FEW = ("training.epochs=3", "dropout=none,standard", "seed=0,1")


def command(*words: str) -> list[str]:
    """`kexp sweep` in a process of its own."""
    return [sys.executable, "-m", "kexp", "sweep", *words]


def runs_of(results: Path) -> dict[str, Path]:
    """The runs below a folder, by name."""
    return {path.parent.name: path.parent for path in results.glob("*/*/status.json")}


def states(results: Path) -> dict[str, int]:
    """How many runs are in each state."""
    found: dict[str, int] = {}
    for run in runs_of(results).values():
        state = read(run, "status.json")["state"]
        found[state] = found.get(state, 0) + 1
    return found


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    """The worker processes of a sweep."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def kinds(results: Path) -> dict[str, Path]:
    """The runs with `loss=trouble`, by the kind of trouble."""
    return {read_run(run).config["loss"]["kind"]: run for run in runs_of(results).values()}


def written(results: Path) -> dict[str, int]:
    """When the status of each of these runs was written."""
    return {kind: (run / "status.json").stat().st_mtime_ns for kind, run in kinds(results).items()}


def wait_until(true, seconds: float = 90.0, process: subprocess.Popen | None = None) -> None:
    """Wait until `true()` holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.02)


def epochs_logged(results: Path) -> int:
    """Epochs in all histories together."""
    return sum(path.read_bytes().count(b"\n") for path in results.rglob("history.jsonl"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small sweep that nobody disturbed, and of the same in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main(["sweep", *tiny("mnist_convnet", folder, *FEW)]) == 0
    return folder / "results"


# 40 100 runs in one sweep: the memory of every process is bounded


def graphs() -> int:
    """How many graphs of TensorFlow's this process holds."""
    from tensorflow.python.framework.func_graph import FuncGraph

    gc.collect()
    return sum(issubclass(type(found), FuncGraph) for found in gc.get_objects())


def test_f40_a_run_leaves_no_graph_behind(folder: Path) -> None:
    """Also where a layer has a gradient of its own, and where the run has failed."""
    overrides = tiny("mnist_convnet", folder, "training.epochs=1", "norm=decorrelated")
    kexp.run(*overrides, quiet=True)
    before = graphs()
    kexp.run(*overrides, "seed=1", quiet=True)
    with pytest.raises(KexpError, match="not finite|became"):
        kexp.run(*overrides, "optimizer.learning_rate=1e30", quiet=True)
    assert graphs() <= before


@pytest.mark.slow
def test_f40_a_worker_that_has_grown_is_replaced(folder: Path) -> None:
    """Each run leaves more in memory than a worker may grow by, so each second one is its last."""
    seen: set[int] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            for run in runs_of(folder / "results").values():
                seen.add(RunFolder(run).state().get("pid", 0))

    thread = threading.Thread(target=look)
    thread.start()
    hoards = ("loss=trouble", "loss.kind=hoard", "seed=range(4)", "training.epochs=1")
    limits = ("hydra.launcher.n_jobs=1", f"hydra.launcher.growth_mib={HOARD_MIB // 2}")
    words = [*config_dir(folder), *tiny("mnist_convnet", folder, *hoards), *limits]
    assert main(["sweep", *words]) == 0
    over.set()
    thread.join()
    assert len(seen - {0, os.getpid()}) == 2


def test_f40_gradients_of_the_users_functions_stay() -> None:
    """One traced in a run may be differentiated in a later one."""
    import tensorflow as tf

    backend = TensorFlow()

    @tf.custom_gradient
    def twice(x):
        return tf.identity(x), lambda upstream: 2 * upstream

    traced = tf.function(lambda x: 3 * twice(x))
    x = tf.Variable(1.0)
    with backend.letting_go():
        assert float(traced(x)) == 3
    with backend.letting_go(), tf.GradientTape() as tape:
        y = traced(x)
    assert float(tape.gradient(y, x)) == 6


@pytest.mark.slow
def test_f40_memory_of_a_hundred_runs(folder: Path) -> None:
    """Both workers make it to the end, though they would be replaced had they grown by 50 MiB."""
    overrides = tiny("mnist_convnet", folder, "seed=range(100)", "training.epochs=1")
    limits = ("hydra.launcher.n_jobs=2", "hydra.launcher.growth_mib=50")
    largest: dict[int, float] = {}
    with open(folder / "out.txt", "w") as out:
        process = subprocess.Popen(command(*overrides, *limits), stdout=out, stderr=out, cwd=ROOT)
        while process.poll() is None:
            for p in [psutil.Process(process.pid), *workers_of(process)]:
                with contextlib.suppress(psutil.Error):
                    size = p.memory_info().rss / 2**20
                    largest[p.pid] = max(largest.get(p.pid, 0.0), size)
            time.sleep(0.2)
    assert process.returncode == 0, (folder / "out.txt").read_text()
    assert states(folder / "results") == {"finished": 100}
    parent = largest.pop(process.pid)
    assert parent < 200
    assert len(largest) == 2 and max(largest.values()) < 1200


@pytest.mark.slow
def test_f40_f58_memory_and_handles_stay_flat_under_fire() -> None:
    """The small version of the script, with every kind of trouble and with kills."""
    words = ("-m", "scripts.stress_sweep", "--runs", "80", "--kills", "2")
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80 runs, 2 SIGKILLs: 0 wrong" in done.stdout
    assert "sweep, " in done.stdout and "worker " in done.stdout  # growth was looked at


# 47 An interrupted sweep run again: finished skipped, partial resumed, failed only on request


def test_f47_finished_are_skipped_and_failed_left(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    mine = config_dir(folder)
    results = folder / "results"
    overrides = tiny("mnist_convnet", folder, "loss=trouble", "training.epochs=1")
    here = [*mine, *overrides, "hydra/launcher=basic"]
    assert main(["sweep", *here, "loss.kind=none,raise"]) == 1
    assert "RuntimeError: what now?" in capsys.readouterr().out
    before = written(results)

    assert main(["sweep", *here, "loss.kind=none,raise", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "1 finished before, 1 failed before" in said
    assert "skip   loss.kind=none: finished" in said
    assert "leave  loss.kind=raise: failed: RuntimeError: what now? (--retry-failed" in said

    assert main(["sweep", *here, "loss.kind=none,raise"]) == 1
    assert "failed: loss.kind=raise: failed: RuntimeError: what now?" in capsys.readouterr().out
    assert written(results) == before

    assert main(["sweep", *here, "loss.kind=none,raise", "--retry-failed"]) == 1
    after = written(results)
    assert [kind for kind in after if after[kind] != before[kind]] == ["raise"]
    capsys.readouterr()
    assert main(["sweep", *here, "loss.kind=none", "seed=0,1"]) == 0
    assert "sweep of 2 runs: 1 to train, 1 finished before" in capsys.readouterr().out


def test_f47_a_finished_run_without_its_summary_is_made_whole(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [*tiny("mnist_convnet", folder, "training.epochs=1"), "hydra/launcher=basic"]
    assert main(["sweep", *words]) == 0
    (run,) = runs_of(folder / "results").values()
    before = (run / "summary.json").read_text()
    (run / "summary.json").write_text("{")
    capsys.readouterr()
    assert main(["sweep", *words]) == 0
    assert "sweep of 1 run: 1 to go on" in capsys.readouterr().out
    after = read(run, "summary.json")
    assert after["last"] == json.loads(before)["last"]
    assert [record["epoch"] for record in history(run)] == [1]


def test_f47_killed_and_started_again(folder: Path, undisturbed: Path) -> None:
    """The parent is killed in the middle of runs; the same command makes them what they are."""
    results = folder / "results"
    words = command(*tiny("mnist_convnet", folder, *FEW))
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: epochs_logged(results) >= 2, process=process)
        process.kill()
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert states(results) == {"finished": 4}
    for name, run in runs_of(undisturbed).items():
        assert_same(runs_of(results)[name], run)


@pytest.mark.slow
def test_f47_many_kills_of_workers_and_parents(folder: Path) -> None:
    """Random SIGKILLs, restarted until done: every run once, identical to an undisturbed one."""
    (folder / "calm").mkdir()
    (folder / "calm" / "data").symlink_to(folder / "data")
    runs = ("training.epochs=6", "data.train_size=300", "dropout=none,standard", "seed=range(6)")
    assert not kexp.sweep(*tiny("mnist_convnet", folder / "calm", *runs), quiet=True).failures
    words = command(*tiny("mnist_convnet", folder, *runs), "--retry-failed")
    rng, kills, code = random.Random(0), 0, None
    for _ in range(40):
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
            while one.poll() is None and kills < 12:
                time.sleep(rng.uniform(3, 9))
                victims = [*workers_of(one), one]
                victim = rng.choice(victims)
                kills += 1
                victim.kill()
            code = one.wait(timeout=300)
        if code == 0:
            break
    assert code == 0 and kills >= 5
    expected, found = runs_of(folder / "calm" / "results"), runs_of(folder / "results")
    assert found.keys() == expected.keys() and len(found) == 12
    for name, run in found.items():
        assert_same(run, expected[name])
        assert [record["epoch"] for record in history(run)] == list(range(1, 7))


# 53 The same run started twice: a sweep waits for it instead


@pytest.mark.slow
def test_f53_a_sweep_waits_for_a_run_that_another_process_holds(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=1", "seed=0,1")
    assert main(["sweep", *overrides, "--dry-run"]) == 0
    first = kexp.sweep(*overrides, dry_run=True, quiet=True).folders[0]
    holder = (
        "import sys, time, pathlib; from kexp.store import RunFolder\n"
        f"with RunFolder(pathlib.Path({str(first)!r})).locked():\n"
        "    print('held', flush=True); time.sleep(12)"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        assert main(["sweep", *overrides]) == 0
    said = capsys.readouterr().out
    assert said.count("waiting: this run is being trained by another process") == 1
    assert "2 of 2 runs finished" in said


# 55 Two sweeps in the same second: distinct folders, and each run is trained once


def test_f55_two_sweeps_at_once(folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=2", "seed=range(3)")
    words = command(*overrides, "hydra.launcher.n_jobs=1")
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=180)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all("3 of 3 runs finished" in text for text in said)
    assert states(folder / "results") == {"finished": 3}
    for run in runs_of(folder / "results").values():
        assert [record["epoch"] for record in history(run)] == [1, 2]
        assert (run / "log.txt").read_text().count("epoch 1/2") == 1


def test_f55_what_a_launcher_writes_has_a_folder_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kexp.config.compose import Composer
    from kexp.sweeps.launching import set_up
    from kexp.sweeps.work import Job, Work

    monkeypatch.setattr(time, "strftime", lambda _: "20261124-120000-")
    work = Work([Job((), folder / "results" / "study" / "run", "a run", 1)])
    with set_up(Composer(), [], []) as one, set_up(Composer(), [], []) as other:
        with one._launcher(work), other._launcher(work):
            places = [launch.config.hydra.sweep.dir for launch in (one, other)]
            assert places[0] != places[1] and all(Path(place).is_dir() for place in places)
    assert not (folder / "results" / ".sweeps").exists()


# 57 10 processes × 200 records: all present


WRITER = """
import pathlib, sys
from kexp.store.atomic import append_json
for number in range(200):
    line = {"writer": int(sys.argv[1]), "number": number, "text": "x" * 200}
    append_json(pathlib.Path(sys.argv[2]), line)
"""


def test_f57_ten_processes_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.touch()
    words = [[sys.executable, "-c", WRITER, str(writer), str(path)] for writer in range(10)]
    processes = [subprocess.Popen(line) for line in words]
    assert [process.wait(timeout=120) for process in processes] == [0] * 10
    found = [json.loads(line) for line in path.read_text().splitlines()]
    expected = {(writer, number) for writer in range(10) for number in range(200)}
    assert len(found) == 2000 and {(r["writer"], r["number"]) for r in found} == expected


# 58 A run raises, calls sys.exit, is killed or segfaults: the others finish, all are listed


@pytest.mark.slow
def test_f58_every_kind_of_trouble_is_confined(folder: Path, capsys: pytest.CaptureFixture) -> None:
    expected = {kind: outcome for kind, outcome in OUTCOMES.items() if kind != "sleep"}
    overrides = tiny("mnist_convnet", folder, "loss=trouble", "training.epochs=1")
    words = [
        *config_dir(folder),
        *overrides,
        f"loss.kind={','.join(('none', *expected))}",
        "hydra.launcher.n_jobs=2",
    ]
    assert main(["sweep", *words]) == 1
    said = capsys.readouterr().out
    assert "1 of 8 runs finished" in said
    found = {kind: read(run, "status.json") for kind, run in kinds(folder / "results").items()}
    assert found["none"]["state"] == "finished"
    logs = {kind: (run / "log.txt").read_text() for kind, run in kinds(folder / "results").items()}
    for kind, (state, reason) in expected.items():
        assert found[kind]["state"] == state and reason in found[kind]["reason"]
        (line,) = [
            text for text in said.splitlines() if text.startswith(f"failed: loss.kind={kind}:")
        ]
        assert reason in line
        assert reason in logs[kind] or "Traceback" in logs[kind]
    assert "Traceback" in logs["raise"] and "in __call__" in logs["raise"]
    assert "Fatal Python error: Segmentation fault" in logs["segfault"]
    assert "trouble.py" in logs["segfault"]


@pytest.mark.slow
def test_f46_a_record_that_cannot_be_told_of_a_death_is_no_secret(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: str) -> None:
        raise StoreError("cannot write status.json: No space left on device")

    monkeypatch.setattr(RunFolder, "conclude", full)
    overrides = tiny("mnist_convnet", folder, "loss=trouble", "training.epochs=1")
    assert main(["sweep", *config_dir(folder), *overrides, "loss.kind=kill,none"]) == 1
    said = capsys.readouterr().out
    assert "its process was ended by SIGKILL; its record could not be told: cannot write" in said


# 68 and 69 A signal to the sweep: its runs save, exit 130 or 143, and the same command goes on


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_f68_f69_a_signal_to_a_sweep(
    number: int, code: int, folder: Path, undisturbed: Path
) -> None:
    results = folder / "results"
    words = command(*tiny("mnist_convnet", folder, *FEW))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: epochs_logged(results) >= 2, process=process)
        process.send_signal(number)
        error = process.communicate(timeout=60)[1]
    assert process.returncode == code, error
    assert b"the same command goes on from there" in error
    assert not states(results).get("running")
    assert subprocess.run(words, capture_output=True, timeout=120).returncode == 0
    for name, run in runs_of(undisturbed).items():
        assert_same(runs_of(results)[name], run)


@pytest.mark.slow
def test_f47_f68_a_signal_is_no_time_limit(folder: Path) -> None:
    """A run that is stopped early, or while it is being set up, is gone on with later."""
    results = folder / "results"
    limit = ["hydra.launcher.time_limit=600", "hydra.launcher.n_jobs=2"]
    words = command(*tiny("mnist_convnet", folder, "training.epochs=2000", "seed=0,1"), *limit)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: epochs_logged(results) >= 2, process=process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert states(results) == {"interrupted": 2}
    for seconds in (0.5, 1.5, 2.5):
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            while b"at once" not in process.stdout.readline():
                pass
            time.sleep(seconds)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode == 143
        assert not states(results).keys() & {"failed", "timeout"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "joblib"])
def test_f68_control_c_in_a_terminal(launcher: str, folder: Path) -> None:
    """A terminal signals every process of its group: no run takes it for a second signal."""
    pty = pytest.importorskip("pty")
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    overrides = tiny("binary", folder, "training.epochs=20000", "seed=0,1")
    words = command(*overrides, f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=2")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    pressed, deadline = False, time.monotonic() + 120
    with contextlib.suppress(OSError):  # the other side has closed it
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0] and not os.read(terminal, 2**16):
                break
            if not pressed and len(list(folder.rglob("history.jsonl"))) == 2:
                pressed = os.write(terminal, b"\x03") == 1
        os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(terminal)
    assert states(folder / "results") == {"interrupted": 2}


@pytest.mark.slow
def test_f68_a_second_signal_ends_a_sweep_at_once(folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=2000", "seed=0,1")
    with subprocess.Popen(command(*overrides), stderr=subprocess.PIPE) as process:
        wait_until(lambda: epochs_logged(folder / "results") >= 2, process=process)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130


# 70 Out of memory: status oom, a smaller batch advised, the sweep goes on


@pytest.mark.slow
def test_f70_a_worker_that_the_kernel_kills_for_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The kernel's own count of such kills tells them from any other SIGKILL."""
    counts: Iterator[int] = iter(range(1000))
    monkeypatch.setattr(slots, "processes_killed_for_memory", lambda: next(counts))
    overrides = tiny("mnist_convnet", folder, "loss=trouble", "training.epochs=1")
    words = [*config_dir(folder), *overrides, "loss.kind=kill,none", "hydra.launcher.n_jobs=1"]
    assert main(["sweep", *words]) == 1
    assert states(folder / "results") == {"oom": 1, "finished": 1}
    said = capsys.readouterr().out
    assert "killed because memory ran out" in said and "smaller training.batch_size" in said


def test_f70_the_kernel_counts_those_it_killed() -> None:
    count = processes_killed_for_memory()
    if count is None:
        pytest.skip("this system does not say how many processes were killed for memory")
    assert count >= 0


# 71 Two runs on one GPU


def test_f71_runs_share_a_gpu() -> None:
    """Each gets its part of the memory."""
    assert shares(None, 2, 2, ["0", "1"], runs=9) == [
        Share(2, "0", 0.5),
        Share(2, "1", 0.5),
        Share(2, "0", 0.5),
        Share(2, "1", 0.5),
    ]
    assert shares(None, 2, 1, ["5"], runs=9) == [Share(2, "5", 1.0)]
    assert [share.gpu for share in shares(3, 1, 1, ["0"], runs=2)] == ["0", "0"]


def test_f71_two_runs_train_on_one_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not gpus():
        pytest.skip("there is no GPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus()[0])
    overrides = tiny("mnist_convnet", folder, "seed=0,1", "backend.device=gpu")
    assert not kexp.sweep(*overrides, "hydra.launcher.jobs_per_gpu=2", quiet=True).failures
    assert states(folder / "results") == {"finished": 2}
    for run in runs_of(folder / "results").values():
        assert read(run, "environment.json")["device"] != "cpu"


# 74 A time limit per run: status timeout, the next one starts


def test_f74_a_time_limit(folder: Path, capsys: pytest.CaptureFixture) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=100000,1")
    limit = ["hydra.launcher.time_limit=10", "hydra.launcher.n_jobs=1"]
    assert main(["sweep", *overrides, *limit]) == 1
    assert states(folder / "results") == {"timeout": 1, "finished": 1}
    said = capsys.readouterr().out
    assert "failed: training.epochs=100000: timeout: stopped after the time limit of 10 s" in said
    ended = {
        read(run, "status.json")["reason"]: run for run in runs_of(folder / "results").values()
    }
    assert RunFolder(ended["stopped after the time limit of 10 s"]).load_checkpoint()


def test_f74_a_run_that_does_not_heed_the_limit_is_killed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf:
        """A future that never ends."""

        def running(self) -> bool:
            return True

    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(slots.os, "kill", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(slots.Slot, "pid", 4321)
    clock = [100.0]
    monkeypatch.setattr(slots.time, "monotonic", lambda: clock[0])
    slot = slots.Slot(Share(1), None)
    slot.limit, slot._began, slot._stopped_at, slot.future = 5.0, None, None, Deaf()  # type: ignore
    for at in (100.0, 104.0, 106.0, 120.0, 137.0):
        clock[0] = at
        slot.watch()
    assert sent == [(4321, signal.SIGTERM), (4321, signal.SIGKILL)]


def test_interrupted_travels_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(Interrupted(signal.SIGINT)))
    assert (error.exit_code, str(error)) == (130, "stopped by SIGINT")
