"""Which runs of a sweep are the same program, and so can be trained as one.

Runs of a group share all that decides shapes, numbers of steps and code. They may differ in what a
program takes as data: seed, λ, shape and scale of the loss, dropout rate, learning rate and its
schedule, the share of corrupted targets, the strength of the noise; and in when they stop.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kexp.choice import numbers
from kexp.config.wording import plural
from kexp.experiment import Experiment
from kexp.program import is_hashable, program, structure
from kexp.store.differences import flatten

CHOICES = ("task", "data", "model", "loss", "regularizer", "dropout", "norm", "optimizer")
"""The choices of a run that its program is made of."""

CORRUPTIONS = ("label_noise", "outliers")
"""Shares of corrupted targets: without any, memorisation is not measured."""

ALONE = "no other run has the same program"


@dataclass(frozen=True)
class Grouping:
    """Runs, by their place in a list, in groups of one program each.

    `keys` are the config keys in which the runs of each group differ; `reasons` say why a run that
    is in no group is in none, with what to do about it after a semicolon.
    """

    groups: list[list[int]]
    keys: list[tuple[str, ...]]
    reasons: dict[int, str]

    def __str__(self) -> str:
        """`24 of 26 runs in 2 programs: 16 that differ in …. 2 as usual: … (2)`."""
        count = sum(map(len, self.groups))
        alike = Counter((len(g), keys) for g, keys in zip(self.groups, self.keys, strict=True))
        of_each = "; ".join(_group(*group, times) for group, times in alike.items())
        told = f"{count or 'none'} of {plural(count + len(self.reasons), 'run')}"
        if self.groups:
            told += f" in {plural(len(self.groups), 'program')}: {of_each}"
        if self.reasons:
            why = ", ".join(_reason(*item) for item in Counter(self.reasons.values()).items())
            told += f". {len(self.reasons)} as usual: {why}"
        return told


def grouped(experiments: Sequence[Experiment]) -> Grouping:
    """The groups of runs that one program can train at once, and why the others are in none."""
    reasons: dict[int, str] = {}
    alike: dict[Any, list[int]] = defaultdict(list)
    for place, experiment in enumerate(experiments):
        if reason := hindrance(experiment):
            reasons[place] = reason
        else:
            alike[shared(experiment)].append(place)
    reasons |= {group[0]: ALONE for group in alike.values() if len(group) == 1}
    groups = [group for group in alike.values() if len(group) > 1]
    keys = [differing([experiments[place] for place in group]) for group in groups]
    return Grouping(groups, keys, reasons)


def hindrance(e: Experiment) -> str | None:
    """Why a run cannot be trained together with any other; None where it can."""
    if e.backend.name != "jax":
        return f"backend={e.backend.name}; add backend=jax"
    if e.training.distribution != "none":
        return f"training.distribution={e.training.distribution}"
    if e.training.precision == "mixed_float16":
        return "training.precision=mixed_float16; mixed_bfloat16 can"
    for name in CHOICES:
        if not dataclasses.is_dataclass(getattr(e, name)):
            return f"{name}={e.options[name]} is no dataclass"
    if program(e) is None or not is_hashable(shared(e)):
        return "a choice holds a value that cannot be compared"
    return None


def shared(e: Experiment) -> tuple:
    """A key that two runs share if one program can train both at once."""
    noise = getattr(e.task, "noise", None)
    return (
        program(e),
        structure(e.task, ("noise",)),
        structure(noise, numbers(noise)) or noise,
        structure(e.data, CORRUPTIONS),
        tuple(getattr(e.data, name, 0) > 0 for name in CORRUPTIONS),
        e.data_folder,
        structure(e.training, ("patience", "monitor")),
    )


def differing(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """The config keys in which runs differ, in order."""
    configs = [flatten(e.config) for e in experiments]
    every = sorted({key for config in configs for key in config})
    return tuple(k for k in every if any(c.get(k) != configs[0].get(k) for c in configs))


def _group(size: int, keys: tuple[str, ...], times: int) -> str:
    many = f"{times} × {size}" if times > 1 else str(size)
    return f"{many} that differ in {', '.join(keys)}"


def _reason(reason: str, count: int) -> str:
    why, _, advice = reason.partition("; ")
    return f"{why} ({'; '.join(filter(None, (str(count), advice)))})"
