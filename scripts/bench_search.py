"""What pruning saves: the same search with and without it, several times.

    python scripts/bench_search.py [--trials N] [--epochs N] [--repeats N] [--pruner NAME]
        [--setting min_epochs=4]

A convnet on 200 digits; learning rate and dropout rate are searched. Printed are the epochs that
were trained and the best validation NLL of each search, and whether the best values differ by more
than they do between the repeats (Welch's t test, SciPy).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from scipy import stats

import kexp

SPACE = (
    "optimizer.learning_rate=tag(log, interval(1e-4,1e-1))",
    "dropout.rate=interval(0,0.8)",
)
FIXED = ("data=digits", "data.train_size=200", "training.batch_size=32")


def main() -> None:
    """Search, and print a line per repeat and the conclusion."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pruner", default="asha")
    parser.add_argument("--setting", action="append", help="of the pruner, as min_epochs=4")
    options = parser.parse_args()
    epochs: dict[str, list[int]] = {}
    best: dict[str, list[float]] = {}
    for seed in range(options.repeats):
        for pruner in ("none", options.pruner):
            settings = options.setting or [] if pruner != "none" else []
            trained, value = searched(pruner, settings, seed, options)
            epochs.setdefault(pruner, []).append(trained)
            best.setdefault(pruner, []).append(value)
            print(f"seed {seed}, {pruner}: {trained} epochs, best NLL {value:.4f}", flush=True)
    saved = 1 - sum(epochs[options.pruner]) / sum(epochs["none"])
    p = stats.ttest_ind(best["none"], best[options.pruner], equal_var=False).pvalue
    means = {pruner: statistics.mean(values) for pruner, values in best.items()}
    spread = {pruner: statistics.stdev(values) for pruner, values in best.items() if values[1:]}
    print(
        f"{options.pruner} saves {saved:.0%} of the epochs; best {means}, ± {spread}, p = {p:.2f}"
    )
    print(json.dumps({"epochs": epochs, "best": best}))


def searched(
    pruner: str, settings: list[str], seed: int, options: argparse.Namespace
) -> tuple[int, float]:
    """Epochs trained by one search, and its best validation NLL."""
    with tempfile.TemporaryDirectory() as folder:
        kexp.sweep(
            *FIXED,
            *SPACE,
            f"training.epochs={options.epochs}",
            f"paths.results={folder}",
            "hydra/sweeper=optuna",
            f"hydra.sweeper.n_trials={options.trials}",
            f"hydra.sweeper.pruner={pruner}",
            f"hydra.sweeper.seed={seed}",
            *(f"hydra.sweeper.{setting}" for setting in settings),
            quiet=True,
        )
        histories = [path.read_text().splitlines() for path in Path(folder).rglob("history.jsonl")]
        summaries = [json.loads(path.read_text()) for path in Path(folder).rglob("summary.json")]
        values = [summary["best"]["validation"]["nll"] for summary in summaries]
        return sum(map(len, histories)), min(values)


if __name__ == "__main__":
    main()
