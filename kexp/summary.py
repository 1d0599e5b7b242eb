"""What is said of a run in one place: sizes, best and last epoch, onset, cost, test, verdict."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from kexp import choice, environment, measures
from kexp.data import Splits
from kexp.experiment import Experiment
from kexp.store.names import SCHEMA

if TYPE_CHECKING:
    from kexp.training.loop import Loop


def summarise(
    e: Experiment,
    loop: Loop,
    test: dict[str, dict[str, float]],
    splits: Splits,
    data: dict[str, Any],
    added: dict[str, Any],
) -> dict[str, Any]:
    """Everything about a finished run that is not in its history, with what is `added` by name."""
    shown = measures.YARDSTICKS[loop.monitor]
    last, best = loop.history[-1], loop.history[loop.best_epoch() - 1]
    sentence = measures.verdict(loop.monitor, loop.curve(loop.monitor), last["gap"][loop.monitor])
    return {
        "schema": SCHEMA,
        "identity": e.identity,
        "arm": e.arm,
        "label": e.label,
        "command": list(e.command),
        "seed": e.seed,
        "options": e.options,
        "choices": _choices(e),
        "target": e.task.target,
        "data": data,
        "config": e.config,
        "monitor": loop.monitor,
        "parameters": parameters(loop.engine.objective.model),
        "sizes": _sizes(splits),
        "epochs": len(loop.history),
        "best_epoch": loop.best_epoch(),
        "last": last,
        "best": best,
        **_overfitting(e, loop),
        "test": test,
        **({"mc_dropout": loop.mc_dropout} if loop.mc_dropout else {}),
        **({"baselines": loop.baselines} if loop.baselines else {}),
        "diagnosis": loop.diagnosis,
        **added,
        "verdict": f"{sentence}; test {shown.label} {shown.show(test['last'][loop.monitor])}",
        "throughput": _throughput(loop),
        "memory": {"process_peak_mib": environment.peak_memory_mib()},
    }


def settled(e: Experiment, loop: Loop) -> Experiment:
    """The experiment with what its loss has learned in place of what it was to learn."""
    learned = loop.history[-1].get("learned")
    return dataclasses.replace(e, loss=e.loss.settled(learned)) if learned else e


def headline(e: Experiment, engine: Any, splits: Splits, device: str) -> str:
    """What is about to be trained, in one line."""
    precision = "" if e.training.precision == "float32" else f" in {e.training.precision}"
    among = f", one of {engine.replicas} runs in one program" if engine.replicas > 1 else ""
    sizes = ", ".join(f"{count:,} {part}" for part, count in _sizes(splits).items())
    return (
        f"{e.label}: {data_name(e)} ({sizes}), {parameters(engine.objective.model):,} "
        f"parameters, {e.backend.name} on {device}{precision}{among}"
    )


def data_name(e: Experiment) -> str:
    """The name of the data set, as it is chosen on the command line."""
    return e.options.get("data", type(e.data).__name__.lower())


def parameters(model: Any) -> int:
    """The number of trained parameters of a model."""
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def _choices(e: Experiment) -> dict[str, dict[str, str]]:
    """What each of the four choices means, and its formula in TeX."""
    chosen = {"loss": e.loss, "regularizer": e.regularizer, "dropout": e.dropout, "norm": e.norm}
    return {
        group: {"meaning": choice.summary(made), "formula": getattr(made, "formula", "")}
        for group, made in chosen.items()
    }


def _sizes(splits: Splits) -> dict[str, int]:
    return {part: len(getattr(splits, part)) for part in Splits.__annotations__}


def _overfitting(e: Experiment, loop: Loop) -> dict[str, dict[str, Any]]:
    """Onset and cost on validation, for the fit and for every yardstick."""
    onset, cost = {}, {}
    for name in ("fit", *e.task.yardsticks):
        curve, higher = loop.curve(name), measures.YARDSTICKS[name].higher_is_better
        onset[name], cost[name] = measures.onset(curve, higher), measures.cost(curve, higher)
    return {"onset": onset, "cost": cost}


def _throughput(loop: Loop) -> dict[str, Any]:
    """Speed of those epochs that this process trained: none after a resume at the very end."""
    seconds = sum(loop.epoch_seconds)
    examples = loop.examples_per_epoch * len(loop.epoch_seconds)
    return {
        "examples_per_epoch": loop.examples_per_epoch,
        "examples_per_second": examples / seconds if seconds else None,
        "epoch_seconds": [round(s, 4) for s in loop.epoch_seconds],
        "training_seconds": seconds,
        "measuring_seconds": loop.measuring_seconds,
        "replicas": loop.engine.replicas,
    }
