"""The other backends: the same mathematics, and a run, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kexp.store import read_run
from tests.conftest import TINY_CLASSIFIER

ROOT = Path(__file__).parents[1]
MATHEMATICS = ("pytest", "tests/mathematics", "--quiet", "-p", "no:cacheprovider")
ONE_EPOCH = ("training.epochs=1", "dropout.rate=0.25", "norm=batch", "regularizer=l2")
ENDED_WITHIN = 300


class Work:
    """The mathematics and a tiny run on one backend, side by side in two processes."""

    def __init__(self, backend: str, folder: Path):
        self.results = folder / "results"
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "KERAS_HOME": str(folder / "keras"),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        overrides = [f"backend={backend}", f"paths.results={self.results}", *ONE_EPOCH]
        kept = [o for o in TINY_CLASSIFIER if not o.startswith("training.epochs")]
        commands = {
            "mathematics": (*MATHEMATICS, f"--basetemp={folder / 'pytest'}"),
            "run": ("kexp", "run", *kept, *overrides),
        }
        self.processes = {}
        for name, command in commands.items():
            with open(folder / f"{name}.txt", "w") as output:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *command],
                    cwd=ROOT,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
        self.folder = folder

    def ended_well(self, name: str) -> str:
        """What a process printed, once it has ended; fails where it did not end well."""
        code = self.processes[name].wait(timeout=ENDED_WITHIN)
        printed = (self.folder / f"{name}.txt").read_text()
        assert code == 0, printed[-6000:]
        return printed


@pytest.fixture(scope="module", params=["jax", "torch"])
def work(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Work]:
    backend = request.param
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    work = Work(backend, tmp_path_factory.mktemp(backend))
    yield work
    for process in work.processes.values():
        process.kill()
        process.wait()


def test_a_run_is_recorded(work):
    work.ended_well("run")
    (status,) = work.results.rglob("status.json")
    record = read_run(status.parent)
    assert record.status["state"] == "finished"
    assert [epoch["epoch"] for epoch in record.history()] == [1]
    assert record.problems == []


def test_the_mathematics_holds(work):
    assert " passed" in work.ended_well("mathematics")
