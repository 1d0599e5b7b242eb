"""The launcher `local`: a sweep's runs in worker processes of this machine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any

from pydantic import ValidationError

from kexp.choice import Count, Positive, choice
from kexp.config.messages import of_faults
from kexp.errors import ConfigError, Interrupted
from kexp.sweeps import machine
from kexp.sweeps.slots import SAVING_SECONDS, Slot
from kexp.sweeps.work import Outcome, Work
from kexp.training.signals import stopping

LOOK_SECONDS = 0.2
"""How often time limits are checked and the view is renewed."""

HELD_SECONDS = 3.0
"""How often it is tried again to train a run that another process holds."""


@choice
class Local:
    """Trains runs in worker processes, each with its share of this machine.

    `n_jobs` runs at once (null: one per GPU times `jobs_per_gpu`, without a GPU one per core, as
    memory allows), of `threads` CPU threads each (null: the cores shared out evenly). `time_limit`
    of a run in seconds. A worker is replaced once it holds `growth_mib` more memory than after
    its first run.
    """

    n_jobs: Count | None = None
    threads: Count | None = None
    jobs_per_gpu: Count = 1
    time_limit: Positive | None = None
    growth_mib: Count | None = 500


def local_settings(values: dict[str, Any]) -> Local:
    """The checked settings of `hydra.launcher`. Raises `ConfigError`."""
    try:
        return Local(**values)
    except ValidationError as error:
        raise ConfigError(of_faults("hydra.launcher", Local, values, error)) from None


def train_all(
    settings: Local, work: Work, numbers: Iterator[int], at_most: int
) -> Iterator[Outcome]:
    """Train the jobs of these numbers, and give what became of each as soon as it is known.

    `numbers` is asked for another whenever a worker is free. Raises `Interrupted` after a signal,
    once the runs under way have saved.
    """
    gpus = [] if work.cpu_only else machine.gpus()
    shares = machine.shares(settings.n_jobs, settings.threads, settings.jobs_per_gpu, gpus, at_most)
    slots = [Slot(share, settings.growth_mib) for share in shares]
    work.board.workers(shares)
    try:
        with stopping() as check:
            yield from _rounds(settings, work, slots, _Queue(numbers), check)
    finally:
        for slot in slots:
            slot.close()


def _rounds(
    settings: Local, work: Work, slots: list[Slot], queue: _Queue, check: Any
) -> Iterator[Outcome]:
    while True:
        try:
            check()
        except Interrupted as error:
            yield from _saved(work, slots)
            raise error
        for slot in slots:
            if not slot.busy and (number := queue.next()) is not None:
                slot.take(work, number, settings.time_limit)
                work.board.started(number, slot.folder)
        busy = [slot for slot in slots if slot.busy]
        if not busy and not queue.held:
            return
        _wait(busy)
        for slot in busy:
            slot.watch()
            if slot.future.done():
                outcome = slot.collect()
                if outcome.state == "held":
                    queue.hold(outcome.number)
                    work.board.held(outcome)
                    continue
                work.board.ended(outcome)
                yield outcome
        work.board.look()


def _saved(work: Work, slots: list[Slot]) -> Iterator[Outcome]:
    """Have every run under way save and end."""
    until = time.monotonic() + SAVING_SECONDS
    while (busy := [slot for slot in slots if slot.busy]) and time.monotonic() < until:
        for slot in busy:
            slot.stop()  # of those, too, whose process has only just been started
        _wait(busy)
        for slot in busy:
            if slot.future.done():
                outcome = slot.collect()
                work.board.ended(outcome)
                yield outcome


def _wait(busy: list[Slot]) -> None:
    if busy:
        wait([slot.future for slot in busy], timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
    else:
        time.sleep(LOOK_SECONDS)


class _Queue:
    """The numbers still to be trained; those that other processes hold come again later."""

    def __init__(self, numbers: Iterator[int]):
        self._numbers: Iterator[int] | None = numbers
        self.held: deque[tuple[float, int]] = deque()

    def next(self) -> int | None:
        """Another number, or None where there is none just now."""
        if self._numbers is not None:
            for number in self._numbers:
                return number
            self._numbers = None
        if self.held and self.held[0][0] <= time.monotonic():
            return self.held.popleft()[1]
        return None

    def hold(self, number: int) -> None:
        """Come again with this number in a while."""
        self.held.append((time.monotonic() + HELD_SECONDS, number))
