"""The launcher `local`: a sweep's runs in worker processes of this machine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any, TypeVar

from pydantic import ValidationError

from kexp.choice import Count, Positive, choice
from kexp.config.messages import of_faults
from kexp.errors import ConfigError, Interrupted
from kexp.sweeps import machine
from kexp.sweeps.slots import Slot
from kexp.sweeps.work import Outcome, Portion, Work
from kexp.training.signals import stopping

LOOK_SECONDS = 0.2
"""How often time limits are checked and the view is renewed."""

HELD_SECONDS = 3.0
"""How often it is tried again to train a run that another process holds."""

T = TypeVar("T")


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


def settings_of(launcher: type[T], values: dict[str, Any]) -> T:
    """The checked settings of `hydra.launcher`. Raises `ConfigError`."""
    try:
        return launcher(**values)
    except ValidationError as error:
        raise ConfigError(of_faults("hydra.launcher", launcher, values, error)) from None


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
            queue = Queue(Portion((number,)) for number in numbers)
            yield from rounds(work, slots, queue, check, settings.time_limit)
    finally:
        for slot in slots:
            slot.close()


def rounds(
    work: Work,
    slots: Sequence[Slot],
    queue: Queue,
    check: Callable[[], None],
    seconds: float | None = None,
) -> Iterator[Outcome]:
    """Keep the workers busy with what is queued, each time for `seconds` at most."""
    while True:
        try:
            check()
        except Interrupted as error:
            yield from _saved(work, slots)
            raise error
        for slot in slots:
            if not slot.busy and (portion := queue.next()) is not None:
                slot.take(work, portion, seconds)
                for number, folder in slot.folders.items():
                    work.board.started(number, folder)
        busy = [slot for slot in slots if slot.busy]
        if not busy and not queue.held:
            return
        _wait(busy)
        for slot in busy:
            slot.watch()
            if slot.future.done():
                for outcome in queue.settled(work, slot.collect()):
                    work.board.ended(outcome)
                    yield outcome
        work.board.look()


def _saved(work: Work, slots: Sequence[Slot]) -> Iterator[Outcome]:
    """Have every run under way save and end."""
    started = [slot.saving_seconds for slot in slots if slot.busy]
    until = time.monotonic() + max(started, default=0.0)
    while (busy := [slot for slot in slots if slot.busy]) and time.monotonic() < until:
        for slot in busy:
            slot.stop()  # of those, too, whose process has only just been started
        _wait(busy)
        for slot in busy:
            if slot.future.done():
                for outcome in slot.collect():
                    work.board.ended(outcome)
                    yield outcome


def _wait(busy: list[Slot]) -> None:
    if busy:
        wait([slot.future for slot in busy], timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
    else:
        time.sleep(LOOK_SECONDS)


class Queue:
    """The runs still to be trained; those that other processes hold come again later."""

    def __init__(self, portions: Iterator[Portion]):
        self._portions: Iterator[Portion] | None = portions
        self.held: deque[tuple[float, Portion]] = deque()

    def next(self) -> Portion | None:
        """Another portion, or None where there is none just now."""
        if self._portions is not None:
            for portion in self._portions:
                return portion
            self._portions = None
        if self.held and self.held[0][0] <= time.monotonic():
            return self.held.popleft()[1]
        return None

    def hold(self, portion: Portion, seconds: float) -> None:
        """Come again with this portion after some seconds."""
        self.held.append((time.monotonic() + seconds, portion))

    def settled(self, work: Work, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Those outcomes of a portion that are final; the other runs come again."""
        for outcome in outcomes:
            if outcome.state == "held":
                self.hold(Portion((outcome.number,)), HELD_SECONDS)
                work.board.held(outcome)
            else:
                yield outcome
