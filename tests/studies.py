"""Studies made up for tests: records in memory, with values from a function of level and seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kexp.analysis.comparable import Comparable
from kexp.store import Record

OPTIONS = {
    "none": {"_target_": "kexp.dropouts.NoDropout"},
    "standard": {"_target_": "kexp.dropouts.Standard", "rate": 0.5, "places": ["last"]},
    "spatial": {"_target_": "kexp.dropouts.Spatial", "rate": 0.2, "places": ["last"]},
}

Values = Callable[[dict[str, Any], int], Mapping[str, float | None]]


def record(levels: Mapping[str, Any], seed: int, values: Mapping[str, Any], **more: Any) -> Record:
    """A finished run; `values` holds `gap`, `validation`, `test`, `onset`, `cost` of the NLL.

    `levels` are options of groups, or values of dotted keys.
    """
    config: dict[str, Any] = {
        "seed": seed,
        "task": {"_target_": "kexp.tasks.MnistConvnet"},
        "data": {"_target_": "kexp.data.Digits", "train_size": None},
        "study": more.pop("study", {"name": None}),
        "optimizer": {"_target_": "kexp.optimizers.Adam", "learning_rate": 0.001},
        "dropout": OPTIONS["none"],
    }
    options = {"task": "mnist_convnet", "data": "digits", "optimizer": "adam", "dropout": "none"}
    for key, value in levels.items():
        section, _, name = key.partition(".")
        if name:
            config[section] = {**config.get(section, {"_target_": f"kexp.{section}"}), name: value}
        else:
            config[section] = OPTIONS.get(value, {"_target_": f"kexp.{section}.{value.title()}"})
            options[section] = value
    summary = {
        "schema": 1,
        "identity": f"{sorted(levels.items())} {seed}",
        "arm": str(sorted(levels.items())),
        "seed": seed,
        "label": more.pop("label", ",".join(f"{k}={v}" for k, v in levels.items())),
        "monitor": "nll",
        "config": config,
        "options": options,
        "data": {"name": "digits", "sha256": "0"},
        **summary_of(values),
    }
    status = {"state": more.pop("state", "finished")}
    path = Path("results") / "study" / f"{summary['arm']}-{seed}"
    return Record(path, config, status, summary)


def summary_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a summary that hold values; error follows the test value."""
    test = values.get("test", 1.0)
    error = values.get("error", test)

    def split(value: Any) -> dict[str, Any]:
        return {"nll": value, "error": error}

    last = {
        "probe": split(0.0),
        "validation": split(values.get("validation", 1.0)),
        "gap": split(values.get("gap", 1.0)),
    }
    return {
        "last": last,
        "best": last,
        "test": {"last": split(test), "best": split(test)},
        "onset": {"nll": values.get("onset"), "error": None},
        "cost": {"nll": values.get("cost", 0.0), "error": 0.0},
    }


def factorial(
    factors: Mapping[str, Sequence[Any]], seeds: Iterable[int], values: Values, **more: Any
) -> Comparable:
    """Every combination of levels with every seed."""
    records = []
    for seed in seeds:
        for combination in itertools.product(*factors.values()):
            levels = dict(zip(factors, combination, strict=True))
            records.append(record(levels, seed, values(levels, seed), **more))
    return Comparable("made up", records)


def noisy(
    rng: np.random.Generator,
    effect: Mapping[tuple[str, Any], float] | None = None,
    between: float = 1.0,
    within: float = 1.0,
) -> Values:
    """Values with a part that all runs of a seed share, noise, and effects of levels.

    Gap, validation, test and cost share three quarters of their noise, as they do in life.
    """
    of_seed: dict[int, float] = {}

    def values(levels: dict[str, Any], seed: int) -> dict[str, float]:
        shared = of_seed.setdefault(seed, between * rng.normal())
        shift = sum((effect or {}).get(item, 0.0) for item in levels.items())
        common = rng.normal()
        return {
            name: 10 + shared + shift + within * (0.866 * common + 0.5 * rng.normal())
            for name in ("gap", "validation", "test", "error", "cost")
        }

    return values
