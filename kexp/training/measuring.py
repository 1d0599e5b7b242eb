"""Measuring a split in inference mode: the same code for probe, validation and test."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kexp import measures
from kexp.data import Splits
from kexp.errors import Diverged
from kexp.objective import norms
from kexp.streams import Streams
from kexp.tasks import Batch, Task
from kexp.training.course import Course, Measure, Sample
from kexp.training.engine import Engine


class Diagnosed(NamedTuple):
    """The test split with some weights: its values, and what a task makes of the predictions.

    `baselines` are the yardsticks of predictions that take no training, by their names.
    """

    values: dict[str, float]
    diagnosis: dict[str, Any]
    exhibits: dict[str, np.ndarray]
    baselines: dict[str, dict[str, float]]


class Meter:
    """Measures the splits of a run, always on the same inputs."""

    def __init__(self, task: Task, splits: Splits, streams: Streams):
        self.task, self._splits = task, splits
        self.batches = {
            "probe": task.batches(splits.probe, streams, "probe"),
            "validation": task.batches(splits.validation, streams, "validation"),
        }
        self.test_batches = lambda: task.batches(splits.test, streams, "test")

    def epoch(self, engine: Engine) -> Course[dict[str, Any]]:
        """Fit, objective and yardsticks of probe and validation, their gaps, penalty and norms."""
        probe, predictions = yield from self._split(engine, self.batches["probe"], "probe")
        validation, _ = yield from self._split(engine, self.batches["validation"], "validation")
        gaps = {
            name: measures.gap(name, validation[name], probe[name])
            for name in ("fit", *self.task.yardsticks)
        }
        return {
            "penalty": engine.penalty(),
            "probe": probe,
            "validation": validation,
            "gap": gaps,
            "norms": norms(engine.kernels()),
            **_named("learned", engine.shown()),
            "memorisation": self.task.memorisation(predictions, self.batches["probe"]),
        }

    def test(self, engine: Engine) -> Course[dict[str, float]]:
        """Fit, objective and yardsticks of the test split with the present weights."""
        values, _ = yield from self._split(engine, self.test_batches(), "test")
        return values

    def diagnosed(self, engine: Engine) -> Course[Diagnosed]:
        """The same, with what the task tells and shows of the predictions, and what to beat."""
        batches = self.test_batches()
        values, predictions = yield from self._split(engine, batches, "test")
        trivial = self.task.trivial(self._splits, batches)
        return Diagnosed(
            values,
            self.task.diagnosis(predictions, batches),
            self.task.exhibits(predictions, batches),
            {name: self.task.measure(found, batches) for name, found in trivial.items()},
        )

    def sampled(self, engine: Engine, passes: int) -> Course[dict[str, Any]]:
        """Every yardstick of the mean prediction of several passes with dropout, by split."""
        splits, measured = {**self.batches, "test": self.test_batches()}, {}
        for name, batches in splits.items():
            means = []
            for batch in batches:
                predictions = yield Sample(engine, batch.x, passes)
                means.append(self.task.average(predictions))
            measured[name] = self.task.measure(means, batches)
        gaps = {
            name: measures.gap(name, measured["validation"][name], measured["probe"][name])
            for name in self.task.yardsticks
        }
        return {**measured, "gap": gaps}

    def _split(
        self, engine: Engine, batches: list[Batch], name: str
    ) -> Course[tuple[dict[str, float], list[np.ndarray]]]:
        measured = yield Measure(engine, batches)
        predictions = [prediction for prediction, _ in measured]
        fit = float(np.mean(np.concatenate([loss for _, loss in measured]), dtype=np.float64))
        penalty = engine.penalty()
        if not np.isfinite(fit + penalty):
            raise Diverged(f"the objective on {name} is not finite")
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.task.measure(predictions, batches)
        for key, value in values.items():
            if not np.isfinite(value):  # of which a bounded loss may know nothing
                raise Diverged(f"the {measures.YARDSTICKS[key].label} on {name} is not finite")
        return {"fit": fit, "objective": fit + penalty, **values}, predictions


def _named(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name: values} if values else {}
