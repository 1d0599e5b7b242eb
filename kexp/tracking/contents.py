"""What of a record is sent: choices, values per epoch and final values, under plain names.

Names begin with what is measured, so that probe, validation, gap and test of one yardstick stand
together: `nll/probe`, `nll/validation`, `nll/gap`, `nll/test`. Records may be anybody's: whatever
is no finite number under a plain name is left out.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kexp.store import Record
from kexp.store.names import OUTSIDE_IDENTITY

SPLITS = ("probe", "validation", "gap", "training")
ALONE = ("penalty", "learning_rate", "memorisation")
NOT_CHOSEN = (*OUTSIDE_IDENTITY, "schema", "identity")
PLAIN = re.compile(r"\w[\w-]{0,99}(/\w{1,99})?", re.ASCII)
LAST = 2**31 - 1
"""Epochs are counted up to this."""
EXACT = 2**53
"""Whole numbers up to this are exact as floats."""


@dataclass(frozen=True)
class Epoch:
    """The values of an epoch by name, and when it was measured, in Unix seconds."""

    number: int
    at: float
    values: dict[str, float]


def epochs_of(record: Record) -> list[Epoch]:
    """The epochs on disk, numbers rising; their times are spread evenly over those of the run."""
    kept: list[dict[str, Any]] = []
    for epoch in record.history():
        if is_later(epoch["epoch"], kept[-1]["epoch"] if kept else 0):
            kept.append(epoch)
    start, end = times(record)
    step = (end - start) / max(1, len(kept))
    return [epoch_of(epoch, start + i * step) for i, epoch in enumerate(kept, start=1)]


def epoch_of(record: Mapping[str, Any], at: float) -> Epoch:
    """One line of a history."""
    values = {
        f"{name}/{split}": value
        for split in SPLITS
        for name, value in _section(record, split).items()
    }
    values |= {f"norms/{name}": value for name, value in _section(record, "norms").items()}
    values |= {name: record[name] for name in ALONE if name in record}
    return Epoch(record["epoch"], at, _numbers(values))


def is_later(number: Any, than: int) -> bool:
    """Whether this is the number of an epoch after that one."""
    return type(number) is int and than < number <= LAST


def final(record: Record) -> dict[str, float]:
    """What is known at the end: test with the last and the best weights, onset and cost."""
    summary = record.summary
    parts = {
        "test": _section(_section(summary, "test"), "last"),
        "test_best": _section(_section(summary, "test"), "best"),
        "onset": _section(summary, "onset"),
        "cost": _section(summary, "cost"),
    }
    values = {f"{name}/{part}": v for part, found in parts.items() for name, v in found.items()}
    values |= {key: summary[key] for key in ("best_epoch", "parameters") if key in summary}
    return _numbers(values)


def choices(record: Record) -> dict[str, Any]:
    """Every choice by its dotted key, with the option of each group: `loss`, `loss.delta`."""
    options = _section(record.summary, "options")
    chosen = {k: v for k, v in record.config.items() if k not in NOT_CHOSEN}
    return {_text(key): _scalar(value) for key, value in _settings(chosen, "", options)}


def place(record: Record) -> Path:
    """The whole path of a run: its last two parts are the names of the study and of the run."""
    return Path(os.path.abspath(record.path))


def times(record: Record) -> tuple[float, float]:
    """When a run was begun and when it was last heard of, in Unix seconds."""
    start, end = (_seconds(record.status.get(key)) for key in ("started", "heartbeat"))
    return start or end, max(start, end)


def _settings(
    section: Mapping[str, Any], prefix: str, options: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            if target := value.get("_target_"):
                yield key, options.get(key.replace(".", "/")) or _option(str(target))
            inner = {k: v for k, v in value.items() if k != "_target_"}
            yield from _settings(inner, f"{key}.", options)
        else:
            yield key, value


def _option(target: str) -> str:
    """`kexp.losses.WeightDecay` as `weight_decay`: an unfinished run names no options."""
    name = target.rpartition(".")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _scalar(value: Any) -> str | bool | int | float:
    """A value that a table can hold: true or false, a number that a float can be, or text."""
    if isinstance(value, bool) or (_is_number(value) and abs(value) <= EXACT):
        return value
    return _text(value if isinstance(value, str) else json.dumps(value, default=str))


def _text(value: str) -> str:
    """Text that can be written as UTF-8."""
    return value.encode("utf-8", "replace").decode()


def _section(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = of.get(name)
    return value if isinstance(value, dict) else {}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in values.items() if PLAIN.fullmatch(k) and _is_number(v)}


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 2**1000
    return type(value) is float and math.isfinite(value)


def _seconds(text: Any) -> float:
    """Unix seconds of an ISO time; 0 where it is none."""
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (TypeError, ValueError, OverflowError, OSError):
        return 0.0
