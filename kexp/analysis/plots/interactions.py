"""Whether the effect of one factor depends on the level of another: lines that are not parallel."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.effects import interval
from kexp.analysis.interactions import Interaction, tables
from kexp.analysis.plots import canvas
from kexp.analysis.quantities import Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PAIRS, MOST_LINES, MOST_NAMES = 6, 7, 10
IN_ONE_COLUMN = 3


@dataclass(frozen=True)
class Mean:
    """The mean of a quantity at two levels, with its 95 % interval over seeds (±∞ with one)."""

    mean: float
    low: float
    high: float
    seeds: int


def pairs(design: Design, found: Sequence[Interaction]) -> list[tuple[str, str]]:
    """The pairs of factors to draw: those with a detected interaction first."""
    order = sorted(found, key=lambda i: (not i.detected, i.p_holm))
    every = [(i.first, i.second) for i in order]
    every += [pair for pair in itertools.combinations(design.names, 2) if pair not in every]
    return every[:MOST_PAIRS]


def means(
    design: Design, first: str, second: str, quantity: Quantity
) -> dict[tuple[str, str], Mean]:
    """Means over seeds at each pair of levels, of seeds that have all, over the other factors.

    Intervals are within seeds: what all runs of a seed share is taken out. Cousineau 2005, with
    the factor of Morey 2008. Without such seeds there are means of all runs, and no intervals.
    """
    values = tables(design, first, second, quantity)
    if not len(values):
        return _of_all(design, first, second, quantity)
    shared = values.mean(axis=(1, 2), keepdims=True)
    centre, cells = values.mean(axis=0), values[0].size
    own = (values - shared + values.mean() - centre) * np.sqrt(cells / (cells - 1)) + centre
    levels = (design.factor(name).levels for name in (first, second))
    found = {}
    for (i, x), (j, y) in itertools.product(*map(enumerate, levels)):
        found[x, y] = Mean(*interval(own[:, i, j].tolist())[:3], len(values))
    return found


def _of_all(
    design: Design, first: str, second: str, quantity: Quantity
) -> dict[tuple[str, str], Mean]:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in design.rows:
        if (value := quantity.of(row.record)) is not None:
            values[row.levels[first], row.levels[second]].append(value)
    return {pair: Mean(float(np.mean(v)), -np.inf, np.inf, 1) for pair, v in values.items()}


def interaction(design: Design, chosen: Sequence[tuple[str, str]], quantity: Quantity) -> Figure:
    """A panel per pair of factors: levels of one along x, a line per level of the other."""
    figure, panels = canvas.grid_of(len(chosen), 3, 2.75, sharey=True)
    for number, ((a, b), axes) in enumerate(zip(chosen, panels, strict=True)):
        few, many = sorted((a, b), key=lambda name: len(design.factor(name).levels))
        _panel(axes, design, many, few, quantity)
        y = quantity.axis if number % 3 == 0 else ""
        canvas.titled(axes, canvas.plain(f"{a} × {b}"), canvas.plain(many), y)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high + 0.08 * max(map(_rows, panels)) * (high - low))
    return canvas.inked(figure)


def _rows(axes: Axes) -> int:
    """How high the legend of a panel is, in lines."""
    count = len(axes.get_legend_handles_labels()[0])
    return 1 + (count if count <= IN_ONE_COLUMN else -(-count // 2))


def _panel(axes: Axes, design: Design, along: str, by: str, quantity: Quantity) -> None:
    found = means(design, along, by, quantity)
    levels = design.factor(along).levels
    lines = design.factor(by).levels[:MOST_LINES]
    for number, level in enumerate(lines):
        at = [i for i, x in enumerate(levels) if (x, level) in found]
        points = [found[levels[i], level] for i in at]
        mean = quantity.scale * np.array([p.mean for p in points])
        ends = quantity.scale * np.array([[p.low, p.high] for p in points]).reshape(-1, 2).T
        bars = np.abs(ends - mean)
        shifted = np.array(at) + 0.08 * (number - (len(lines) - 1) / 2)
        axes.errorbar(
            shifted,
            mean,
            np.where(np.isfinite(bars), bars, 0.0),
            **canvas.look(number),
            linewidth=1.3,
            markersize=4.5,
            label=canvas.plain(level, 24 if len(lines) <= IN_ONE_COLUMN else 16),
        )
    _named(axes, levels)
    axes.legend(
        title=canvas.plain(by, 28),
        title_fontsize=7,
        frameon=False,
        fontsize=7,
        ncols=1 if len(lines) <= IN_ONE_COLUMN else 2,
        loc="upper right",
    )
    canvas.ruled(axes, "y")


def _named(axes: Axes, levels: Sequence[str]) -> None:
    """The levels along x, turned where they are long, and only some where they are many."""
    some = range(0, len(levels), -(-len(levels) // MOST_NAMES))
    names = [canvas.plain(levels[i], 20) for i in some]
    turn = 20 if max(map(len, names)) * len(names) > 30 else 0
    axes.set_xticks(some, names, rotation=turn, ha="right" if turn else "center")
    axes.set_xlim(-0.4, len(levels) - 0.6)
