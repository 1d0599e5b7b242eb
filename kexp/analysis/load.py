"""Records as pandas tables: one row per run, or one per epoch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexp.errors import NoRuns, spelled
from kexp.store import Record, find_runs, read_run
from kexp.store.differences import flatten

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike

COMPARED = "schema identity arm label seed options data config monitor last best test onset cost"
COMPARED = (*COMPARED.split(), "robustness")
"""The sections of a summary that runs are compared by; the others are the larger part of it."""

MEASURED = ("last.", "best.", "test.", "onset.", "cost.", "training.", "probe.", "validation.")
MEASURED += ("robustness.", "gap.", "norms.", "penalty", "memorisation", "learning_rate")
EXACT = 2**53
"""Whole numbers up to this are exact as floats."""


def load(paths: PathLike | Iterable[PathLike] = "results", epochs: bool = False) -> pd.DataFrame:
    """The runs at or below `paths`: one row per run, or with `epochs` one per run and epoch.

    Columns are run, study (their folders), path, state, reason, seed and the options chosen
    (`task`, `loss`, `dropout`, …); then, dotted, `config.dropout.rate`, `last.gap.nll`,
    `test.last.error`, `onset.nll`, … or per epoch `probe.nll`, `validation.nll`, `gap.nll`.
    What cannot be read is told as a warning, and in `attrs["problems"]`.
    """
    places = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    records = read_records(places, COMPARED if epochs else None)
    known = _known_options(records)
    rows = []
    for record in records:
        about = _about(record, known)
        rows += _epochs(record, about) if epochs else [_with(about, "summary", _results(record))]
    problems = [spelled(problem) for record in records for problem in record.problems]
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    frame = _typed(rows)
    frame.attrs["problems"] = problems
    return frame


def read_records(
    paths: Iterable[PathLike], sections: Collection[str] | None = None
) -> list[Record]:
    """The records at or below `paths`, with some `sections` of their summaries or all.

    Raises `NoRuns` where there is none.
    """
    places = [Path(path) for path in paths]
    for place in places:
        if not os.path.exists(place):  # also where the name is too long to be one
            raise NoRuns(f"{place} does not exist")
    found = find_runs(places)
    if not found:
        raise NoRuns(f"no runs in {', '.join(map(str, places))}")
    return [_with_sections(read_run(path), sections) for path in found]


def _with_sections(record: Record, sections: Collection[str] | None) -> Record:
    if sections is not None:
        record.summary = {k: v for k, v in record.summary.items() if k in sections}
    return record


def _known_options(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """The options that finished runs name, by group and class: unfinished ones name the class."""
    return {
        (group, _class(record, group)): option
        for record in records
        for group, option in record.summary.get("options", {}).items()
        if _class(record, group)
    }


def _class(record: Record, group: str) -> str:
    section = record.config.get(group)
    return str(section.get("_target_", "")) if isinstance(section, dict) else ""


def _about(record: Record, known: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    about = {
        "run": record.path.name,
        "study": record.path.parent.name,
        "path": str(record.path),
        "state": record.status.get("state"),
        "reason": record.status.get("reason"),
        "seed": record.summary.get("seed", record.config.get("seed")),
    }
    groups = dict.fromkeys(group for group, _ in known)
    options = record.summary.get("options") or {
        group: known.get((group, _class(record, group))) for group in groups
    }
    return _with(about, "options", options)


def _results(record: Record) -> dict[str, Any]:
    rest = {k: v for k, v in record.summary.items() if k not in ("config", "options", "seed")}
    try:
        return flatten({"config": record.config, **rest})
    except RecursionError:
        record.problems.append(f"{record.path / 'summary.json'} is nested too deeply")
        return flatten({"config": record.config})


def _epochs(record: Record, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    history = record.history()
    try:
        return [_with(about, "history", flatten(epoch)) for epoch in history]
    except RecursionError:
        record.problems.append(f"{record.path / 'history.jsonl'} is nested too deeply")
        return []


def _with(about: Mapping[str, Any], section: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """Both in one row; where a name is taken already the further one is `section.name`."""
    return {**about, **{f"{section}.{k}" if k in about else k: v for k, v in more.items()}}


def _typed(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A table whose columns have the same types whatever is missing in the rows."""
    import pandas as pd

    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column(name, [row.get(name) for row in rows]) for name in names}
    return pd.DataFrame(columns)


def _column(name: str, values: list[Any]) -> pd.Series:
    import pandas as pd

    if name in ("seed", "epoch"):
        whole = [v if _is_whole(v) else None for v in values]
        if whole == values:
            return pd.Series(whole, dtype="Int64")
    known = [v for v in values if v is not None]
    if all(_is_whole(v) for v in values) and not name.startswith(MEASURED):
        return pd.Series(values, dtype="int64")
    if all(_is_whole(v) or isinstance(v, float) for v in known) and (
        known or name.startswith(MEASURED)
    ):
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="object")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= EXACT
