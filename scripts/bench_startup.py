"""How long the commands that train nothing take to answer, beside `python -c pass`.

    python scripts/bench_startup.py [--repeats N]

`kexp compare` reads 100 records: one real, tiny run, copied with another seed in each copy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COPIES = 100
RUN = (
    "data=digits",
    "data.side=12",
    "data.train_size=64",
    "model.filters=[8,8]",
    "training.batch_size=16",
    "training.epochs=5",
)


def main() -> None:
    """Print the median seconds of each command, and all as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as scratch:
        records = make_records(Path(scratch))
        commands = {
            "python -c pass": ["-c", "pass"],
            "kexp --help": ["-m", "kexp", "--help"],
            "kexp list losses": ["-m", "kexp", "list", "losses"],
            f"kexp compare ({COPIES} runs)": ["-m", "kexp", "compare", str(records)],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, arguments in commands.items():
                seconds[name].append(timed(arguments))
    medians = {name: round(statistics.median(times), 3) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{median:6.3f} s  {name}")
    print(json.dumps(medians))


def make_records(scratch: Path) -> Path:
    """A study of copies of one real run."""
    places = [f"paths.results={scratch / 'one'}"]
    subprocess.run([sys.executable, "-m", "kexp", "run", *RUN, *places], check=True)
    (summary,) = (scratch / "one").rglob("summary.json")
    for seed in range(COPIES):
        copy = scratch / "many" / "study" / f"seed={seed}"
        shutil.copytree(summary.parent, copy)
        changed = {**json.loads(summary.read_text()), "seed": seed}
        changed["config"]["seed"] = seed
        (copy / "summary.json").write_text(json.dumps(changed))
    return scratch / "many"


def timed(arguments: list[str]) -> float:
    """Wall seconds of one Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
