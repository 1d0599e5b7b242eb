"""`kexp compare --diff`: how the configs of two runs differ, and their values side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kexp.analysis import quantities as q
from kexp.analysis.comparable import left_out
from kexp.analysis.load import COMPARED, read_records
from kexp.analysis.output import render
from kexp.errors import ConfigError
from kexp.measures import YARDSTICKS
from kexp.store import Record
from kexp.store.differences import differing

ABSENT = "(absent)"
COLUMNS = ("what", "key", "first", "second")


def tell_difference(paths: Sequence[Path], metric: str | None = None, form: str = "table") -> None:
    """Print how two runs differ. Raises `ConfigError` for any other number of runs."""
    records = read_records(paths, COMPARED)
    if len(records) != 2:
        raise ConfigError(
            f"--diff compares two runs, but {', '.join(map(str, paths))} "
            f"{'has' if len(paths) == 1 else 'have'} {len(records)}: name two run folders, as in "
            "kexp compare --diff RUN RUN"
        )
    first, second = records if records[0].path == paths[0] else reversed(records)
    rows = [
        *_choices(first, second),
        *_values(first, second, metric, exact=form in ("csv", "json")),
    ]
    caption = f"first: {first.path}; second: {second.path}"
    if first.summary.get("data") != second.summary.get("data"):
        caption += "; they were not measured on the same data"
    print(render(COLUMNS, rows, form, "two runs", caption))
    for line in left_out(records):
        print(line, file=sys.stdout if form == "table" else sys.stderr)


def _choices(first: Record, second: Record) -> Iterator[dict[str, Any]]:
    for key, of_first, of_second in differing(first.config, second.config, ABSENT):
        if key.split(".")[0] != "paths":
            yield {"what": "config", "key": key, "first": of_first, "second": of_second}


def _values(
    first: Record, second: Record, metric: str | None, exact: bool
) -> Iterator[dict[str, Any]]:
    """Every quantity that both runs have, or those of one yardstick."""
    common = q.measured_by([first]), q.measured_by([second])
    names = [name for name in common[0] if name in common[1]]
    if metric is not None:
        names = [q.yardstick([first, second], metric).name]
    for quantity in (q.Quantity(part, YARDSTICKS[name]) for name in names for part in q.PARTS):
        values = quantity.of(first), quantity.of(second)
        if values != (None, None):
            cells = values if exact else map(quantity.show, values)
            key = quantity.key if exact else quantity.title
            yield {"what": "value", "key": key, **dict(zip(COLUMNS[2:], cells, strict=True))}
