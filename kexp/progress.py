"""What a run says while it trains: lines when piped, a bar as well in a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from kexp.errors import spelled
from kexp.measures import YARDSTICKS


class Reporter:
    """Says nothing; the base of those that do."""

    def say(self, text: str) -> None:
        """One line for the reader."""

    def steps(self, epoch: int, done: int, total: int) -> None:
        """`done` of `total` steps of an epoch have been taken."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """An epoch has been measured and recorded."""

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Around the training; `yardstick` is the one to show."""
        yield


class Lines(Reporter):
    """One line per epoch, for pipes and notebooks, on what is standard output when it is made."""

    def __init__(self) -> None:
        self._out = sys.stdout
        self._yardstick = "fit"

    def say(self, text: str) -> None:
        """Print the line."""
        try:
            print(spelled(text, keep="\n"), file=self._out, flush=True)
        except BrokenPipeError:  # the reader has gone; the training has not
            self._out = open(os.devnull, "w")

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Remember which yardstick to show."""
        self._yardstick = yardstick
        yield

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Print train (probe), validation and gap of the epoch."""
        self.say(epoch_line(record, epochs, self._yardstick))


class Live(Lines):
    """The same lines above a progress bar, in a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def say(self, text: str) -> None:
        """Print the line, above the bar if there is one."""
        if self._bar is None:
            super().say(text)
        else:
            harmless = spelled(text, keep="\n")
            self._bar.console.print(harmless, markup=False, highlight=False, soft_wrap=True)

    def console(self) -> Any:
        """A rich console on the output."""
        from rich.console import Console

        return Console(file=self._out)

    @contextlib.contextmanager
    def above(self, bar: Any) -> Iterator[None]:
        """Inside, lines are printed above this rich display, which is open."""
        self._bar = bar
        try:
            yield
        finally:
            self._bar = None

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Show a bar over all epochs while training."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
        )
        bar = Progress(
            *columns,
            console=self.console(),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with super().running(epochs, yardstick), bar, self.above(bar):
            self._task = bar.add_task("training", total=epochs)
            yield

    def steps(self, epoch: int, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=epoch - 1 + done / total)


class Passing(Reporter):
    """Passes everything on to another reporter; the base of those that do more besides."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter

    def say(self, text: str) -> None:
        """Pass on."""
        self._reporter.say(text)

    def steps(self, epoch: int, done: int, total: int) -> None:
        """Pass on."""
        self._reporter.steps(epoch, done, total)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Pass on."""
        self._reporter.epoch(record, epochs)

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Pass on."""
        with self._reporter.running(epochs, yardstick):
            yield


class Logged(Passing):
    """Passes everything on, and writes to a log what is said."""

    def __init__(self, reporter: Reporter, log: TextIO):
        super().__init__(reporter)
        self._log, self._yardstick = log, "fit"

    def say(self, text: str) -> None:
        """Say and log the line."""
        print(spelled(text, keep="\n"), file=self._log, flush=True)
        self._reporter.say(text)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Log the epoch's line, and pass the epoch on."""
        print(epoch_line(record, epochs, self._yardstick), file=self._log, flush=True)
        self._reporter.epoch(record, epochs)

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Remember which yardstick to log, and pass on."""
        self._yardstick = yardstick
        with self._reporter.running(epochs, yardstick):
            yield


def for_terminal() -> Reporter:
    """A bar and lines where standard output is a terminal, else lines alone."""
    return Live() if sys.stdout.isatty() else Lines()


def epoch_line(record: dict[str, Any], epochs: int, yardstick: str) -> str:
    """`epoch  3/15  NLL  train 0.053  validation 0.0611  gap 0.0081`."""
    y = YARDSTICKS[yardstick]
    width = len(str(epochs))
    values = "  ".join(
        f"{label} {y.show(record[split][yardstick])}"
        for label, split in (("train", "probe"), ("validation", "validation"), ("gap", "gap"))
    )
    return f"epoch {record['epoch']:>{width}}/{epochs}  {y.label}  {values}"
