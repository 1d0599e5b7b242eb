"""Effects with their intervals: a panel per quantity, a row per level against its baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kexp.analysis import sentences
from kexp.analysis.effects import Effect
from kexp.analysis.plots import canvas
from kexp.analysis.quantities import Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LEVELS = 40
COLOUR = {"detected": canvas.BLUE, "uncertain": canvas.MUTED, "none": canvas.MUTED}


def forest(effects: Sequence[Effect]) -> Figure:
    """Mean changes with 95 % intervals; detected ones are filled, others hollow."""
    levels = sentences.by_level(effects)[:MOST_LEVELS]
    quantities = list(dict.fromkeys(e.quantity for e in effects))
    figure, panels = canvas.grid_of(len(quantities), 3, 0.34 * len(levels) + 0.75, sharey=True)
    rows = {level_of(of_one[0]): i for i, of_one in enumerate(levels)}
    for quantity, axes in zip(quantities, panels, strict=True):
        shown = [e for e in effects if e.quantity == quantity and level_of(e) in rows]
        _panel(axes, quantity, shown, rows)
    panels[0].set_yticks(range(len(levels)), [_named(of_one[0]) for of_one in levels])
    panels[0].set_ylim(len(levels) - 0.4, -0.6)
    canvas.legend(figure, _key({e.verdict for e in effects}))
    return canvas.inked(figure)


def level_of(e: Effect) -> tuple[str, str, str]:
    """What the effect is of."""
    return e.factor, e.level, e.within


def _panel(
    axes: Axes, quantity: Quantity, shown: Sequence[Effect], rows: dict[tuple[str, str, str], int]
) -> None:
    axes.axvline(0, color=canvas.INK, linewidth=0.8)
    for e in shown:
        row, colour = rows[level_of(e)], COLOUR.get(e.verdict, canvas.MUTED)
        low, mean, high = (quantity.scale * v for v in (e.low, e.mean, e.high))
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [row, row], color=colour, linewidth=1.6)
        face = colour if e.verdict == "detected" else canvas.PAPER
        marker = "x" if e.verdict == "too few" else "o"
        axes.plot([mean], [row], marker, color=colour, markerfacecolor=face, markersize=5.5)
    unit = quantity.change(1.0).partition(" ")[2]
    canvas.titled(axes, quantity.title, f"change in {unit}" if unit else "change")
    canvas.ruled(axes, "x")
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=5)


def _named(e: Effect) -> str:
    within = f"\nwith {canvas.plain(e.within, 34)}" if e.within else ""
    named = canvas.plain(f"{e.factor}={e.level}", 34)
    return f"{named}\nvs {canvas.plain(e.baseline, 30)}{within}"


def _key(verdicts: set[str]) -> list:
    """Legend entries for the marks that there are."""
    from matplotlib.lines import Line2D

    kinds = (
        ("detected after Holm's correction", {"detected"}, canvas.BLUE, "o", canvas.BLUE),
        ("not detected", {"none", "uncertain"}, canvas.MUTED, "o", canvas.PAPER),
        ("too few seeds to say", {"too few"}, canvas.MUTED, "x", canvas.PAPER),
    )
    return [
        Line2D([], [], color=colour, marker=marker, markerfacecolor=face, label=label)
        for label, of, colour, marker, face in kinds
        if of & verdicts
    ]
