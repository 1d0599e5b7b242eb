"""How long `kexp compare`, `effects` and `report` take on 1,000 and 10,000 runs of 50 epochs.

    python scripts/bench_analysis.py [--repeats N] [--runs N] [--many N]

One real, tiny run is trained and copied over factors and seeds, with other values in each copy.
Each command is a whole process. The baseline is one process that reads the same summaries with
`json` and does nothing else.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EPOCHS, SEEDS = 50, 5
RUN = (
    "data=digits",
    "data.side=12",
    "data.train_size=64",
    "model.filters=[8,8]",
    "training.batch_size=16",
    "training.epochs=2",
    "dropout=standard",
    "regularizer=l2",
)
LIMITS = {"compare": 1.0, "effects": 3.0, "report": 15.0, "compare many": 8.0}
PAGE_MB, MEMORY_MB = 15.0, 1000.0
READ = (
    "import json, pathlib, sys\n"
    "for file in pathlib.Path(sys.argv[1]).glob('*/*/s*.json'): json.loads(file.read_bytes())"
)


def main() -> None:
    """Print the median seconds and the peak memory of each command, and all as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        template = train(Path(scratch))
        few, many = Path(scratch) / "few", Path(scratch) / "many"
        make_runs(template, few, asked.runs)
        page = Path(scratch) / "report.html"
        results = {
            "read": measured(["-c", READ, str(few)], asked.repeats),
            "compare": measured(["-m", "kexp", "compare", str(few)], asked.repeats),
            "effects": measured(["-m", "kexp", "effects", str(few)], asked.repeats),
            "report": measured(["-m", "kexp", "report", str(few), "-o", str(page)], asked.repeats),
        }
        if page.exists():
            results["report"]["page_mb"] = round(page.stat().st_size / 1e6, 2)
        if asked.many:
            make_runs(template, many, asked.many, epochs=2)
            results["read many"] = measured(["-c", READ, str(many)], asked.repeats)
            results["compare many"] = measured(["-m", "kexp", "compare", str(many)], asked.repeats)
    tell(results, asked.runs, asked.many)


def train(scratch: Path) -> Path:
    """One real run; its folder."""
    places = [f"paths.results={scratch / 'one'}"]
    command = [sys.executable, "-m", "kexp", "run", *RUN, *places]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (summary,) = (scratch / "one").rglob("summary.json")
    return summary.parent


def make_runs(template: Path, results: Path, count: int, epochs: int = EPOCHS) -> None:
    """A study over dropout rate, λ and learning rate, by seeds; values are drawn anew."""
    summary = json.loads((template / "summary.json").read_text())
    files = {n: (template / n).read_text() for n in ("status.json", "environment.json")}
    line = json.loads((template / "history.jsonl").read_text().splitlines()[-1])
    side = 1 + round((count / SEEDS) ** (1 / 3))
    grid = itertools.product(range(side), range(side), range(side), range(SEEDS))
    for number, place in enumerate(itertools.islice(grid, count)):
        run = results / "study" / f"run-{number:05d}"
        run.mkdir(parents=True)
        (run / "summary.json").write_text(json.dumps(changed(summary, number, place), indent=2))
        lines = (json.dumps(moved({**line, "epoch": i + 1}, number + i)) for i in range(epochs))
        (run / "history.jsonl").write_text("".join(f"{text}\n" for text in lines))
        for name, text in files.items():
            (run / name).write_text(text)


def changed(summary: dict[str, Any], number: int, place: tuple[int, ...]) -> dict[str, Any]:
    """The summary of another run, with the levels and the seed of its place in the grid."""
    rate, strength, speed, seed = place
    new = moved(copy.deepcopy(summary), number)
    new["config"]["dropout"]["rate"] = round(0.05 * (rate + 1), 4)
    new["config"]["regularizer"]["strength"] = round(1e-4 * (strength + 1), 8)
    new["config"]["optimizer"]["learning_rate"] = round(1e-3 * (speed + 1), 8)
    new["config"]["seed"] = new["seed"] = seed
    return new | {"identity": f"{number:016x}", "arm": str(place[:3])}


def moved(record: dict[str, Any], number: int) -> dict[str, Any]:
    """The record with every measured value scaled a little, the same way for the same number."""
    factor = random.Random(number)
    parts = [record] if "gap" in record else [record["last"], record["best"]]
    for part in [p[name] for p in parts for name in ("probe", "validation", "gap")]:
        for name in part:
            part[name] *= factor.uniform(0.8, 1.2)
    for part in record.get("test", {}).values():
        for name in part:
            part[name] *= factor.uniform(0.8, 1.2)
    return record


def measured(arguments: list[str], repeats: int) -> dict[str, Any]:
    """Median wall seconds and peak memory of one Python process, or why it failed."""
    seconds, peaks = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=said
            )
            _, status, used = os.wait4(process.pid, 0)
            seconds.append(time.perf_counter() - started)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                return {"failed": said.read().strip()[-200:]}
        peaks.append(used.ru_maxrss / 1024)
    return {"seconds": round(statistics.median(seconds), 3), "peak_mb": round(max(peaks))}


def tell(results: dict[str, dict[str, Any]], runs: int, many: int) -> None:
    """A line per command, with its limit and the ratio to reading alone; then JSON."""
    for name, found in results.items():
        if "failed" in found:
            print(f"{name:<13} failed: {found['failed']}")
            continue
        base = results["read many" if "many" in name else "read"]["seconds"]
        found["times_reading"] = round(found["seconds"] / base, 2)
        limit = f"limit {LIMITS[name]:g} s" if name in LIMITS else ""
        page = f"page {found['page_mb']} MB" if "page_mb" in found else ""
        print(
            f"{name:<13} {found['seconds']:7.3f} s  {found['times_reading']:6.2f} × reading  "
            f"{found['peak_mb']:5} MB  {limit} {page}".rstrip()
        )
    limits = {"seconds": LIMITS, "page_mb": PAGE_MB, "peak_mb (many)": MEMORY_MB}
    print(json.dumps({"runs": runs, "many": many, "results": results, "limits": limits}))


if __name__ == "__main__":
    main()
