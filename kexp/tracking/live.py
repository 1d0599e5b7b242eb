"""Sending a run while it trains, in a thread that can neither fail nor hold up the run."""

from __future__ import annotations

import contextlib
import queue
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kexp.errors import Interrupted
from kexp.progress import Passing, Reporter
from kexp.store import Record, RunFolder, read_run
from kexp.tracking.base import NoTracker, Sink, Tracker
from kexp.tracking.contents import Epoch, epoch_of, epochs_of, is_later

PATIENCE, HASTE = 30.0, 5.0
"""Seconds to wait for a tracker at the end of a run, and of one that was interrupted."""

LONGEST_REASON = 200
HUNG: list[Tracker] = []
"""Trackers that did not answer in this process: they are not waited for again."""


@contextlib.contextmanager
def tracked(
    tracker: Tracker, folder: RunFolder, known: dict[str, Any], reporter: Reporter
) -> Iterator[Reporter]:
    """Send the run in `folder` to a tracker, until its final state is on disk.

    `known` is what a summary will say of the run before it has one. Gives a reporter that hears
    of the epochs. Whatever becomes of the tracker is said, never raised.
    """
    if isinstance(tracker, NoTracker):
        yield reporter
        return
    told = Tracked(reporter, tracker, folder, known)
    patience = PATIENCE
    try:
        yield told
    except (Interrupted, KeyboardInterrupt):
        patience = HASTE
        raise
    finally:
        told.end(patience)


class Tracked(Passing):
    """Passes everything on to another reporter, and the epochs to a tracker as well."""

    def __init__(
        self, reporter: Reporter, tracker: Tracker, folder: RunFolder, known: dict[str, Any]
    ):
        super().__init__(reporter)
        self._tracker, self._folder = tracker, folder
        self._sending = Sending(tracker, folder.path, known)
        if tracker in HUNG:
            self._sending.fault = "it has not answered before in this process"
        self._told = False

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Open the run at the tracker, and pass on."""
        self._sending.start()
        with self._reporter.running(epochs, yardstick):
            yield

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Hand the epoch to the thread, and pass on."""
        self._sending.queue.put((record, time.time()))
        self._reporter.epoch(record, epochs)
        self._tell()

    def end(self, patience: float) -> None:
        """Wait until all has arrived, but no longer than `patience` seconds."""
        self._sending.finish(patience)
        self._tell()

    def _tell(self) -> None:
        """Say once what went wrong, in the log too."""
        if self._told or self._sending.fault is None:
            return
        self._told = True
        later = self._tracker.later(Path(shlex.quote(str(self._folder.path))))
        text = f"track={self._tracker.name}: {self._sending.fault}; the run is not affected"
        text += f", and `{later}` sends it later" if later else ""
        with contextlib.suppress(OSError), open(self._folder.log, "a", encoding="utf-8") as log:
            print(text, file=log)
        self._reporter.say(text)


class Sending(threading.Thread):
    """The thread that sends one run. `fault` says in words why it has stopped, if it has."""

    def __init__(self, tracker: Tracker, path: Path, known: dict[str, Any]):
        super().__init__(name=f"track-{tracker.name}", daemon=True)
        self.queue: queue.SimpleQueue[tuple[dict[str, Any], float] | None] = queue.SimpleQueue()
        self.fault: str | None = None
        self._tracker, self._path, self._known = tracker, path, known
        self._abandoned = False
        self._busy_since: float | None = None

    def start(self) -> None:
        """Begin, unless begun before or not to be asked at all."""
        if self.ident is not None or self.fault is not None:
            return
        try:
            self._tracker.prepare()
            super().start()
        except Exception as error:
            self.fault = self._tracker.hidden(reason_of(error))

    def run(self) -> None:
        """Send until the end of the run; a fault ends this thread and nothing else."""
        try:
            self._send()
        except BaseException as error:
            self.fault = self.fault or self._tracker.hidden(reason_of(error))

    def finish(self, patience: float) -> None:
        """Say that the run has ended, and wait for the thread.

        What it has long been at when the run ends counts towards `patience`.
        """
        self.start()
        self.queue.put(None)
        if self.fault is None:
            since, now = self._busy_since, time.monotonic()
            self.join(max(0.0, patience - (now - since if since else 0.0)))
        if self.fault is None and self.is_alive():
            self._abandoned, self.fault = True, f"no answer within {patience:g} s"
            HUNG.extend([self._tracker] if patience >= PATIENCE else [])

    def _send(self) -> None:
        self._busy_since = time.monotonic()
        sink = self._tracker.open(self._record())
        try:
            # What a killed process had recorded beyond its checkpoint is gone by the first epoch.
            first, ended = self._waiting()
            self._send_epochs(sink, [*epochs_of(self._record()), *first])
            while not ended and not self._abandoned:
                epochs, ended = self._waiting()
                self._send_epochs(sink, epochs)
            if not self._abandoned:
                sink.end(self._record())
        finally:
            sink.close()

    def _waiting(self) -> tuple[list[Epoch], bool]:
        """The epochs that wait to be sent, at least one, or that the run has ended."""
        self._busy_since = None
        epochs, item = [], self.queue.get()
        self._busy_since = time.monotonic()
        while item is not None:
            epochs.append(epoch_of(*item))
            try:
                item = self.queue.get_nowait()
            except queue.Empty:
                return epochs, False
        return epochs, True

    def _send_epochs(self, sink: Sink, epochs: list[Epoch]) -> None:
        new: list[Epoch] = []
        for epoch in epochs:
            if is_later(epoch.number, new[-1].number if new else sink.last):
                new.append(epoch)
        if new:
            sink.epochs(new)

    def _record(self) -> Record:
        record = read_run(self._path)
        record.summary = {**self._known, **record.summary}
        record.config = record.summary.get("config", record.config)
        return record


def reason_of(error: BaseException) -> str:
    """An exception in one line that is not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"
