"""From the values given to the runs of a sweep: every combination."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Glob, Override, RangeSweep

from kexp.config.build import resolved
from kexp.config.compose import Composer
from kexp.config.overrides import parse
from kexp.config.study import Study, study_of
from kexp.errors import ConfigError


def expand(composer: Composer, overrides: Sequence[str], limit: int | None) -> list[list[str]]:
    """The overrides of each run: the product of all the values given and of the study's levels.

    Where a factor of the study is given a value, that counts instead. Raises `ConfigError`, also
    where there are more than `limit` runs.
    """
    parsed = composer.read(overrides)
    variations = study_chosen(composer, parsed).variations([o.key_or_group for o in parsed])
    parsed = [_no_interval(override) for override in without_globs(composer, parsed)]
    count = math.prod([*map(_levels, parsed), *map(len, variations)])
    if not count:
        raise ConfigError("this sweep has no runs: a range is empty")
    if limit is not None and count > limit:
        raise ConfigError(
            f"this sweep has {count:,} runs, more than {limit:,}; add --yes if that is meant"
        )
    (given,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    jobs = (
        tuple(itertools.chain(job, *levels))
        for levels in itertools.product(*variations)
        for job in given
    )
    return [list(job) for job in dict.fromkeys(jobs)]


def study_chosen(composer: Composer, parsed: Sequence[Override]) -> Study:
    """The study that the overrides choose. Raises `ConfigError`."""
    about = [o for o in parsed if o.key_or_group.split(".")[0] == "study"]
    for override in about:
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: one study at a time")
    fixed = [o.input_line or "" for o in about]
    return study_of(resolved(composer.config(fixed))["study"])


def without_globs(composer: Composer, parsed: Sequence[Override]) -> list[Override]:
    """The overrides with every glob replaced by the options that it matches and that fit."""
    chosen = [o for o in parsed if not o.is_sweep_override()]
    return [_listed(override, composer, chosen) for override in parsed]


def _listed(override: Override, composer: Composer, chosen: list[Override]) -> Override:
    key, value = override.key_or_group, override.value()
    if not isinstance(value, Glob):
        return override
    matching = value.filter(composer.options(key, chosen))
    if not matching:
        raise ConfigError(f"{override.input_line} matches no option of a config group")
    return parse(f"{key}={','.join(matching)}")


def _no_interval(override: Override) -> Override:
    if override.is_sweep_override() and override.is_interval_sweep():
        raise ConfigError(
            f"{override.input_line}: an interval has no grid; list the values, or search it with "
            "hydra/sweeper=optuna"
        )
    return override


def _levels(override: Override) -> int:
    """How many values are given; of a range without counting them one by one."""
    if not override.is_sweep_override():
        return 1
    value = override.value()
    if isinstance(value, RangeSweep):
        if not value.step:
            raise ConfigError(f"{override.input_line}: the step of a range must not be 0")
        return max(0, math.ceil(((value.stop or 0) - (value.start or 0)) / value.step))
    return sum(1 for _ in override.sweep_string_iterator())
