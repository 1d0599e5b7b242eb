"""A study of short MNIST runs: Keras alone, and `kexp sweep` by each of its launchers.

    python scripts/bench_sweep.py [--model convnet|mlp] [--runs N] [--train-size N] [--epochs N]
        [--ways scripts fit local …] [--repeats N] [-o JSON]

Every way trains the same network on as many images for as many epochs, with as many seeds:

    scripts     a bare Keras script per run, one after the other: a loop in a shell
    fit         one Keras script that calls `fit` for one run after the other
    basic       `kexp sweep` with Hydra's own launcher, one after the other
    local       `kexp sweep` as it is: worker processes
    vectorized  `kexp sweep` with all runs as one JAX program
    joblib      `kexp sweep` with Hydra's joblib launcher, where that is installed

All in turn, `repeats` times. Printed are medians: the wall time of the whole study, the images that
all runs together trained on over that time, and the ratios of both to those of `fit` and of `local`
within a repeat. The Keras scripts measure less: they know no probe and only accuracy. Last comes
how long after a worker process has trained one run it begins to train the next, of another
configuration. Needs MNIST in KEXP_DATA_DIR; without it the embedded digits are used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench_run import KEXP, with_validation
from timing import bare, data_option, installed, machine, timed

from kexp.api import Session
from kexp.progress import Reporter
from kexp.sweeps import worker
from kexp.sweeps.machine import shares

KERAS = ("scripts", "fit")
LAUNCHERS = {
    "basic": ("hydra/launcher=basic",),
    "local": ("hydra/launcher=local",),
    "vectorized": (
        "hydra/launcher=vectorized",
        "hydra.launcher.on_cpu=vectorized",
        "backend=jax",
    ),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=-1"),
}
PACKAGES = {"vectorized": "jax", "joblib": "hydra_plugins.hydra_joblib_launcher"}
WARM = ("optimizer.learning_rate=0.00{}", "dropout.rate=0.{}", "seed={}")
"""In what the runs of a warm worker differ."""


def main() -> None:
    """Run the benchmark, print a line per way, and write all figures as JSON."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ways = [*KERAS, *(way for way in LAUNCHERS if installed(PACKAGES.get(way, "kexp")))]
    parser.add_argument("--model", choices=("convnet", "mlp"), default="convnet")
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--train-size", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways)
    parser.add_argument("--warm", type=int, default=5, help="runs in a warm worker")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    walls: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for way in options.ways:
            walls.setdefault(way, []).append(seconds(way, options))
            print(f"{way}: {walls[way][-1]:.1f} s", flush=True)
    told = {way: summed_up(way, walls, options) for way in walls}
    for way, figures in told.items():
        print(f"{way:>10}  " + "  ".join(f"{value:.4g} {name}" for name, value in figures.items()))
    warm = warm_starts(options)
    if warm:
        print(f"a warm worker begins another run after {statistics.median(warm):.3f} s")
    found = {"machine": machine(), "options": vars(options), "ways": told, "seconds": walls}
    if options.output:
        options.output.write_text(
            json.dumps({**found, "warm_seconds": warm}, indent=2, default=str) + "\n"
        )


def seconds(way: str, options: argparse.Namespace) -> float:
    """Wall time of the whole study."""
    if way in KERAS:
        size, epochs = str(with_validation(options.train_size)), str(options.epochs)
        words = [options.model, "--train-size", size, "--epochs", epochs]
        if way == "fit":
            return bare("keras_fit", *words, "--runs", str(options.runs))[0]
        return sum(bare("keras_fit", *words)[0] for _ in range(options.runs))
    with tempfile.TemporaryDirectory() as results:
        words = [sys.executable, "-m", "kexp", "sweep", f"seed=range({options.runs})"]
        wall, _ = timed([*words, *LAUNCHERS[way], *overrides(options, results)])
        finished = len(list(Path(results).rglob("summary.json")))
        if finished != options.runs:
            sys.exit(f"{way}: {finished} of {options.runs} runs finished")
    return wall


def overrides(options: argparse.Namespace, results: str) -> list[str]:
    """What every run of kexp is told."""
    return [
        *KEXP[options.model],
        data_option(options.model),
        f"data.train_size={options.train_size}",
        f"training.epochs={options.epochs}",
        f"paths.results={results}",
    ]


def summed_up(way: str, walls: dict[str, list[float]], options: Any) -> dict[str, float]:
    """Medians of a way's seconds and images/s, and of its speed over those of others."""
    images, middle = options.runs * options.epochs * options.train_size, statistics.median
    ratios = {
        f"x {other}": middle(b / a for a, b in zip(walls[way], walls[other], strict=True))
        for other in ("scripts", "fit", "local")
        if other in walls
    }
    wall = middle(walls[way])
    return {"s": wall, "images/s": images / wall, **ratios}


def warm_starts(options: argparse.Namespace) -> list[float]:
    """Seconds from the order to train another run until its first step, in a warm worker."""
    (share, *_) = shares(None, None, 1, [], 2)
    spawned = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as results,
        ProcessPoolExecutor(1, spawned, worker.start, (share,)) as pool,
    ):
        made = [overrides(options, results) for _ in range(options.warm)]
        runs = [
            [*words, *(text.format(number) for text in WARM)]
            for number, words in enumerate(made, start=1)
        ]
        return [pool.submit(begins_after, words).result() for words in runs][1:]


def begins_after(words: list[str]) -> float:
    """Train one run; the seconds from here until its training begins."""
    bell = Bell()
    started = time.perf_counter()
    session = Session(reporter=bell)
    session.train(session.experiment(words))
    return bell.rung - started


class Bell(Reporter):
    """Notes when training begins."""

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """It begins now."""
        self.rung = time.perf_counter()
        yield


if __name__ == "__main__":
    main()
