"""All configurations at once: parallel coordinates, the trade-off, the spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kexp.analysis.design import Design
from kexp.analysis.plots import canvas
from kexp.analysis.quantities import Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS, MOST_LINES, MOST_CROSSES = 40, 300, 60


@dataclass(frozen=True)
class Configuration:
    """The values of the runs of one configuration: `values[quantity]` has one per seed."""

    cell: tuple[str, ...]
    label: str
    values: dict[Quantity, np.ndarray]
    on_front: bool = False

    def mean(self, quantity: Quantity) -> float:
        """Over seeds; NaN where no run has it."""
        values = self.values[quantity]
        return float(values.mean()) if values.size else float("nan")

    def deviation(self, quantity: Quantity) -> float:
        """Over seeds; zero with fewer than two."""
        values = self.values[quantity]
        return float(values.std(ddof=1)) if values.size > 1 else 0.0


def tradeoff(every: Sequence[Configuration], test: Quantity, gap: Quantity) -> Figure:
    """Test value and gap of every configuration, mean ± deviation; the Pareto front is filled."""
    figure = canvas.empty(height=4.4)
    axes = figure.subplots()
    front = sorted((c for c in every if c.on_front), key=lambda c: c.mean(test))
    for c in every if len(every) <= MOST_CROSSES else front:
        _cross(axes, c, test, gap)
    others = [c for c in every if not c.on_front]
    look = {"markersize": 5, "linestyle": "none"}
    axes.plot(*_at(others, test, gap), "o", color=canvas.BLUE, mfc=canvas.PAPER, **look)
    look["linestyle"] = "--"
    axes.plot(*_at(front, test, gap), "D", color=canvas.VERMILION, **look)
    for number, c in enumerate(front, start=1):
        at = test.scale * c.mean(test), gap.scale * c.mean(gap)
        axes.annotate(str(number), at, (6, 5), textcoords="offset points", fontsize=9)
    canvas.titled(axes, "", test.axis, gap.axis)
    canvas.ruled(axes)
    canvas.legend(figure, _key(), columns=2)
    return canvas.inked(figure)


def spread(every: Sequence[Configuration], quantities: Sequence[Quantity]) -> Figure:
    """A dot per run, a row per configuration: how much the seed alone moves things."""
    rows = list(every)[:MOST_ROWS]
    figure = canvas.empty(height=0.24 * len(rows) + 1.0)
    panels = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    for quantity, axes in zip(quantities, panels, strict=True):
        for row, c in enumerate(rows):
            values = quantity.scale * c.values[quantity]
            axes.plot(values, np.full(len(values), row), "o", color=canvas.BLUE, alpha=0.55, ms=4.5)
            mean = quantity.scale * c.mean(quantity)
            axes.plot([mean], [row], "|", color=canvas.INK, markersize=11, markeredgewidth=1.4)
        canvas.titled(axes, quantity.title, quantity.axis)
        canvas.ruled(axes)
    panels[0].set_yticks(range(len(rows)), [canvas.plain(c.label, 60) for c in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return canvas.inked(figure)


def parallel(
    every: Sequence[Configuration], design: Design, test: Quantity, gap: Quantity
) -> Figure:
    """From the levels of a configuration to its test value and gap: a line each."""
    known = [c for c in every if np.isfinite(c.mean(test)) and np.isfinite(c.mean(gap))]
    known = sorted(known, key=lambda c: c.mean(gap))[:MOST_LINES]
    figure = canvas.empty(height=4.2)
    axes = figure.subplots()
    gaps = np.array([c.mean(gap) for c in known])
    colours, scale = _coloured(gaps * gap.scale)
    columns = [_places(known, design, i) for i in range(len(design.names))]
    columns += [_normal(np.array([c.mean(q) for c in known])) for q in (test, gap)]
    width = 1.4 if len(known) <= MOST_CROSSES else 0.7
    for number, points in enumerate(np.stack(columns, axis=1)):
        axes.plot(points, color=colours[number], linewidth=width, alpha=0.85)
    for x, name in enumerate(design.names):
        _levels(axes, x, name, design.factor(name).levels)
    for x, q in enumerate((test, gap), start=len(design.names)):
        _numbers(axes, x, q, np.array([c.mean(q) for c in known]))
    axes.set_axis_off()
    axes.set_xlim(-0.35, len(columns) - 0.45)
    bar = figure.colorbar(scale, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label(gap.axis, fontsize=8.5)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return canvas.inked(figure)


def _places(known: Sequence[Configuration], design: Design, factor: int) -> np.ndarray:
    """Where the lines cross the axis of a factor: near their level, the narrowest gap lowest."""
    levels = design.factor(design.names[factor]).levels
    room = 0.45 * min(1.0, len(known) / 12) / max(len(levels) - 1, 1)
    rank = np.linspace(-0.5, 0.5, len(known)) if known[1:] else np.zeros(len(known))
    at = np.array([levels.index(c.cell[factor]) for c in known], dtype=float)
    return at / max(len(levels) - 1, 1) + room * rank


def _normal(values: np.ndarray) -> np.ndarray:
    low, span = values.min(), np.ptp(values)
    return (values - low) / span if span else np.full(len(values), 0.5)


def _levels(axes: Axes, x: int, name: str, levels: Sequence[str]) -> None:
    axes.plot([x, x], [-0.24, 1.24], color=canvas.MUTED, linewidth=0.8, zorder=0)
    axes.text(x, 1.34, canvas.plain(name, 24), ha="center", weight="bold", fontsize=9)
    shown = levels if len(levels) <= 12 else ()
    for i, level in enumerate(shown):
        at = i / max(len(levels) - 1, 1)
        axes.text(x, at, canvas.plain(level, 22), **_boxed())


def _numbers(axes: Axes, x: int, quantity: Quantity, values: np.ndarray) -> None:
    axes.plot([x, x], [0, 1], color=canvas.MUTED, linewidth=0.8, zorder=0)
    axes.text(x, 1.34, quantity.title, ha="center", weight="bold", fontsize=9)
    ends = [(0.0, values.min(), "top"), (1.0, values.max(), "bottom")]
    for at, value, side in ends:
        shift = -0.04 if side == "top" else 0.04
        axes.text(x, at + shift, quantity.show(float(value)), ha="center", va=side, fontsize=8)


def _boxed() -> dict[str, Any]:
    box = {"boxstyle": "round,pad=0.25", "facecolor": canvas.PAPER, "edgecolor": canvas.GRID}
    return {"ha": "center", "va": "center", "fontsize": 8, "bbox": box, "zorder": 5}


def _coloured(values: np.ndarray) -> tuple[np.ndarray, Any]:
    """Colours of the middle of viridis, whose ends are lost on white and on black."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    middle = ListedColormap(colormaps["viridis"](np.linspace(0.3, 0.87, 128)))
    scale = ScalarMappable(Normalize(values.min(), values.max()), middle)
    return scale.to_rgba(values), scale


def _cross(axes: Axes, c: Configuration, test: Quantity, gap: Quantity) -> None:
    axes.errorbar(
        test.scale * c.mean(test),
        gap.scale * c.mean(gap),
        yerr=gap.scale * c.deviation(gap),
        xerr=test.scale * c.deviation(test),
        color=canvas.MUTED,
        elinewidth=0.6,
        alpha=0.6,
        zorder=1,
    )


def _at(every: Sequence[Configuration], test: Quantity, gap: Quantity) -> tuple[list, list]:
    return [test.scale * c.mean(test) for c in every], [gap.scale * c.mean(gap) for c in every]


def _key() -> list:
    from matplotlib.lines import Line2D

    look = {"linestyle": "none", "markersize": 5}
    hollow = Line2D([], [], marker="o", color=canvas.BLUE, mfc=canvas.PAPER, **look)
    hollow.set_label("another is better in both")
    full = Line2D([], [], marker="D", color=canvas.VERMILION, label="on the Pareto front", **look)
    return [full, hollow]
