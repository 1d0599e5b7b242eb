"""The other backends: a run and the same mathematics, in one process of their own for each."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from kexp.store import read_run
from tests.conftest import TINY_CLASSIFIER

pytestmark = pytest.mark.slow  # minutes: every formula once more on each backend

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


def test_a_run_is_recorded(work):
    statuses = list(work.results.rglob("status.json"))
    assert len(statuses) == 1, work.printed[-6000:]
    record = read_run(statuses[0].parent)
    assert record.status["state"] == "finished"
    assert [epoch["epoch"] for epoch in record.history()] == [1]
    assert record.problems == []


def test_the_mathematics_holds(work):
    assert work.code == 0 and " passed" in work.printed, work.printed[-6000:]
