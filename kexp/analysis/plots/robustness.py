"""Yardsticks over the strength of a perturbation: a panel each, a line per configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kexp.analysis.plots import canvas
from kexp.analysis.quantities import PERTURBATIONS
from kexp.analysis.robustness import Curve
from kexp.measures import Yardstick

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = {
    "noise": "standard deviation of the noise",
    "occlusion": "share hidden",
    "fgsm": "ε",
    "pgd": "ε",
}
"""What the strength of each perturbation is."""


def curves(of: Mapping[str, Sequence[Curve]], yardstick: Yardstick) -> Figure:
    """The curves of each perturbation, mean ± deviation over seeds."""
    figure, panels = canvas.grid_of(len(of), 2, 2.5, sharey=True)
    scale = 100.0 if yardstick.unit == "%" else 1.0
    unit = f" ({yardstick.unit})" if yardstick.unit else ""
    handles = {}
    for number, ((name, every), axes) in enumerate(zip(of.items(), panels, strict=True)):
        for place, curve in enumerate(every):
            mean = scale * curve.values.mean
            deviation = scale * np.nan_to_num(curve.values.deviation)
            look = canvas.look(place)
            axes.fill_between(
                curve.strengths, mean - deviation, mean + deviation, color=look["color"], alpha=0.2
            )
            (line,) = axes.plot(curve.strengths, mean, linewidth=1.5, markersize=4, **look)
            line.set_label(canvas.plain(curve.label, 60))
            handles[curve.label] = line
        y = f"{yardstick.label}{unit}" if number % 2 == 0 else ""
        canvas.titled(axes, PERTURBATIONS[name], AXES[name], y)
        canvas.ruled(axes)
    canvas.legend(figure, list(handles.values()), columns=2)
    return canvas.inked(figure)
