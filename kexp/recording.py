"""Keeping the record of a run while it trains: config, status, log, environment, result."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from kexp import environment
from kexp.data import Collection
from kexp.errors import KexpError, OutOfMemory, StoreError
from kexp.experiment import Experiment
from kexp.progress import Logged, Reporter
from kexp.store import RunFolder, read_run
from kexp.store.differences import differences
from kexp.store.names import SCHEMA
from kexp.store.reading import read_json
from kexp.summary import data_name
from kexp.tracking import tracked

OUT_OF_MEMORY = ("MemoryError", "ResourceExhaustedError", "OutOfMemoryError")
"""Exceptions of Python, TensorFlow and PyTorch; JAX says RESOURCE_EXHAUSTED."""

OWN_PROCESS = False
"""Whether this process does nothing but train runs, so that all it prints belongs to them."""


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


def sent(
    folder: RunFolder, e: Experiment, reporter: Reporter
) -> contextlib.AbstractContextManager[Reporter]:
    """Around the recording: send the record to the tracker of the experiment, if it has one."""
    names = ("identity", "label", "seed", "options", "config")
    return tracked(e.track, folder, {name: getattr(e, name) for name in names}, reporter)


@contextlib.contextmanager
def recorded(
    folder: RunFolder, e: Experiment, reporter: Reporter, captured: bool = True
) -> Iterator[Reporter]:
    """Keep config, status and log of what happens inside, whatever happens.

    Gives a reporter that writes to the log what it says; what is printed goes there too if that
    is to be `captured`.
    """
    header = f"schema: {SCHEMA}\nidentity: {e.identity}\n"
    folder.write_text(folder.config, header + e.config_text)
    folder.start()
    with _logged(folder, e, captured) as log:
        try:
            with folder.beating():
                yield Logged(reporter, log)
        except BaseException as error:
            _hide(error, e.hidden)
            state, reason = ending(error)
            reason = e.hidden(reason)
            text = reason if isinstance(error, KexpError) else traceback.format_exc()
            try:
                folder.end(state, reason)
                print(text, file=log)
            except StoreError as fault:  # told, but not in place of what it comes after
                reporter.say(f"how the run ended cannot be recorded: {fault}")
            if state == "oom":
                raise OutOfMemory(reason) from error
            raise
    folder.end("finished")


def write_environment(
    folder: RunFolder, e: Experiment, device: str, collection: Collection, reporter: Reporter
) -> dict[str, str]:
    """Write environment.json; returns the name and the checksum of the data.

    Says so where the run has begun with another number of threads. Raises `StoreError` where it
    has begun on other data.
    """
    data = {"name": data_name(e), "sha256": collection.checksum}
    found = environment.describe(device, e.backend.threads_in_use(), data)
    if folder.checkpoint.exists():
        before = read_json(folder.environment) or {}
        _refuse_other_data(folder, before, data)
        begun = before.get("threads_begun", before.get("threads"))
        if isinstance(begun, int) and begun != found["threads"]:
            found["threads_begun"] = begun
            reporter.say(
                f"begun with {begun} thread{'' if begun == 1 else 's'}, going on with "
                f"{found['threads']}: not the same bit for bit"
            )
    folder.write_json(folder.environment, found)
    return data


def _refuse_other_data(folder: RunFolder, before: dict[str, Any], data: dict[str, str]) -> None:
    recorded = before.get("data", {}).get("sha256")
    if recorded not in (None, data["sha256"]):
        raise StoreError(
            f"{folder.path} was begun on other data of the name {data['name']}: their checksum "
            "has changed since. Put the data back, or use --force to train it afresh"
        )


def write_result(
    folder: RunFolder, model: Any, exhibits: dict[str, Any], summary: dict[str, Any]
) -> None:
    """Write the model, which holds its best weights, examples to look at, and then the summary."""
    folder.write_arrays(folder.examples, exhibits)
    folder.save_model(model)
    folder.write_json(folder.summary, summary)


def _hide(error: BaseException, hidden: Callable[[str], str]) -> None:
    """Take secrets out of an exception, whose text may be written down elsewhere too."""
    error.args = tuple(hidden(a) if isinstance(a, str) else a for a in error.args)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        error.filename = hidden(error.filename)


def ending(error: BaseException) -> tuple[str, str]:
    """The final state and the reason, in one line, that an exception stands for."""
    if isinstance(error, KexpError):
        return error.state, str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "stopped from the keyboard"
    if isinstance(error, SystemExit):
        return "failed", f"something in the run called sys.exit({error.code!r})"
    reason = _in_short(error)
    if isinstance(error, GeneratorExit):
        return "interrupted", "its process ended before it did"
    if reason.startswith(OUT_OF_MEMORY) or "RESOURCE_EXHAUSTED" in reason:
        return "oom", "out of memory; a smaller training.batch_size needs less"
    return "failed", reason


def _in_short(error: BaseException) -> str:
    """Type and message; where TensorFlow adds the lines of the code, only what was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0] == "in user code:":
        return lines[-1]
    return ": ".join([type(error).__name__, *lines[:1]])


class _Log(io.TextIOBase):
    """The log of a run, without secrets of its config.

    A text that cannot be written to it in full is a `StoreError`, at once.
    """

    def __init__(self, folder: RunFolder, hidden: Callable[[str], str]):
        self._folder, self._hidden = folder, hidden
        with folder.writing(folder.log):
            self._file = open(folder.log, "ab", buffering=0)

    def write(self, text: str) -> int:
        left = memoryview(self._hidden(text).encode(errors="replace"))
        with self._folder.writing(self._folder.log):
            while left:
                left = left[self._file.write(left) :]
        return len(text)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
        super().close()


class _Tee:
    """A text stream that also writes to a log file."""

    def __init__(self, stream: TextIO, log: TextIO):
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        self._log.write(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _logged(folder: RunFolder, e: Experiment, captured: bool) -> Iterator[TextIO]:
    """The log of a run; what is printed inside is copied to it if that is to be `captured`."""
    with _Log(folder, e.hidden) as log:
        if not captured:
            yield log
            return
        out: Any = _Tee(sys.stdout, log)
        err: Any = _Tee(sys.stderr, log)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with _native(log) if OWN_PROCESS else contextlib.nullcontext():
                yield log


@contextlib.contextmanager
def _native(log: TextIO) -> Iterator[None]:
    """Have what native code prints, and the traceback of a crash of it, in the log as well."""
    faulthandler.enable(log)
    before = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(log.fileno(), number)
    try:
        yield
    finally:
        faulthandler.disable()
        for number, descriptor in zip((1, 2), before, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
