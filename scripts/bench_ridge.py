"""How long a path of ridge fits takes by one decomposition, beside one fit after another.

    python scripts/bench_ridge.py [--repeats N]

Each repeat times every method in turn, so that a slow moment of the machine hits them all. The
normal equations compute XᵀX and Xᵀy once: only the solve is repeated for each strength.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from kexp.ridge import ridge_path

STRENGTHS = np.geomspace(1e-3, 1e3, 200)
OWN = "ridge_path"


def main() -> None:
    """Print the median milliseconds of each method on each data set, and all as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    results = {name: measured(x, y, repeats) for name, (x, y) in data_sets().items()}
    for name, rows in results.items():
        print(f"{name}, {len(STRENGTHS)} strengths, median of {repeats}")
        for method, row in rows.items():
            print(
                f"{row['milliseconds']:9.2f} ms  {row['ratio']:7.1f} x  {method}"
                f" (largest difference {row['difference']:.1e}, relative {row['relative']:.1e})"
            )
    print(json.dumps(results))


def data_sets() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name → features (n, d) and target (n,)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 200))
    return {
        "diabetes 442×10": load_diabetes(return_X_y=True),
        "random 1000×200": (x, x @ rng.normal(size=200) + rng.normal(size=1000)),
    }


def measured(x: np.ndarray, y: np.ndarray, repeats: int) -> dict[str, dict[str, float]]:
    """For each method its median time, that over `ridge_path`'s, and how far coefficients are."""
    methods: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        OWN: lambda x, y: ridge_path(x, y, STRENGTHS).coefficients,
        "scikit-learn Ridge": by_scikit_learn,
        "np.linalg.solve": by_normal_equations,
    }
    found = {name: method(x, y) for name, method in methods.items()}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            started = time.perf_counter()
            method(x, y)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    apart = {name: float(np.abs(found[name] - found[OWN]).max()) for name in methods}
    return {
        name: {
            "milliseconds": round(1000 * medians[name], 3),
            "ratio": round(medians[name] / medians[OWN], 1),
            "difference": apart[name],
            "relative": apart[name] / float(np.abs(found[OWN]).max()),
        }
        for name in methods
    }


def by_scikit_learn(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients (m, d) of one `Ridge` for each strength."""
    return np.stack([Ridge(alpha=strength).fit(x, y).coef_ for strength in STRENGTHS])


def by_normal_equations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients (m, d) of one solve of (XᵀX + λI)θ = Xᵀy for each strength, X centred."""
    x, y = x - x.mean(axis=0), y - y.mean()
    square, right, one = x.T @ x, x.T @ y, np.eye(x.shape[1])
    return np.stack([np.linalg.solve(square + strength * one, right) for strength in STRENGTHS])


if __name__ == "__main__":
    main()
