"""The data set of the last run, kept in memory by processes that train many runs."""

from __future__ import annotations

import dataclasses
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
    key = (_as_loaded(data), folder)
    if key not in _kept:
        _kept.clear()
        _kept[key] = data.load(folder)
        for part in (_kept[key].train, _kept[key].validation, _kept[key].test):
            for values in vars(part).values() if part else ():
                _freeze(values)
    return _kept[key]


def _as_loaded(data: DataSet) -> str:
    """What is loaded, in a text: how it is split and corrupted afterwards makes no difference.

    Not so for data sets of the user's own, whose `load` may look at anything.
    """
    if not type(data).__module__.startswith("kexp."):
        return repr(data)
    of_split = {field.name for field in dataclasses.fields(DataSet)}
    return f"{type(data)}{ {k: v for k, v in vars(data).items() if k not in of_split} }"


def _freeze(values: Any) -> None:
    for array in values if isinstance(values, list) else [values]:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
