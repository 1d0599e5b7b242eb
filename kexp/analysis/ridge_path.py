"""The ridge path of a run: errors, bias and variance over the strength λ, in words and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kexp.analysis.curves import GAP, TRAIN, VALIDATION, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEATURES_TOLD = 12

BESIDE = {"frameon": False, "loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3}
"""Where legends are: above the axes, since the curves of another path may run anywhere in them."""


def described(path: dict[str, Any]) -> str:
    """What the closed form says, in a few lines."""
    best = path["strengths"].index(path["best_strength"])
    lines = [
        f"ridge path of {len(path['strengths'])} strengths in closed form: validation MSE is best, "
        f"{path['best_validation_mse']:.4g}, at λ = {path['best_strength']:.3g} "
        f"({path['degrees_of_freedom'][best]:.1f} effective degrees of freedom of "
        f"{path['degrees_of_freedom'][0]:.1f}); test MSE there {path['test_mse_at_best']:.4g}",
    ]
    if path["squared_bias"]:
        lines.append(
            f"there squared bias {path['squared_bias'][best]:.3g} and variance "
            f"{path['variance'][best]:.3g}, about {path['about']}"
        )
    if path["distance"] is not None:
        lines.append(
            f"the trained coefficients are {path['distance']:.2g} from the closed form of their λ"
        )
        lines += _coefficients(path)
    return "\n".join(lines)


def _coefficients(path: dict[str, Any]) -> list[str]:
    """Both, of each feature; nothing of records from before they were kept, or of many features."""
    both = [path.get("coefficients"), path.get("closed_form")]
    if not all(both) or len(both[0]) > FEATURES_TOLD:
        return []
    names = ["trained", "closed form"]
    rows = zip(names, both, strict=True)
    return [f"  {name:<12}" + " ".join(f"{value:8.4f}" for value in row) for name, row in rows]


def draw(path: dict[str, Any], title: str, file: Path) -> None:
    """The picture of a path; format by suffix."""
    figure = drawn(path)
    figure.suptitle(title, fontsize=10, wrap=True)
    save(figure, file)


def drawn(path: dict[str, Any]) -> Figure:
    """Errors above, bias and variance below, over λ (λ = 0 left out)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    strengths = np.array(path["strengths"])
    shown = strengths > 0
    figure = Figure(figsize=(7, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    above.semilogx(strengths[shown], _of(path, "train_mse", shown), color=TRAIN, label="train")
    validation = _of(path, "validation_mse", shown)
    above.semilogx(strengths[shown], validation, color=VALIDATION, label="validation")
    best = path["best_strength"], path["best_validation_mse"]
    if best[0] > 0:
        above.plot(*best, "o", color=VALIDATION, label=f"best, λ = {best[0]:.2g}")
    above.set_ylabel("MSE")
    above.set_ylim(0, 1.05 * max(np.median(validation), validation[-1], best[1]) * 1.5)
    above.legend(**BESIDE)
    _degrees_of_freedom(above, path, shown)
    if path["squared_bias"]:
        bias, variance = (_of(path, name, shown) for name in ("squared_bias", "variance"))
        below.semilogx(strengths[shown], bias, color=TRAIN, label="squared bias")
        below.semilogx(strengths[shown], variance, color=VALIDATION, label="variance")
        below.semilogx(strengths[shown], bias + variance, color=GAP, label="sum")
        below.legend(**BESIDE)
        below.set_ylabel(f"squared error about {path['about'].split(',')[0]}", fontsize=8)
    below.set_xlabel("strength λ of ½ mean r² + λ Σθ²")
    return figure


def _degrees_of_freedom(axes: Any, path: dict[str, Any], shown: np.ndarray) -> None:
    """A second scale on the right: effective degrees of freedom."""
    right = axes.twinx()
    strengths = np.array(path["strengths"])[shown]
    right.semilogx(strengths, _of(path, "degrees_of_freedom", shown), ":", color=GAP)
    right.set_ylabel("effective degrees of freedom (dotted)", color=GAP, fontsize=8)
    right.set_ylim(0, None)


def _of(path: dict[str, Any], name: str, shown: np.ndarray) -> np.ndarray:
    return np.array(path[name])[shown]
