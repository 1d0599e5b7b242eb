"""Learning curves: train (probe), validation and gap over epochs, in a terminal or as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexp.measures import Yardstick, best_epoch, onset
from kexp.store import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN, VALIDATION, GAP = "#0072b2", "#d55e00", "#666666"
"""Colours that are told apart with any colour vision (Okabe and Ito)."""


def terminal_plot(history: list[dict[str, Any]], yardstick: Yardstick, columns: int = 80) -> str:
    """The curves as text, `columns` wide, without colour codes."""
    import plotext

    epochs, train, validation, _ = _curves(history, yardstick)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(columns, 18)
    plotext.plot(epochs, train, label="train", marker="dot")
    plotext.plot(epochs, validation, label="validation", marker="+")
    plotext.title(f"{_title(yardstick)} over epochs")
    return plotext.uncolorize(plotext.build())


def draw_png(history: list[dict[str, Any]], yardstick: Yardstick, title: str, file: Path) -> None:
    """The curves above, the gap below, the best epoch and the onset marked; format by suffix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs, train, validation, gap = _curves(history, yardstick)
    figure = Figure(figsize=(7, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    above.plot(epochs, train, color=TRAIN, label="train (probe)")
    above.plot(epochs, validation, color=VALIDATION, label="validation")
    best = best_epoch(validation, yardstick.higher_is_better)
    above.plot([best], [validation[best - 1]], "o", color=VALIDATION, label=f"best, epoch {best}")
    above.set_ylabel(_title(yardstick))
    if not yardstick.higher_is_better:
        above.set_ylim(0, _top(train, validation, best))
    if onset(validation, yardstick.higher_is_better):
        for axes in (above, below):
            axes.axvline(best, color=GAP, linestyle=":", linewidth=1)
    above.legend(frameon=False)
    below.plot(epochs, gap, color=GAP)
    below.axhline(0, color="black", linewidth=0.6)
    below.fill_between(epochs, gap, 0, color=GAP, alpha=0.15)
    below.set_ylabel("gap")
    below.set_xlabel("epoch")
    figure.suptitle(title, fontsize=10, wrap=True)
    save(figure, file)


def save(figure: Figure, file: Path) -> None:
    """Write a picture, whole or not at all; format by suffix."""
    with atomic.replacing(file) as stream:
        figure.savefig(stream, format=file.suffix.removeprefix("."), dpi=150)


def _top(train: list[float], validation: list[float], best: int) -> float:
    """Upper end of the axis: the first steep epochs may leave it, so that a rise is seen."""
    return 1.05 * min(max(*train, *validation), 2.5 * max(validation[best - 1 :]))


def _number(value: float | None, scale: float) -> float:
    return math.nan if value is None else scale * value


def _title(yardstick: Yardstick) -> str:
    return f"{yardstick.label} ({yardstick.unit})" if yardstick.unit else yardstick.label


def _curves(history: list[dict[str, Any]], yardstick: Yardstick) -> tuple[list, list, list, list]:
    scale = 100.0 if yardstick.unit == "%" else 1.0
    epochs = [record["epoch"] for record in history]
    train, validation, gap = (
        [_number(record[split][yardstick.name], scale) for record in history]
        for split in ("probe", "validation", "gap")
    )
    return epochs, train, validation, gap
