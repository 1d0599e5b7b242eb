"""Draws the figures of the documentation, from runs of its own in a temporary folder.

    python scripts/figures.py               # all of them, into docs/images
    python scripts/figures.py tour norms    # those whose names begin so
    python scripts/figures.py --keep DIR    # with the runs in DIR, which are trained once

Took about half an hour on 2 busy cores. `COMMANDS` are those that a page gives for its figures.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import kexp
from kexp.analysis.plots import canvas

DOCS = Path(__file__).parents[1] / "docs"
IMAGES = DOCS / "images"
DPI = 110
LARGEST = 150 * 1024

SMALL = "data=digits model=mlp model.hidden=[256,256] data.train_size=100"
LONG = "training.batch_size=32 training.epochs=60 optimizer.learning_rate=0.003"
COMMANDS = {
    "tour": [
        f"run {SMALL} {LONG} dropout=none name=overfits",
        f"sweep {SMALL} {LONG} dropout=none regularizer=l2 regularizer.strength=0,0.0003,0.003,0.03"
        " 'seed=range(5)' study.name=strength",
        "sweep study=terms --config-dir mine",
    ],
    "overfitting": [
        f"run {SMALL} {LONG} dropout.places=[hidden,last] name=dropped",
        "run data=digits model=mlp model.hidden=[256,256] data.train_size=300 data.label_noise=0.3"
        f" {LONG} dropout=none name=noisy",
    ],
    "losses": [
        "sweep task=ridge data.outliers=0.2 loss=mse,mae,huber,cauchy,tukey 'seed=range(10)'"
        " study.name=outliers",
        "sweep data=digits data.side=14 data.train_size=500 data.label_noise=0.4 training.epochs=25"
        " training.batch_size=32 dropout=none loss=crossentropy,label_smoothing,focal,"
        "generalized_crossentropy,symmetric_crossentropy 'seed=range(5)' study.name=wrong_labels",
    ],
    "regularizers": [
        "sweep task=ridge regularizer=l1,l2 regularizer.strength=0.001,0.003,0.01,0.03,0.1,0.3,1"
        " study.name=shrinkage",
    ],
    "dropout": [
        f"sweep {SMALL} {LONG} dropout.places=[hidden,last] dropout.rate=0,0.2,0.4,0.6,0.8"
        " 'seed=range(5)' study.name=rates",
    ],
    "norms": [
        "sweep data=digits data.side=14 data.train_size=200 training.epochs=15 dropout=none"
        " norm=none,batch,layer,group,decorrelated training.batch_size=2,8,32 'seed=range(3)'"
        " study.name=batches",
    ],
    "mnist_convnet": [
        "sweep data=digits dropout=none data.train_size=100,300,1000 'seed=range(3)'"
        " training.batch_size=32 training.epochs=20 study.name=sizes",
    ],
    "denoise": ["run task=denoise"],
    "binary": [
        "sweep task=binary data.train_size=60 training.epochs=200 dropout=none,standard"
        " 'seed=range(5)' study.name=cells",
    ],
    "ridge": ["run task=ridge data=polynomial name=path"],
}
"""The commands of each page, without `kexp`."""


def main() -> None:
    """Draw the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="of figures, or how they begin; all if left out")
    parser.add_argument("--keep", type=Path, help="the folder of the runs; temporary if left out")
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="where figures are put")
    asked = parser.parse_args()
    chosen = [n for n in FIGURES if not asked.names or n.startswith(tuple(asked.names))]
    asked.output.mkdir(parents=True, exist_ok=True)
    output = asked.output.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        train(dict.fromkeys(name.partition("-")[0] for name in chosen))
        for name in chosen:
            save(FIGURES[name](), output / f"{name}.png")


