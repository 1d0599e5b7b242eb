"""One run, top to bottom: data, model, objective, argmin, test, record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from kexp import environment
from kexp.data import Collection, Splits
from kexp.data.keeping import loaded
from kexp.environment import allow_files
from kexp.errors import Held, Interrupted, KexpError, OutOfMemory
from kexp.experiment import Experiment
from kexp.progress import Reporter
from kexp.recording import (
    ending,
    recorded,
    refuse_other_run,
    sent,
    write_environment,
    write_result,
)
from kexp.store import RunFolder, read_run
from kexp.streams import Streams
from kexp.summary import headline, settled, summarise
from kexp.training.course import Course, driven
from kexp.training.signals import stopping

SLOW_HERE = "this CPU, which has no instructions for it; float32 is faster here"

FILES_OF_PROCESS, FILES_OF_RUN = 256, 4
"""Open files of a process that trains, and of each run in it: lock, log, and what is written."""

ONE_AT_A_TIME = threading.Lock()
"""Keras's state, standard output and signal handlers belong to the process, not to a run."""


def run(experiment: Experiment, reporter: Reporter, force: bool = False) -> dict[str, Any]:
    """Train one experiment and return its summary; a finished run is not trained again.

    Raises a `KexpError` where it fails; the record then says why. So does a signal to stop, which
    is `Interrupted` even if it came when the run was all but finished.
    """
    with _one_at_a_time():
        try:
            with stopping() as check:
                return driven(course(experiment, reporter, force, check))
        except SystemExit as error:
            raise KexpError(ending(error)[1]) from error


def run_group(
    experiments: Sequence[Experiment],
    reporters: Sequence[Reporter],
    force: bool = False,
    seats: int | None = None,
) -> list[tuple[str, str | None]]:
    """Train experiments as one JAX program; the final state of each, and the reason.

    The program is made for `seats` runs, so that a later group finds it compiled. After a signal
    to stop, every run that was under way has saved and is `interrupted`.
    """
    experiments[0].backend.start()
    from kexp.training.programs import Group
    from kexp.training.together import driven_together

    allow_files(FILES_OF_PROCESS + FILES_OF_RUN * len(experiments))
    group = Group(seats or len(experiments))
    with _one_at_a_time(), stopping() as check:
        courses = [
            course(e, reporter, force, check, group.equipped, captured=e is experiments[0])
            for e, reporter in zip(experiments, reporters, strict=True)
        ]
        ends = driven_together(courses)
        if not any(map(_is_fault, ends)):
            group.keep()
    return [_state(e, end) for e, end in zip(experiments, ends, strict=True)]


