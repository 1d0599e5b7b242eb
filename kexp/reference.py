"""The reference of choices: a page made from docstrings and formulas, and a picture of the losses.

`scripts/reference.py` writes both into `docs/`; `kexp list losses --plot FILE` draws the picture.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np

from kexp import losses
from kexp.choice import summary
from kexp.config.fitting import option_class, targets
from kexp.config.messages import allowed
from kexp.config.options import parameters
from kexp.config.places import groups
from kexp.config.wording import shown
from kexp.errors import ConfigError
from kexp.store.atomic import replacing

GROUPS = {
    "loss": "Losses L",
    "regularizer": "Regularizers λR",
    "dropout": "Dropout",
    "norm": "Normalisation",
}
FORMATS = ("png", "svg", "pdf")
PICTURE = "images/losses.png"
INTRODUCTION = f"""# Reference of choices

Made by `scripts/reference.py` from the docstrings; edit those.

    θ̂ = argmin (1/N) Σ L(ŷᵢ, yᵢ) + λR(θ)

Below, r = ŷ − y is a residual, z are logits, p = softmax(z), θ the weights of a kernel.
On the command line: `loss=huber loss.delta=0.05`.

![ρ, its influence ψ and its weight w for every elementwise regression loss]({PICTURE})

The picture shows ρ(r), the influence ψ(r) = ρ′(r), which says how strongly a residual pulls, and
the weight w(r) = ψ(r)/r that it has in iteratively reweighted least squares; scales are 1, that of
Tukey's biweight 3. `kexp list losses --plot FILE` draws it.
"""
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Told apart with any colour vision (Okabe and Ito)."""


def page() -> str:
    """The page as Markdown, with formulas in TeX as GitHub renders them."""
    sections = [INTRODUCTION]
    for group, title in GROUPS.items():
        sections.append(f"## {title}\n")
        sections += [_entry(group, option) for option in groups()[group]]
    return "\n".join(sections)


def _entry(group: str, option: str) -> str:
    """An option: meaning, formula, the rest of its docstring, what it is for, its parameters."""
    cls = option_class(group, option)
    rest = inspect.cleandoc(cls.__doc__ or "").partition("\n")[2].strip()
    parts = [f"### `{group}={option}`", summary(cls)]
    if cls.formula:
        parts.append(f"$$ {cls.formula} $$")
    parts += [rest] if rest else []
    if targets(cls):
        parts.append(f"For: {', '.join(targets(cls))}.")
    table = _table(group, option, cls)
    return "\n\n".join([*parts, *([table] if table else [])]) + "\n"


def _table(group: str, option: str, cls: Any) -> str:
    """Key, default in conf/ and allowed values of each parameter."""
    standard = parameters(group, option)
    fields = cls.__pydantic_fields__
    rows = [
        f"| `{group}.{f.name}` | `{_value(standard[f.name])}` "
        f"| {allowed(fields[f.name].annotation, fields[f.name].metadata)} |"
        for f in dataclasses.fields(cls)
        if f.name in standard
    ]
    return "\n".join(["| key | default | allowed |", "|---|---|---|", *rows]) if rows else ""


def _value(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def robust_losses() -> dict[str, dict[str, Any]]:
    """The elementwise regression losses by kind and name, with scale 1 (Tukey's 3)."""
    return {
        "convex": {
            "quadratic": losses.Quadratic(),
            "absolute": losses.Absolute(),
            "Huber": losses.Huber(),
            "Charbonnier": losses.Charbonnier(),
            "log-cosh": losses.LogCosh(),
            "quantile, q = 0.8": losses.Quantile(q=0.8),
        },
        "redescending": {
            "Cauchy": losses.Cauchy(),
            "Geman–McClure": losses.GemanMcClure(),
            "Welsch": losses.Welsch(),
            "Tukey": losses.Tukey(scale=3.0),
        },
        "Barron's general loss": {
            f"α = {name}": losses.General(alpha=float(name.replace("−", "-").replace("∞", "inf")))
            for name in ("2", "1", "0", "−2", "−∞")
        },
    }


def curves(loss: Any, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ρ(r), ψ(r) and w(r) = ψ(r)/r in float64, by central differences; no r may be 0."""
    step = 1e-6

    def rho(at: np.ndarray) -> np.ndarray:
        from keras import ops

        return np.asarray(ops.convert_to_numpy(loss.rho(ops.convert_to_tensor(at, "float64"))))

    influence = (rho(r + step) - rho(r - step)) / (2 * step)
    return rho(r), influence, influence / r


def draw_losses(file: Path) -> None:
    """Write the picture; the format goes by the suffix. Raises `ConfigError` for another one."""
    suffix = file.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ConfigError(
            f"--plot {file}: the name must end in one of {', '.join(f'.{f}' for f in FORMATS)}"
        )
    figure = _figure()
    with replacing(file) as stream:
        figure.savefig(stream, format=suffix, dpi=110)


def _figure() -> Any:
    """A row for each kind of loss, with ρ, ψ and w side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = robust_losses()
    figure = Figure(figsize=(10.5, 8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(kinds), 3, sharex=True)
    r = np.linspace(-5, 5, 1000)
    for row, (kind, members) in zip(grid, kinds.items(), strict=True):
        for colour, (name, loss) in zip(COLOURS, members.items(), strict=False):
            for axes, values in zip(row, curves(loss, r), strict=True):
                axes.plot(r, values, color=colour, label=name, linewidth=1.4)
        for axes, limits in zip(row, ((-0.1, 5), (-2.2, 2.2), (-0.05, 1.6)), strict=True):
            axes.set_ylim(limits)
            axes.grid(alpha=0.25)
        row[0].set_ylabel(kind)
        row[2].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    titles = ("loss ρ(r)", "influence ψ(r) = ρ′(r)", "weight w(r) = ψ(r)/r")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel("residual r")
    return figure
