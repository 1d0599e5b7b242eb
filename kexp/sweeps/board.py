"""How a sweep is getting on: lines where they are piped, a live view as well in a terminal."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kexp.config.wording import plural
from kexp.measures import YARDSTICKS
from kexp.progress import Live, Reporter, epoch_line
from kexp.store import RunFolder
from kexp.store.reading import epoch_in, read_json
from kexp.sweeps.machine import Share
from kexp.sweeps.work import Job, Outcome

TAIL_BYTES = 2**16
"""More than the last line of any history."""

MOST_SHOWN = 16
"""Runs under way that have a line of their own: what is taller than a terminal is cut off."""


class Board:
    """Says in a line when a run has ended; the base of the live view."""

    def __init__(self, reporter: Reporter, jobs: Sequence[Job], total: int):
        self.reporter, self.jobs, self.total = reporter, jobs, total
        self.counts = {"finished": 0, "pruned": 0, "failed": 0}
        self.running: dict[int, RunFolder] = {}
        self._ended: set[int] = set()
        self._waiting: set[int] = set()
        self._began = time.monotonic()
        self._best: tuple[float, str, str] | None = None

    @property
    def done(self) -> int:
        """How many runs have ended."""
        return len(self._ended)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Around the sweep; the live view is open inside."""
        yield

    def workers(self, shares: Sequence[Share]) -> None:
        """Say how the machine is shared out."""
        where = {share.gpu for share in shares if share.gpu is not None}
        on = f" on {plural(len(where), 'GPU')}" if where else ""
        threads = shares[0].threads
        self.reporter.say(
            f"{plural(len(shares), 'run')} at once{on}, {plural(threads, 'thread')} each"
        )

    def has_ended(self, number: int) -> bool:
        """Whether that run has ended."""
        return number in self._ended

    def started(self, number: int, folder: RunFolder) -> None:
        """A run has been given to a worker."""
        self.running[number] = folder

    def held(self, outcome: Outcome) -> None:
        """A run is being trained by another process, and will be looked at again."""
        self.put_back(outcome.number)
        if outcome.number not in self._waiting:
            self._waiting.add(outcome.number)
            self.reporter.say(f"waiting: {outcome.reason}")

    def put_back(self, number: int) -> None:
        """A run under way will be given to a worker once more."""
        self.running.pop(number, None)

    def ended(self, outcome: Outcome) -> None:
        """A run has ended, one way or another."""
        self.running.pop(outcome.number, None)
        self._ended.add(outcome.number)
        kind = outcome.state if outcome.state in self.counts else "failed"
        self.counts[kind] += outcome.state != "interrupted"
        job = self.jobs[outcome.number]
        said = f"{outcome.state}: {outcome.reason}"
        if outcome.state == "finished":
            said = f"finished{self._result(RunFolder(job.folder), job.label)}"
        count = f"[{self.done:>{len(str(self.total))}}/{self.total}]"
        left = self.time_left() if outcome.state != "interrupted" else ""
        self.reporter.say(f"{count} {job.label}: {said}{f'; {left} left' if left else ''}")

    def look(self) -> None:
        """Renew what is shown of the runs under way."""

    def time_left(self) -> str:
        """About how long the rest will take, as `1:20`; empty where that is not known."""
        done = len(self._ended) + sum(self._share(n, f) for n, f in self.running.items())
        if not self._ended or done >= self.total:
            return ""
        return _clock((time.monotonic() - self._began) * (self.total - done) / done)

    @property
    def best(self) -> str:
        """The best finished run so far and its value."""
        return f"best {self._best[2]}: {self._best[1]}" if self._best else ""

    def epoch(self, number: int, folder: RunFolder) -> tuple[int, int, dict[str, Any] | None]:
        """The last epoch of a run under way, of how many, and its record."""
        record = last_epoch(folder.history)
        epoch = record.get("epoch", 0) if record else 0
        return epoch, max(self.jobs[number].epochs, epoch), record

    def _share(self, number: int, folder: RunFolder) -> float:
        epoch, epochs, _ = self.epoch(number, folder)
        return min(1.0, epoch / epochs)

    def _result(self, folder: RunFolder, label: str) -> str:
        summary = read_json(folder.summary) or {}
        with contextlib.suppress(KeyError, TypeError):
            yardstick = YARDSTICKS[summary["monitor"]]
            value = summary["best"]["validation"][yardstick.name]
            shown = f"{yardstick.label} {yardstick.show(value)}"
            if self._best is None or yardstick.sign * value < self._best[0]:
                self._best = (yardstick.sign * value, label, shown)
            return f", validation {shown} at epoch {summary['best_epoch']}"
        return ""


class LiveBoard(Board):
    """The same lines above a bar of the sweep and a line for each run under way."""

    def __init__(self, reporter: Reporter, jobs: Sequence[Job], total: int):
        super().__init__(reporter, jobs, total)
        self._tasks: dict[int, Any] = {}

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the live view."""
        from rich.progress import BarColumn, Progress, TextColumn

        assert isinstance(self.reporter, Live)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
        progress = Progress(
            *columns,
            console=self.reporter.console(),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with progress, self.reporter.above(progress):
            self._progress = progress
            self._overall = progress.add_task("sweep", total=self.total)
            yield

    def look(self) -> None:
        """Renew the bar of the sweep and the lines of the runs."""
        update, remove = self._progress.update, self._progress.remove_task
        shown = set(itertools.islice(self.running, MOST_SHOWN))
        for number in self._tasks.keys() - shown:
            remove(self._tasks.pop(number))
        done = float(self.done)
        for number, folder in self.running.items():
            epoch, epochs, record = self.epoch(number, folder)
            done += min(1.0, epoch / epochs)
            if number not in shown:
                continue
            if number not in self._tasks:
                self._tasks[number] = self._progress.add_task("", total=epochs)
            label = self.jobs[number].label
            known = record and epoch_line(record, epochs, _yardstick(record))
            update(self._tasks[number], completed=epoch, description=f"  {label}  {known or '…'}")
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items() if count)
        parts = [f"{self.done}/{self.total}", f"{len(self.running)} running", counts]
        left = self.time_left()
        parts += [f"{left} left" if left else "", self.best]
        update(self._overall, completed=done, description="  ".join(filter(None, parts)))


def board_for(reporter: Reporter, jobs: Sequence[Job], total: int) -> Board:
    """The view that suits where the reporter speaks; of `jobs`, there may be more later."""
    return (LiveBoard if isinstance(reporter, Live) else Board)(reporter, jobs, total)


def last_epoch(history: Path) -> dict[str, Any] | None:
    """The last whole record of a history that is being written."""
    try:
        with open(history, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines[:-1]):
        if record := epoch_in(line):
            return record
    return None


def _yardstick(record: dict[str, Any]) -> str:
    return next((name for name in record.get("validation", {}) if name in YARDSTICKS), "fit")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
