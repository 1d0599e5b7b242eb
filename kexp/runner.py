"""One run, top to bottom: data, model, objective, argmin, test, record."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from kexp import environment, measures
from kexp.data import Collection, Splits
from kexp.errors import Diverged, Interrupted, KexpError, StoreError
from kexp.experiment import Experiment
from kexp.progress import Reporter
from kexp.store import RunFolder, atomic
from kexp.store.names import SCHEMA
from kexp.streams import Streams


def run(experiment: Experiment, reporter: Reporter, force: bool = False) -> dict[str, Any]:
    """Train one experiment and return its summary; a finished run is not trained again.

    Raises a `KexpError` where it fails; the record then says why.
    """
    folder = RunFolder(experiment.folder)
    with folder.locked():
        if force:
            folder.clear()
        if folder.state().get("state") == "finished":
            return _already_finished(folder, reporter)
        with _recorded(folder, experiment):
            return _train(experiment, folder, reporter)


def _train(experiment: Experiment, folder: RunFolder, reporter: Reporter) -> dict[str, Any]:
    """argmin (1/N) Σ L(y, ŷ) + λR(θ), measured every epoch."""
    from kexp.training.signals import stopping

    with stopping() as check:
        device = experiment.backend.start()
        import keras

        from kexp.models import seed_weights
        from kexp.objective import Objective
        from kexp.training.engine import make_engine
        from kexp.training.loop import Loop

        e, streams = experiment, Streams(experiment.seed)
        collection = e.data.load(e.data_folder)
        splits = e.data.split(collection, streams)
        e.task.check_splits(splits, e.model.smallest_side())
        _write_environment(folder, e, device, collection, splits)

        keras.utils.clear_session()
        model = e.model.build(*e.task.shapes(collection), e.dropout, e.norm)
        seed_weights(model, streams)
        engine = make_engine(Objective(model, e.loss, e.regularizer), e.optimizer.build())
        loop = Loop(e.task, splits, engine, e.training, e.schedule, streams, folder, reporter)
        reporter.say(_headline(e, model, splits, device))
        with reporter.running(e.training.epochs, loop.monitor):
            loop.run(check)
        summary = _summary(e, loop, model, splits)
        _save_model(folder, model)
        atomic.write_json(folder.summary, summary)
        reporter.say(summary["verdict"])
        return summary


def _summary(e: Experiment, loop: Any, model: Any, splits: Splits) -> dict[str, Any]:
    """Everything about a finished run that is not in its history."""
    names = ("fit", *e.task.yardsticks)
    direction = {name: measures.YARDSTICKS[name].higher_is_better for name in names}
    curves = {name: loop.curve(name) for name in names}
    last, best = loop.history[-1], loop.history[loop.best_epoch() - 1]
    test = loop.test()
    shown = measures.YARDSTICKS[loop.monitor]
    sentence = measures.verdict(loop.monitor, curves[loop.monitor], last["gap"][loop.monitor])
    return {
        "schema": SCHEMA,
        "identity": e.identity,
        "label": e.label,
        "seed": e.seed,
        "config": e.config,
        "monitor": loop.monitor,
        "parameters": model.count_params(),
        "sizes": {part: len(getattr(splits, part)) for part in Splits.__annotations__},
        "epochs": len(loop.history),
        "best_epoch": loop.best_epoch(),
        "last": last,
        "best": best,
        "onset": {name: measures.onset(curves[name], direction[name]) for name in names},
        "cost": {name: measures.cost(curves[name], direction[name]) for name in names},
        "test": test,
        "verdict": f"{sentence}; test {shown.label} {shown.show(test['last'][loop.monitor])}",
        "throughput": {
            "examples_per_second": loop.examples / max(loop.seconds["training"], 1e-9),
            "training_seconds": loop.seconds["training"],
            "measuring_seconds": loop.seconds["measuring"],
        },
        "memory": {"peak_mib": environment.peak_memory_mib()},
    }


def _headline(e: Experiment, model: Any, splits: Splits, device: str) -> str:
    sizes = ", ".join(f"{len(getattr(splits, part))} {part}" for part in Splits.__annotations__)
    return (
        f"{e.label}: {type(e.data).__name__.lower()} ({sizes}), {model.count_params():,} "
        f"parameters, {e.backend.name} on {device}"
    )


def _write_environment(
    folder: RunFolder, e: Experiment, device: str, collection: Collection, splits: Splits
) -> None:
    data = {"name": type(e.data).__name__.lower(), "sha256": collection.checksum()}
    described = environment.describe(device, e.backend.threads, data)
    atomic.write_json(folder.environment, described)


def _save_model(folder: RunFolder, model: Any) -> None:
    """Write the model (with its best weights) under its final name once it is complete."""
    partial = folder.path / ".model.partial.keras"
    model.save(partial)
    partial.replace(folder.model)


def _already_finished(folder: RunFolder, reporter: Reporter) -> dict[str, Any]:
    from kexp.store import read_run

    summary = read_run(folder.path).summary
    reporter.say(f"already finished, nothing to do: {folder.path} (--force trains it again)")
    reporter.say(summary.get("verdict", ""))
    return summary


@contextlib.contextmanager
def _recorded(folder: RunFolder, e: Experiment) -> Iterator[None]:
    """Keep config, status and log of what happens inside, whatever happens."""
    _refuse_other_run(folder, e)
    header = f"schema: {SCHEMA}\nidentity: {e.identity}\n"
    atomic.write_text(folder.config, header + e.config_text)
    folder.start()
    with _logged(folder.log):
        try:
            yield
        except BaseException as error:
            folder.end(*_state_of(error))
            if not isinstance(error, KexpError):
                traceback.print_exc()
            raise
    folder.end("finished")


def _state_of(error: BaseException) -> tuple[str, str]:
    """The final state and the reason that an exception stands for."""
    if isinstance(error, Diverged):
        return "diverged", str(error)
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return "interrupted", str(error) or "stopped from the keyboard"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "oom", "out of memory; a smaller training.batch_size needs less"
    return "failed", f"{type(error).__name__}: {error}"


def _refuse_other_run(folder: RunFolder, e: Experiment) -> None:
    """Refuse to go on with a run whose recorded config is another one."""
    from kexp.store import read_run
    from kexp.store.differences import differences

    recorded = read_run(folder.path).config
    if recorded and recorded.get("identity") not in (None, e.identity):
        changed = "\n".join(f"  {line}" for line in differences(recorded, e.config))
        raise StoreError(
            f"{folder.path} holds a run of another config:\n{changed}\n"
            "Use those values to go on with it, another name=…, or --force to train it afresh"
        )


class _Tee:
    """A text stream that also writes to a log file."""

    def __init__(self, stream: TextIO, log: TextIO):
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        self._log.write(text)
        self._log.flush()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Copy what Python prints inside to `path`."""
    with open(path, "a", encoding="utf-8") as log:
        out, err = _Tee(sys.stdout, log), _Tee(sys.stderr, log)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):  # type: ignore[type-var]
            yield
