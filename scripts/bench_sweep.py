"""A study of short MNIST runs: bare Keras scripts one after the other, and `kexp sweep` three ways.

    python scripts/bench_sweep.py [--runs N] [--train-size N] [--epochs N] [--repeats N] [-o JSON]

Every way trains the same convnet on as many images for as many epochs, with as many seeds. The
bare script is what a user would otherwise call in a loop; it measures less. The launchers are
`local` (kexp's own, the default), Hydra's `basic` and, where it is installed, `joblib`. All in one
run, in turn; printed are the medians of the wall times and their ratios to the local launcher's.
Needs MNIST in KEXP_DATA_DIR; without it the embedded digits are used.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from bench_run import BARE_MNIST, timed

LAUNCHERS = ("local", "basic", "joblib")


def main() -> None:
    """Run the benchmark, print a line per way, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--train-size", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    installed = [
        name
        for name in LAUNCHERS
        if name != "joblib" or importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher")
    ]
    walls: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for way in ("scripts", *installed):
            walls.setdefault(way, []).append(seconds(way, options))
            print(f"{way}: {walls[way][-1]:.1f} s", flush=True)
    middle = {way: statistics.median(values) for way, values in walls.items()}
    for way, value in middle.items():
        print(f"{way:>8}  {value:7.1f} s  {value / middle['local']:.2f} x the local launcher")
    found = {
        "runs": options.runs,
        "train_size": options.train_size,
        "epochs": options.epochs,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "seconds": walls,
        "ratio_to_local": {way: value / middle["local"] for way, value in middle.items()},
    }
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")


def seconds(way: str, options: argparse.Namespace) -> float:
    """Wall time of the whole study."""
    archive = Path(os.environ.get("KEXP_DATA_DIR", ".")) / "mnist.npz"
    data = "mnist" if archive.is_file() else "digits"
    size, epochs = str(options.train_size), str(options.epochs)
    if way == "scripts":
        source = str(archive) if data == "mnist" else data
        words = [sys.executable, "-c", BARE_MNIST, source, epochs, size]
        return sum(timed(words)[0] for _ in range(options.runs))
    with tempfile.TemporaryDirectory() as results:
        words = [sys.executable, "-m", "kexp", "sweep", f"seed=range({options.runs})"]
        words += [f"data={data}", f"training.epochs={epochs}", f"paths.results={results}"]
        words += [f"data.train_size={size}", f"hydra/launcher={way}"]
        words += ["hydra.launcher.n_jobs=-1"] if way == "joblib" else []
        wall, _ = timed(words)
        finished = len(list(Path(results).rglob("summary.json")))
        assert finished == options.runs, f"{finished} of {options.runs} runs finished"
    return wall


if __name__ == "__main__":
    main()
