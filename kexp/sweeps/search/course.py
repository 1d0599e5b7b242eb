"""A search under way: trials become runs, and what became of the runs is told of the trials."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from kexp.errors import KexpError
from kexp.store import RunFolder
from kexp.sweeps import Sweep
from kexp.sweeps.board import last_epoch
from kexp.sweeps.plan import Planned, planned
from kexp.sweeps.search.aims import value_of
from kexp.sweeps.search.trial import Trial
from kexp.sweeps.search.trials import Trials, label
from kexp.sweeps.work import Job, Outcome

if TYPE_CHECKING:
    from kexp.api import Session
    from kexp.sweeps.search.searching import Plan

HELD_SECONDS = 3.0
"""How often it is tried again to train a run that another process holds."""


@dataclass
class Asked:
    """A trial, its runs, and those of them that have ended: state and reason by folder."""

    number: int
    jobs: list[Job]
    ended: dict[Path, tuple[str, str]] = field(default_factory=dict)
    trained: bool = False

    @property
    def is_over(self) -> bool:
        """Whether every run has ended."""
        return all(job.folder in self.ended for job in self.jobs)


class Course:
    """Asks for trials, hands out their runs as jobs, and tells what became of them."""

    def __init__(self, session: Session, plan: Plan, trials: Trials, retry_failed: bool):
        self.session, self.plan, self.trials = session, plan, trials
        self.retry_failed = retry_failed
        self.jobs: list[Job | None] = []
        self.reused = 0
        self._queue: deque[int] = deque()
        self._held: deque[tuple[float, Job]] = deque()
        self._users: dict[Path, list[Asked]] = {}
        self._over: dict[Path, tuple[str, str]] = {}
        self._lost: set[Path] = set()
        self._runs: set[str] = set()

    def numbers(self) -> Iterator[int]:
        """The number of a job to train, whenever one is asked for, until there are no more."""
        while True:
            if self._queue:
                yield self._queue.popleft()
            elif (trial := self.trials.next()) is not None:
                self._begin(trial)
            elif self._held:
                due, job = self._held.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                self._add(job)
            else:
                return

    def left(self) -> int:
        """How many runs there are still to be trained, at most."""
        over = sum(t.state.is_finished() for t in self.trials.latest())
        return (self.plan.target - over) * max(1, len(self.plan.space.seeds))

    def hear(self, outcome: Outcome) -> None:
        """A job has ended, one way or another."""
        job = self.jobs[outcome.number]
        assert job is not None
        state, reason = outcome.state, outcome.reason or ""
        if state == "interrupted":
            return
        lost = state == "failed" and RunFolder(job.folder).state().get("state") == "running"
        if state == "held" or (lost and job.folder not in self._lost):
            self._lost.update([job.folder] if lost else [])
            self._held.append((time.monotonic() + HELD_SECONDS, job))
            return
        self._over[job.folder] = state, reason
        for asked in self._users.pop(job.folder, []):
            asked.ended[job.folder] = state, reason
            self._tell_if_over(asked)

    def result(self) -> Sweep:
        """What became of the runs of all trials, those of earlier commands among them."""
        names = [name for t in self.trials.latest() for name in t.user_attrs.get("runs", [])]
        folders = [self.plan.folder / name for name in dict.fromkeys(names)]
        states = [RunFolder(folder).state().get("state") for folder in folders]
        failures = [(label(t), str(t.user_attrs.get("reason"))) for t in self.trials.failed()]
        return Sweep(folders, states.count("finished"), failures)

    def _begin(self, trial: FrozenTrial) -> None:
        """Have the runs of a trial trained that are not logged yet."""
        runs = self.plan.space.runs(trial.params)
        try:
            plans = planned(self.session, runs, False, self.retry_failed)
        except KexpError as error:
            self._tell(trial.number, TrialState.FAIL, str(error), aloud=True)
            return
        plans = [replace(plan, job=self._job(plan.job, trial.number)) for plan in plans]
        asked = Asked(trial.number, [plan.job for plan in plans])
        self._runs |= {name for t in self.trials.all() for name in t.user_attrs.get("runs", [])}
        self.trials.note(trial.number, runs=[plan.job.folder.name for plan in plans])
        for plan in plans:
            self._begin_run(asked, plan)
        self._tell_if_over(asked)

    def _begin_run(self, asked: Asked, plan: Planned) -> None:
        folder = plan.job.folder
        known = self._known(plan)
        if folder in self._users:
            self._users[folder].append(asked)
        elif known is not None:
            asked.ended[folder] = known
        else:
            asked.trained = True
            self._users[folder] = [asked]
            self._add(plan.job)

    def _known(self, plan: Planned) -> tuple[str, str] | None:
        """State and reason of a run that is not to be trained."""
        if plan.job.folder in self._over:
            return self._over[plan.job.folder]
        if plan.action == "skip":
            return "finished", ""
        if plan.action == "leave":
            return "failed", str(plan.reason)
        status = RunFolder(plan.job.folder).state()
        if status.get("state") == "pruned" and self.plan.settings.pruner != "none":
            if plan.job.folder.name in self._runs:
                return "pruned", str(status.get("reason"))
        return None

    def _job(self, job: Job, number: int) -> Job:
        """The job of a trial, which hears of its epochs where it may be pruned."""
        varied = [o for o in job.overrides if o not in self.plan.space.fixed]
        job = replace(job, label=" ".join([f"trial {number}", *varied]))
        if self.plan.settings.pruner == "none":
            return job
        settings, (aim,) = self.plan.settings, self.plan.aims
        trial = Trial(self.plan.storage, self.plan.name, number, aim, settings, self.plan.epochs)
        return replace(job, trial=trial)

    def _add(self, job: Job) -> None:
        self._queue.append(len(self.jobs))
        self.jobs.append(job)

    def _tell_if_over(self, asked: Asked) -> None:
        """Once every run has ended, tell the trial's values, or why it has none."""
        if not asked.is_over:
            return
        epochs = [(_epochs(job.folder), job.epochs) for job in asked.jobs]
        self.trials.note(asked.number, epochs=epochs, reused=not asked.trained)
        self.reused += not asked.trained
        ended = [(job, *asked.ended[job.folder]) for job in asked.jobs]
        wrong = sorted((e for e in ended if e[1] != "finished"), key=lambda e: e[1] == "pruned")
        if not wrong:
            self._tell_values(asked)
            return
        job, state, reason = wrong[0]
        said = reason if state in ("failed", "pruned") else f"{state}: {reason}"
        said = f"{job.overrides[-1]}: {said}" if asked.jobs[1:] else said
        told = TrialState.PRUNED if state == "pruned" else TrialState.FAIL
        self._tell(asked.number, told, said, aloud=not asked.trained or bool(asked.jobs[1:]))

    def _tell_values(self, asked: Asked) -> None:
        """Tell the values of a trial: the means over its runs."""
        values = []
        for aim in self.plan.aims:
            each = {job.folder: value_of(aim, job.folder) for job in asked.jobs}
            known = [value for value in each.values() if value is not None]
            if len(known) < len(each):
                without = next(folder for folder, value in each.items() if value is None)
                reason = f"{without} has no {aim.title}"
                self._tell(asked.number, TrialState.FAIL, reason, aloud=True)
                return
            values.append(sum(known) / len(known))
        self.trials.tell(asked.number, values)
        if not asked.trained or asked.jobs[1:] or self.plan.settings.objective != "best":
            reused = "" if asked.trained else " (logged before)"
            say = self.session.reporter.say
            say(f"trial {asked.number}: {self.plan.shown(values)}{reused}")

    def _tell(self, number: int, state: TrialState, reason: str, aloud: bool) -> None:
        """Tell a trial that has no value, and say so where no line of a run does."""
        self.trials.tell(number, state, reason)
        if aloud:
            word = "pruned" if state == TrialState.PRUNED else "failed"
            self.session.reporter.say(f"trial {number} {word}: {reason}")


def _epochs(folder: Path) -> int:
    record: dict[str, Any] | None = last_epoch(RunFolder(folder).history)
    return int(record["epoch"]) if record else 0
