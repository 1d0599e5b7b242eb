"""Records on disk, as runs would leave them, with values made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.studies import record


def write_run(
    results: Path,
    levels: Mapping[str, Any],
    seed: int,
    values: Mapping[str, Any] | None = None,
    name: str | None = None,
    state: str = "finished",
    **more: Any,
) -> Path:
    """The folder of a run with two epochs; `more` are further sections of its summary."""
    made = record(levels, seed, values or {}, label=more.get("label", ""))
    run = results / "study" / (name or f"{','.join(map(str, levels.values()))},seed={seed}")
    run.mkdir(parents=True)
    summary = {**made.summary, "label": run.name, **more}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "status.json").write_text(json.dumps({"state": state, "reason": None}))
    (run / "history.jsonl").write_text(epochs_of(summary["last"], 2))
    return run


def epochs_of(last: Mapping[str, Any], count: int) -> str:
    """The lines of a history."""
    return "".join(json.dumps({"epoch": i, **last}) + "\n" for i in range(1, count + 1))


def write_study(
    results: Path,
    options: Iterable[str] = ("none", "standard"),
    seeds: Iterable[int] = range(3),
    value: Callable[[str, int], float] = lambda option, seed: len(option) + seed / 10,
) -> Path:
    """Runs of some dropouts with some seeds, whose every value is `value`; the results folder."""
    for option in options:
        for seed in seeds:
            v = value(option, seed)
            write_run(results, {"dropout": option}, seed, dict(gap=v, validation=v, test=v))
    return results


def change(file: Path, **parts: Any) -> None:
    """Put other values in the place of some in a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **parts}))
