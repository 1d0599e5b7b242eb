"""Which configurations and runs are drawn, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kexp.analysis.analysis import Analysis
from kexp.analysis.design import Design, Row
from kexp.analysis.plots.configurations import Configuration
from kexp.analysis.quantities import Quantity


def configurations(a: Analysis) -> list[Configuration]:
    """All configurations with their values, the narrowest gap first."""
    front = {point.cell for point in a.points if point.on_front}
    asked = dict.fromkeys([*a.quantities, *a.axes])
    every = [
        Configuration(
            cell, short(a.design, cell), {q: _values(rows, q) for q in asked}, cell in front
        )
        for cell, rows in a.design.cells().items()
    ]
    return sorted(every, key=lambda c: (np.isnan(c.mean(a.axes[1])), c.mean(a.axes[1])))


def short(design: Design, cell: Sequence[str]) -> str:
    """What differs from the baselines, or `baseline`."""
    if not design.names:
        return "all runs" if design.rows[1:] else "the run"
    parts = zip(design.names, cell, strict=True)
    changed = [(name, level) for name, level in parts if level != design.factor(name).baseline]
    return ", ".join(_named(design, *part) for part in changed) or "baseline"


def _named(design: Design, name: str, level: str) -> str:
    """A level by itself where that says enough: `l2(0.001)`, but `dropout=none` and `seed=3`."""
    others = (f.levels for f in design.factors if f.name != name)
    vague = not level[:1].isalpha() or level in ("none", "null", "true", "false", "baseline")
    return f"{name}={level}" if vague or any(level in o for o in others) else level


def titled(design: Design, c: Configuration) -> str:
    """The label of a configuration; where one factor varies, the baseline's names its level too."""
    if c.label != "baseline" or len(design.names) > 1:
        return c.label
    return f"baseline: {_named(design, design.names[0], c.cell[0])}"


def by_levels(design: Design, every: Sequence[Configuration]) -> list[Configuration]:
    """In the order of the levels, so the baseline first."""
    levels = [design.factor(name).levels for name in design.names]
    return sorted(every, key=lambda c: [le.index(x) for le, x in zip(levels, c.cell, strict=True)])


def baseline(design: Design) -> tuple[str, ...]:
    """The configuration that has the baseline of every factor; it may not have been run."""
    return tuple(design.factor(name).baseline for name in design.names)


def spaced(a: Analysis, every: Sequence[Configuration], most: int) -> list[Configuration]:
    """At most so many: the baseline, those on the front, and others evenly spaced by their gap."""
    if len(every) <= most:
        return list(every)
    origin = baseline(a.design)
    first = [c for c in every if c.cell == origin] + [c for c in every if c.on_front]
    kept = list({c.cell: c for c in first}.values())[: most - 2]
    others = [c for c in every if c not in kept]
    places = np.linspace(0, len(others) - 1, most - len(kept)).round().astype(int)
    kept += [others[i] for i in dict.fromkeys(places.tolist())]
    return [c for c in every if c in kept]


def notable(a: Analysis, every: Sequence[Configuration]) -> dict[str, tuple[str, ...]]:
    """The baseline, the best by test value and the widest gap, by a label that says so."""
    test, gap = a.axes
    sign = -1 if test.higher_is_better else 1
    named: dict[tuple[str, ...], list[str]] = {}
    if any(c.cell == baseline(a.design) for c in every) and a.design.names:
        named[baseline(a.design)] = ["baseline"]
    if tested := [c for c in every if c.values[test].size]:
        best = min(tested, key=lambda c: sign * c.mean(test))
        named.setdefault(best.cell, []).append(f"best {test.title}")
    if known := [c for c in every if c.values[gap].size]:
        widest = max(known, key=lambda c: c.mean(gap))
        named.setdefault(widest.cell, []).append(f"widest {gap.title}")
    if len(every) == 1:
        return {every[0].label: every[0].cell}
    return {_titled(words, short(a.design, cell)): cell for cell, words in named.items()}


def first_run(rows: Sequence[Row]) -> Row:
    """The run with the smallest seed."""
    return min(rows, key=lambda row: (row.seed is None, row.seed or 0))


def _titled(words: Sequence[str], label: str) -> str:
    name = ", ".join(words)
    return name if label == "baseline" else f"{name}: {label}"


def _values(rows: Sequence[Row], quantity: Quantity) -> np.ndarray:
    return np.array([v for row in rows if (v := quantity.of(row.record)) is not None], dtype=float)
