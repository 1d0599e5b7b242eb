"""What a run says while it trains: lines when piped, a bar as well in a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

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
    """One line per epoch, for pipes, logs and notebooks."""

    def __init__(self, write: Callable[[str], None] | None = None):
        self._write = write or (lambda text: print(text, flush=True))
        self._yardstick = "fit"

    def say(self, text: str) -> None:
        """Print the line."""
        self._write(text)

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Remember which yardstick to show."""
        self._yardstick = yardstick
        yield

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Print train (probe), validation and gap of the epoch."""
        self._write(epoch_line(record, epochs, self._yardstick))


class Live(Lines):
    """The same lines above a progress bar, in a terminal."""

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Show a bar over all epochs while training."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._yardstick = yardstick
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, transient=True) as self._bar:
            self._task = self._bar.add_task("training", total=epochs)
            write, self._write = self._write, self._bar.console.print
            try:
                yield
            finally:
                self._write = write

    def steps(self, epoch: int, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=epoch - 1 + done / total)


def for_terminal() -> Reporter:
    """A bar and lines where standard output is a terminal, else lines alone."""
    return Live() if sys.stdout.isatty() else Lines()


def epoch_line(record: dict[str, Any], epochs: int, yardstick: str) -> str:
    """`epoch  3/15  fit 0.0712 | NLL train 0.0530 validation 0.0611 gap 0.0081`."""
    y = YARDSTICKS[yardstick]
    width = len(str(epochs))
    values = "  ".join(
        f"{label} {y.show(record[split][yardstick])}"
        for label, split in (("train", "probe"), ("validation", "validation"), ("gap", "gap"))
    )
    return f"epoch {record['epoch']:>{width}}/{epochs}  {y.label}  {values}"
