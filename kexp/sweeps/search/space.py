"""What is searched: the dimensions that the overrides and the study describe."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from kexp.config.compose import Composer
from kexp.config.overrides import raw_value
from kexp.config.study import overrides as of_level
from kexp.errors import ConfigError
from kexp.store.names import OUTSIDE_IDENTITY
from kexp.sweeps.expansion import study_chosen, without_globs

EXAMPLE = "'optimizer.learning_rate=tag(log, interval(1e-4,1e-1))' or loss=mse,huber"
MOST_VALUES = 10_000
"""A range has no more values than this; an interval may."""

MOST_CHECKED = 100
"""Up to this many combinations, all are checked before the first trial."""


@dataclass(frozen=True)
class Levels:
    """A choice among levels, each with the overrides that set it."""

    key: str
    levels: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        return f"{self.key}: {', '.join(self.levels)}"

    @property
    def values(self) -> list[Any]:
        """Every value, as Optuna knows it."""
        return list(self.levels)

    @property
    def checked(self) -> list[Any]:
        """The values to check before the first trial."""
        return self.values

    def distribution(self) -> Any:
        """The values in Optuna's terms."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def overrides(self, value: Any) -> list[str]:
        """The overrides that set a value."""
        return list(self.levels[value])


@dataclass(frozen=True)
class Steps:
    """Evenly spaced numbers."""

    key: str
    numbers: tuple[float, ...]

    def __str__(self) -> str:
        first, last, count = self.numbers[0], self.numbers[-1], len(self.numbers)
        return f"{self.key}: {first:g} to {last:g} in {count} value{'' if count == 1 else 's'}"

    @property
    def values(self) -> list[Any]:
        """Every value."""
        return list(self.numbers)

    @property
    def checked(self) -> list[Any]:
        """The values to check before the first trial: of very many, both ends."""
        numbers = self.values
        return numbers if len(numbers) <= MOST_CHECKED else [numbers[0], numbers[-1]]

    def distribution(self) -> Any:
        """The values in Optuna's terms."""
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high = self.numbers[0], self.numbers[-1]
        step = self.numbers[1] - low if self.numbers[1:] else 1
        if all(isinstance(number, int) for number in self.numbers):
            return IntDistribution(int(low), int(high), step=int(step))
        return FloatDistribution(low, high, step=float(f"{step:.12g}"))

    def overrides(self, value: Any) -> list[str]:
        """The override that sets the number nearest to a value."""
        return [f"{self.key}={min(self.numbers, key=lambda number: abs(number - value))!r}"]


