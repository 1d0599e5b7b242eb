"""A study: the factors, their levels and the seeds that `kexp sweep study=NAME` trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError

from kexp.analysis.quantities import PARTS, is_quantity
from kexp.choice import Count, Whole, choice
from kexp.config.messages import of_faults
from kexp.config.wording import shown
from kexp.errors import ConfigError
from kexp.measures import YARDSTICKS

Scalar = str | int | float | bool | None
Level = Scalar | Annotated[list[Scalar], Field(min_length=1)]
Levels = dict[str, Annotated[list[Level], Field(min_length=1)]]


@choice
class Study:
    """What a study varies, and by what its runs are compared.

    `factors` are under study: the first level of each is its baseline. `nuisance` factors are
    not, but matter: for every combination of the other levels the best of them is chosen on
    validation before levels are compared. A level is a value, or a list of a value and of the
    overrides that go with it: `[l2, regularizer.strength=0.01]`. `seeds` is how many seeds, from 0
    on, or a list of them. `yardstick` is the one to compare by; null for the task's own.
    `quantities` are what the study is about, named beforehand, as gap, test or test.error; the
    usual ones if empty.
    """

    name: str | None = None
    yardstick: str | None = None
    quantities: list[str] = Field(default_factory=list)
    seeds: Count | list[Whole] | None = None
    factors: Levels = Field(default_factory=dict)
    nuisance: Levels = Field(default_factory=dict)

    def variations(self, given: Sequence[str]) -> list[list[list[str]]]:
        """For each factor that the keys `given` do not settle, the overrides of each level.

        Seeds come first, so that a study cut short has complete comparisons.
        """
        found = []
        if self.seeds is not None and "seed" not in given:
            seeds = self.seeds if isinstance(self.seeds, list) else range(self.seeds)
            found.append([[f"seed={seed}"] for seed in seeds])
        for key, levels in (self.factors | self.nuisance).items():
            if key not in given:
                found.append([overrides(key, level) for level in levels])
        return found


def overrides(key: str, level: Level) -> list[str]:
    """The overrides that set a factor to one of its levels."""
    first, *others = level if isinstance(level, list) else [level]
    return [f"{key}={_text(first)}", *(str(other) for other in others)]


def study_of(section: Any) -> Study:
    """The study that the section `study` of a config describes. Raises `ConfigError`."""
    if not isinstance(section, dict):
        raise ConfigError(f"study must be a section, got {section!r}")
    if "study" in section:
        raise ConfigError(
            "study: the file lacks its first line, # @package _global_, which lets it set more "
            "than the study"
        )
    for kind in ("factors", "nuisance"):
        _check_levels(kind, section.get(kind))
    try:
        study = Study(**section)
    except ValidationError as error:
        raise ConfigError(of_faults("study", Study, section, error)) from None
    except TypeError as error:
        raise ConfigError(f"study: {error}") from None
    for key in study.nuisance.keys() & study.factors.keys():
        raise ConfigError(f"study.factors and study.nuisance both have {key}; leave one out")
    if study.yardstick not in (None, *YARDSTICKS):
        known = ", ".join(YARDSTICKS)
        raise ConfigError(f"study.yardstick must be one of {known} or null, got {study.yardstick}")
    for key in study.quantities:
        if not is_quantity(key):
            raise ConfigError(
                f"study.quantities: {key} is nothing that runs are compared on; there are "
                f"memorisation and {', '.join(PARTS)}, each also of another yardstick, as in "
                "test.error"
            )
    if "seed" in study.factors or "seed" in study.nuisance:
        raise ConfigError("seed is no factor of a study; set study.seeds")
    return study


def _check_levels(kind: str, factors: Any) -> None:
    """Refuse factors that are no section, or whose levels are no list."""
    if factors is not None and not isinstance(factors, dict):
        raise ConfigError(f"study.{kind} must be a section of factors, got {shown(factors)}")
    for key, levels in (factors or {}).items():
        if not isinstance(levels, list) or not levels:
            raise ConfigError(
                f"study.{kind}.{key} must be a list of levels, as in [none, standard], got "
                f"{shown(levels)}"
            )


def _text(value: Scalar) -> str:
    """A value as the command line writes it; a text stands as it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
