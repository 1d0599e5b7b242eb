"""kexp's plugins for Hydra: the launcher `local` and the sweeper `optuna`.

Hydra imports this file whenever it starts, so what they need is imported when they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper


class LocalLauncher(Launcher):
    """Trains the runs of a kexp sweep in worker processes of this machine."""

    def __init__(self, **settings: Any):
        from kexp.sweeps.local import local_settings

        self.settings = local_settings(settings)

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Remember the work, a `kexp.sweeps.work.Work`."""
        self.work = task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Train the jobs of these numbers; what became of each, in order."""
        from kexp.sweeps.local import train_all

        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        trained = train_all(self.settings, self.work, iter(numbers), at_most=len(numbers))
        outcomes = {outcome.number: outcome for outcome in trained}
        return [
            JobReturn(_return_value=outcomes[number], status=JobStatus.COMPLETED)
            for number in numbers
        ]


class OptunaSweeper(Sweeper):
    """Searches among the runs that a kexp sweep describes, with Optuna."""

    def __init__(self, **settings: Any):
        from kexp.sweeps.search import search_settings

        self.settings = search_settings(settings)

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Remember what `sweep` needs; `task_function` is a `kexp.sweeps.search.Searched`."""
        self.searched = task_function

    def sweep(self, arguments: list[str]) -> Any:
        """Search among the values that the overrides allow."""
        return self.searched.search(self.settings, arguments)


LOCAL = {
    "_target_": "hydra_plugins.kexp.LocalLauncher",
    "n_jobs": None,
    "threads": None,
    "jobs_per_gpu": 1,
    "time_limit": None,
    "growth_mib": 500,
}
"""`hydra.launcher` of `hydra/launcher=local`; see `kexp.sweeps.local.Local`."""

SEARCH = {
    "_target_": "hydra_plugins.kexp.OptunaSweeper",
    "n_trials": None,
    "sampler": "tpe",
    "seed": 0,
    "pruner": "none",
    "startup_trials": None,
    "warmup_epochs": None,
    "min_epochs": None,
    "reduction": None,
    "objective": "best",
    "storage": None,
    "name": None,
    "batch": None,
}
"""`hydra.sweeper` of `hydra/sweeper=optuna`; see `kexp.sweeps.search.methods.Search`."""

STORE = ConfigStore.instance()
STORE.store(group="hydra/launcher", name="local", node=LOCAL, provider="kexp")
STORE.store(group="hydra/sweeper", name="optuna", node=SEARCH, provider="kexp")
