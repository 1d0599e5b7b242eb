"""The state of a training as arrays, and back: enough to go on bit for bit.

Random streams are functions of (seed, name, epoch), and early stopping is a function of the
history, so after a full epoch the variables of the model and of the optimizer are all there is to
save. In the middle of an epoch there are the objectives of its steps so far as well; how far the
random streams of its layers have come is among the variables of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kexp.errors import StoreError


def values(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of some variables, copied."""
    return [np.array(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(v))) for v in variables]


def check_fit(variables: Sequence[Any], saved: Sequence[np.ndarray]) -> None:
    """Raise `StoreError` where saved values do not fit some variables."""
    if [tuple(v.shape) for v in variables] != [a.shape for a in saved]:
        raise StoreError(
            "the checkpoint is of another network than this config builds; "
            "start the run afresh with --force"
        )


def assign(variables: Sequence[Any], saved: Sequence[np.ndarray]) -> None:
    """Set some variables to saved values. Raises `StoreError` where they do not fit."""
    check_fit(variables, saved)
    for variable, value in zip(variables, saved, strict=True):
        variable.assign(value)


def pack(epoch: int, groups: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """One dict of named arrays from the last full epoch's number and groups of arrays."""
    arrays = {f"{name}/{i}": a for name, group in groups.items() for i, a in enumerate(group)}
    return {"epoch": np.array(epoch), **arrays}


def unpack(arrays: dict[str, np.ndarray]) -> tuple[int, dict[str, list[np.ndarray]]]:
    """The inverse of `pack`."""
    groups: dict[str, list[np.ndarray]] = {}
    for name, array in arrays.items():
        if "/" in name:
            groups.setdefault(name.rsplit("/", 1)[0], []).append(array)
    return int(arrays["epoch"]), groups
