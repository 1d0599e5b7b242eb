"""Trains the example study that is committed under results/example.

    python scripts/example_study.py

Of each run all is kept but weights, checkpoints and logs, and nothing about the machine. The
README's picture is drawn from it: kexp report results/example --plots DIR
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "results" / "example"
KEPT = ("config.yaml", "history.jsonl", "summary.json", "examples.npz")
COMMAND = ("sweep", "study=quickstart", "study.name=example")


def main() -> None:
    """Train, keep what is committed, and say how long it took."""
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "kexp", *COMMAND], cwd=scratch, check=True)
        seconds = time.perf_counter() - started
        shutil.rmtree(EXAMPLE, ignore_errors=True)
        runs = sorted(file.parent for file in Path(scratch).rglob("summary.json"))
        for run in runs:
            keep(run)
    print(f"{len(runs)} runs in {seconds:.0f} s, kept in {EXAMPLE}")


def keep(run: Path) -> None:
    """Copy a run, with a status that names no host."""
    target = EXAMPLE / run.name
    target.mkdir(parents=True)
    for name in KEPT:
        shutil.copyfile(run / name, target / name)
    status = json.loads((run / "status.json").read_text()) | {"host": "example", "pid": 0}
    (target / "status.json").write_text(json.dumps(status, indent=2) + "\n")


if __name__ == "__main__":
    main()