def train(pages: Sequence[str] | dict[str, None]) -> None:
    """Run the commands of some pages; what has been trained before is left alone."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "tour.md").read_text("utf-8"), re.DOTALL)
    study = Path("mine/study/terms.yaml")
    study.parent.mkdir(parents=True, exist_ok=True)
    study.write_text(text, encoding="utf-8")
    for command in (command for page in pages for command in COMMANDS.get(page, [])):
        print(f"$ kexp {command}", flush=True)
        subprocess.run([sys.executable, "-m", "kexp", *shlex.split(command)], check=True)


def save(figure: Any, file: Path) -> None:
    """A figure, or a picture that kexp has drawn, as PNG on white with few colours."""
    from PIL import Image

    if isinstance(figure, Path):
        stream: Any = figure
    else:
        stream = io.BytesIO()
        canvas.inked(figure).savefig(stream, format="png", dpi=DPI, facecolor="white")
    with Image.open(stream) as drawn:
        for colours in (256, 64, 32):
            drawn.convert("RGB").quantize(colours).save(file, optimize=True)
            if file.stat().st_size <= LARGEST:
                break
    print(f"{file}: {file.stat().st_size / 1024:.0f} kB", flush=True)


def reported(study: str, plot: str, *options: str) -> Path:
    """A plot of the report on a study; `options` are those of `kexp report`."""
    plots = Path("plots") / study
    if not plots.exists():
        command = ["report", f"results/{study}", "-o", f"{study}.html", "--plots", str(plots)]
        subprocess.run([sys.executable, "-m", "kexp", *command, *options], check=True)
    return plots / f"{plot}.png"


def shown(run: str, option: str) -> Path:
    """The curves (`--png`) or the ridge path (`--ridge`) of a run."""
    file = Path("plots") / f"{Path(run).name}.png"
    file.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "kexp", "show", run, option, str(file)], check=True)
    return file


def tour_overfits() -> Path:
    """Train and validation NLL of a network that sees 100 digits."""
    return shown("results/mnist_convnet/overfits", "--png")


def tour_strength() -> Any:
    """Gap and test NLL over λ of an L2 penalty."""
    runs = kexp.load("results/strength")
    return over(runs, "config.regularizer.strength", "λ of L2", symlog=0.0003)


def tour_pairs() -> Any:
    """The gaps of the example study with and without dropout, a line per seed."""
    runs = kexp.load(DOCS.parent / "results" / "example")
    runs = runs[runs["regularizer"] == "none"]
    figure = canvas.empty(6.5, 3.2)
    left, right = figure.subplots(1, 2)
    pairs = runs.pivot(index="seed", columns="dropout", values="last.gap.nll")
    for number, (seed, pair) in enumerate(pairs.iterrows()):
        look = canvas.look(number)
        left.plot([0, 1], [pair["none"], pair["standard"]], **look, label=f"seed {seed}")
        right.plot([number], [pair["standard"] - pair["none"]], **look)
    left.set_xticks([0, 1], ["dropout=none", "dropout=standard"])
    left.set_xlim(-0.25, 1.25)
    right.set_xticks(range(len(pairs)), [str(seed) for seed in pairs.index])
    right.axhline(0, color=canvas.INK, linewidth=0.8)
    canvas.titled(left, "two runs per seed", y="NLL gap")
    canvas.titled(right, "their difference", "seed", "change of the NLL gap")
    for axes in (left, right):
        canvas.ruled(axes, "y")
    return figure


def tour_effects() -> Path:
    """Each term of the objective against its baseline."""
    return reported("terms", "effects")


def overfitting_bar() -> Any:
    """What a progress bar averages, beside probe and validation in inference mode."""
    lines = {
        "training.objective": "running average of the objective, dropout on",
        "probe.objective": "probe, inference mode",
        "validation.objective": "validation, inference mode",
    }
    return over_epochs("dropped", lines, "objective (nats)", logarithmic=True)


def overfitting_memorisation() -> Any:
    """Error, gap and the share of wrong labels learned by heart."""
    lines = {
        "memorisation": "wrong labels learned by heart",
        "probe.error": "error on the probe, wrong labels and all",
        "validation.error": "error on validation, which is clean",
    }
    return over_epochs("noisy", lines, "%", scale=100)


def over_epochs(
    run: str, lines: dict[str, str], y: str, scale: float = 1, logarithmic: bool = False
) -> Any:
    """Columns of a run's table over epochs, with what each is called."""
    epochs = kexp.load(f"results/mnist_convnet/{run}", epochs=True)
    figure = canvas.empty(7.0, 3.3)
    axes = figure.subplots()
    for number, (key, label) in enumerate(lines.items()):
        look = canvas.look(number) | {"marker": ""}
        axes.plot(epochs["epoch"], scale * epochs[key], **look, label=label)
    if logarithmic:
        axes.set_yscale("log")
    canvas.titled(axes, "", "epoch", y)
    canvas.epochs(axes)
    canvas.ruled(axes)
    axes.legend(frameon=False, fontsize=8)
    return figure


