"""Reading records, whoever wrote them: nothing is executed, nothing resolved, all faults named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kexp.store.names import SCHEMA

LARGEST = 64 * 2**20
"""No file of a record is read beyond this many bytes."""


@dataclass
class Record:
    """What is on disk about one run. `problems` says in words what could not be read."""

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    newer: bool = False

    def history(self) -> list[dict[str, Any]]:
        """One dict per epoch, in order."""
        records, problem = read_history(self.path / "history.jsonl")
        if problem:
            self.problems.append(problem)
        return records


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """The run folders at or below `paths`, sorted, links not followed."""
    found: set[Path] = set()
    for path in paths:
        for folder, below, files in os.walk(path):
            if "status.json" in files:
                found.add(Path(folder))
                below.clear()
            below[:] = [name for name in below if not name.startswith(".")]
    return sorted(found)


def read_run(path: Path) -> Record:
    """The record at `path`, with whatever can be read of it."""
    record = Record(path)
    for name in ("status", "summary"):
        file = path / f"{name}.json"
        if not file.exists():
            continue
        value = read_json(file)
        if value is None:
            record.problems.append(f"{file} is not a JSON object")
        setattr(record, name, value or {})
    config = record.summary.get("config")
    recorded = config if isinstance(config, dict) else _read_config(path / "config.yaml", record)
    written = (record.summary or recorded).get("schema", SCHEMA)
    if not isinstance(written, int) or written > SCHEMA:
        record.problems.append(f"{path} was written by a newer kexp (schema {written}): update")
        record.summary, record.newer = {}, True
    record.config = recorded
    return record


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None where there is no file or no valid object."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_history(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """The epochs in a history file, and what was wrong with it in words, if anything.

    A last line that a crash has torn is left out. So is everything after a damaged line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return [], None
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _epoch(line)
        if record is None:
            return records, f"{path}: line {number} is torn or damaged; epochs before it are kept"
        records.append(record)
    return records, None


def _epoch(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("epoch"), int) else None


def _read_config(path: Path, record: Record) -> dict[str, Any]:
    try:
        if path.stat().st_size > 2**20:
            raise ValueError("larger than 1 MiB")
        config = yaml.load(path.read_bytes(), Loader=_NoAliases)
    except (OSError, ValueError, yaml.YAMLError) as error:
        record.problems.append(f"{path} cannot be read: {error}")
        return {}
    return config if isinstance(config, dict) else {}


class _NoAliases(yaml.SafeLoader):
    """Plain data only; an alias is refused, so that a small file cannot grow to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("YAML aliases are not read")
        return super().compose_node(parent, index)
