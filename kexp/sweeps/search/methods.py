"""The settings of a search: how many trials, how the next is chosen, when a run is given up."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from pydantic import Field, ValidationError

from kexp.choice import Count, Whole, choice
from kexp.config.messages import of_faults
from kexp.errors import ConfigError

PRUNERS: dict[str, dict[str, int]] = {
    "none": {},
    "median": {"startup_trials": 5, "warmup_epochs": 0},
    "asha": {"min_epochs": 1, "reduction": 3},
    "hyperband": {"min_epochs": 1, "reduction": 3},
}
"""What each pruner can be told, with its default."""

TRIALS = 20
"""Trials of a search that does not say how many."""


@choice
class Search:
    """Searches among the runs of a sweep with Optuna.

    `n_trials` in all, those of earlier commands among them (null: 20, with `grid` every
    combination). `sampler`: `tpe` (Bergstra et al. 2011), `random`, `grid`, or `cmaes` (Hansen
    2001, numbers only), with its `seed`. `pruner`: `median` stops a run that is worse than the
    median of the others at the same epoch, once `startup_trials` trials and `warmup_epochs` epochs
    have passed; `asha` (Li et al. 2020) lets about one in `reduction` go on from each rung, the
    first at `min_epochs`; `hyperband` (Li et al. 2018) runs several such races. `objective` is a
    quantity, as `best` or `test.error`, or a list of them. `storage`: null for a SQLite file among
    the results, `journal:PATH`, or the URL of a database. `name` of the Optuna study; null derives
    it from what is searched. `batch`: trials at a time with a launcher other than `local`.
    """

    n_trials: Count | None = None
    sampler: Literal["tpe", "random", "grid", "cmaes"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    pruner: Literal["none", "median", "asha", "hyperband"] = "none"
    startup_trials: Whole | None = None
    warmup_epochs: Whole | None = None
    min_epochs: Count | None = None
    reduction: Annotated[int, Field(ge=2)] | None = None
    objective: str | list[str] = "best"
    storage: str | None = None
    name: str | None = None
    batch: Count | None = None

    @property
    def objectives(self) -> list[str]:
        """The keys of the quantities that are searched for."""
        return [self.objective] if isinstance(self.objective, str) else self.objective

    @property
    def of_pruner(self) -> dict[str, int]:
        """The parameters of the pruner, as given or by default."""
        defaults = PRUNERS[self.pruner]
        given = {name: getattr(self, name) for name in defaults}
        return {name: defaults[name] if value is None else value for name, value in given.items()}


def search_settings(values: dict[str, Any]) -> Search:
    """The checked settings of `hydra.sweeper`. Raises `ConfigError`."""
    values = {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for key, value in values.items()
    }
    try:
        settings = Search(**values)
    except ValidationError as error:
        raise ConfigError(of_faults("hydra.sweeper", Search, values, error)) from None
    _check_pruner(settings)
    if not settings.objectives or len(set(settings.objectives)) < len(settings.objectives):
        raise ConfigError(
            "hydra.sweeper.objective must name one quantity, or several different ones, got "
            f"{settings.objective}"
        )
    for package in ("optuna", *(["cmaes"] if settings.sampler == "cmaes" else [])):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"hydra/sweeper=optuna needs the package {package}: pip install 'kexp[optuna]'"
            )
    return settings


def _check_pruner(settings: Search) -> None:
    """Refuse parameters that the pruner does not have."""
    pruner, own = settings.pruner, PRUNERS[settings.pruner]
    for name in dict.fromkeys(n for names in PRUNERS.values() for n in names):
        if name not in own and getattr(settings, name) is not None:
            having = " and ".join(p for p, names in PRUNERS.items() if name in names)
            verb = "have" if " and " in having else "has"
            raise ConfigError(
                f"hydra.sweeper.{name} means nothing to pruner={pruner}; {having} {verb} it"
            )


def pruner_of(settings: Search, epochs: int) -> Any:
    """Optuna's pruner; runs train for at most `epochs` epochs."""
    from optuna import pruners

    given = settings.of_pruner
    if settings.pruner == "median":
        return pruners.MedianPruner(given["startup_trials"], given["warmup_epochs"])
    if settings.pruner == "asha":
        return pruners.SuccessiveHalvingPruner(given["min_epochs"], given["reduction"])
    if settings.pruner == "hyperband":
        least = min(given["min_epochs"], epochs)
        return pruners.HyperbandPruner(least, epochs, given["reduction"])
    return pruners.NopPruner()


def why_pruned(settings: Search) -> str:
    """What the pruner holds against a run, in words."""
    if settings.pruner == "median":
        return "worse than the median of the other trials at that epoch"
    return f"not among the best 1/{settings.of_pruner['reduction']} of the trials at that epoch"


def refuse_pruning(settings: Search, seeds: Sequence[str], at_end: Sequence[str]) -> None:
    """Refuse a pruner where runs cannot be judged before their end. Raises `ConfigError`.

    `at_end` are the objectives that are known only then.
    """
    if settings.pruner == "none":
        return
    chosen = f"hydra.sweeper.pruner={settings.pruner}"
    if len(settings.objectives) > 1:
        raise ConfigError(
            f"{chosen} needs one objective: with {len(settings.objectives)} of them no run is "
            "worse than another at every epoch; leave the pruner out, or choose one"
        )
    if at_end:
        raise ConfigError(
            f"{chosen}: {at_end[0]} is known only at the end of a run; choose gap, validation, "
            "best, train or memorisation as the objective, or leave the pruner out"
        )
    if len(seeds) > 1:
        raise ConfigError(
            f"{chosen} needs one seed: the mean over {len(seeds)} seeds is known only when all "
            "have been trained; search with one seed and confirm the best with more, or leave "
            "the pruner out"
        )
