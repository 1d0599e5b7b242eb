"""The launcher `vectorized`: runs that differ only in numbers and seeds as one JAX program."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from typing import Literal

from kexp.choice import Count, choice
from kexp.config.wording import plural
from kexp.errors import Interrupted
from kexp.sweeps import machine
from kexp.sweeps.grouping import Grouping, grouped
from kexp.sweeps.local import LOOK_SECONDS, Local, Queue, rounds, train_all
from kexp.sweeps.machine import Share
from kexp.sweeps.slots import Slot
from kexp.sweeps.work import Outcome, Portion, Work
from kexp.sweeps.worker import fitting
from kexp.training.signals import stopping

ON_CPU = (
    "vectorized: without a GPU to use, worker processes are at least as fast, and train the runs; "
    "hydra.launcher.on_cpu=vectorized has groups trained as one program"
)


@choice
class Vectorized:
    """Trains runs that differ only in numbers and seeds as one JAX program, the others in workers.

    `replicas` runs at once at most (null: as many as fit the device's memory). Without a GPU,
    `on_cpu` says whether groups are trained all the same (`vectorized`) or all runs by `workers`,
    which on a CPU is at least as fast. `n_jobs` and `threads` are those of the launcher `local`,
    for runs that workers train.
    """

    replicas: Count | None = None
    on_cpu: Literal["workers", "vectorized"] = "workers"
    n_jobs: Count | None = None
    threads: Count | None = None

    @property
    def local(self) -> Local:
        """How workers train the runs that are in no group."""
        return Local(n_jobs=self.n_jobs, threads=self.threads)


def explained(settings: Vectorized, work: Work) -> Iterator[str]:
    """How the jobs would be trained, a line each."""
    yield f"vectorized: {_grouping(work, range(len(work.jobs)))}"
    if not _devices(settings, work):
        yield ON_CPU


def train_grouped(
    settings: Vectorized, work: Work, numbers: Iterator[int], at_most: int, batch: int = 0
) -> Iterator[Outcome]:
    """Train the jobs of these numbers, `batch` at a time (0: all), and give what became of each.

    Groups are trained by one worker process per device, and then what is in no group as by the
    launcher `local`. Raises `Interrupted` after a signal, once the runs under way have saved.
    """
    devices = _devices(settings, work)
    if not devices:
        work.reporter.say(ON_CPU)
        yield from train_all(settings.local, work, numbers, at_most)
        return
    threads = settings.threads or max(1, machine.cores() // len(devices))
    slots = [Slot(Share(threads, gpu), settings.local.growth_mib) for gpu in devices]
    try:
        while some := list(itertools.islice(numbers, batch or None)):
            yield from _batch(settings, work, slots, some)
    finally:
        _close(slots)


def _batch(
    settings: Vectorized, work: Work, slots: Sequence[Slot], numbers: Sequence[int]
) -> Iterator[Outcome]:
    """The groups among some jobs, then the others."""
    grouping = _grouping(work, numbers)
    work.reporter.say(f"vectorized: {grouping}")
    rest, portions = [numbers[place] for place in grouping.reasons], []
    with stopping() as check:
        for group in ([numbers[place] for place in group] for group in grouping.groups):
            try:
                portions += _portions(settings, work, slots, group, check)
            except Interrupted:
                raise
            except Exception as error:
                slots[0].close()
                work.reporter.say(f"vectorized: {plural(len(group), 'run')} as usual: {error}")
                rest += group
        yield from rounds(work, slots, Portions(iter(portions)), check)
    if rest:
        _close(slots)  # whose memory on the device is needed
        yield from train_all(settings.local, work, iter(rest), len(rest))


def _portions(
    settings: Vectorized,
    work: Work,
    slots: Sequence[Slot],
    group: Sequence[int],
    check: Callable[[], None],
) -> list[Portion]:
    """A group in portions that fit the memory, at least one for each device."""
    at_once, why = _fitting(work, slots[0], group[0], check)
    most = max(1, min(at_once, settings.replicas or at_once, -(-len(group) // len(slots))))
    count = -(-len(group) // most)
    portions = split(group, count)
    sizes = sorted({len(portion.numbers) for portion in portions}, reverse=True)
    told = f"{count} portions of {' or '.join(map(str, sizes))}" if count > 1 else "all at once"
    work.reporter.say(f"{len(group)} runs, {why}: {told}")
    return portions


def _fitting(work: Work, slot: Slot, number: int, check: Callable[[], None]) -> tuple[int, str]:
    """What the worker says of how many runs like this one fit. Raises what it raises."""
    future = slot.ask(fitting, work.only(number), number)
    while not future.done():
        check()
        wait([future], timeout=LOOK_SECONDS)
    return future.result()


class Portions(Queue):
    """Groups of runs in portions; one that memory was too small for is tried again in halves."""

    def settled(self, work: Work, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Those outcomes that are final; held runs come again, and once those out of memory."""
        half = len(outcomes) // 2
        short = [o.number for o in outcomes if o.state == "oom" and o.number not in work.retried]
        if half and short:
            self._halve(work, short, half)
            outcomes = [o for o in outcomes if o.number not in short]
        yield from super().settled(work, outcomes)

    def _halve(self, work: Work, short: Sequence[int], half: int) -> None:
        """Have the runs come again, `half` of them at a time at most."""
        work.retried.update(short)
        for portion in split(short, -(-len(short) // half)):
            self.hold(portion, 0.0)
        for number in short:
            work.board.put_back(number)
        again = f"{plural(len(short), 'run')} again, {half} at a time"
        work.reporter.say(f"vectorized: memory ran out; {again}")


def split(numbers: Sequence[int], count: int) -> list[Portion]:
    """The jobs in `count` portions as equal as can be, for which one program does."""
    edges = [i * len(numbers) // count for i in range(count + 1)]
    seats = -(-len(numbers) // count)
    return [Portion(tuple(numbers[a:b]), seats) for a, b in itertools.pairwise(edges)]


def _grouping(work: Work, numbers: Sequence[int]) -> Grouping:
    return grouped([work.jobs[number].experiment for number in numbers])


def _devices(settings: Vectorized, work: Work) -> list[str | None]:
    """The GPUs to train groups on, or None for the CPU; empty where workers are to train all."""
    gpus: list[str | None] = [] if work.cpu_only else [*machine.gpus()]
    return gpus or ([None] if settings.on_cpu == "vectorized" else [])


def _close(slots: Sequence[Slot]) -> None:
    for slot in slots:
        slot.close()
