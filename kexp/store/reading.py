"""Reading records, whoever wrote them: nothing is executed, nothing resolved, all faults named."""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

from kexp.errors import KexpError
from kexp.store.names import ADDED_LATER, SCHEMA, SECTIONS_ADDED_LATER

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
        if problem and problem not in self.problems:
            self.problems.append(problem)
        return records

    def examples(self) -> dict[str, np.ndarray]:
        """The arrays of examples to look at, by name; empty where there are none to be read."""
        arrays, problem = read_examples(self.path / "examples.npz")
        if problem and problem not in self.problems:
            self.problems.append(problem)
        return arrays


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
    record.status = _section_of(record, "status.json")
    record.summary = _section_of(record, "summary.json")
    config = record.summary.get("config")
    recorded = config if isinstance(config, dict) else _read_config(path / "config.yaml", record)
    written = (record.summary or recorded).get("schema", SCHEMA)
    if isinstance(written, bool) or not isinstance(written, int) or written < 0:
        record.problems.append(f"{path} has no schema that there is, but {written!r}")
        record.summary, record.newer = {}, True
    elif written > SCHEMA:
        record.problems.append(f"{path} was written by a newer kexp (schema {written}): update")
        record.summary, record.newer = {}, True
    elif fault := _misshapen(record.summary):
        record.problems.append(f"{path / 'summary.json'} is not a summary: {fault}")
        record.summary = {}
    if _deeper(recorded, DEEPEST):
        record.problems.append(f"{path}: its config is nested deeper than {DEEPEST} levels")
        record.summary, recorded = {}, {}
    record.config = _completed(recorded)
    return record


def _section_of(record: Record, name: str) -> dict[str, Any]:
    """The JSON object in one of the record's files; empty where it is not there (yet)."""
    try:
        return _object(record.path / name)
    except FileNotFoundError:
        return {}
    except UNREADABLE_JSON:
        record.problems.append(f"{record.path / name} is not a JSON object")
        return {}


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the keys that there were not yet when it was written."""
    for group, first in SECTIONS_ADDED_LATER.items() if "training" in config else ():
        config.setdefault(group, dict(first))
    for key, first in ADDED_LATER.items():
        group, name = key.split(".")
        if isinstance(section := config.get(group), dict):
            section.setdefault(name, first)
    return config


DEEPEST = 20
"""Sections of a config are nested no deeper than this; ours are at 4."""

SECTIONS = ("config", "options", "choices", "data", "last", "best", "test", "onset", "cost")
SPLITS = {"last": ("probe", "validation", "gap"), "best": ("probe", "validation", "gap")}
SPLITS["test"] = ("last", "best")


def _misshapen(summary: dict[str, Any]) -> str | None:
    """What is not as in a summary, in words: so that its readers need not doubt every part."""
    for name in SECTIONS:
        if not isinstance(summary.get(name, {}), dict):
            return f"{name} is no section"
    if isinstance(summary.get("seed"), (dict, list)):
        return "seed is no number"
    for name, parts in SPLITS.items():
        for part in parts if name in summary else ():
            if not isinstance(summary[name].get(part, {}), dict):
                return f"{name}.{part} is no section"
    return next((f"{key} is no number" for key, v in _measured(summary) if not _number(v)), None)


def _measured(summary: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What was measured, by its dotted key."""
    for name in ("onset", "cost"):
        yield from ((f"{name}.{key}", value) for key, value in summary.get(name, {}).items())
    for name, parts in SPLITS.items():
        for part in parts:
            for key, value in summary.get(name, {}).get(part, {}).items():
                yield f"{name}.{part}.{key}", value


def _number(value: Any) -> bool:
    """Whether a value is a number that a float can hold, or null in the place of one."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**1000
    return value is None or isinstance(value, float)


def _deeper(value: Any, levels: int) -> bool:
    """Whether a value has more levels of nesting than that."""
    if not isinstance(value, (dict, list)):
        return False
    below = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(part, levels - 1) for part in below)


UNREADABLE_JSON = (OSError, ValueError, RecursionError)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None where there is no file or no valid object."""
    try:
        return _object(path)
    except UNREADABLE_JSON:
        return None


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, which is read once: another process may be replacing it."""
    value = _json(_content(path, LARGEST))
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character that JSON spells as a pair; alone it is no text that could be written."""


def _json(content: bytes) -> Any:
    """The value in some JSON, which is UTF-8; half a character alone stands as a question mark."""
    value = json.loads(content.decode())
    if HALF.search(content):
        return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    return value


def _content(path: Path, largest: int) -> bytes:
    """The bytes of a file, which is no device and no pipe. Raises `OSError` or `ValueError`."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("not a regular file")
    if about.st_size > largest:
        raise ValueError(f"larger than {largest // 2**20} MiB")
    return path.read_bytes()


def read_history(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """The epochs in a history file, and what was wrong with it in words, if anything.

    A last line that a crash has torn is left out. So is everything after a damaged line.
    """
    try:
        lines = _content(path, LARGEST).split(b"\n")
    except FileNotFoundError:
        return [], None
    except (OSError, ValueError) as error:
        return [], f"{path} cannot be read: {error}"
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = epoch_in(line)
        if record is None:
            return records, f"{path}: line {number} is torn or damaged; epochs before it are kept"
        records.append(record)
    return records, None


def read_examples(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays of numbers in an npz file, and what was wrong with it in words, if anything.

    Never unpickles. Neither the file nor what it unpacks to may be larger than `LARGEST`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(_content(path, LARGEST))) as file:
            if sum(member.file_size for member in file.infolist()) > LARGEST:
                raise ValueError(f"it unpacks to more than {LARGEST // 2**20} MiB")
            arrays = {}
            for member in file.infolist():
                with file.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _array(stream, member.file_size)
            return arrays, None
    except FileNotFoundError:
        return {}, None
    except KexpError:  # a signal's, not the file's
        raise
    except Exception as error:  # zip and npy readers raise almost anything on damaged bytes
        return {}, f"{path} cannot be read: {error}"


def _array(stream: IO[bytes], size: int) -> np.ndarray:
    """An array of numbers in NumPy's format, no larger than the bytes that hold it."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"arrays of version {version} are not read")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
    shape, columns_first, dtype = (read or np.lib.format.read_array_header_2_0)(stream)
    if dtype.hasobject or dtype.kind not in "buif":
        raise ValueError(f"arrays of {dtype} are not read")
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"an array of shape {shape} is not in {size} bytes")
    values = np.frombuffer(stream.read(), dtype)
    return values.reshape(shape, order="F" if columns_first else "C")


def epoch_in(line: bytes) -> dict[str, Any] | None:
    """The record of an epoch in a line of a history; None where there is none."""
    try:
        record = _json(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("epoch"), int) else None


def _read_config(path: Path, record: Record) -> dict[str, Any]:
    try:
        config = yaml.load(_content(path, 2**20), Loader=_NoAliases)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        record.problems.append(f"{path} cannot be read: {error}")
        return {}
    return config if isinstance(config, dict) else {}


class _NoAliases(yaml.SafeLoader):
    """Plain data only; an alias is refused, so that a small file cannot grow to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("YAML aliases are not read")
        return super().compose_node(parent, index)
