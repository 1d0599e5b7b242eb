"""Keeping the record of a run while it trains: config, status, log, environment, result."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from kexp import environment
from kexp.data import Collection
from kexp.errors import Diverged, Interrupted, KexpError, StoreError
from kexp.experiment import Experiment
from kexp.progress import Logged, Reporter
from kexp.store import RunFolder, atomic, read_run
from kexp.store.differences import differences
from kexp.store.names import SCHEMA
from kexp.store.reading import read_json
from kexp.summary import data_name


def refuse_other_run(folder: RunFolder, e: Experiment) -> None:
    """Raise `StoreError` where the folder holds a run of another config."""
    record = read_run(folder.path)
    if record.newer:
        raise StoreError("; ".join(record.problems))
    known = record.summary.get("identity") or record.config.get("identity")
    if known not in (None, e.identity):
        lines = differences(record.config, e.config) or ["a value behind ${…} is another now"]
        changed = "\n".join(f"  {line}" for line in lines)
        raise StoreError(
            f"{folder.path} holds a run of another config:\n{changed}\n"
            "Use those values to go on with it, another name=…, or --force to train it afresh"
        )


@contextlib.contextmanager
def recorded(folder: RunFolder, e: Experiment, reporter: Reporter) -> Iterator[Reporter]:
    """Keep config, status and log of what happens inside, whatever happens.

    Gives a reporter that writes to the log what it says.
    """
    header = f"schema: {SCHEMA}\nidentity: {e.identity}\n"
    atomic.write_text(folder.config, header + e.config_text)
    folder.start()
    with _logged(folder.log) as log:
        try:
            yield Logged(reporter, log)
        except BaseException as error:
            state, reason = _state_of(error)
            folder.end(state, reason)
            print(reason if isinstance(error, KexpError) else traceback.format_exc(), file=log)
            if state == "oom":
                raise KexpError(reason) from error
            raise
    folder.end("finished")


def write_environment(
    folder: RunFolder, e: Experiment, device: str, collection: Collection
) -> dict[str, str]:
    """Write environment.json; returns the name and the checksum of the data.

    Raises `StoreError` where the run has begun on other data.
    """
    data = {"name": data_name(e), "sha256": collection.checksum()}
    before = (read_json(folder.environment) or {}).get("data", {}).get("sha256")
    if folder.checkpoint.exists() and before not in (None, data["sha256"]):
        raise StoreError(
            f"{folder.path} was begun on other data of the name {data['name']}: their checksum "
            "has changed since. Put the data back, or use --force to train it afresh"
        )
    atomic.write_json(folder.environment, environment.describe(device, e.backend.threads, data))
    return data


def write_result(
    folder: RunFolder, model: Any, exhibits: dict[str, Any], summary: dict[str, Any]
) -> None:
    """Write the model, which holds its best weights, examples to look at, and then the summary."""
    atomic.write_arrays(folder.examples, exhibits)
    partial = folder.path / ".partial.keras"
    model.save(partial)
    partial.replace(folder.model)
    atomic.write_json(folder.summary, summary)


def _state_of(error: BaseException) -> tuple[str, str]:
    """The final state and the reason that an exception stands for."""
    if isinstance(error, Diverged):
        return "diverged", str(error)
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return "interrupted", str(error) or "stopped from the keyboard"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "oom", "out of memory; a smaller training.batch_size needs less"
    if isinstance(error, KexpError):
        return "failed", str(error)
    return "failed", f"{type(error).__name__}: {error}"


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
def _logged(path: Path) -> Iterator[TextIO]:
    """Copy what Python prints inside to the file `path`, which is given."""
    with open(path, "a", encoding="utf-8", errors="replace") as log:
        out: Any = _Tee(sys.stdout, log)
        err: Any = _Tee(sys.stderr, log)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield log
