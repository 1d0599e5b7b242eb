"""How the cost of training grows with the data, the number of runs, width and depth.

    python scripts/bench_scaling.py [--axes images runs width depth] [--repeats N]
        [--plot docs/images/scaling.svg] [-o JSON]

    images  seconds per epoch of the MNIST convnet over the number N of training images
    runs    seconds for K runs of it, each with its own seed, by `kexp sweep` as it is
    width   seconds per epoch over the filters of its first stage; the second has twice as many
    depth   seconds per epoch of the denoiser over its number of convolutions, of 32 channels

Seconds per epoch are those of the training steps of one `kexp run`, without the first epoch, which
is traced. The points of an axis are measured in turn, `repeats` times, and their medians taken.
The exponent p of seconds ∝ size^p is fitted to the logarithms by least squares. Needs MNIST in
KEXP_DATA_DIR; without it the embedded digits are used, of which there are few.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timing import data_option, machine, timed

from kexp.analysis.plots.canvas import grid_of, inked, look

EPOCHS = 3


@dataclass(frozen=True)
class Axis:
    """What grows: its name in a table, the sizes measured, and how to measure one."""

    label: str
    sizes: Sequence[int]
    seconds: Callable[[int], float]
    unit: str = "s per epoch"


def main() -> None:
    """Measure, print a table per axis, and write picture and JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--sizes", nargs="+", type=int, help="of every axis, in place of its own")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    found = {name: measured(AXES[name], options.sizes, options.repeats) for name in options.axes}
    for name, seconds in found.items():
        print(f"{table(AXES[name], seconds)}\n", flush=True)
    if options.plot:
        draw(found, options.plot)
    if options.output:
        exponents = {name: exponent(seconds) for name, seconds in found.items()}
        told = {"machine": machine(), "seconds": found, "exponents": exponents}
        options.output.write_text(json.dumps(told, indent=2) + "\n")


def measured(axis: Axis, sizes: Sequence[int] | None, repeats: int) -> dict[int, float]:
    """Median seconds by size; every size once before any is measured again."""
    every: dict[int, list[float]] = {size: [] for size in sizes or axis.sizes}
    for _ in range(repeats):
        for size, seconds in every.items():
            seconds.append(axis.seconds(size))
            print(f"{axis.label} {size}: {seconds[-1]:.3f} s", flush=True)
    return {size: statistics.median(seconds) for size, seconds in every.items()}


def of_images(count: int) -> float:
    """Seconds per epoch on so many images."""
    return per_epoch("task=mnist_convnet", data_option("convnet"), f"data.train_size={count}")


def of_width(filters: int) -> float:
    """Seconds per epoch with so many filters in the first stage."""
    wide = f"model.filters=[{filters},{2 * filters}]"
    size = "data.train_size=2048"
    return per_epoch("task=mnist_convnet", data_option("convnet"), size, wide)


def of_depth(convolutions: int) -> float:
    """Seconds per epoch of a denoiser of so many convolutions."""
    deep, few = f"model.depth={convolutions}", "task.patches_per_epoch=320"
    return per_epoch("task=denoise", "data=photos", few, deep)


def of_runs(count: int) -> float:
    """Seconds for so many runs, from the command to its end."""
    size, seeds = "data.train_size=2048", f"seed=range({count})"
    words = ["task=mnist_convnet", data_option("convnet"), size, seeds]
    with tempfile.TemporaryDirectory() as results:
        return kexp("sweep", *words, f"paths.results={results}")


AXES = {
    "images": Axis("images", (1000, 2000, 4000, 8000, 16000, 32000), of_images),
    "runs": Axis("runs", (1, 2, 4, 8), of_runs, "s in all"),
    "width": Axis("filters", (8, 16, 32, 64, 128), of_width),
    "depth": Axis("convolutions", (3, 6, 12, 24), of_depth),
}


def per_epoch(*words: str) -> float:
    """Median seconds of an epoch's training steps, the first epoch left out."""
    with tempfile.TemporaryDirectory() as results:
        kexp("run", *words, f"paths.results={results}")
        (summary,) = Path(results).rglob("summary.json")
        throughput = json.loads(summary.read_text())["throughput"]
    return statistics.median(throughput["epoch_seconds"][1:])


def kexp(command: str, *words: str) -> float:
    """Wall seconds of a kexp command."""
    epochs = f"training.epochs={EPOCHS}"
    return timed([sys.executable, "-m", "kexp", command, epochs, *words])[0]


def exponent(seconds: dict[int, float]) -> float:
    """p of seconds ∝ size^p, by least squares on logarithms."""
    sizes = np.log(list(seconds))
    return float(np.polyfit(sizes, np.log(list(seconds.values())), 1)[0])


def table(axis: Axis, seconds: dict[int, float]) -> str:
    """An axis in Markdown, with its exponent."""
    sizes, values = zip(*seconds.items(), strict=True)
    return "\n".join(
        [
            f"| {axis.label} | " + " | ".join(f"{size:,}" for size in sizes) + " | p |",
            "|---|" + "--:|" * (len(sizes) + 1),
            f"| {axis.unit} | "
            + " | ".join(f"{value:.3g}" for value in values)
            + f" | {exponent(seconds):.2f} |",
        ]
    )


def draw(found: dict[str, dict[int, float]], file: Path) -> None:
    """A panel per axis, both scales logarithmic, with the fitted power."""
    from matplotlib import rc_context

    figure, panels = grid_of(len(found), 2, 2.6)
    for panel, (name, seconds) in zip(panels, found.items(), strict=True):
        one_panel(panel, AXES[name], seconds)
    inked(figure)
    with rc_context({"svg.hashsalt": "kexp", "svg.fonttype": "path"}):
        figure.savefig(file, dpi=120, facecolor="white", metadata={"Date": None})


def one_panel(panel: Any, axis: Axis, seconds: dict[int, float]) -> None:
    """Measured points, and the line of the power law through them."""
    sizes, values = np.array(list(seconds)), np.array(list(seconds.values()))
    p = exponent(seconds)
    fitted = np.exp(np.mean(np.log(values / sizes**p))) * sizes**p
    measured, law = look(0), look(1)
    panel.loglog(sizes, values, **{**measured, "linestyle": "none"}, label="measured")
    panel.loglog(sizes, fitted, **{**law, "marker": ""}, label=f"∝ size^{p:.2f}")
    panel.set(xlabel=axis.label, ylabel=axis.unit, xticks=sizes)
    panel.set_xticks([], minor=True)
    panel.set_xticklabels([f"{size:,}" for size in sizes])
    panel.legend(frameon=False)


if __name__ == "__main__":
    main()
