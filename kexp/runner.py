"""One run, top to bottom: data, model, objective, argmin, test, record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from kexp.data.keeping import loaded
from kexp.errors import KexpError
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
from kexp.summary import headline, summarise
from kexp.training.signals import stopping

ONE_AT_A_TIME = threading.Lock()
"""Keras's state, standard output and signal handlers belong to the process, not to a run."""


def run(experiment: Experiment, reporter: Reporter, force: bool = False) -> dict[str, Any]:
    """Train one experiment and return its summary; a finished run is not trained again.

    Raises a `KexpError` where it fails; the record then says why. So does a signal to stop, which
    is `Interrupted` even if it came when the run was all but finished.
    """
    if not ONE_AT_A_TIME.acquire(blocking=False):
        raise KexpError("a run is being trained in this process; one at a time, or use processes")
    try:
        return _run(experiment, reporter, force)
    except SystemExit as error:
        raise KexpError(ending(error)[1]) from error
    finally:
        ONE_AT_A_TIME.release()


def _run(experiment: Experiment, reporter: Reporter, force: bool) -> dict[str, Any]:
    folder = RunFolder(experiment.folder)
    with stopping() as check, folder.locked():
        if force:
            folder.clear()
        refuse_other_run(folder, experiment)
        summary = read_run(folder.path).summary
        if summary and folder.state().get("state") == "finished":
            reporter.say(f"already finished, nothing to do: {folder.path} (--force trains again)")
            reporter.say(str(summary.get("verdict", "")))
            check()
            return summary
        with (
            sent(folder, experiment, reporter) as told,
            recorded(folder, experiment, told) as logged,
        ):
            summary = _train(experiment, folder, logged, check)
        check()  # a signal that came too late for this run is meant for what comes after it, too
        return summary


def _train(
    e: Experiment, folder: RunFolder, reporter: Reporter, check: Callable[[], None]
) -> dict[str, Any]:
    """θ̂ = argmin (1/N) Σ L(y, ŷ) + λR(θ), measured after every epoch."""
    with ExitStack() as stack:
        device = e.backend.start()
        stack.enter_context(e.backend.letting_go())
        from kexp.models import fresh_model
        from kexp.objective import Objective
        from kexp.training.distribution import Placed
        from kexp.training.engine import make_engine
        from kexp.training.loop import Loop

        check()
        streams = Streams(e.seed)
        collection = loaded(e.data, e.data_folder)
        data = write_environment(folder, e, device, collection, reporter)
        collection = e.task.adapted(collection)
        splits = e.data.split(collection, streams)
        e.task.check_splits(splits, e.model.smallest_side())
        splits = e.task.prepared(splits)

        placed = Placed(e.model, e.training.distribution, reporter, stack)
        model = fresh_model(placed, e.task.shapes(collection), e.dropout, e.norm, streams)
        engine = make_engine(Objective(model, e.loss, e.regularizer), e.optimizer.build())
        loop = Loop(e.task, splits, engine, e.training, e.schedule, streams, folder, reporter)
        reporter.say(headline(e, model, splits, device))
        with reporter.running(e.training.epochs, loop.monitor):
            loop.run(check)

        check()
        summary = summarise(e, loop, loop.test(), splits, {**data, "classes": collection.classes})
        write_result(folder, model, loop.exhibits, summary)
        reporter.say(f"{summary['verdict']}\nrecord: {folder.path}")
        return summary
