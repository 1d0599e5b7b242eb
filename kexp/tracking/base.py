"""What a tracker is: somewhere that a run is sent to as well, while it trains or later."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kexp.choice import choice
from kexp.errors import ConfigError, KexpError
from kexp.store import Record
from kexp.tracking.contents import Epoch, epochs_of


class Unreachable(KexpError):
    """There is nothing to send to."""


class Sink:
    """One run at the place it is sent to. `last` is the last epoch that is there."""

    last = 0

    def epochs(self, epochs: Sequence[Epoch]) -> None:
        """Send epochs, each later than `last`, in order."""

    def end(self, record: Record) -> None:
        """Send what is known when a run has ended: final values, files, its state."""

    def close(self) -> None:
        """Let go of what is held open."""


@choice
class Tracker:
    """A place that runs are also sent to."""

    name: ClassVar[str]
    package: ClassVar[str]

    def check(self) -> None:
        """Raise `ConfigError` where the package that this needs is not installed."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"track={self.name} needs the package {self.package}: "
                f"pip install 'kexp[{self.name}]'"
            )

    def prepare(self) -> None:
        """Make the process ready, in its main thread, before any training."""

    def open(self, record: Record) -> Sink:
        """Find or make the run of a record there; what is there already stays."""
        return Sink()

    def later(self, run: Path) -> str:
        """The command that sends a run afterwards; empty where there is none."""
        return ""

    def hidden(self, text: str) -> str:
        """The text of a fault without what may be secret."""
        return text


@choice
class NoTracker(Tracker):
    """Runs are sent nowhere: their folders hold everything."""

    name: ClassVar[str] = "none"
    package: ClassVar[str] = ""


def send(tracker: Tracker, record: Record) -> None:
    """Send a whole run as it is on disk; what has arrived before is not sent twice."""
    sink = tracker.open(record)
    try:
        if epochs := [e for e in epochs_of(record) if e.number > sink.last]:
            sink.epochs(epochs)
        sink.end(record)
    finally:
        sink.close()
