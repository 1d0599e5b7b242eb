"""Runs in processes of their own, and how two of them are compared."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from kexp.store import RunFolder

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