def losses_classification() -> Any:
    """Losses of classification and their slopes over the probability of the label."""
    from keras import ops

    from kexp import losses

    p = np.linspace(0.002, 0.998, 400).astype(np.float32)
    log_p = ops.convert_to_tensor(np.log(np.stack([1 - p, p], axis=-1)))
    labels = ops.ones((len(p),), dtype="int32")
    made = {
        "crossentropy": losses.CrossEntropy(),
        "label_smoothing, ε = 0.1": losses.LabelSmoothing(),
        "focal, γ = 2": losses.Focal(),
        "generalized_crossentropy, q = 0.7": losses.GeneralizedCrossEntropy(),
        "symmetric_crossentropy": losses.SymmetricCrossEntropy(),
        "hinge, m = 1": losses.Hinge(),
    }
    figure = canvas.empty(9.0, 3.6)
    left, right = figure.subplots(1, 2)
    handles = []
    logit = np.log(p / (1 - p))
    for number, (name, loss) in enumerate(made.items()):
        value = np.asarray(loss.of_logits(labels, log_p))
        look = canvas.look(number) | {"marker": ""}
        handles += left.plot(p, value, **look, label=name)
        right.plot(logit, np.gradient(value, logit), **look)
    left.set_ylim(-0.1, 5)
    canvas.titled(left, "loss of two classes", "probability of the label", "L")
    canvas.titled(right, "its slope: how hard a sample pulls", "logit of the label", "dL/dz")
    for axes in (left, right):
        canvas.ruled(axes)
    canvas.legend(figure, handles)
    return figure


def losses_outliers() -> Path:
    """Losses on a regression with outliers, against the quadratic one."""
    return reported("outliers", "effects", "--on", "gap,test")


def losses_labels() -> Path:
    """Losses on wrong labels, against cross-entropy."""
    return reported("wrong_labels", "effects", "--on", "test.error,test,memorisation")


