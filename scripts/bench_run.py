"""`kexp run` beside the bare Keras script that a user would otherwise write, interleaved.

    python scripts/bench_run.py [--task mnist_convnet|mlp|denoise|all] [--epochs N] [--repeats N]
        [--precision float32 mixed_bfloat16] [-o JSON]

Each side trains the same network on the same data for the same epochs, in a process of its own:
`scripts/bare/keras_fit.py`, `scripts/bare/torch_loop.py` where PyTorch is installed, and kexp in
each precision that is asked for; the bare scripts compute in float32. All sides in turn, `repeats`
times. Two ratios to the Keras script are printed, each as the median over the repeats: training
images per second (from the second epoch on, so without tracing; more than 1 is faster) and the wall
time of the whole process (less than 1 is faster; kexp measures probe and validation by every
yardstick in that time). Needs MNIST, or train400.npz and bsd68.npz for the denoiser, in
KEXP_DATA_DIR; without them the embedded digits and photographs are used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import bare, data_option, installed, machine, timed

TASKS = {"mnist_convnet": "convnet", "mlp": "mlp", "denoise": "denoise"}
"""The names of tasks here, and those that the bare scripts have."""

KEXP = {
    "convnet": ("task=mnist_convnet",),
    "mlp": ("task=mnist_convnet", "model=mlp"),
    "denoise": ("task=denoise",),
}
KERAS = "bare Keras"


def main() -> None:
    """Run the benchmark and print a line per task and side, then all figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--task", choices=(*TASKS, "all"), default="all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--patches", type=int, default=6400, help="per epoch, for the denoiser")
    parser.add_argument("--train-size", type=int, help="training images; all if left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["float32"], help="of kexp")
    parser.add_argument("-o", "--output", type=Path, help="write the JSON here as well")
    options = parser.parse_args()
    tasks = TASKS if options.task == "all" else (options.task,)
    results = {task: compare(task, options) for task in tasks}
    found = json.dumps({"machine": machine(), **results}, indent=2)
    print(found)
    if options.output:
        options.output.write_text(found + "\n")


def compare(task: str, options: argparse.Namespace) -> dict[str, Any]:
    """Every side in turn, `repeats` times; the medians, and those of the ratios to bare Keras."""
    scripts = {KERAS: "keras_fit", "bare PyTorch": "torch_loop"}
    if not installed("torch"):
        del scripts["bare PyTorch"]
    rounds = []
    for _ in range(options.repeats):
        sides = {name: of_bare(script, TASKS[task], options) for name, script in scripts.items()}
        for precision in options.precision:
            sides[f"kexp {precision}"] = of_kexp(TASKS[task], precision, options)
        rounds.append(sides)
    medians = {side: summed_up(side, rounds) for side in rounds[0]}
    for side, told in medians.items():
        print(
            f"{task}, {side}: {told['images_per_second']:,.0f} images/s, "
            f"{told['speed_ratio']:.2f} x those of bare Keras; whole process "
            f"{told['wall_seconds']:.1f} s, {told['wall_ratio']:.2f} x its wall time",
            flush=True,
        )
    return {"sides": medians, "rounds": rounds}


def of_bare(script: str, task: str, options: argparse.Namespace) -> dict[str, float]:
    """One run of a bare script."""
    words = ["--epochs", str(options.epochs), "--patches", str(options.patches)]
    if options.train_size:
        words += ["--train-size", str(with_validation(options.train_size))]
    wall, told = bare(script, task, *words)
    return {"wall": wall, "speed": speed(told["examples"], told["seconds"])}


def of_kexp(task: str, precision: str, options: argparse.Namespace) -> dict[str, float]:
    """One run of kexp."""
    words = [*KEXP[task], data_option(task), f"training.epochs={options.epochs}"]
    if task == "denoise":
        words.append(f"task.patches_per_epoch={options.patches}")
    elif options.train_size:
        words.append(f"data.train_size={options.train_size}")
    words.append(f"training.precision={precision}")
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-m", "kexp", "run", *words, f"paths.results={results}"]
        wall, _ = timed(command)
        (summary,) = Path(results).rglob("summary.json")
        throughput = json.loads(summary.read_text())["throughput"]
    return {
        "wall": wall,
        "speed": speed(throughput["examples_per_epoch"], throughput["epoch_seconds"]),
        "measuring": throughput["measuring_seconds"],
    }


def with_validation(train_size: int) -> int:
    """How many images the bare scripts must have to train on so many: they keep a tenth back."""
    return -(-train_size * 10 // 9)


def speed(examples: int, seconds: list[float]) -> float:
    """Images per second, without the first epoch where there are more."""
    return examples / statistics.median(seconds[1:] or seconds)


def summed_up(side: str, rounds: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    """Medians over the rounds of a side's figures, and of their ratios to those of bare Keras."""
    middle = statistics.median
    return {
        "images_per_second": middle(r[side]["speed"] for r in rounds),
        "wall_seconds": middle(r[side]["wall"] for r in rounds),
        "speed_ratio": middle(r[side]["speed"] / r[KERAS]["speed"] for r in rounds),
        "wall_ratio": middle(r[side]["wall"] / r[KERAS]["wall"] for r in rounds),
    }


if __name__ == "__main__":
    main()
