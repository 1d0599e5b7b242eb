"""The other backends: a run and the same mathematics, in one process of their own for each.

And what restricts a backend to some threads, or to a share of a GPU.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kexp import backends, environment
from kexp.backends import TensorFlow, Torch
from kexp.errors import ConfigError
from kexp.store import read_run
from tests.conftest import TINY_CLASSIFIER, read, the_run, tiny

ROOT = Path(__file__).parents[1]
FIRST_A_RUN_THEN_THE_MATHEMATICS = """
import sys
import pytest
from kexp.cli import main
folder, *run = sys.argv[1:]
options = ["--quiet", "--assert=plain", "-p", "no:cacheprovider", f"--basetemp={folder}"]
sys.exit(main(run) or pytest.main([*options, "tests/mathematics"]))
"""
ENDED_WITHIN = 900


@dataclass
class Work:
    """What a process on another backend left behind."""

    results: Path
    code: int
    printed: str


@pytest.fixture(scope="module", params=["jax", "torch"])
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Work:
    backend = request.param
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folder = tmp_path_factory.mktemp(backend)
    kept = [o for o in TINY_CLASSIFIER if not o.startswith("training.epochs")]
    choices = ("training.epochs=1", "dropout.rate=0.25", "norm=batch", "regularizer=l2")
    run = ("run", f"backend={backend}", f"paths.results={folder / 'results'}", *kept, *choices)
    process = subprocess.run(
        [sys.executable, "-c", FIRST_A_RUN_THEN_THE_MATHEMATICS, str(folder / "pytest"), *run],
        cwd=ROOT,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "KERAS_HOME": str(folder / "keras"),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=ENDED_WITHIN,
    )
    return Work(folder / "results", process.returncode, process.stdout)


@pytest.mark.slow
def test_a_run_is_recorded(work):
    statuses = list(work.results.rglob("status.json"))
    assert len(statuses) == 1, work.printed[-6000:]
    record = read_run(statuses[0].parent)
    assert record.status["state"] == "finished"
    assert [epoch["epoch"] for epoch in record.history()] == [1]
    assert record.problems == []


@pytest.mark.slow  # minutes: every formula once more on each backend
def test_the_mathematics_holds(work):
    assert work.code == 0 and " passed" in work.printed, work.printed[-6000:]


@pytest.mark.slow
def test_memory_of_a_program_on_jax() -> None:
    """The formula, beside what XLA allots with all its optimizations."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/mathematics/test_memory.py"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
        capture_output=True,
        text=True,
        timeout=ENDED_WITHIN,
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout[-6000:]


class FakeConfig:
    """As much of `tf.config` as a backend calls, with two GPUs; `calls` are what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.intra = 0
        self.threading = SimpleNamespace(
            get_intra_op_parallelism_threads=lambda: self.intra,
            set_intra_op_parallelism_threads=lambda n: setattr(self, "intra", n),
        )
        self.experimental = SimpleNamespace(
            set_memory_growth=lambda gpu, on: self.calls.append(("growth", gpu, on))
        )

    def get_visible_devices(self, _kind: str) -> list[str]:
        return ["GPU:0", "GPU:1"]

    def set_visible_devices(self, devices: list, kind: str) -> None:
        self.calls.append(("visible", devices, kind))

    def LogicalDeviceConfiguration(self, memory_limit: int) -> int:
        return memory_limit

    def set_logical_device_configuration(self, gpu: str, limits: list[int]) -> None:
        self.calls.append(("limit", gpu, limits))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test sets for its process is undone."""
    monkeypatch.setattr(backends, "_default_threads", None)
    monkeypatch.setattr(backends, "_memory_share", 1.0)
    for name in list(os.environ):
        if name.startswith(("CUDA_", "XLA_", "TF_NUM_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.fixture
def config(process: None, monkeypatch: pytest.MonkeyPatch) -> FakeConfig:
    made = FakeConfig()
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=made))
    return made


def test_default_threads_stand_in_for_null(config: FakeConfig) -> None:
    backends.set_default_threads(2)
    TensorFlow().restrict()
    assert config.intra == 2 == TensorFlow().threads_in_use()
    TensorFlow(threads=1).restrict()
    assert config.intra == 1
    backends.set_default_threads(None)
    TensorFlow().restrict()
    assert config.intra == 0 and TensorFlow().threads_in_use() == environment.usable_cpus()
    os.environ["TF_NUM_INTRAOP_THREADS"] = "3"
    assert TensorFlow().threads_in_use() == 3


def test_default_threads_of_torch(process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    count: list[int] = []
    fake = SimpleNamespace(set_num_threads=count.append, get_num_threads=lambda: count[-1])
    monkeypatch.setitem(sys.modules, "torch", fake)
    Torch().restrict()
    assert not count
    backends.set_default_threads(2)
    Torch().restrict()
    Torch(threads=1).restrict()
    assert count == [2, 1] and Torch().threads_in_use() == 1


def test_f71_memory_of_a_gpu_grows_unless_it_is_shared(config: FakeConfig) -> None:
    backends.use_gpu(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ
    TensorFlow().restrict()
    assert config.calls == [("growth", "GPU:0", True), ("growth", "GPU:1", True)]
    config.calls.clear()
    TensorFlow(device="cpu").restrict()
    assert set(map(str, config.calls)) == {"('visible', [], 'GPU')"}


def test_f71_share_of_a_gpu(config: FakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def told(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout="81559\n")

    monkeypatch.setattr(subprocess, "run", told)
    backends.use_gpu("GPU-8f3a", 0.25)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-8f3a"
    assert os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.250"
    TensorFlow().restrict()
    assert config.calls == [("limit", "GPU:0", [20389]), ("limit", "GPU:1", [20389])]
    assert "--id=GPU-8f3a" in asked[0]


def test_share_of_a_gpu_on_torch(process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    cuda = SimpleNamespace(
        device_count=lambda: 1,
        set_per_process_memory_fraction=lambda *arguments: calls.append(arguments),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    backends.use_gpu(0, 0.5)
    Torch().restrict()
    assert calls == [(0.5, 0)]


def test_share_of_a_gpu_of_unknown_size(
    config: FakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends.use_gpu(0, 0.5)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="one training per GPU"):
        TensorFlow().restrict()
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="share must be in"):
            backends.use_gpu(0, share)


def test_no_gpu_number_leaves_the_choice(process: None) -> None:
    backends.use_gpu(None)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


BEGUN_AND_RESUMED = """
import os, signal, sys
from kexp.backends import set_default_threads
set_default_threads(int(sys.argv[1]))
import kexp, kexp.training.loop as loop
heed = loop.Loop._heed
def stopped(self, *arguments):
    if len(self.history) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGTERM)
    heed(self, *arguments)
loop.Loop._heed = stopped
kexp.run(*sys.argv[3:], quiet=True)
"""


@pytest.mark.slow
def test_resume_with_another_number_of_threads(folder: Path) -> None:
    """The number in use is on record, is no part of the identity, and a change of it is told."""
    overrides = tiny("mnist_convnet", folder, "training.epochs=3")
    for threads, stopped_in in (("2", "0"), ("1", "1"), ("1", "9")):
        command = [sys.executable, "-c", BEGUN_AND_RESUMED, threads, stopped_in, *overrides]
        subprocess.run(command)
    run = the_run(folder)
    assert read(run, "status.json")["state"] == "finished"
    assert read(run, "environment.json")["threads"] == 1
    log = (run / "log.txt").read_text()
    assert log.count("begun with 2 threads, going on with 1: not the same bit for bit") == 2
