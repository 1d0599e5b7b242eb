"""A trained network under perturbed inputs: the curves of its robustness."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kexp.data import Examples
from kexp.robustness import REACH, Robustness, noisy, occluded
from kexp.streams import Streams
from kexp.tasks import Batch, Task
from kexp.training.course import Course, Measure, Slopes
from kexp.training.engine import Engine

MOST_VALUES = 1_000_000
"""No more input values than this are perturbed, but for a single batch."""


def curves(
    robustness: Robustness,
    task: Task,
    engine: Engine,
    test: Examples,
    streams: Streams,
    check: Callable[[], None] = lambda: None,
) -> Course[dict[str, Any]]:
    """The yardsticks of some test examples as they are and perturbed; empty if not asked for.

    `{"examples": n, "clean": {…}, "noise": {"0.05": {…}, …, "mean": {…}}, …}`, where `mean` is
    over the strengths. A yardstick that is not finite is None. `check` is called in between, and
    raises where a signal asks to stop.
    """
    wanted = robustness.strengths()
    if not wanted:
        return {}
    adversary = _Adversary(robustness, task, engine, streams)
    chosen = streams.rng("robustness/examples").permutation(len(test))[: robustness.examples]
    clean = _first(task.batches(test.take(chosen), streams, "test"))
    measured = yield from adversary.measured([b.x for b in clean], clean)
    found: dict[str, Any] = {"examples": sum(len(b.x) for b in clean), "clean": measured}
    for name, strengths in wanted.items():
        curve = {}
        for strength in strengths:
            perturbed = []
            for number, batch in enumerate(clean):
                check()
                perturbed.append((yield from adversary.perturbed(name, batch, strength, number)))
            curve[f"{strength:g}"] = yield from adversary.measured(perturbed, clean)
        found[name] = {**curve, "mean": _mean(list(curve.values()))}
    return found


class _Adversary:
    """Perturbs the inputs of one network, always by the same draws."""

    def __init__(self, robustness: Any, task: Task, engine: Engine, streams: Streams):
        self._robustness, self._task = robustness, task
        self._engine, self._streams = engine, streams

    def measured(
        self, inputs: Sequence[np.ndarray], clean: Sequence[Batch]
    ) -> Course[dict[str, float | None]]:
        """Every yardstick of what the network makes of some inputs, for batches as they were."""
        seen = [dataclasses.replace(b, x=x) for b, x in zip(clean, inputs, strict=True)]
        answers = yield Measure(self._engine, seen)
        with np.errstate(over="ignore", invalid="ignore"):
            values = self._task.measure([prediction for prediction, _ in answers], clean)
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def perturbed(
        self, name: str, batch: Batch, strength: float, number: int
    ) -> Course[np.ndarray]:
        """The inputs of a batch under a perturbation."""
        x = np.asarray(batch.x)
        rng = self._streams.rng(f"robustness/{name}", number)
        if name == "noise":
            return self._within(x, noisy(x, strength, rng))
        if name == "occlusion":
            return occluded(x, strength, rng)
        if name == "fgsm":
            return (yield from self._stepped(x, x, batch.y, strength, strength))
        near = x + np.float32(strength) * rng.uniform(-1, 1, x.shape).astype(np.float32)
        near = self._within(x, near)
        step = REACH * strength / self._robustness.pgd_steps
        for _ in range(self._robustness.pgd_steps):
            near = yield from self._stepped(x, near, batch.y, step, strength)
        return near

    def _stepped(
        self, x: np.ndarray, near: np.ndarray, y: np.ndarray, step: float, epsilon: float
    ) -> Course[np.ndarray]:
        """`near` after a step up the slope of the loss, no further than ε from `x`."""
        slopes = yield Slopes(self._engine, near, y, self._task.adversary())
        moved = near + np.float32(step) * np.sign(slopes)
        return self._within(x, np.clip(moved, x - np.float32(epsilon), x + np.float32(epsilon)))

    def _within(self, x: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Within the range of the inputs `x`, where they have one: images stay images."""
        return np.clip(near, 0, 1) if self._task.is_within_range(x) else near


def _first(batches: Sequence[Batch]) -> list[Batch]:
    """The first examples with their inputs as the network sees them, not too many."""
    found: list[Batch] = []
    values = 0
    for batch in batches:
        each = math.prod(np.asarray(batch.x[:1]).shape)
        room = (MOST_VALUES - values) // each
        take = min(len(batch.x), max(room, 0 if found else 1))
        if take < 1:
            break
        x = _unit(np.asarray(batch.x[:take]))
        truth = None if batch.truth is None else np.asarray(batch.truth[:take])
        found.append(Batch(x, np.asarray(batch.y[:take]), truth))
        values += take * each
    return found


def _unit(x: np.ndarray) -> np.ndarray:
    """Inputs as the network sees them: uint8 scaled to [0, 1], all else as it is."""
    return x.astype(np.float32) / np.float32(255 if x.dtype == np.uint8 else 1)


def _mean(curve: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Of each yardstick over all strengths; None where it is not known at one."""
    values = {name: [of[name] for of in curve] for name in curve[0]}
    return {
        name: None if None in every else float(np.mean(every)) for name, every in values.items()
    }
