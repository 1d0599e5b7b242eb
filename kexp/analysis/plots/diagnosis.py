"""What a classifier gets wrong, and whether its confidence is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kexp.analysis.plots import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERS = 12


@dataclass(frozen=True)
class Reliability:
    """Bins of predictions by confidence, summed over seeds; shapes (bins,)."""

    count: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    @property
    def ece(self) -> float:
        """The expected calibration error: mean distance of confidence and accuracy."""
        return float(np.abs(self.correct - self.confidence).sum() / max(self.count.sum(), 1))


def confusion(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Rows are true classes, columns predictions; colour is the share of the true class."""
    side = 4.6 if len(classes) <= MOST_NUMBERS else 5.4
    figure, panels = canvas.grid_of(len(matrices), 2, side - 0.4)
    if not panels[1:]:
        figure.set_figwidth(6.0)
    mesh = None
    for (label, counts), axes in zip(matrices.items(), panels, strict=True):
        mesh = _matrix(axes, counts, classes)
        canvas.titled(axes, _two_lines(label), "predicted", "true")
    bar = figure.colorbar(mesh, ax=panels, fraction=0.025, pad=0.01)  # pyright: ignore
    bar.set_label("share of the true class", fontsize=8.5)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return canvas.inked(figure)


def reliability(of: Mapping[str, Reliability]) -> Figure:
    """Accuracy over confidence, above how many predictions there are of each confidence."""
    figure = canvas.empty(6.5, 5.2 + 0.2 * len(of))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color=canvas.MUTED, linewidth=0.9)
    for number, (label, bins) in enumerate(of.items()):
        look = canvas.look(number)
        some = bins.count > 0
        confidence = bins.confidence[some] / bins.count[some]
        accuracy, share = bins.correct[some] / bins.count[some], bins.count[some] / bins.count.sum()
        name = f"{canvas.plain(label, 70)}: ECE {100 * bins.ece:.2f} %"
        above.plot(confidence, accuracy, **look, markersize=4.5, linewidth=1.3, label=name)
        below.semilogy(confidence, 100 * share, **look, markersize=4.5, linewidth=1.3)
    canvas.titled(above, "", "", "accuracy")
    canvas.titled(below, "", "confidence (mean of the bin)", "predictions (%)")
    for axes in (above, below):
        canvas.ruled(axes)
    canvas.legend(figure, above.get_legend_handles_labels()[0], columns=1)
    return canvas.inked(figure)


def _matrix(axes: Axes, counts: np.ndarray, classes: Sequence[str]):
    """Small shares are stretched, so that errors are seen beside the diagonal."""
    from matplotlib.colors import PowerNorm

    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mesh = axes.pcolormesh(share, norm=PowerNorm(0.4, 0, 1), cmap="cividis")
    few = len(classes) <= MOST_NUMBERS
    for (row, column), count in np.ndenumerate(counts) if few else ():
        colour = "#101010" if share[row, column] > 0.15 else "#f4f4f4"
        size = 7.5 if counts.max() < 10_000 else 6
        text = f"{count:.0f}" if count else "·"
        axes.text(
            column + 0.5, row + 0.5, text, color=colour, ha="center", va="center", fontsize=size
        )
    names = [canvas.plain(name, 12) for name in classes]
    every = np.arange(len(classes))[:: max(1, len(classes) // 25)]
    long = max(map(len, names), default=0) > 3
    axes.set_xticks(every + 0.5, [names[i] for i in every], rotation=90 if long else 0)
    axes.set_yticks(every + 0.5, [names[i] for i in every])
    axes.invert_yaxis()
    axes.set_aspect("equal")
    return mesh


def _two_lines(label: str) -> str:
    head, colon, rest = label.partition(": ")
    return f"{canvas.plain(head)}\n{canvas.plain(rest, 58)}" if colon else canvas.plain(label, 58)
