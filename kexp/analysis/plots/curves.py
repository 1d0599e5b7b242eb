"""Learning curves over epochs: bands over the seeds of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kexp.analysis.bands import Band, Spread
from kexp.analysis.plots import canvas
from kexp.measures import Yardstick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning(bands: Sequence[Band], yardstick: Yardstick) -> Figure:
    """Train (probe) and validation over epochs, mean ± deviation, a panel per configuration."""
    figure, panels = canvas.grid_of(
        len(bands), 3, 2.25 if bands[2:] else 3.0, sharex=True, sharey=True
    )
    scale = 100.0 if yardstick.unit == "%" else 1.0
    unit = f" ({yardstick.unit})" if yardstick.unit else ""
    for number, (band, axes) in enumerate(zip(bands, panels, strict=True)):
        _drawn(axes, band.epochs, band.train, scale, canvas.BLUE, "-")
        _drawn(axes, band.epochs, band.validation, scale, canvas.VERMILION, "--")
        y = f"{yardstick.label}{unit}" if number % 3 == 0 else ""
        last_in_column = number + 3 >= len(bands)
        canvas.titled(axes, wrapped(band.label), "epoch" if last_in_column else "", y)
        canvas.epochs(axes)
        axes.tick_params(labelbottom=last_in_column)
        canvas.ruled(axes)
    panels[0].set_ylim(*_limits(bands, scale, yardstick.higher_is_better))
    named = (("train (probe)", canvas.BLUE, "-"), ("validation", canvas.VERMILION, "--"))
    canvas.legend(figure, [_line(*kind) for kind in named])
    return canvas.inked(figure)


def gaps(bands: Sequence[Band], yardstick: Yardstick) -> Figure:
    """The gap of every configuration over epochs, in one picture."""
    figure = canvas.empty(height=4.2 + 0.2 * (len(bands) / 2))
    axes = figure.subplots()
    scale = 100.0 if yardstick.unit == "%" else 1.0
    handles = []
    for number, band in enumerate(bands):
        look = canvas.look(number) if band.label != BASELINE else OF_BASELINE
        every = max(1, len(band.epochs) // 8)
        line = _drawn(axes, band.epochs, band.gap, scale, look["color"], look["linestyle"])
        line.set(marker=look["marker"], markevery=(number % every, every), markersize=4)
        line.set_label(canvas.plain(band.label, 60))
        handles.append(line)
    axes.axhline(0, color=canvas.INK, linewidth=0.8)
    unit = f" ({'pp' if yardstick.unit == '%' else yardstick.unit})" if yardstick.unit else ""
    canvas.titled(axes, "", "epoch", f"{yardstick.label} gap{unit}")
    canvas.epochs(axes)
    axes.set_ylim(*_span([band.gap for band in bands], scale))
    canvas.ruled(axes)
    canvas.legend(figure, handles, columns=2)
    return canvas.inked(figure)


def learned(bands: Sequence[tuple[str, dict[str, list[Spread]]]], epochs: int) -> Figure:
    """Numbers that a loss learns, such as α and c, over epochs: a panel each."""
    names = list(dict.fromkeys(name for _, of_name in bands for name in of_name))
    figure, panels = canvas.grid_of(len(names), 2, 2.6)
    handles = {}
    for name, axes in zip(names, panels, strict=True):
        for number, (label, of_name) in enumerate(bands):
            look = canvas.look(number)
            for spread in of_name.get(name, []):
                at = range(1, len(spread.mean) + 1)
                handles[label] = _drawn(axes, at, spread, 1.0, look["color"], look["linestyle"])
                handles[label].set(label=canvas.plain(label, 60), marker=look["marker"])
                handles[label].set(markersize=3.5, markevery=max(1, epochs // 12))
        canvas.titled(axes, GREEK.get(name, canvas.plain(name)), "epoch")
        canvas.epochs(axes)
        canvas.ruled(axes)
    canvas.legend(figure, list(handles.values()), columns=2)
    return canvas.inked(figure)


BASELINE = "baseline"
OF_BASELINE = {"color": canvas.INK, "marker": "o", "linestyle": "-"}
GREEK = {"alpha": "α, the shape of the loss", "scale": "c, the scale of the loss"}


def wrapped(label: str, width: int = 42) -> str:
    """A label on up to two lines."""
    first, rest = "", label.split(", ")
    while rest and (not first or len(first) + len(rest[0]) + 2 <= width):
        first = f"{first}, {rest.pop(0)}".removeprefix(", ")
    return "\n".join(canvas.plain(line, width) for line in (first, ", ".join(rest)) if line)


def _drawn(axes: Axes, epochs: Any, of: Spread, scale: float, colour: str, style: Any) -> Any:
    mean, deviation = scale * of.mean, scale * np.nan_to_num(of.deviation)
    axes.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0)
    return axes.plot(epochs, mean, color=colour, linestyle=style, linewidth=1.5)[0]


def _line(label: str, colour: str, style: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle=style, label=label)


def _limits(bands: Sequence[Band], scale: float, higher_is_better: bool) -> tuple[float, float]:
    """What the axis shows: the steep first epochs may leave it, so that a rise is seen."""
    spreads = [s for b in bands for s in (b.train, b.validation)]
    every = np.concatenate([scale * s.mean for s in spreads])
    late = np.concatenate([_edges(s, len(s.mean) // 6) for s in spreads]) * scale
    every, late = every[np.isfinite(every)], late[np.isfinite(late)]
    if not late.size:
        return 0.0, 1.0
    low, high = late.min(), late.max()
    low, high = (low, max(high, every.max())) if higher_is_better else (min(low, every.min()), high)
    pad = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - pad), float(high + pad)


def _edges(of: Spread, first: int) -> np.ndarray:
    deviation = np.nan_to_num(of.deviation)
    return np.concatenate([(of.mean + k * deviation)[first:] for k in (-1, 1)])


def _span(spreads: Sequence[Spread], scale: float) -> tuple[float, float]:
    """From the lowest to the highest of the means and of most of the bands, zero included."""
    means = np.concatenate([scale * s.mean for s in spreads])
    edges = np.concatenate([scale * (s.mean + k * s.deviation) for s in spreads for k in (-1, 1)])
    means, edges = means[np.isfinite(means)], edges[np.isfinite(edges)]
    if not means.size:
        return -1.0, 1.0
    low = (
        min(0.0, means.min(), *np.quantile(edges, [0.01])) if edges.size else min(0.0, means.min())
    )
    high = max(0.0, means.max(), *np.quantile(edges, [0.99])) if edges.size else means.max()
    pad = 0.05 * (high - low) or 1.0
    return float(low - pad), float(high + pad)
