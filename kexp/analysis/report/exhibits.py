"""Examples and diagnoses in records that are what they should be; anything else is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kexp.analysis.design import Row
from kexp.analysis.plots.diagnosis import Reliability
from kexp.store import Record

MOST_CLASSES, MOST_BINS, LARGEST_SIDE = 100, 200, 2_048


def wrong_answers(record: Record) -> dict[str, np.ndarray] | None:
    """Misclassified images with label, prediction and confidence."""
    e = record.examples()
    if not _are_images(e.get("inputs")):
        return None
    known = all(k in e and e[k].shape == e["inputs"].shape[:1] for k in ANSWERS)
    if not known or not all(e[k].dtype.kind in "iu" for k in ANSWERS[:2]):
        return None
    confidence = e["confidence"].astype(float)
    fits = bool(np.isfinite(confidence).all()) and confidence.min() >= 0 and confidence.max() <= 1
    return e if fits else None


ANSWERS = ("label", "predicted", "confidence")


def images(record: Record) -> dict[str, np.ndarray] | None:
    """Input, output and target images of one shape."""
    e = record.examples()
    three = [e.get(name) for name in ("inputs", "outputs", "targets")]
    fit = all(_are_images(a) and a.shape == three[0].shape for a in three)  # pyright: ignore
    return e if fit else None


def inputs_are_alike(record: Record) -> bool:
    """Whether the inputs of a run's images are such images as the targets, to be compared with."""
    return record.summary.get("target", ALIKE[0]) in ALIKE


ALIKE = ("image regression", "projection")


def numbers(record: Record) -> dict[str, np.ndarray] | None:
    """Predicted and true numbers, shape (n,)."""
    e = record.examples()
    two = [e.get(name) for name in ("outputs", "targets")]
    if "inputs" in e or any(a is None or a.ndim != 1 or a.dtype.kind != "f" for a in two):
        return None
    same = two[0].shape == two[1].shape and two[0].size  # pyright: ignore[reportOptionalMemberAccess]
    return e if same and all(np.isfinite(a).all() for a in two) else None  # pyright: ignore


def misshapen(record: Record) -> str | None:
    """What to say of examples that fit none of these."""
    if not record.examples() or any(fits(record) for fits in (wrong_answers, images, numbers)):
        return None
    return f"{record.path / 'examples.npz'} holds no examples that could be shown: left out"


def confusion(rows: Sequence[Row]) -> np.ndarray | None:
    """Counts summed over runs; rows are true classes."""
    found = [_table(row.record, "confusion") for row in rows]
    square = [t for t in found if t is not None and t.ndim == 2 and t.shape[0] == t.shape[1]]
    square = [t for t in square if 2 <= len(t) <= MOST_CLASSES and t.shape == square[0].shape]
    return np.sum(square, axis=0) if square else None


def reliability(rows: Sequence[Row]) -> Reliability | None:
    """Bins summed over runs."""
    found = [_bins(row.record) for row in rows]
    known = [bins for bins in found if bins is not None]
    known = [bins for bins in known if bins.shape == known[0].shape]
    if not known:
        return None
    total = np.sum(known, axis=0)
    return Reliability(*total) if total[0].sum() > 0 else None


def classes(records: Sequence[Record], count: int) -> list[str]:
    """The names of the classes, or their numbers."""
    for record in records:
        data = record.summary.get("data")
        names = data.get("classes") if isinstance(data, dict) else None
        if isinstance(names, list) and len(names) == count:
            return [str(name) for name in names]
    return [str(i) for i in range(count)]


def _bins(record: Record) -> np.ndarray | None:
    parts = [_table(record, "reliability", k) for k in ("count", "confidence", "correct")]
    if any(p is None or p.ndim != 1 or not 1 <= len(p) <= MOST_BINS for p in parts):
        return None
    same = len({len(p) for p in parts if p is not None}) == 1
    return np.stack(parts) if same else None  # pyright: ignore[reportArgumentType, reportCallIssue]


def _table(record: Record, *names: str) -> np.ndarray | None:
    """Numbers of a diagnosis that are counts or sums: finite and not negative."""
    value: Any = record.summary.get("diagnosis")
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return None
    try:
        table = np.array(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return table if table.size and np.isfinite(table).all() and table.min() >= 0 else None


def _are_images(array: np.ndarray | None) -> bool:
    return (
        array is not None
        and array.dtype == np.uint8
        and array.ndim == 4
        and array.shape[-1] in (1, 3)
        and array.size > 0
        and max(array.shape[1:3]) <= LARGEST_SIDE
    )
