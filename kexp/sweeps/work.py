"""The runs of a sweep as they are handed to whatever process trains them."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexp.backends import set_default_threads
from kexp.errors import Held, Interrupted
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
    `trial` belongs to a search and hears of every epoch: it may stop the run.
    """

    overrides: tuple[str, ...]
    folder: Path
    label: str
    epochs: int
    device: str = "auto"
    again: bool = False
    trial: Any = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `state` as in status.json, or `held` where another process has it."""

    number: int
    state: str
    reason: str | None = None
    resident_mib: float = 0.0


@dataclass
class Work:
    """The task function that Hydra's launchers call, in this process or in another.

    It carries what another process needs: the jobs, the user's modules, the working directory,
    kexp's environment variables, and the number of threads that a run may take there. What only
    this process needs, `reporter` and `board`, stays here.
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

    def alone(self, number: int) -> Work:
        """The same with one job only, which keeps its number."""
        twin = copy.copy(self)
        twin.jobs = [*[None] * number, self.jobs[number]]
        return twin

    def train(self, number: int) -> Outcome:
        """Train one job; its fault becomes its outcome. `Interrupted` is raised."""
        from kexp.api import Session

        job, reporter = self.jobs[number], self.reporter
        assert job is not None
        if job.trial is not None:
            reporter = job.trial.watching(reporter, job.folder)
        status = RunFolder(job.folder).state()
        if status.get("state") in FAILED and not (job.again or self.force):
            return Outcome(number, status["state"], status.get("reason"), resident_mib())
        try:
            session = Session(self.config_dir, self.modules, reporter)
            session.train(session.experiment(job.overrides), self.force)
        except Interrupted:
            raise
        except Held as error:
            return Outcome(number, "held", str(error))
        except Exception as error:
            return Outcome(number, *ending(error), resident_mib())
        return Outcome(number, "finished", None, resident_mib())

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
