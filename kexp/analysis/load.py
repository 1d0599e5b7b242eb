"""Records as pandas tables: one row per run, or one per epoch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexp.errors import StoreError
from kexp.store import Record, find_runs, read_run
from kexp.store.differences import flatten

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike


def load(paths: PathLike | Iterable[PathLike] = "results", epochs: bool = False) -> pd.DataFrame:
    """The runs at or below `paths`: one row per run, or with `epochs` one per run and epoch.

    Columns are dotted: `config.loss._target_`, `last.gap.nll`, `test.last.error`, … and, per
    epoch, `probe.nll`, `validation.nll`, `gap.nll`. What cannot be read is told as a warning.
    """
    import pandas as pd

    records = read_records([paths] if isinstance(paths, (str, os.PathLike)) else paths)
    rows = [row for record in records for row in (_epochs(record) if epochs else [_run(record)])]
    for record in records:
        for problem in record.problems:
            warnings.warn(problem, stacklevel=2)
    return pd.DataFrame(rows)


def read_records(paths: Iterable[PathLike]) -> list[Record]:
    """The records at or below `paths`. Raises `StoreError` where there is none."""
    places = [Path(path) for path in paths]
    for place in places:
        if not place.exists():
            raise StoreError(f"{place} does not exist")
    found = find_runs(places)
    if not found:
        raise StoreError(f"no runs in {', '.join(map(str, places))}")
    return [read_run(path) for path in found]


def _run(record: Record) -> dict[str, Any]:
    rest = {k: v for k, v in record.summary.items() if k != "config"}
    return {
        "run": record.path.name,
        "study": record.path.parent.name,
        "path": str(record.path),
        "state": record.status.get("state"),
        "reason": record.status.get("reason"),
        **flatten({"config": record.config, **rest}),
    }


def _epochs(record: Record) -> list[dict[str, Any]]:
    about = {"run": record.path.name, "study": record.path.parent.name}
    return [{**about, **flatten(epoch)} for epoch in record.history()]
