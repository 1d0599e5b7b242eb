"""A table of runs: groups of runs that differ only in their seed, with mean ± deviation."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kexp.analysis.load import read_records
from kexp.errors import ConfigError
from kexp.measures import YARDSTICKS
from kexp.store import Record
from kexp.store.differences import flatten
from kexp.store.names import OUTSIDE_IDENTITY

COLUMNS = (
    ("validation", ("last", "validation")),
    ("best", ("best", "validation")),
    ("gap", ("last", "gap")),
    ("test", ("test", "last")),
)


def compare_runs(paths: Sequence[Path], metric: str | None = None, each: bool = False) -> None:
    """Print the table of `comparison`, and what could not be compared."""
    from rich.console import Console

    records = read_records(paths)
    console = Console(width=None if sys.stdout.isatty() else 200)
    finished = _distinct(r for r in records if r.status.get("state") == "finished" and r.summary)
    for (task, data), group in _apart(finished).items():
        console.print(_table(f"{task} on {data}", group, metric, each))
    for line in _left_out(records):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _left_out(records: Sequence[Record]) -> Iterator[str]:
    """Why some runs are not in the table, and what was wrong with others, a line each."""
    for record in records:
        if record.status.get("state") != "finished" or not record.summary:
            state, reason = record.status.get("state", "unreadable"), record.status.get("reason")
            yield f"left out: {record.path} ({state}{f': {reason}' if reason else ''})"
        yield from (f"problem: {problem}" for problem in record.problems)


def comparison(records: Sequence[Record], metric: str, each: bool = False) -> list[dict[str, Any]]:
    """One dict per group of runs that differ in nothing but their seed (or per run if `each`).

    Keys: those choices in which the runs differ; `seeds`, the number of runs; and for
    validation, best validation, gap and test of `metric` their mean and sample deviation
    (None for one run).
    """
    varying = _varying(records)
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        key = str(record.path) if each else _group_key(record)
        groups[key].append(record)
    rows = []
    for group in groups.values():
        flat = _choices(group[0])
        row: dict[str, Any] = {key: flat.get(key) for key in varying}
        if each:
            row["seed"] = group[0].summary.get("seed")
        rows.append({**row, "seeds": len(group), **_values(group, metric)})
    return rows


def _table(title: str, records: list[Record], metric: str | None, each: bool) -> Any:
    from rich.markup import escape
    from rich.table import Table

    metric = metric or str(records[0].summary["monitor"])
    if metric not in records[0].summary["last"]["gap"]:
        known = ", ".join(records[0].summary["last"]["gap"])
        raise ConfigError(f"--metric {metric}: these runs have {known}")
    yardstick = YARDSTICKS[metric]
    rows = comparison(records, metric, each)
    rows.sort(
        key=lambda row: (row["validation"] is None, yardstick.sign * (row["validation"] or 0))
    )
    table = Table(title=escape(title), caption=f"{yardstick.label}; mean ± standard deviation")
    choices = [k for k in rows[0] if k not in {"seeds", *(c for c, _ in COLUMNS)} and "±" not in k]
    for name in [*choices, "seeds", *(name for name, _ in COLUMNS)]:
        table.add_column(escape(name), overflow="fold")
    for row in rows:
        shown = [escape(_option(row[key])) for key in choices]
        numbers = [_number(yardstick, row[name], row[f"{name} ±"]) for name, _ in COLUMNS]
        table.add_row(*(shown or []), str(row["seeds"]), *numbers)
    return table


def _distinct(records: Iterable[Record]) -> list[Record]:
    """The records without copies of the same run, which are no further seeds."""
    distinct: dict[str, Record] = {}
    for record in records:
        known = distinct.setdefault(record.summary.get("identity", str(record.path)), record)
        if known is not record:
            record.problems.append(f"{record.path} is a copy of {known.path}, counted once")
    return list(distinct.values())


def _apart(records: list[Record]) -> dict[tuple[str, str], list[Record]]:
    """Records by task and data set: those that may stand in one table."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        flat, options = flatten(record.config), record.summary.get("options", {})
        task, data = (
            options.get(key) or _option(flat.get(f"{key}._target_")) for key in ("task", "data")
        )
        checksum = record.summary.get("data", {}).get("sha256", "")
        groups[task, f"{data} ({checksum[:8]})" if checksum else data].append(record)
    return groups


def _choices(record: Record) -> dict[str, Any]:
    flat, options = flatten(record.config), record.summary.get("options", {})
    flat |= {f"{group}._target_": option for group, option in options.items() if "/" not in group}
    outside = (*OUTSIDE_IDENTITY, "seed", "schema", "identity")
    return {
        key.removesuffix("._target_"): json.dumps(value) if isinstance(value, list) else value
        for key, value in flat.items()
        if not key.startswith(outside)
    }


def _group_key(record: Record) -> str:
    """What the runs of a group share: their arm, which is all but the seed."""
    return record.summary.get("arm") or json.dumps(_choices(record), sort_keys=True)


def _varying(records: Sequence[Record]) -> list[str]:
    """The keys in which the records differ; a choice's own parameters only where it has them."""
    flats = [_choices(record) for record in records]
    keys = list(dict.fromkeys(key for flat in flats for key in flat))
    return [key for key in keys if len({flat[key] for flat in flats if key in flat}) > 1]


def _values(group: list[Record], metric: str) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for name, (first, second) in COLUMNS:
        found = [record.summary[first][second][metric] for record in group]
        known = [value for value in found if value is not None]
        values[name] = statistics.fmean(known) if known else None
        values[f"{name} ±"] = statistics.stdev(known) if len(known) > 1 else None
    return values


def _number(yardstick: Any, mean: float | None, deviation: float | None) -> str:
    spread = "" if deviation is None else f" ± {yardstick.show(deviation)}"
    return f"{yardstick.show(mean)}{spread}"


def _option(value: Any) -> str:
    """`kexp.losses.Huber` as `Huber`; anything else as text."""
    text = str(value)
    return text.rpartition(".")[2] if text.startswith("kexp.") else text
