"""A worker process and the runs it is busy with, as the sweep sees them.

Each worker is a Pebble pool of one process: so it can be given its own share of the machine, be
replaced when it has grown, and die without harm to the others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from pebble import ProcessExpired, ProcessPool

from kexp.errors import Interrupted, KexpError
from kexp.store import RunFolder
from kexp.sweeps.machine import Share, processes_killed_for_memory, resident_mib
from kexp.sweeps.work import Outcome, Portion, Work
from kexp.sweeps.worker import start, train

SAVING_SECONDS = 30.0
"""How long a run that was asked to stop may take to save before its process is killed."""

ONE_MORE_SECONDS = 0.5
"""How much longer for each further run of the same process."""

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


class Slot:
    """One worker process, started when it is first needed."""

    def __init__(self, share: Share, growth_mib: float | None):
        self.share, self.growth_mib = share, growth_mib
        self.folders: dict[int, RunFolder] = {}
        self.peak_mib = 0.0
        self._pool: ProcessPool | None = None
        self._first_mib: float | None = None
        self.limit: float | None = None
        self._began: float | None = None
        self._stopped_at: float | None = None
        self._out_of_time = False

    @property
    def busy(self) -> bool:
        """Whether it has runs that have not been collected."""
        return bool(self.folders)

    @property
    def pid(self) -> int | None:
        """The process in use, if it has been started."""
        process = self._context.process if self._pool else None
        return process.pid if process else None

    def take(self, work: Work, portion: Portion, seconds: float | None) -> None:
        """Begin a portion; its runs are asked to stop after `seconds` and killed somewhat later."""
        self.folders = {n: RunFolder(work.jobs[n].folder) for n in portion.numbers}
        self._before = {number: folder.state() for number, folder in self.folders.items()}
        self._began, self._stopped_at, self._out_of_time = None, None, False
        self.limit = seconds
        self._killed_for_memory = processes_killed_for_memory()
        self.future = self.ask(train, work.only(*portion.numbers), portion)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Have the process call a function, after what it is busy with."""
        if self._pool is None:
            self._context = CleanSpawn()
            self._pool = ProcessPool(
                1, initializer=start, initargs=(self.share,), context=self._context
            )
            self._first_mib = None
        return self._pool.schedule(function, arguments)

    def watch(self) -> None:
        """Keep the time limit, and note how large the process has become."""
        now = time.monotonic()
        if self._began is None and self.future.running():
            self._began = now
        if self.limit and self._began and now - self._began > self.limit:
            self._out_of_time = self._out_of_time or self._stopped_at is None
            self.stop()
        if self._stopped_at and now - self._stopped_at > self.saving_seconds and self.pid:
            _signal(self.pid, KILL)
        self.peak_mib = max(self.peak_mib, resident_mib(self.pid) if self.pid else 0.0)

    @property
    def saving_seconds(self) -> float:
        """How long what it is busy with may take to save."""
        return SAVING_SECONDS + ONE_MORE_SECONDS * (len(self.folders) - 1)

    def stop(self) -> None:
        """Ask the runs to save and end."""
        if self._stopped_at is None and self.pid:
            self._stopped_at = time.monotonic()
            _signal(self.pid, signal.SIGTERM)

    def collect(self) -> list[Outcome]:
        """What became of the runs; the process is replaced if it died or has grown too large."""
        assert self.busy and self.future.done()
        error = self.future.exception()
        if error is None:
            outcomes = self.future.result()
        else:
            outcomes = [self._outcome(number, error) for number in self.folders]
        self.folders = {}
        unsound = error is not None and not isinstance(error, Interrupted)
        if unsound or self._too_large(max(outcome.resident_mib for outcome in outcomes)):
            self.close()
        return outcomes

    def close(self) -> None:
        """End the process, at once."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _too_large(self, resident: float) -> bool:
        if self._first_mib is None:
            self._first_mib = resident
        return self.growth_mib is not None and resident > self._first_mib + self.growth_mib

    def _outcome(self, number: int, error: BaseException) -> Outcome:
        """What became of a run whose process gave no answer."""
        status = self.folders[number].state()
        state, reason = status.get("state"), status.get("reason")
        if isinstance(error, Interrupted) and state == "finished":
            return Outcome(number, state)
        if isinstance(error, Interrupted):
            return self._ended(number, "interrupted", str(error))
        if state not in (None, "running", "interrupted") and status != self._before[number]:
            return Outcome(number, state, reason)  # before its process died
        if self._stopped_at and not self._out_of_time:
            return self._ended(number, "interrupted", "stopped before it could save")
        if not isinstance(error, ProcessExpired):
            return Outcome(number, "failed", f"its process ended before the run began ({error})")
        if state in ("finished", "interrupted"):
            return self._ended(number, state, reason)
        return self._ended(number, *self._cause_of_death(error.exitcode))

    def _ended(self, number: int, state: str, reason: str | None) -> Outcome:
        """The outcome, after a time limit told as such; written down where the run could not."""
        if self._out_of_time and state != "finished":
            state, reason = "timeout", f"stopped after the time limit of {self.limit:g} s"
        if state not in ("finished", "interrupted"):
            try:
                self.folders[number].conclude(state, reason)
            except (KexpError, OSError) as error:
                reason = f"{reason}; its record could not be told: {error}"
        return Outcome(number, state, reason)

    def _cause_of_death(self, exitcode: int | None) -> tuple[str, str]:
        before, after = self._killed_for_memory, processes_killed_for_memory()
        if exitcode == -KILL and before is not None and (after or 0) > before:
            key = "n_jobs" if len(self.folders) == 1 else "replicas"
            return "oom", (
                "its process was killed because memory ran out; fewer runs at once "
                f"(hydra.launcher.{key}) or a smaller training.batch_size need less"
            )
        if exitcode is not None and exitcode < 0:
            return "failed", f"its process was ended by {signal.Signals(-exitcode).name}"
        return "failed", f"its process ended with exit code {exitcode}"


class CleanSpawn(SpawnContext):
    """Starts processes that do not import the program that started them, which may be a script
    without `if __name__ == "__main__"`; remembers the latest.
    """

    process: Any = None

    def Process(self, *arguments: Any, **named: Any) -> Any:  # noqa: N802 (the standard's name)
        """A new process, not yet started."""
        self.process = _Process(*arguments, **named)
        return self.process


class _Process(SpawnProcess):
    def start(self) -> None:
        with _main_hidden():
            super().start()


STARTING = threading.Lock()


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    with STARTING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)
