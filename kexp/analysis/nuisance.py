"""Nuisance factors: chosen on validation for each combination of the others, then out of sight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from kexp.analysis.design import Design, Row
from kexp.analysis.quantities import Quantity


@dataclass(frozen=True)
class Chosen:
    """For each combination of the levels under study, the nuisance levels that did best."""

    names: tuple[str, ...]
    levels: dict[tuple[str, ...], tuple[str, ...]]


def settle(design: Design, validation: Quantity) -> tuple[Design, Chosen | None]:
    """The design with those runs alone whose nuisance levels are best on validation.

    For each combination of the levels under study the nuisance levels of the best mean validation
    value over seeds are kept. Levels that miss a seed that others have, because a run of theirs
    diverged, say, are chosen only if none has all of them.
    """
    names = tuple(f.name for f in design.factors if f.nuisance)
    if not names:
        return design, None
    kept: list[Row] = []
    chosen = {}
    for cell, rows in design.cells().items():
        candidates: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in rows:
            candidates[row.cell(names)].append(row)
        most = max(len(_seeds(group, validation)) for group in candidates.values())
        complete = {k: g for k, g in candidates.items() if len(_seeds(g, validation)) == most}
        best = _best(complete, validation)
        chosen[cell] = best
        kept += complete[best]
    return replace(design, rows=tuple(kept)), Chosen(names, chosen)


def _best(candidates: dict[tuple[str, ...], list[Row]], validation: Quantity) -> tuple[str, ...]:
    """The levels of the best mean over the seeds that all candidates have, or else over theirs."""
    shared = set.intersection(*(_seeds(group, validation) for group in candidates.values()))
    sign = -1 if validation.higher_is_better else 1

    def place(levels: tuple[str, ...]) -> tuple[float, tuple[str, ...]]:
        rows = [row for row in candidates[levels] if row.seed in shared or not shared]
        return sign * _mean(rows, validation), levels

    return min(candidates, key=place)


def _seeds(rows: Iterable[Row], quantity: Quantity) -> set[int | None]:
    return {row.seed for row in rows if quantity.of(row.record) is not None}


def _mean(rows: Iterable[Row], quantity: Quantity) -> float:
    values = [value for row in rows if (value := quantity.of(row.record)) is not None]
    return float(np.mean(values)) if values else float("inf")
