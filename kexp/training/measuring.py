"""Measuring a split in inference mode: the same code for probe, validation and test."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kexp import measures
from kexp.data import Splits
from kexp.errors import Diverged
from kexp.streams import Streams
from kexp.tasks import Batch, Task
from kexp.training.engine import Engine


class Meter:
    """Measures the splits of a run, always on the same inputs."""

    def __init__(self, task: Task, splits: Splits, streams: Streams):
        self.task = task
        self.batches = {
            "probe": task.batches(splits.probe, streams, "probe"),
            "validation": task.batches(splits.validation, streams, "validation"),
        }
        self._test = lambda: task.batches(splits.test, streams, "test")

    def epoch(self, engine: Engine) -> dict[str, Any]:
        """Fit, objective and yardsticks of probe and validation, their gaps, penalty and norms."""
        penalty = _number(engine.objective.penalty())
        probe, predictions = self._split(engine, self.batches["probe"], penalty, "probe")
        validation, _ = self._split(engine, self.batches["validation"], penalty, "validation")
        gaps = {
            name: measures.gap(name, validation[name], probe[name])
            for name in ("fit", *self.task.yardsticks)
        }
        return {
            "penalty": penalty,
            "probe": probe,
            "validation": validation,
            "gap": gaps,
            "norms": engine.objective.norms(),
            **_named("learned", engine.objective.shown()),
            "memorisation": self.task.memorisation(predictions, self.batches["probe"]),
        }

    def test(self, engine: Engine) -> dict[str, float]:
        """Fit, objective and yardsticks of the test split with the present weights."""
        return self.diagnosed(engine)[0]

    def diagnosed(
        self, engine: Engine
    ) -> tuple[dict[str, float], dict[str, Any], dict[str, np.ndarray]]:
        """The same, with the task's diagnosis of the predictions and some examples to look at."""
        batches = self._test()
        penalty = _number(engine.objective.penalty())
        values, predictions = self._split(engine, batches, penalty, "test")
        diagnosis = self.task.diagnosis(predictions, batches)
        return values, diagnosis, self.task.exhibits(predictions, batches)

    def sampled(self, engine: Engine, passes: int) -> dict[str, Any]:
        """Every yardstick of the mean prediction of several passes with dropout, by split."""
        splits = {**self.batches, "test": self._test()}
        measured = {
            name: self.task.measure(
                [self.task.average([engine.sample(b.x) for _ in range(passes)]) for b in batches],
                batches,
            )
            for name, batches in splits.items()
        }
        gaps = {
            name: measures.gap(name, measured["validation"][name], measured["probe"][name])
            for name in self.task.yardsticks
        }
        return {**measured, "gap": gaps}

    def _split(
        self, engine: Engine, batches: list[Batch], penalty: float, name: str
    ) -> tuple[dict[str, float], list[np.ndarray]]:
        predictions = [engine.predict(b.x) for b in batches]
        losses = [
            keras.ops.convert_to_numpy(
                engine.objective.loss(
                    keras.ops.convert_to_tensor(b.y), keras.ops.convert_to_tensor(p)
                )
            )
            for p, b in zip(predictions, batches, strict=True)
        ]
        fit = float(np.mean(np.concatenate(losses), dtype=np.float64))
        if not np.isfinite(fit + penalty):
            raise Diverged(f"the objective on {name} is not finite")
        with np.errstate(over="ignore", invalid="ignore"):
            measured = self.task.measure(predictions, batches)
        for key, value in measured.items():
            if not np.isfinite(value):  # of which a bounded loss may know nothing
                raise Diverged(f"the {measures.YARDSTICKS[key].label} on {name} is not finite")
        return {"fit": fit, "objective": fit + penalty, **measured}, predictions


def _named(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name: values} if values else {}


def _number(scalar: Any) -> float:
    return float(keras.ops.convert_to_numpy(scalar))