def fitting(e: Experiment) -> tuple[int, str]:
    """How many runs like this can be one program, by the device's memory; and why, in words.

    At most as many as this process may keep records of at once.
    """
    e.backend.start()
    from kexp.training import memory

    streams, collection = Streams(e.seed), e.task.adapted(loaded(e.data, e.data_folder))
    splits = _prepared(e, collection, streams)
    data = e.task.epoch(splits.train, streams, 1)
    count, why = memory.fitting(e, e.task.shapes(collection), data)
    files = allow_files(FILES_OF_PROCESS + FILES_OF_RUN * count)
    return min(count, max(1, (files - FILES_OF_PROCESS) // FILES_OF_RUN)), why


def _prepared(e: Experiment, collection: Collection, streams: Streams) -> Splits:
    """The splits as the model sees them. Raises `DataError` where they do not fit the choices."""
    splits = e.data.split(collection, streams)
    e.task.check_splits(splits, e.model.smallest_side())
    e.task.check_loss(splits, e.loss)
    return e.task.prepared(splits)


def _is_fault(end: Any) -> bool:
    """Whether a course ended by what may have left its program in no good state."""
    told = isinstance(end, KexpError) and not isinstance(end, OutOfMemory)
    return isinstance(end, BaseException) and not told


def _state(e: Experiment, end: Any) -> tuple[str, str | None]:
    """The final state of a run from what its course returned or raised."""
    if not isinstance(end, BaseException):
        return "finished", None
    if isinstance(end, Held):
        return "held", str(end)
    if isinstance(end, Interrupted) and RunFolder(e.folder).state().get("state") == "finished":
        return "finished", None
    return ending(end)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Raise `KexpError` where this process is training already."""
    if not ONE_AT_A_TIME.acquire(blocking=False):
        raise KexpError("a run is being trained in this process; one at a time, or use processes")
    try:
        yield
    finally:
        ONE_AT_A_TIME.release()


def course(
    e: Experiment,
    reporter: Reporter,
    force: bool,
    check: Callable[[], None],
    equip: Callable[..., AbstractContextManager[Any]] | None = None,
    captured: bool = True,
) -> Course[dict[str, Any]]:
    """The course of one run, with an engine of its own or the one that `equip` gives.

    What is printed meanwhile goes to its log if that is to be `captured`.
    """
    folder = RunFolder(e.folder)
    with folder.locked():
        if force:
            folder.clear()
        refuse_other_run(folder, e)
        summary = read_run(folder.path).summary
        if summary and folder.state().get("state") == "finished":
            reporter.say(f"already finished, nothing to do: {folder.path} (--force trains again)")
            reporter.say(str(summary.get("verdict", "")))
            check()
            return summary
        with (
            sent(folder, e, reporter) as told,
            recorded(folder, e, told, captured) as logged,
        ):
            summary = yield from _train(e, folder, logged, check, equip)
        check()  # a signal that came too late for this run is meant for what comes after it, too
        return summary


def _train(
    e: Experiment,
    folder: RunFolder,
    reporter: Reporter,
    check: Callable[[], None],
    equip: Callable[..., AbstractContextManager[Any]] | None,
) -> Course[dict[str, Any]]:
    """θ̂ = argmin (1/N) Σ L(y, ŷ) + λR(θ), measured after every epoch."""
    with ExitStack() as stack:
        device = e.backend.start()
        stack.enter_context(e.backend.letting_go())
        from kexp.training.distribution import Placed
        from kexp.training.loop import Loop
        from kexp.training.perturbing import curves
        from kexp.training.programs import equipped

        check()
        streams = Streams(e.seed)
        collection = loaded(e.data, e.data_folder)
        data = write_environment(folder, e, device, collection, reporter)
        collection = e.task.adapted(collection)
        splits = _prepared(e, collection, streams)

        placed = Placed(e.model, e.training.distribution, reporter, stack)
        shapes = e.task.shapes(collection)
        e.model.check_data(len(splits.train), shapes[0])
        engine = stack.enter_context((equip or equipped)(e, shapes, streams, placed))
        loop = Loop(e.task, splits, engine, e.training, e.schedule, streams, folder, reporter)
        reporter.say(headline(e, engine, splits, device))
        if device == "cpu" and environment.slow_precision(e.training.precision):
            reporter.say(f"training.precision={e.training.precision} is slow on {SLOW_HERE}")
        with reporter.running(e.training.epochs, loop.monitor):
            yield from loop.course(check)

        check()
        perturbed = {}
        if names := ", ".join(e.robustness.strengths()):
            reporter.say(f"measuring robustness: {names}")
            perturbed = yield from curves(e.robustness, e.task, engine, splits.test, streams, check)
        test = yield from loop.test()
        about = {**data, "classes": collection.classes}
        closing, shown = e.task.closing(splits, loop.kernels, settled(e, loop))
        added = {**({"robustness": perturbed} if perturbed else {}), **closing}
        summary = summarise(e, loop, test, splits, about, added)
        write_result(folder, engine.model(), {**loop.exhibits, **shown}, summary)
        reporter.say(f"{summary['verdict']}\nrecord: {folder.path}")
        return summary
