"""The picture of the robust losses: ρ(r), its influence ψ(r) = ρ′(r) and its weight ψ(r)/r."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from kexp import losses
from kexp.backends import TensorFlow
from kexp.errors import ConfigError
from kexp.store.atomic import replacing

FORMATS = ("png", "svg", "pdf")
LARGEST = 6.0
"""Residuals are drawn from minus this to this many scales."""

COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Told apart with any colour vision (Okabe and Ito)."""

DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (3, 1)))
"""So that curves which lie on one another are both seen, and in print without colours."""

TITLES = ("loss  ρ(r)", "influence  ψ(r) = ρ′(r)", "weight  w(r) = ψ(r)/r")

LIMITS = {
    "convex": ((-0.1, 6.0), (-2.1, 2.1), (-0.04, 1.6)),
    "redescending": ((-0.04, 2.0), (-0.62, 0.62), (-0.04, 1.1)),
    "Barron's general loss": ((-0.1, 6.0), (-2.1, 2.1), (-0.04, 1.1)),
}
"""Ends of the axes of ρ, ψ and w in each row."""


def robust_losses() -> dict[str, dict[str, Any]]:
    """The elementwise regression losses by kind and name, all with scale 1.

    `Adaptive` is left out: it is the general loss with an α and a scale that are learned.
    """
    shapes = {"2": 2.0, "1": 1.0, "0": 0.0, "−2": -2.0, "−∞": -np.inf}
    return {
        "convex": {
            "quadratic": losses.Quadratic(),
            "absolute": losses.Absolute(),
            "Huber": losses.Huber(delta=1.0),
            "Charbonnier": losses.Charbonnier(scale=1.0),
            "log-cosh": losses.LogCosh(scale=1.0),
            "quantile, q = 0.8": losses.Quantile(q=0.8),
        },
        "redescending": {
            "Cauchy": losses.Cauchy(scale=1.0),
            "Geman–McClure": losses.GemanMcClure(scale=1.0),
            "Welsch": losses.Welsch(scale=1.0),
            "Tukey": losses.Tukey(scale=1.0),
        },
        "Barron's general loss": {
            f"α = {name}": losses.General(alpha=alpha, scale=1.0) for name, alpha in shapes.items()
        },
    }


def curves(loss: Any, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ρ(r), ψ(r) and w(r) = ψ(r)/r by central differences; no r may be 0.

    In float64, with the step that balances rounding and curvature; on a backend that has float32
    only, as JAX by default, with the longer step that suits that.
    """
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
        TensorFlow().start()
    from keras import ops

    def rho(at: np.ndarray) -> np.ndarray:
        return np.asarray(ops.convert_to_numpy(loss.rho(ops.convert_to_tensor(at, "float64"))))

    level = rho(r)
    step = np.cbrt(np.finfo(level.dtype).eps)
    ahead, behind = ((r + sign * step).astype(level.dtype) for sign in (1, -1))
    influence = (rho(ahead) - rho(behind)) / (ahead - behind)
    return level, influence, influence / r


def draw_losses(file: Path) -> None:
    """Write the picture; the format goes by the suffix. Raises `ConfigError` where it cannot."""
    suffix = file.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ConfigError(
            f"--plot {file}: the name must end in one of {', '.join(f'.{f}' for f in FORMATS)}"
        )
    if file.is_dir():
        raise ConfigError(f"--plot {file}: this is a directory; name a file")
    figure = _figure()
    try:
        with replacing(file) as stream:
            figure.savefig(stream, format=suffix, dpi=110)
    except OSError as error:
        raise ConfigError(f"--plot {file} cannot be written: {error.strerror}") from None


def _figure() -> Any:
    """A row for each kind of loss, with ρ, ψ and w side by side and its legend at the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = robust_losses()
    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(kinds), 3, sharex=True)
    for row, (kind, members) in zip(grid, kinds.items(), strict=True):
        _draw_row(row, kind, members)
    for axes, title in zip(grid[0], TITLES, strict=True):
        axes.set_title(title, fontsize=12)
    for axes in grid[-1]:
        axes.set_xlabel("residual r, in scales")
    return figure


def _draw_row(row: Any, kind: str, members: dict[str, Any]) -> None:
    """The losses of a kind on the three axes of a row."""
    r = np.linspace(-LARGEST, LARGEST, 800)
    for colour, dashes, (name, loss) in zip(COLOURS, DASHES, members.items(), strict=False):
        for axes, values in zip(row, curves(loss, r), strict=True):
            axes.plot(r, values, color=colour, linestyle=dashes, label=name, linewidth=1.6)
    for axes, limits in zip(row, LIMITS[kind], strict=True):
        axes.set_xlim(-LARGEST, LARGEST)
        axes.set_ylim(limits)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.grid(alpha=0.25)
    row[0].set_ylabel(kind, fontsize=12)
    row[2].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.6)
