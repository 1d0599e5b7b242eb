"""How the next trial is chosen: Optuna's samplers, repeatable, with numbers that can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kexp.errors import ConfigError
from kexp.sweeps.search.methods import Search
from kexp.sweeps.search.space import Levels, Space

DIGITS = 4
"""Significant digits of the numbers tried."""

MOST_COMBINATIONS = 100_000
"""A grid has no more than this."""

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "grid": lambda seed: RandomSampler(seed=seed),
    "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
}
"""By the name in the settings; the combinations of a grid are given to it, see `Trials`."""


class Repeatable(BaseSampler):
    """Another sampler, begun anew for each trial with a seed from the trial's number.

    So a search that was stopped goes on as if it had not been, and processes that search together
    do not draw the same. Numbers are rounded to `DIGITS` significant digits.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Begin anew."""
        entropy = np.random.SeedSequence([self._seed, trial.number])
        self._sampler = self._make(int(entropy.generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What is drawn together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values that are drawn together."""
        drawn = self._sampler.sample_relative(study, trial, search_space)
        return {name: rounded(value, search_space[name]) for name, value in drawn.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """A value that is drawn alone."""
        drawn = self._sampler.sample_independent(study, trial, name, distribution)
        return rounded(drawn, distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Pass on."""
        self._sampler.after_trial(study, trial, state, values)


def rounded(value: Any, distribution: BaseDistribution) -> Any:
    """A number of an interval with `DIGITS` significant digits, still within it."""
    if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high)


def sampler_of(settings: Search) -> BaseSampler:
    """The sampler that the settings choose."""
    return Repeatable(SAMPLERS[settings.sampler], settings.seed)


def refuse_sampler(settings: Search, space: Space) -> None:
    """Refuse a sampler that cannot search this space. Raises `ConfigError`."""
    chosen = f"hydra.sweeper.sampler={settings.sampler}"
    if settings.sampler == "grid" and space.size is None:
        endless = next(d for d in space.dimensions if d.values is None)
        raise ConfigError(
            f"{chosen} tries every value, and {endless} has no end of them; list values, as in "
            f"{endless.key}={endless.checked[0]:g},{endless.checked[1]:g}, or choose tpe or random"
        )
    if settings.sampler == "grid" and (space.size or 0) > MOST_COMBINATIONS:
        raise ConfigError(
            f"{chosen} of {space.size:,} combinations, more than {MOST_COMBINATIONS:,}: use random"
        )
    if settings.sampler == "cmaes":
        for dimension in space.dimensions:
            if isinstance(dimension, Levels):
                raise ConfigError(
                    f"{chosen} searches intervals and ranges of numbers; {dimension} is a choice: "
                    "use tpe or random"
                )
        if len(space.dimensions) < 2:
            raise ConfigError(f"{chosen} needs two intervals or ranges at least: use tpe")
        if len(settings.objectives) > 1:
            raise ConfigError(f"{chosen} has one objective: use tpe or random for several")