@dataclass(frozen=True)
class Interval:
    """All numbers, or all whole ones, from `low` to `high`; `log`: evenly in their logarithm."""

    key: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        kind = "".join(
            [", log" if self.log else "", ", whole numbers" if self.whole else ""],
        )
        return f"{self.key}: {self.low:g} to {self.high:g}{kind}"

    @property
    def values(self) -> list[Any] | None:
        """None: there are too many."""
        return None

    @property
    def checked(self) -> list[Any]:
        """The values to check before the first trial: both ends."""
        return [self.low, self.high]

    def distribution(self) -> Any:
        """The values in Optuna's terms."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def overrides(self, value: Any) -> list[str]:
        """The override that sets a value."""
        return [f"{self.key}={int(value) if self.whole else float(value)!r}"]


Dimension = Levels | Steps | Interval


@dataclass(frozen=True)
class Space:
    """What all runs share, the seeds that each configuration is trained with, what is searched."""

    fixed: tuple[str, ...]
    seeds: tuple[str, ...]
    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> int | None:
        """How many combinations there are; None where an interval has any number."""
        sizes = [len(d.values) if d.values is not None else None for d in self.dimensions]
        return None if None in sizes else math.prod(s for s in sizes if s)

    def distributions(self) -> dict[str, Any]:
        """The dimensions in Optuna's terms."""
        return {d.key: d.distribution() for d in self.dimensions}

    def overrides(self, values: dict[str, Any]) -> list[str]:
        """The overrides of one configuration, without a seed that is varied."""
        chosen = (d.overrides(values[d.key]) for d in self.dimensions)
        return [*self.fixed, *itertools.chain(*chosen)]

    def runs(self, values: dict[str, Any]) -> list[list[str]]:
        """The overrides of every run of one configuration: one for each seed."""
        of_all = self.overrides(values)
        return [[*of_all, seed] for seed in self.seeds] or [of_all]

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination of a space without intervals."""
        keys = [d.key for d in self.dimensions]
        for values in itertools.product(*(d.values or () for d in self.dimensions)):
            yield dict(zip(keys, values, strict=True))

    def checked(self) -> list[dict[str, Any]]:
        """The configurations to check before the first trial.

        Every combination of choices and ends of intervals, or, where those are too many, each with
        the others at their first.
        """
        keys, checked = [d.key for d in self.dimensions], [d.checked for d in self.dimensions]
        if math.prod(map(len, checked)) <= MOST_CHECKED:
            return [dict(zip(keys, v, strict=True)) for v in itertools.product(*checked)]
        first = {d.key: d.checked[0] for d in self.dimensions}
        others = [{**first, d.key: value} for d in self.dimensions for value in d.checked[1:]]
        return [first, *others]


def space_of(composer: Composer, arguments: Sequence[str]) -> Space:
    """The space that overrides describe, with the factors of the study. Raises `ConfigError`."""
    parsed = composer.read(arguments)
    study = study_chosen(composer, parsed)
    parsed = without_globs(composer, parsed)
    given = {o.key_or_group for o in parsed}
    varied = [o for o in parsed if o.is_sweep_override()]
    dimensions = [_dimension(o) for o in varied if o.key_or_group != "seed"]
    for key, levels in (study.factors | study.nuisance).items():
        if key not in given:
            of_levels = [of_level(key, level) for level in levels]
            dimensions.append(Levels(key, {_name(key, o): tuple(o) for o in of_levels}))
    if not dimensions:
        raise ConfigError(f"there is nothing to search; give several values, as in {EXAMPLE}")
    seeds = [f"seed={text}" for o in varied if o.key_or_group == "seed" for text in _texts(o)]
    if study.seeds is not None and "seed" not in given:
        listed = study.seeds if isinstance(study.seeds, list) else range(study.seeds)
        seeds = [f"seed={seed}" for seed in listed]
    fixed = tuple(o.input_line or "" for o in parsed if not o.is_sweep_override())
    return Space(fixed, tuple(dict.fromkeys(seeds)), tuple(dimensions))


def _dimension(override: Override) -> Dimension:
    key, sweep, typed = override.key_or_group, override.value(), override.input_line
    if key.split(".")[0] in OUTSIDE_IDENTITY:
        raise ConfigError(f"{typed}: {key} changes nothing about a run; a search has one")
    tags = set(getattr(sweep, "tags", ()))
    if tags - {"log"} or (tags and not isinstance(sweep, IntervalSweep)):
        raise ConfigError(
            f"{typed}: the only tag is log, of an interval: '{key}=tag(log, interval(1e-5,1e-1))'"
        )
    if isinstance(sweep, IntervalSweep):
        return _interval(override, sweep, "log" in tags)
    texts = _texts(override)
    if isinstance(sweep, RangeSweep):
        return Steps(key, tuple(sorted(sweep.range())))
    return Levels(key, {text: (f"{key}={text}",) for text in texts})


def _interval(override: Override, sweep: IntervalSweep, log: bool) -> Interval:
    key, typed, low, high = override.key_or_group, override.input_line, sweep.start, sweep.end
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{typed}: both ends of an interval must be finite numbers")
    if not low < high:
        raise ConfigError(f"{typed}: the first end of an interval must be below the second")
    if log and low <= 0:
        raise ConfigError(f"{typed}: with log, both ends must be > 0, got {low:g}")
    return Interval(key, low, high, log, isinstance(low, int) and isinstance(high, int))


def _texts(override: Override) -> list[str]:
    """Every value given, as it is written in an override."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        raise ConfigError(f"{override.input_line}: seeds are listed, as in 'seed=range(3)'")
    if isinstance(sweep, RangeSweep):
        if not sweep.step:
            raise ConfigError(f"{override.input_line}: the step of a range must not be 0")
        count = math.ceil(((sweep.stop or 0) - (sweep.start or 0)) / sweep.step)
        if count > MOST_VALUES:
            raise ConfigError(
                f"{override.input_line}: a range of {count:,} values, more than {MOST_VALUES:,}; "
                f"write an interval, as '{override.key_or_group}=int(interval(1,{count}))'"
            )
    try:
        texts = list(override.sweep_string_iterator())
    except HydraException as error:
        raise ConfigError(f"{override.input_line}: {error}") from None
    if not texts:
        raise ConfigError(f"{override.key_or_group}={raw_value(override)}: the range is empty")
    return texts


def _name(key: str, overrides: Sequence[str]) -> str:
    """A level of a study in one word, and what goes with it."""
    return " ".join([overrides[0].removeprefix(f"{key}="), *overrides[1:]])
