"""Recognition over the share that is hidden, and what least squares and an M-estimator see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kexp.analysis.plots import canvas
from kexp.analysis.plots.examples import picture
from kexp.analysis.recognition import KINDS, PICTURES, Recognition

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 3
NAMED = {"least_squares": "least squares", "m_estimator": "M-estimator"}
REFERENCES = {"least_squares": "least squares", "known": "least squares with the pixels known"}
TITLES = {
    "occlusion": "a block hides a share of the pixels",
    "corruption": "a share of the pixels is replaced",
}


def curves(of: Mapping[str, Recognition]) -> Figure:
    """Recognition rates with 95 % intervals: the M-estimator of each label, and least squares.

    Least squares, and that with the pixels known, once for all labels where they are the same.
    """
    figure = canvas.empty(canvas.WIDTH, 3.6 + 0.2 * -(-len(of) // 3))
    _draw_curves(figure, of)
    return canvas.inked(figure)


def pictures(e: Mapping[str, np.ndarray]) -> Figure:
    """The mean and the first eigenvectors; occluded images and their reconstructions."""
    rows = min(len(e["occluded"]), MOST_ROWS)
    figure = canvas.empty(canvas.WIDTH, 1.4 + 1.75 * rows)
    _draw_pictures(figure, e, rows)
    return canvas.inked(figure)


def whole(of: Mapping[str, Recognition], e: Mapping[str, np.ndarray] | None) -> Figure:
    """The curves with the pictures below."""
    if e is None:
        return curves(of)
    rows = min(len(e["occluded"]), MOST_ROWS)
    heights = 3.8, 1.4 + 1.75 * rows
    figure = canvas.empty(canvas.WIDTH, sum(heights) + 0.5)
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    _draw_curves(above, of)
    _draw_pictures(below, e, rows)
    return canvas.inked(figure)


def _draw_curves(figure: Any, of: Mapping[str, Recognition]) -> None:
    plain, known = (_distinct(of, method) for method in ("least_squares", "known"))
    handles = []
    for axes, kind in zip(figure.subplots(1, len(KINDS), sharey=True), KINDS, strict=True):
        handles = [
            _line(axes, found, kind, "m_estimator", label, _look(number))
            for number, (label, found) in enumerate(of.items())
        ]
        for number, (label, found) in enumerate(plain):
            look = {**canvas.look(0), **_mark(number), "linestyle": (0, (4, 2))}
            handles.append(_line(axes, found, kind, "least_squares", label, look))
        for number, (label, found) in enumerate(known):
            look = {"color": canvas.MUTED, "linestyle": ":"} | (_mark(number) if number else {})
            handles.append(_line(axes, found, kind, "known", label, look))
        canvas.titled(axes, TITLES[kind], "share", "recognised" if kind == "occlusion" else "")
        axes.set_ylim(0, 1.02)
        canvas.ruled(axes)
    canvas.legend(figure, handles)


def _distinct(of: Mapping[str, Recognition], method: str) -> list[tuple[str, Recognition]]:
    """One of all configurations with the same curves of a method, each with what to call it.

    Where there are several, with the labels of its configurations.
    """
    groups: dict[bytes, list[str]] = {}
    for label, found in of.items():
        curves = [found.shares, *(found.correct[kind, method] / found.images for kind in KINDS)]
        groups.setdefault(np.concatenate(curves).tobytes(), []).append(label)
    name = REFERENCES[method]
    return [
        (name if len(groups) == 1 else f"{name}: {', '.join(labels)}", of[labels[0]])
        for labels in groups.values()
    ]


def _mark(number: int) -> dict[str, Any]:
    return {"marker": canvas.look(number)["marker"]}


def _look(number: int) -> dict[str, Any]:
    """Colour and marker of the nth M-estimator, after those of least squares; a line of its own."""
    return {**canvas.look(number + 1), "linestyle": canvas.LINES[number % len(canvas.LINES)]}


def _line(axes: Any, found: Recognition, kind: str, method: str, label: str, look: dict) -> Any:
    """One curve with its band."""
    rate, low, high = found.rates(kind, method)
    axes.fill_between(found.shares, low, high, color=look["color"], alpha=0.15, linewidth=0)
    (line,) = axes.plot(found.shares, rate, **look, markersize=4, linewidth=1.5)
    line.set_label(canvas.plain(label, 60))
    return line


def _draw_pictures(figure: Any, e: Mapping[str, np.ndarray], rows: int) -> None:
    above, below = figure.subfigures(2, 1, height_ratios=(1.3, 1.75 * rows))
    vectors = e["eigenvectors"]
    for i, axes in enumerate(above.subplots(1, 1 + len(vectors), squeeze=False).ravel()):
        picture(axes, e["mean"][0] if i == 0 else vectors[i - 1])
        axes.set_title("mean" if i == 0 else f"u{i}", fontsize=8)
        axes.set_axis_off()
    panels = below.subplots(rows, len(PICTURES), squeeze=False)
    for i, row in enumerate(panels):
        for axes, name in zip(row, PICTURES, strict=True):
            picture(axes, e[name][i])
            axes.set_axis_off()
            if i == 0:
                axes.set_title(NAMED.get(name, name), fontsize=8.5)
