"""A sweep under fire: random SIGKILLs of workers and parent, restarted until done; and its memory.

    python scripts/stress_sweep.py [--runs N] [--kills N] [--plot PNG]

First the sweep is run undisturbed, while the resident memory of its processes is sampled (and
plotted); then again with random kills, the same command started anew each time the parent dies.
Each run must be there once, with every epoch once, and be the same byte for byte, weights too.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

OVERRIDES = ("data=digits", "data.train_size=200", "training.epochs=3", "dropout=none,standard")


def main() -> None:
    """Run both sweeps, print what happened, and exit with 1 if anything was lost or differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        calm, fire = Path(folder, "calm"), Path(folder, "fire")
        samples = undisturbed(calm, options.runs)
        tell_memory(samples, options.plot)
        starts = under_fire(fire, options.runs, options.kills)
        wrong = differences(calm, fire)
    print(f"{options.runs} runs, {options.kills} SIGKILLs, {starts} starts: {len(wrong)} wrong")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


def command(results: Path, runs: int) -> list[str]:
    """`kexp sweep` in a process of its own."""
    seeds = f"seed=range({runs // 2})"
    words = [*OVERRIDES, seeds, f"paths.results={results}", "--retry-failed"]
    return [sys.executable, "-m", "kexp", "sweep", *words]


def undisturbed(results: Path, runs: int) -> list[tuple[float, int, float]]:
    """Seconds, process and resident MiB, sampled until the sweep has ended."""
    samples, began = [], time.monotonic()
    with subprocess.Popen(command(results, runs), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            for one in family(process):
                try:
                    size = one.memory_info().rss / 2**20
                except psutil.Error:
                    continue
                samples.append((time.monotonic() - began, one.pid, size))
            time.sleep(0.2)
    if process.returncode:
        sys.exit("the undisturbed sweep failed")
    return samples


def family(process: subprocess.Popen) -> list[psutil.Process]:
    """The sweep and its workers."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *(c for c in parent.children() if "spawn_main" in " ".join(c.cmdline()))]
    except psutil.Error:
        return []


def tell_memory(samples: list[tuple[float, int, float]], plot: Path | None) -> None:
    """Print the largest size of each process, and draw all over time."""
    for pid in dict.fromkeys(pid for _, pid, _ in samples):
        sizes = [size for _, of, size in samples if of == pid]
        print(f"process {pid}: at most {max(sizes):.0f} MiB, at last {sizes[-1]:.0f} MiB")
    if plot:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        for number, pid in enumerate(dict.fromkeys(pid for _, pid, _ in samples)):
            line = [(at, size) for at, of, size in samples if of == pid]
            axes.plot(*zip(*line, strict=True), label="sweep" if not number else f"worker {number}")
        axes.set(xlabel="seconds", ylabel="resident memory (MiB)", ylim=(0, None))
        axes.legend()
        figure.savefig(plot, dpi=150)


def under_fire(results: Path, runs: int, kills: int) -> int:
    """Kill at random, start again until the sweep ends well; how often it was started."""
    rng, left, starts = random.Random(0), kills, 0
    while True:
        starts += 1
        with subprocess.Popen(command(results, runs), stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and left:
                time.sleep(rng.uniform(2, 9))
                victims = family(process)
                if victims:
                    rng.choice(victims).kill()
                    left -= 1
            if process.wait() == 0:
                return starts


def differences(calm: Path, fire: Path) -> list[str]:
    """What is missing, twice or different, in words."""
    expected = {p.parent.relative_to(calm): p.parent for p in calm.rglob("status.json")}
    found = {p.parent.relative_to(fire): p.parent for p in fire.rglob("status.json")}
    wrong = [f"{name}: there is no such run" for name in expected.keys() ^ found.keys()]
    for name in expected.keys() & found.keys():
        if json.loads((found[name] / "status.json").read_text())["state"] != "finished":
            wrong.append(f"{name}: not finished")
        elif not same(expected[name], found[name]):
            wrong.append(f"{name}: differs")
    return wrong


def same(run: Path, other: Path) -> bool:
    """Whether two runs have the same history and the same weights, bit for bit."""
    if (run / "history.jsonl").read_bytes() != (other / "history.jsonl").read_bytes():
        return False
    state = "checkpoint/state.npz"
    with np.load(run / state) as left, np.load(other / state) as right:
        return left.files == right.files and all(
            np.array_equal(left[name], right[name]) for name in left.files
        )


if __name__ == "__main__":
    main()