def regularizers_shrinkage() -> Any:
    """Penalties of a weight, and what minimises ½(θ − a)² plus the penalty."""
    figure = canvas.empty(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    a = np.linspace(-3, 3, 601)
    penalties = {
        "L1, λ = 1": (np.abs(a), np.sign(a) * np.maximum(np.abs(a) - 1, 0)),
        "L2, λ = ½": (a**2 / 2, a / 2),
        "elastic net, λ = 1, m = ½": (
            (np.abs(a) + a**2) / 2,
            np.sign(a) * np.maximum(np.abs(a) - 0.5, 0) / 2,
        ),
        "max norm, c = 1": (np.where(np.abs(a) <= 1, 0.0, np.nan), np.clip(a, -1, 1)),
    }
    handles = []
    for number, (name, (penalty, shrunk)) in enumerate(penalties.items()):
        look = canvas.look(number) | {"marker": ""}
        handles += left.plot(a, penalty, **look, label=name)
        right.plot(a, shrunk, **look)
    right.plot(a, a, color=canvas.MUTED, linewidth=0.8)
    canvas.titled(left, "penalty", "weight θ", "λR(θ)")
    canvas.titled(right, "what it makes of a weight", "without penalty", "with penalty")
    for axes in (left, right):
        canvas.ruled(axes)
    canvas.legend(figure, handles, columns=4)
    return figure


def regularizers_sparsity() -> Any:
    """Share of weights near zero, norm and test error over λ, for L1 and L2."""
    runs = kexp.load("results/shrinkage").sort_values("config.regularizer.strength")
    figure, panels = canvas.grid_of(3, 3, 2.6)
    shown = (
        ("last.norms.near_zero", 100, "weights with |θ| < 0.001", "%"),
        ("last.norms.l2", 1, "norm of the weights", "√Σθ²"),
        ("test.last.mse", 1, "test MSE", ""),
    )
    handles = []
    for axes, (key, scale, title, unit) in zip(panels, shown, strict=True):
        lines = []
        for number, (name, of_one) in enumerate(runs.groupby("regularizer")):
            look = canvas.look(number)
            strength = of_one["config.regularizer.strength"]
            lines += axes.plot(strength, scale * of_one[key], **look, markersize=4, label=name)
        handles = lines
        axes.set_xscale("log")
        canvas.titled(axes, title, "λ", unit)
        canvas.ruled(axes)
    canvas.legend(figure, handles)
    return figure


def dropout_masks() -> Any:
    """What each dropout does to eight units of four samples, or to the weights of a layer."""
    from kexp import layers

    ones = np.ones((4, 8, 8, 6), np.float32)
    made = {
        "standard, p = 0.5": layers.Dropout(0.5),
        "spatial, p = 0.5": layers.SpatialDropout(0.5),
        "gaussian, p = 0.5": layers.GaussianDropout(0.5),
    }
    figure = canvas.empty(9.0, 3.5)
    parts = figure.subfigures(1, 4)
    for part, (name, layer) in zip(parts, made.items(), strict=False):
        part.suptitle(name, fontsize=9)
        values = np.asarray(layer(ones, training=True))
        for i, axes in enumerate(part.subplots(3, 2).ravel()):
            axes.imshow(values[0, ..., i], vmin=0, vmax=3, cmap="cividis")
            bare(axes)
    dense = layers.DropConnectDense(8, rate=0.5, use_bias=False, kernel_initializer="ones")
    kernel = np.asarray(dense(np.eye(12, dtype=np.float32), training=True))
    parts[3].suptitle("dropconnect: a kernel, p = 0.5", fontsize=9)
    axes = parts[3].subplots()
    axes.imshow(kernel, vmin=0, vmax=3, cmap="cividis")
    bare(axes)
    return figure


def dropout_rates() -> Any:
    """Gap and test NLL over the rate."""
    return over(kexp.load("results/rates"), "config.dropout.rate", "rate")


def norms_axes() -> Any:
    """Which values of a batch share a mean and a variance."""
    figure, panels = canvas.grid_of(4, 4, 2.6, subplot_kw={"projection": "3d"})
    kinds = {
        "batch": np.s_[:, :, 1:2],
        "layer": np.s_[0:1, 0:1, :],
        "group, 2 groups": np.s_[0:1, :, 0:2],
        "instance": np.s_[0:1, :, 1:2],
    }
    for axes, (name, together) in zip(panels, kinds.items(), strict=True):
        blue = np.zeros((4, 4, 4), bool)
        blue[together] = True
        colours = np.where(blue, canvas.BLUE, "#eef1f4")
        axes.voxels(np.ones((4, 4, 4), bool), facecolors=colours, edgecolor=canvas.MUTED, lw=0.3)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("samples", fontsize=7, labelpad=-14)
        axes.set_ylabel("positions", fontsize=7, labelpad=-14)
        axes.set_zlabel("channels", fontsize=7, labelpad=-14)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_zticks([])
        axes.view_init(elev=22, azim=-130)
        axes.set_box_aspect(None, zoom=0.9)
    return figure


def norms_covariance() -> Any:
    """Correlation of 16 channels before any norm, after batch norm and after decorrelation."""
    from kexp import layers

    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((16, 16)) * np.linspace(0.2, 2, 16)
    x = (rng.standard_normal((4096, 16)) @ mixing + 3).astype(np.float32)
    import keras

    made = {
        "before": x,
        "batch": keras.layers.BatchNormalization()(x, training=True),
        "decorrelated, groups of 8": layers.DecorrelatedBatchNormalization(8)(x, training=True),
        "decorrelated, one group of 16": layers.DecorrelatedBatchNormalization(16)(
            x, training=True
        ),
    }
    figure, panels = canvas.grid_of(4, 4, 2.2)
    shown = None
    for axes, (name, values) in zip(panels, made.items(), strict=True):
        covariance = np.cov(np.asarray(values), rowvar=False)
        limit = 40 if name == "before" else 1
        shown = axes.imshow(covariance / limit, vmin=-1, vmax=1, cmap="RdBu_r")
        axes.set_title(f"{name}{' (÷ 40)' if limit > 1 else ''}", fontsize=8.5)
        bare(axes)
    figure.colorbar(shown, ax=panels[-1], fraction=0.05)
    return figure


def norms_batches() -> Any:
    """Test error over the batch size, for every norm."""
    runs = kexp.load("results/batches")
    figure = canvas.empty(6.5, 3.4)
    axes = figure.subplots()
    for number, (name, of_one) in enumerate(runs.groupby("norm")):
        by = of_one.groupby("config.training.batch_size")["test.last.error"]
        mean, spread = 100 * by.mean(), 100 * by.std()
        x = mean.index * (1 + 0.04 * (number - 2))
        look = canvas.look(number)
        axes.errorbar(x, mean, spread, **look, markersize=4, linewidth=1.2, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks([2, 8, 32], ["2", "8", "32"])
    canvas.titled(axes, "mean ± deviation over 3 seeds", "batch size", "test error (%)")
    canvas.ruled(axes)
    axes.legend(frameon=False, fontsize=8)
    return figure


def mnist_convnet_sizes() -> Path:
    """Learning curves with 100, 300 and 1,000 digits."""
    return reported("sizes", "learning-curves")


def denoise_restored() -> Path:
    """Noisy, restored and clean images of the test split."""
    return reported("denoise", "restored-images")


def binary_cells() -> Path:
    """Learning curves on 60 tumours with and without dropout."""
    return reported("cells", "learning-curves")


def ridge_path() -> Path:
    """Errors, bias and variance over λ."""
    return shown("results/ridge/path", "--ridge")


def over(runs: Any, key: str, label: str, symlog: float | None = None) -> Any:
    """NLL of probe, validation and test, and the gap, over a number; mean ± deviation."""
    figure, (left, right) = canvas.grid_of(2, 2, 2.9)
    curves = (
        (left, "last.probe.nll", "train (probe)"),
        (left, "last.validation.nll", "validation"),
        (left, "test.last.nll", "test"),
        (right, "last.gap.nll", "gap"),
    )
    for number, (axes, column, name) in enumerate(curves):
        by = runs.groupby(key)[column]
        look = canvas.look(number)
        axes.errorbar(by.mean().index, by.mean(), by.std(), **look, markersize=4, label=name)
    for axes, title in ((left, "NLL"), (right, "NLL gap")):
        if symlog:
            axes.set_xscale("symlog", linthresh=symlog)
        canvas.titled(axes, title, label)
        canvas.ruled(axes)
        axes.legend(frameon=False, fontsize=8)
    return figure


def bare(axes: Any) -> None:
    """No ticks."""
    axes.set_xticks([])
    axes.set_yticks([])


FIGURES: dict[str, Callable[[], Any]] = {
    "tour-overfits": tour_overfits,
    "tour-strength": tour_strength,
    "tour-pairs": tour_pairs,
    "tour-effects": tour_effects,
    "overfitting-bar": overfitting_bar,
    "overfitting-memorisation": overfitting_memorisation,
    "losses-classification": losses_classification,
    "losses-outliers": losses_outliers,
    "losses-labels": losses_labels,
    "regularizers-shrinkage": regularizers_shrinkage,
    "regularizers-sparsity": regularizers_sparsity,
    "dropout-masks": dropout_masks,
    "dropout-rates": dropout_rates,
    "norms-axes": norms_axes,
    "norms-covariance": norms_covariance,
    "norms-batches": norms_batches,
    "mnist_convnet-sizes": mnist_convnet_sizes,
    "denoise-restored": denoise_restored,
    "binary-cells": binary_cells,
    "ridge-path": ridge_path,
}
"""What draws each figure, by the name of its file; the name of its commands is before the dash."""


if __name__ == "__main__":
    main()
