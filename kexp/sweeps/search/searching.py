"""The sweeper `optuna`: which runs of a sweep are trained is decided by how others went."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexp.analysis.quantities import Quantity
from kexp.errors import ConfigError, Interrupted, KexpError
from kexp.experiment import Experiment
from kexp.store.names import run_name
from kexp.sweeps import Sweep
from kexp.sweeps.launching import Launching
from kexp.sweeps.machine import cores
from kexp.sweeps.plan import refuse_shared_folders
from kexp.sweeps.search.aims import aims, direction, is_at_end
from kexp.sweeps.search.methods import TRIALS, Search, pruner_of, refuse_pruning, search_settings
from kexp.sweeps.search.space import Interval, Space, space_of
from kexp.sweeps.work import Work

if TYPE_CHECKING:
    from kexp.api import Session
    from kexp.sweeps.search.course import Course
    from kexp.sweeps.search.trials import Trials

__all__ = ["Plan", "Search", "Searched", "search_settings"]

ROUNDS = 5
"""A launcher that takes many runs at once is given a search in about this many portions."""


@dataclass(frozen=True)
class Plan:
    """A search, checked: what, for what, how, and where it is kept.

    `base` is the identity of the first configuration; runs are trained for at
    most `epochs` epochs; `folder` holds them.
    """

    settings: Search
    space: Space
    aims: list[Quantity]
    storage: str
    folder: Path
    base: str
    epochs: int
    modules: tuple[str, ...] = ()
    config_dir: Path | None = None

    @property
    def target(self) -> int:
        """How many trials there are to be in all."""
        if self.settings.sampler == "grid" and self.space.size is not None:
            return min(self.settings.n_trials or self.space.size, self.space.size)
        return self.settings.n_trials or TRIALS

    @property
    def runs(self) -> int:
        """How many runs there are at most."""
        return self.target * max(1, len(self.space.seeds))

    def shown(self, values: Sequence[float]) -> str:
        """The values of a trial in words."""
        each = [f"{a.title} {a.show(v)}" for a, v in zip(self.aims, values, strict=True)]
        seeds = len(self.space.seeds)
        return ", ".join(each) + (f", mean over {seeds} seeds" if seeds > 1 else "")

    @property
    def content(self) -> dict[str, Any]:
        """What makes this search another one than others."""
        return {
            "search": [str(dimension) for dimension in self.space.dimensions],
            "for": [aim.key for aim in self.aims],
            "seeds": list(self.space.seeds),
            "base": self.base,
        }

    @property
    def name(self) -> str:
        """The name of the Optuna study."""
        if self.settings.name is not None:
            return self.settings.name
        text = json.dumps(self.content, sort_keys=True)
        keys = ",".join(dimension.key for dimension in self.space.dimensions)
        return run_name(keys, hashlib.sha256(text.encode()).hexdigest())


@dataclass
class Searched:
    """A sweep that is to be searched, as `hydra_plugins.kexp.OptunaSweeper` is handed it."""

    session: Session
    launch: Launching
    limit: int | None = None
    retry_failed: bool = False
    dry_run: bool = False

    def search(self, settings: Search, arguments: Sequence[str]) -> Sweep:
        """Search among the runs that the overrides describe. Raises as `kexp.sweeps.sweep`."""
        from kexp.sweeps.search.findings import described, known
        from kexp.sweeps.search.storage import file_of, opened

        plan = self._planned(settings, arguments)
        say = self.session.reporter.say
        say(described(plan))
        path = file_of(plan.storage)
        if self.dry_run and path and not path.exists():
            say("nothing is known of this search yet; a dry run trains nothing")
            return Sweep()
        if not self.dry_run:
            return self._conducted(plan)
        with opened(plan.storage, new=False) as storage:
            say(known(plan, storage))
        return Sweep()

    def _planned(self, settings: Search, arguments: Sequence[str]) -> Plan:
        """The search, with every value of every dimension checked. Raises `ConfigError`."""
        from kexp.sweeps.search.sampling import refuse_sampler
        from kexp.sweeps.search.storage import address

        space = space_of(self.session.composer, arguments)
        refuse_sampler(settings, space)
        refuse_pruning(settings, space.seeds, [k for k in settings.objectives if is_at_end(k)])
        if settings.batch and self.launch.launcher_name == "local":
            raise ConfigError(
                "hydra.sweeper.batch is for launchers that take many runs at once; the launcher "
                "local asks for a trial whenever a worker is free: set hydra.launcher.n_jobs"
            )
        experiments = self._checked(space)
        first = experiments[0]
        varied = {dimension.key for dimension in space.dimensions}
        plan = Plan(
            settings,
            space,
            aims(settings.objectives, experiments, varied),
            address(settings.storage, first.folder.parent),
            first.folder.parent,
            first.identity,
            max(e.training.epochs for e in experiments),
            self.session.modules,
            self.session.config_dir,
        )
        if self.limit is not None and plan.runs > self.limit:
            raise ConfigError(
                f"this search has {plan.runs:,} runs, more than {self.limit:,}; add --yes if that "
                "is meant"
            )
        return plan

    def _checked(self, space: Space) -> list[Experiment]:
        """The experiments of the values to check, on the data that they will have."""
        runs = [space.runs(values)[0] for values in space.checked()]
        runs += space.runs(space.checked()[0])[1:]
        try:
            experiments = [self.session.experiment(run) for run in runs]
            refuse_shared_folders(experiments)
        except ConfigError as error:
            raise ConfigError(f"{error}{_whole_numbers(space, str(error))}") from None
        settle = self.session.settled
        return [settle(e, run)[0] for e, run in zip(experiments, runs, strict=True)]

    def _conducted(self, plan: Plan) -> Sweep:
        from kexp.sweeps.search.claims import claiming
        from kexp.sweeps.search.course import Course
        from kexp.sweeps.search.findings import found
        from kexp.sweeps.search.storage import opened

        say = self.session.reporter.say
        with opened(plan.storage) as storage, claiming() as owner:
            trials = self._trials(plan, storage, owner)
            if self.retry_failed and (count := trials.enqueue_failed()):
                say(f"--retry-failed: {count} trial{'' if count == 1 else 's'} to try again")
            course = Course(self.session, plan, trials, self.retry_failed)
            try:
                self._stream(course)
            except (Interrupted, KeyboardInterrupt):
                say(found(plan, trials, course))
                raise
            say(found(plan, trials, course))
            return course.result()

    def _stream(self, course: Course) -> None:
        """Train what the course asks for, and let it hear what became of it."""
        work = Work(course.jobs, self.session.config_dir, self.session.modules)
        batch, reporter = self._batch(course.plan), self.session.reporter
        while (first := next(numbers := course.numbers(), None)) is not None:
            every, at_most = itertools.chain([first], numbers), max(1, course.left())
            for outcome in self.launch.stream(work, every, at_most, reporter, batch):
                course.hear(outcome)

    def _batch(self, plan: Plan) -> int:
        """How many runs a launcher takes at once, where it cannot ask for one at a time."""
        name, trials = self.launch.launcher_name, plan.settings.batch
        seeds, chosen = max(1, len(plan.space.seeds)), self.launch.config.hydra.launcher
        if trials is None and name == "basic":
            trials = 1
        elif trials is None and name == "vectorized" and chosen.replicas:
            trials = max(1, int(chosen.replicas) // seeds)
        elif trials is None and name == "joblib":
            jobs = int(chosen.n_jobs)
            trials = jobs if jobs > 0 else max(1, cores() + 1 + jobs)
        elif trials is None:
            trials = max(1, plan.target // ROUNDS)
        return trials * seeds

    def _trials(self, plan: Plan, storage: Any, owner: dict[str, Any]) -> Trials:
        """The trials in the storage, which are made where this search is new."""
        from filelock import FileLock

        from kexp.sweeps.search.trials import Trials

        def folders(values: dict[str, Any]) -> list[Path]:
            try:
                return [self.session.experiment(r).folder for r in plan.space.runs(values)]
            except KexpError:
                return []

        lock = plan.folder / ".search.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            study = study_of(plan, storage)
        return Trials(
            study,
            storage,
            plan.space,
            plan.target,
            plan.settings.sampler == "grid",
            plan.settings.seed,
            owner,
            lock,
            folders,
            self.retry_failed,
        )


def study_of(plan: Plan, storage: Any, new: bool = True) -> Any:
    """The Optuna study of a search. Raises `ConfigError` where its name is another's.

    Where it is not there and may not be made, `KeyError` is raised.
    """
    import optuna

    from kexp.sweeps.search.sampling import sampler_of
    from kexp.sweeps.search.storage import patiently

    how: dict[str, Any] = {
        "storage": storage,
        "study_name": plan.name,
        "sampler": sampler_of(plan.settings),
        "pruner": pruner_of(plan.settings, plan.epochs),
    }
    if not new:
        study = optuna.load_study(**how)
    else:
        directions = [direction(aim) for aim in plan.aims]
        study = patiently(
            lambda: optuna.create_study(**how, directions=directions, load_if_exists=True)
        )
    known = study.user_attrs.get("kexp")
    if known is None and new and not study.get_trials(deepcopy=False):
        study.set_user_attr("kexp", plan.content)
    elif known != plan.content:
        raise ConfigError(_another(plan, known))
    return study


def _another(plan: Plan, known: Any) -> str:
    from kexp.sweeps.search.storage import shown

    differing = [
        f"\n  {key}: {known.get(key)}, now {value}"
        for key, value in plan.content.items()
        if isinstance(known, dict) and known.get(key) != value
    ]
    return (
        f"{shown(plan.storage)} has a study {plan.name} of another search"
        f"{''.join(differing) or ', which kexp has not begun'}\n"
        "choose another hydra.sweeper.name, or leave it out"
    )


def _whole_numbers(space: Space, fault: str) -> str:
    """What to write for whole numbers, where an interval of others is at fault."""
    for d in space.dimensions:
        if isinstance(d, Interval) and not d.whole and d.key in fault and "whole" in fault:
            text = f"int(interval({d.low:g},{d.high:g}))"
            text = f"tag(log, {text})" if d.log else text
            return f"\nan interval of whole numbers: '{d.key}={text}'"
    return ""
