"""Sound records to begin from: runs of three tasks as they leave them, made once a process."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tests.test_report import write_run

EXAMPLE = Path(__file__).parents[2] / "results" / "example"
"""Runs that were trained."""


@cache
def study() -> Path:
    """A folder with six runs that differ in dropout and seed."""
    place = _place()
    for dropout in ("none", "standard"):
        for seed in range(3):
            gap = 0.1 * (1 + (dropout == "none")) + 0.01 * seed
            name = dropout if not seed else f"{dropout}-{seed}"
            write_run(place, name, seed, gap, dropout=dropout)
    return place


@cache
def ridge() -> Path:
    """One run of task=ridge."""
    return write_run(_place(), "ridge", task="ridge")


@cache
def denoiser() -> Path:
    """One run of task=denoise."""
    return write_run(_place(), "denoise", task="denoise")


@cache
def trained() -> Path:
    """One run that was trained."""
    return sorted(p for p in EXAMPLE.iterdir() if p.is_dir())[0]


def runs() -> tuple[Path, ...]:
    """A run of each kind."""
    return study() / "study" / "none", trained(), ridge(), denoiser()


def document(run: Path, name: str) -> object:
    """A JSON file of a run."""
    return json.loads((run / name).read_text())


def history(run: Path) -> list[dict]:
    """The epochs of a run."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def _place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="kexp-fuzz-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place
