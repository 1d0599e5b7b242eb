"""Learning curves of configurations: mean and deviation over their seeds, epoch by epoch."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kexp.analysis.design import Row
from kexp.measures import Yardstick

MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds, shape (epochs,); NaN where there is no value."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class Band:
    """The learning curves of one configuration; a shorter run counts as long as it went."""

    label: str
    seeds: int
    epochs: np.ndarray
    train: Spread
    validation: Spread
    gap: Spread


def band(label: str, histories: Sequence[list[dict[str, Any]]], yardstick: Yardstick) -> Band:
    """The curves of some histories, measured by one yardstick."""
    train, validation, gap = (
        spread([curve(h, split, yardstick.name) for h in histories])
        for split in ("probe", "validation", "gap")
    )
    epochs = np.arange(1, len(train.mean) + 1)
    return Band(label, len(histories), epochs, train, validation, gap)


def histories(rows: Sequence[Row]) -> list[list[dict[str, Any]]]:
    """What was logged of some runs, without those that have nothing."""
    every = (row.record.history()[:MOST_EPOCHS] for row in rows)
    return [history for history in every if history]


def curve(history: list[dict[str, Any]], *names: str) -> np.ndarray:
    """One number per epoch, NaN where the history has none there."""
    return np.array([number(epoch, names) for epoch in history])


def learned(of_runs: Sequence[list[dict[str, Any]]]) -> dict[str, list[Spread]]:
    """What the loss learned, by name: one spread per channel."""
    found: dict[str, list[Spread]] = {}
    first = next((e.get("learned") for h in of_runs for e in h if e.get("learned")), None)
    for name, value in (first if isinstance(first, dict) else {}).items():
        channels = len(value) if isinstance(value, list) else 1
        spreads = [
            spread([np.array([_channel(e, name, c) for e in h]) for h in of_runs])
            for c in range(min(channels, 8))
        ]
        found[str(name)] = [s for s in spreads if np.isfinite(s.mean).any()]
    return {name: spreads for name, spreads in found.items() if spreads}


def spread(curves: Sequence[np.ndarray]) -> Spread:
    """Mean and deviation over curves that may differ in length."""
    longest = max((len(c) for c in curves), default=0)
    table = np.full((len(curves), longest), np.nan)
    for row, values in zip(table, curves, strict=True):
        row[: len(values)] = values
    known = np.isfinite(table)
    count = known.sum(axis=0)
    filled = np.where(known, table, 0.0)
    mean = np.where(count > 0, filled.sum(axis=0) / np.maximum(count, 1), np.nan)
    squares = np.where(known, table - mean, 0.0) ** 2
    deviation = np.sqrt(squares.sum(axis=0) / np.maximum(count - 1, 1))
    return Spread(mean, np.where(count > 1, deviation, np.nan))


def number(value: Any, names: Sequence[str]) -> float:
    """The number at a path of names; NaN where there is no finite one."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and abs(value) <= sys.float_info.max else math.nan


def _channel(epoch: dict[str, Any], name: str, channel: int) -> float:
    learned = epoch.get("learned")
    value = learned.get(name) if isinstance(learned, dict) else None
    if isinstance(value, list):
        value = value[channel] if channel < len(value) else None
    return number(value, ())
