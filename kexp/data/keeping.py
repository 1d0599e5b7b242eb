"""The data set of the last run, kept in memory by processes that train many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kexp.data.base import Collection, DataSet

KEEP = False
"""Whether this process keeps data: a sweep's worker does, for which they do not change."""

_kept: dict[tuple[str, Path], Collection] = {}


def loaded(data: DataSet, folder: Path) -> Collection:
    """The data of a choice, loaded and checked; see `DataSet.load`. Kept ones are read-only."""
    if not KEEP:
        return data.load(folder)
    key = (repr(data), folder)
    if key not in _kept:
        _kept.clear()
        _kept[key] = data.load(folder)
        for part in (_kept[key].train, _kept[key].validation, _kept[key].test):
            for values in vars(part).values() if part else ():
                _freeze(values)
    return _kept[key]


def _freeze(values: Any) -> None:
    for array in values if isinstance(values, list) else [values]:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
