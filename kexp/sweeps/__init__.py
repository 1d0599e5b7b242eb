"""A study as runs: every combination checked and told first, then trained by a launcher.

`expansion` makes the runs, `plan` says what will happen to each, `launching` sets Hydra's
launcher up, `local` and `slots` are the launcher that trains in worker processes, `vectorized` and
`grouping` the one that trains runs of one program together, `work` is what a worker is handed,
`board` shows how it goes, `search` is the sweeper on Optuna.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kexp.errors import ConfigError
from kexp.sweeps.expansion import expand
from kexp.sweeps.launching import Launching, set_up, split
from kexp.sweeps.plan import Planned, planned, told
from kexp.sweeps.work import Outcome, Work

if TYPE_CHECKING:
    from kexp.api import Session

__all__ = ["Sweep", "expand", "sweep"]


@dataclass
class Sweep:
    """What became of the runs of a sweep."""

    folders: list[Path] = field(default_factory=list)
    """The folder of every run, in order."""

    finished: int = 0
    """How many runs are finished, now or before."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    """Label and reason of each run that did not finish."""


def sweep(
    session: Session,
    overrides: Sequence[str],
    *,
    limit: int | None = 1000,
    force: bool = False,
    retry_failed: bool = False,
    dry_run: bool = False,
) -> Sweep:
    """Run every combination of the values in `overrides`, or search among them.

    Finished runs are left, partial ones go on, failed ones are trained again with `retry_failed`.
    A failed run does not stop the others. With `dry_run` nothing is trained: what would happen to
    each run is said. Raises `ConfigError` before the first run where any combination is at fault
    or there are more than `limit` of them, and `Interrupted` where a signal stopped it.
    """
    of_hydra, own = split(overrides)
    with set_up(session.composer, session.composer.read(own), of_hydra) as launch:
        if launch.sweeper_name == "optuna":
            from kexp.sweeps.search import Searched

            if force:
                raise ConfigError(
                    "--force is for sweeps: a search goes on from what is known; another "
                    "hydra.sweeper.name or paths.results begins afresh"
                )
            searched = Searched(session, launch, limit, retry_failed, dry_run)
            return launch.sweeper(searched).sweep(own)
        jobs = expand(session.composer, own, limit)
        plans = planned(session, jobs, force, retry_failed)
        session.reporter.say(told(plans))
        if dry_run:
            return _dry(session, launch, plans)
        return _trained(session, launch, plans, force)


def _dry(session: Session, launch: Launching, plans: Sequence[Planned]) -> Sweep:
    """Say what would happen to each run."""
    if jobs := [plan.job for plan in plans if plan.trains]:
        for line in launch.explained(Work(jobs)):
            session.reporter.say(line)
    width = len(str(len(plans)))
    for number, plan in enumerate(plans, 1):
        session.reporter.say(
            f"{number:>{width}}  {plan.action:<5}  {plan.job.label}: {plan.because}"
        )
    return _result(plans, {})


def _trained(session: Session, launch: Launching, plans: Sequence[Planned], force: bool) -> Sweep:
    jobs = [plan.job for plan in plans if plan.trains]
    outcomes: list[Outcome] = []
    if jobs:
        work = Work(jobs, session.config_dir, session.modules, force)
        outcomes = launch.train(work, session.reporter)
    result = _result(plans, {jobs[o.number].folder: o for o in outcomes})
    session.reporter.say(f"{result.finished} of {len(plans)} runs finished")
    for label, reason in result.failures:
        session.reporter.say(f"failed: {label}: {reason}")
    return result


def _result(plans: Sequence[Planned], outcomes: dict[Path, Outcome]) -> Sweep:
    result = Sweep([plan.job.folder for plan in plans])
    for plan in plans:
        outcome = outcomes.get(plan.job.folder)
        state = outcome.state if outcome else "finished" if plan.action == "skip" else plan.action
        reason = outcome.reason if outcome else plan.reason
        if state == "finished":
            result.finished += 1
        elif outcome or plan.action == "leave":
            known = state in ("failed", "leave")
            said = str(reason) if known else f"{state}: {reason}"
            result.failures.append((plan.job.label, said))
    return result
