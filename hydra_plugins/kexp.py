"""kexp's plugins for Hydra: the launchers `local` and `vectorized`, and the sweeper `optuna`.

Hydra imports this file whenever it starts, so what they need is imported when they are used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper


class OwnLauncher(Launcher):
    """A launcher of kexp's own: it tells of each run as soon as it has ended."""

    @abstractmethod
    def train(self, numbers: Iterator[int], at_most: int, batch: int = 0) -> Iterator[Any]:
        """Train the jobs of these numbers, and give what became of each."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Remember the work, a `kexp.sweeps.work.Work`."""
        self.work = task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Train the jobs of these numbers; what became of each, in order."""
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        outcomes = {o.number: o for o in self.train(iter(numbers), len(numbers))}
        return [
            JobReturn(_return_value=outcomes[number], status=JobStatus.COMPLETED)
            for number in numbers
        ]


class LocalLauncher(OwnLauncher):
    """Trains the runs of a kexp sweep in worker processes of this machine."""

    def __init__(self, **settings: Any):
        from kexp.sweeps.local import Local, settings_of

        self.settings = settings_of(Local, settings)

    def train(self, numbers: Iterator[int], at_most: int, batch: int = 0) -> Iterator[Any]:
        """Train the jobs, one per worker at a time, asking for another when a worker is free."""
        from kexp.sweeps.local import train_all

        return train_all(self.settings, self.work, numbers, at_most)


class VectorizedLauncher(OwnLauncher):
    """Trains the runs of a kexp sweep that are the same program as one."""

    def __init__(self, **settings: Any):
        from kexp.sweeps.local import settings_of
        from kexp.sweeps.vectorized import Vectorized

        self.settings = settings_of(Vectorized, settings)

    def train(self, numbers: Iterator[int], at_most: int, batch: int = 0) -> Iterator[Any]:
        """Train the jobs, `batch` of them at a time, in groups."""
        from kexp.sweeps.vectorized import train_grouped

        return train_grouped(self.settings, self.work, numbers, at_most, batch)


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

VECTORIZED = {
    "_target_": "hydra_plugins.kexp.VectorizedLauncher",
    "replicas": None,
    "on_cpu": "workers",
    "n_jobs": None,
    "threads": None,
}
"""`hydra.launcher` of `hydra/launcher=vectorized`; see `kexp.sweeps.vectorized.Vectorized`."""

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
STORE.store(group="hydra/launcher", name="vectorized", node=VECTORIZED, provider="kexp")
STORE.store(group="hydra/sweeper", name="optuna", node=SEARCH, provider="kexp")
