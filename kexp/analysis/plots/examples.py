"""Examples of the test split with what the model made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kexp.analysis.plots import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_WRONG, MOST_IMAGES = 12, 2


def misclassified(of: Mapping[str, dict[str, np.ndarray]], classes: Sequence[str]) -> Figure:
    """The wrong answers of which a model is most confident, a block of rows per configuration."""
    rows = [-(-min(len(e["inputs"]), MOST_WRONG) // 6) for e in of.values()]
    figure = canvas.empty(canvas.WIDTH, sum(1.85 * r + 0.35 for r in rows))
    parts = np.ravel(figure.subfigures(len(of), 1, height_ratios=rows, squeeze=False))
    for part, (label, e), count in zip(parts, of.items(), rows, strict=True):
        part.set_facecolor("none")
        part.suptitle(canvas.plain(label, 100), fontsize=9, x=0.01, ha="left")
        every = part.subplots(count, 6, squeeze=False).ravel()
        for axes in every:
            axes.set_axis_off()
        for i, axes in zip(range(min(len(e["inputs"]), MOST_WRONG)), every, strict=False):
            picture(axes, e["inputs"][i])
            true, predicted = (named(classes, e[k][i]) for k in ("label", "predicted"))
            axes.set_title(
                f"true {true}, said {predicted}\n{100 * e['confidence'][i]:.1f} % sure", fontsize=8
            )
    return canvas.inked(figure)


def restored(of: Mapping[str, dict[str, np.ndarray]], alike: bool) -> Figure:
    """Input, output, target and error of images; a row per image and configuration.

    `alike`: whether the input is such an image as the target, so that its distance means something.
    """
    rows = [
        (label, e, i) for label, e in of.items() for i in range(min(len(e["inputs"]), MOST_IMAGES))
    ]
    figure = canvas.empty(canvas.WIDTH, 2.35 * len(rows) + 0.3)
    every = figure.subplots(len(rows), 4, squeeze=False)
    worst = max(float(np.quantile(error(e, i), 0.98)) for _, e, i in rows) or 1.0
    shown = None
    for (label, e, i), panels in zip(rows, every, strict=True):
        for axes, name in zip(panels, ("inputs", "outputs", "targets"), strict=False):
            picture(axes, e[name][i])
            near = name == "outputs" or (alike and name == "inputs")
            dB = f", {psnr(e[name][i], e['targets'][i]):.2f} dB" if near else ""
            axes.set_title(f"{name[:-1]}{dB}", fontsize=8.5)
        shown = panels[3].imshow(
            error(e, i), cmap="cividis", vmin=0, vmax=worst, interpolation="none"
        )
        panels[3].set_title("|output − target|", fontsize=8.5)
        panels[0].set_ylabel(_stacked(label), fontsize=8)
        for axes in panels:
            _bare(axes)
    bar = figure.colorbar(shown, ax=every[:, 3], fraction=0.05, pad=0.02)  # pyright: ignore
    bar.set_label("error, of 255", fontsize=8.5)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return canvas.inked(figure)


def predictions(of: Mapping[str, dict[str, np.ndarray]]) -> Figure:
    """Predicted over true numbers; the line is where they agree."""
    figure = canvas.empty(6.0, 4.6 + 0.2 * len(of))
    axes = figure.subplots()
    every = np.concatenate([np.ravel(e[k]) for e in of.values() for k in ("targets", "outputs")])
    ends = [float(every.min()), float(every.max())]
    axes.plot(ends, ends, color=canvas.MUTED, linewidth=0.9)
    handles = []
    for number, (label, e) in enumerate(of.items()):
        look: dict[str, Any] = canvas.look(number) | {"linestyle": "none"}
        handles += axes.plot(e["targets"], e["outputs"], **look, markersize=5, mfc="none")
        handles[-1].set_label(canvas.plain(label, 80))
    canvas.titled(axes, "", "true value", "predicted value")
    canvas.ruled(axes)
    canvas.legend(figure, handles, columns=1)
    return canvas.inked(figure)


def named(classes: Sequence[str], index: Any) -> str:
    """The name of a class, or its number where it has none."""
    i = int(index)
    return canvas.plain(classes[i], 14) if 0 <= i < len(classes) else str(i)


def picture(axes: Axes, image: np.ndarray) -> None:
    """An image of shape (h, w, 1 or 3) as it is, pixel by pixel."""
    shown = image[..., 0] if image.shape[-1] == 1 else image
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="none")


def error(e: dict[str, np.ndarray], i: int) -> np.ndarray:
    """The absolute error of an output, mean over channels, shape (h, w)."""
    return np.abs(e["outputs"][i].astype(float) - e["targets"][i]).mean(axis=-1)


def psnr(image: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit images in dB; infinite where they are equal."""
    squared = float(np.mean((image.astype(float) - target) ** 2))
    return 10 * np.log10(255**2 / squared) if squared else float("inf")


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _stacked(label: str) -> str:
    return "\n".join(canvas.plain(part, 26) for part in label.replace(": ", ", ").split(", ")[:4])
