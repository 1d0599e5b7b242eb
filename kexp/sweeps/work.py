"""The runs of a sweep as they are handed to whatever process trains them."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kexp.backends import set_default_threads
from kexp.errors import Held, Interrupted
from kexp.experiment import Experiment
from kexp.progress import Reporter
from kexp.recording import ending
from kexp.store import RunFolder
from kexp.sweeps.machine import resident_mib

FAILED = ("failed", "diverged", "oom", "timeout")
"""States of runs that are trained again only if that is asked for."""

REQUEUED_AT = ("SIGUSR1", "SIGUSR2")
"""Signals by which a cluster warns a job of its end; it wants to be queued again then."""


@dataclass(frozen=True)
class Job:
    """One run: its overrides, data already settled, and the folder of its record.

    A run that has failed, as another process may have found meanwhile, is trained only if `again`.
    `trial` belongs to a search and hears of every epoch: it may stop the run. `experiment` is what
    the overrides describe; it stays in the process that made it.
    """

    overrides: tuple[str, ...]
    folder: Path
    label: str
    epochs: int
    device: str = "auto"
    again: bool = False
    trial: Any = None
    experiment: Experiment | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "experiment": None}


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `state` as in status.json, or `held` where another process has it."""

    number: int
    state: str
    reason: str | None = None
    resident_mib: float = 0.0


@dataclass(frozen=True)
class Portion:
    """Jobs that are trained at once: as one program that is made for `seats`, or one as usual."""

    numbers: tuple[int, ...]
    seats: int = 1


@dataclass
class Work:
    """The task function that Hydra's launchers call, in this process or in another.

    It carries what another process needs: the jobs, the user's modules, the working directory,
    kexp's environment variables, and the number of threads that a run may take there. What only
    this process needs, `reporter` and `board`, stays here. `retried` are jobs that failed in this
    sweep and go on all the same.
    """

    jobs: Sequence[Job | None]
    config_dir: Path | None = None
    modules: tuple[str, ...] = ()
    force: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        self.folder, self.process = os.getcwd(), os.getpid()
        self.environment = {k: v for k, v in os.environ.items() if k.startswith("KEXP_")}
        self.reporter, self.board = Reporter(), None
        self.interrupted: Interrupted | None = None
        self.total = len(self.jobs)
        self.retried: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "reporter": Reporter(), "board": None}

    def __call__(self, config: Any) -> Outcome:
        """Train the job whose number Hydra gives."""
        from hydra.core.hydra_config import HydraConfig

        number = int(HydraConfig.get().job.num)
        if os.getpid() == self.process:
            return self._here(number)
        own_session()
        os.chdir(self.folder)
        os.environ.update(self.environment)
        set_default_threads(self.threads)
        with _requeued():
            return self.train(number)

    @property
    def cpu_only(self) -> bool:
        """Whether no job wants a GPU."""
        return all(job is None or job.device == "cpu" for job in self.jobs)

    def only(self, *numbers: int) -> Work:
        """The same with some of the jobs, which keep their numbers."""
        twin = copy.copy(self)
        twin.jobs = [self.jobs[n] if n in numbers else None for n in range(max(numbers) + 1)]
        twin.force = self.force and self.retried.isdisjoint(numbers)
        return twin

    def train(self, number: int) -> Outcome:
        """Train one job; its fault becomes its outcome. `Interrupted` is raised."""
        from kexp.api import Session

        if (failed := self._failed(number)) is not None:
            return failed
        try:
            session = Session(self.config_dir, self.modules, self._reporter(number))
            session.train(session.experiment(self._job(number).overrides), self.force)
        except Interrupted:
            raise
        except Held as error:
            return Outcome(number, "held", str(error))
        except Exception as error:
            return Outcome(number, *ending(error), resident_mib())
        return Outcome(number, "finished", None, resident_mib())

    def train_together(self, portion: Portion) -> list[Outcome]:
        """Train jobs as one program; a signal has them save and end as interrupted."""
        from kexp.api import Session
        from kexp.runner import run_group

        failed = {n: told for n in portion.numbers if (told := self._failed(n)) is not None}
        if not (left := [n for n in portion.numbers if n not in failed]):
            return list(failed.values())
        try:
            session = Session(self.config_dir, self.modules)
            experiments = [session.experiment(self._job(n).overrides) for n in left]
            reporters = [self._reporter(n) for n in left]
            ended = run_group(experiments, reporters, self.force, portion.seats)
        except (Exception, SystemExit) as error:
            ended = [ending(error)] * len(left)
        trained = zip(left, ended, strict=True)
        return [*failed.values(), *(Outcome(n, *end, resident_mib()) for n, end in trained)]

    def fitting(self, number: int) -> tuple[int, str]:
        """How many runs like this job the device's memory holds at once, and why in words."""
        from kexp.api import Session
        from kexp.runner import fitting

        session = Session(self.config_dir, self.modules)
        return fitting(session.experiment(self._job(number).overrides))

    def _job(self, number: int) -> Job:
        job = self.jobs[number]
        assert job is not None
        return job

    def _reporter(self, number: int) -> Reporter:
        """What hears of a job: with the search that it belongs to, if it does."""
        job = self._job(number)
        if job.trial is None:
            return self.reporter
        return job.trial.watching(self.reporter, job.folder)

    def _failed(self, number: int) -> Outcome | None:
        """The failure of a job that is not to be trained again."""
        job = self._job(number)
        status = RunFolder(job.folder).state()
        if status.get("state") not in FAILED or job.again or self.force or number in self.retried:
            return None
        return Outcome(number, status["state"], status.get("reason"), resident_mib())

    def _here(self, number: int) -> Outcome:
        """In the process of the sweep itself; after a signal, the jobs that are left do nothing."""
        if self.interrupted:
            return Outcome(number, "interrupted", str(self.interrupted))
        self.reporter.say(f"run {number + 1} of {self.total}")
        try:
            outcome = self.train(number)
        except Interrupted as error:
            self.interrupted = error
            job = self.jobs[number]
            if job is not None and RunFolder(job.folder).state().get("state") == "finished":
                return Outcome(number, "finished")
            return Outcome(number, "interrupted", str(error))
        if outcome.state != "finished":
            self.reporter.say(f"{outcome.state}: {outcome.reason}")
        return outcome


def own_session() -> None:
    """Keep a terminal's Ctrl-C from this process: it is for the sweep, which passes it on."""
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()


@contextlib.contextmanager
def _requeued() -> Iterator[None]:
    """After a cluster's warning signal has stopped a run, hand the signal on to submitit.

    The run has saved by then; submitit queues the job again, and it goes on from there.
    """
    try:
        yield
    except Interrupted as error:
        if "SUBMITIT_EXECUTOR" in os.environ and error.signal in REQUEUED_AT:
            from submitit import JobEnvironment

            os.kill(os.getpid(), JobEnvironment._usr_sig())
            signal.pause()
        raise
