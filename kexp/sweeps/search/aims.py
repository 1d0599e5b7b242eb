"""What is searched for: quantities of runs, at their end and while they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kexp.analysis.quantities import (
    MEMORISATION,
    PARTS,
    PERTURBATIONS,
    Quantity,
    has_yardstick,
    parsed,
    unmeasured,
)
from kexp.errors import ConfigError
from kexp.experiment import Experiment
from kexp.measures import YARDSTICKS, best_epoch
from kexp.store import Record, read_run

AT_END = ("test", "test_best", "onset", "cost", *PERTURBATIONS)
"""Parts that are known only when a run has ended."""


def is_at_end(key: str) -> bool:
    """Whether a key is of something that is known only when a run has ended."""
    found = parsed(key)
    return found is not None and found[0].partition("@")[0] in AT_END


def aims(
    keys: Sequence[str], experiments: Sequence[Experiment], varied: set[str]
) -> list[Quantity]:
    """The quantities of keys such as `best`, for these experiments. Raises `ConfigError`.

    `varied` are the keys that are searched.
    """
    by, known = _yardstick(experiments[0]), _known(experiments[0])
    found = [_quantity(key, by, known) for key in keys]
    for key, aim in zip(keys, found, strict=True):
        if any(aim.yardstick.name not in _known(e) for e in experiments):
            raise ConfigError(f"hydra.sweeper.objective={key}: not every run has {aim.title}")
        if aim.yardstick is MEMORISATION and not any(map(_corrupts, experiments)):
            raise ConfigError(
                f"hydra.sweeper.objective={key}: no run has corrupted targets to learn by heart; "
                "set data.label_noise or data.outliers"
            )
        if any(unmeasured(aim.part, e.robustness.strengths()) for e in experiments):
            raise ConfigError(
                f"hydra.sweeper.objective={key} needs a run's robustness at that strength; set "
                "robustness=curves"
            )
        if not has_yardstick(key) and aim.yardstick is not MEMORISATION:
            _refuse_several(key, [_yardstick(e) for e in experiments])
        if aim.yardstick.name in ("fit", "objective") and varied & {"loss", "regularizer"}:
            raise ConfigError(
                f"hydra.sweeper.objective={key}: the {aim.yardstick.name} of different losses or "
                f"penalties does not compare; choose a yardstick, as "
                f"{aim.part}.{experiments[0].task.yardsticks[0]}"
            )
    return found


def _quantity(key: str, by: str, known: Sequence[str]) -> Quantity:
    if key == MEMORISATION.name:
        return Quantity(key, MEMORISATION)
    part, name = parsed(key) or ("", "")
    if not part or name not in ("", *known):
        yardsticks = [name for name in known if name != MEMORISATION.name]
        raise ConfigError(
            f"hydra.sweeper.objective={key}: nothing that a run has; there are memorisation and "
            f"{', '.join(PARTS)}, each also of another yardstick, as in test.{yardsticks[-1]} "
            f"({', '.join(yardsticks)})"
        )
    return Quantity(part, YARDSTICKS[name or by])


def _yardstick(e: Experiment) -> str:
    """The yardstick of a run: its study's, or the one it is monitored by."""
    study = e.config.get("study")
    named = study.get("yardstick") if isinstance(study, dict) else None
    return named or e.training.monitor or e.task.yardsticks[0]


def _known(e: Experiment) -> list[str]:
    return ["fit", "objective", *e.task.yardsticks, MEMORISATION.name]


def _corrupts(e: Experiment) -> bool:
    return any(getattr(e.data, name, 0) for name in ("label_noise", "outliers"))


def _refuse_several(key: str, yardsticks: Sequence[str]) -> None:
    different = sorted(set(yardsticks))
    if different[1:]:
        raise ConfigError(
            f"hydra.sweeper.objective={key} would be {' for some runs and '.join(different)} for "
            f"others; name one, as {key}.{different[0]}"
        )


def direction(aim: Quantity) -> str:
    """Where a value should go, in Optuna's words."""
    return "maximize" if aim.higher_is_better else "minimize"


def value_of(aim: Quantity, path: Path) -> float | None:
    """The value of a finished run; of the onset where there was none, the epochs trained."""
    record = read_run(path)
    value = aim.of(record)
    if value is None and aim.part == "onset" and "onset" in record.summary:
        return float(record.summary["epochs"])
    return value


def value_after(aim: Quantity, history: Sequence[dict[str, Any]], monitor: str) -> float | None:
    """The value that a run would have if it ended after these epochs; None if it has none."""
    higher = YARDSTICKS[monitor].higher_is_better
    best = best_epoch([record["validation"][monitor] for record in history], higher)
    summary = {"last": history[-1], "best": history[best - 1]}
    return aim.of(Record(Path(), summary=summary))
