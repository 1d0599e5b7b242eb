"""The folder of one run: its files, who may write it, and in which order."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from kexp.errors import Held, KexpError, StoreError
from kexp.store import atomic
from kexp.store.reading import read_history, read_json

BEAT_SECONDS = 15.0
"""The heartbeat of a run that is being trained is renewed this often."""

STALE_SECONDS = 120.0
"""A run on another host whose heartbeat is older than this may be taken over."""


LOCK = ".lock"


class RunFolder:
    """Reads and writes the record of one run under `path`."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.history = path / "history.jsonl"
        self.summary = path / "summary.json"
        self.environment = path / "environment.json"
        self.checkpoint = path / "checkpoint" / "state.npz"
        self.model = path / "model.keras"
        self.examples = path / "examples.npz"
        self.log = path / "log.txt"
        self._clock = time.monotonic()
        self._earlier_seconds = 0.0
        self._running = False
        self._status_lock = threading.Lock()
        self._held: tuple[int, int] | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process. Raises `Held` while another process holds it.

        The lock of another host may not reach here over a shared disk: there the run is held
        while its heartbeat is fresh.
        """
        touched = _make_writable(self.path)
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise Held(self._held_message()) from None
        except (OSError, NotImplementedError) as error:
            raise _refused(self.path, f"no lock can be had: {_words(error)}") from error
        try:
            if self._beats_elsewhere(touched):
                raise Held(self._held_message())
            self._held = self._place()
            self._tidy()
            yield
        finally:
            self._held = None
            lock.release()

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Around the writing of `path`. Raises `StoreError` where that fails, with what to do.

        A folder that was removed meanwhile, and may be another process's by now, is left alone.
        """
        if self._held is not None and self._held != self._place():
            raise StoreError(
                f"{self.path} was removed or replaced while the run was being trained; the same "
                "command trains it from what is there now"
            )
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot write {path}: {_words(error)}; {_advice(error)}") from error

    def _place(self) -> tuple[int, int] | None:
        """What tells the folder from another in its place: its lock, which is open while held."""
        try:
            found = (self.path / LOCK).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _beats_elsewhere(self, touched: float) -> bool:
        """Whether another host is training the run. `touched` is when a file was just written.

        Both times are the file system's own, so that it matters nothing what the hosts' clocks say.
        A heartbeat far in the future is no heartbeat: its file came from elsewhere.
        """
        state = self.state()
        if state.get("state") != "running" or state.get("host") in (None, platform.node()):
            return False
        return abs(touched - self.status.stat().st_mtime) < STALE_SECONDS

    def _tidy(self) -> None:
        """Remove what writers left behind that were killed in the middle."""
        for file in self.path.rglob(atomic.TEMPORARY):
            file.unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """The content of status.json, empty where there is none."""
        return read_json(self.status) or {}

    def start(self) -> None:
        """Say in status.json that this process has begun, or taken up, the run."""
        before = self.state()
        self._clock = time.monotonic()
        self._earlier_seconds = _seconds(before.get("seconds"))
        self._started = before.get("started") or now()
        self._running = True
        self.beat()

    def beat(self) -> None:
        """Renew the heartbeat of a run, unless it has ended."""
        with self._status_lock:
            if self._running:
                self.write_json(self.status, self._status("running", None))

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Inside, renew the heartbeat at a steady pace, however long an epoch takes."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                with contextlib.suppress(Exception):
                    self.beat()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def end(self, state: str, reason: str | None = None) -> None:
        """Set the final state and, unless the run finished, the reason in words."""
        with self._status_lock:
            self._running = False
            self.write_json(self.status, self._status(state, reason))

    def conclude(self, state: str, reason: str) -> None:
        """Say how the run ended, for a process that died without a word."""
        with self.locked():
            self.write_json(self.status, {**self.state(), "state": state, "reason": reason})
            with self.writing(self.log), open(self.log, "ab") as log:
                log.write(f"{reason}\n".encode(errors="replace"))

    def write_text(self, path: Path, text: str) -> None:
        """Replace one of the files by `text`."""
        with self.writing(path):
            atomic.write_text(path, text)

    def write_json(self, path: Path, value: Any) -> None:
        """Replace one of the files by `value`."""
        with self.writing(path):
            atomic.write_json(path, value)

    def write_arrays(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        """Replace one of the files by `arrays`."""
        with self.writing(path):
            atomic.write_arrays(path, arrays)

    def save_model(self, model: Any) -> None:
        """Replace the file of the Keras model."""
        with self.writing(self.model), atomic.replacing(self.model) as file:
            model.save(file.name)

    def append(self, record: dict[str, Any]) -> None:
        """Add one epoch to the history, which `rewind` has begun; on disk when this returns."""
        with self.writing(self.history):
            atomic.append_json(self.history, record)

    def rewind(self, epochs: int) -> tuple[list[dict[str, Any]], str | None]:
        """Keep the first `epochs` records of the history; also returns what was wrong with it."""
        records, problem = read_history(self.history)
        kept = [r for r in records if r["epoch"] <= epochs]
        text = "".join(json.dumps(atomic.finite(r), allow_nan=False) + "\n" for r in kept)
        if not self.history.exists() or self.history.read_bytes() != text.encode():
            self.write_text(self.history, text)
        return kept, problem

    def save_checkpoint(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace the state to resume from."""
        self.write_arrays(self.checkpoint, arrays)

    def load_checkpoint(self) -> dict[str, np.ndarray] | None:
        """The state to resume from, or None where there is none."""
        if not self.checkpoint.exists():
            return None
        try:
            with open(self.checkpoint, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                if any(member.compress_type for member in arrays.zip.infolist()):
                    raise ValueError("it is compressed, and may grow to any size")
                return {name: arrays[name] for name in arrays.files}
        except KexpError:  # a signal's, not the file's
            raise
        except Exception as error:  # zip and npy readers raise almost anything on damaged bytes
            raise StoreError(
                f"the checkpoint {self.checkpoint} cannot be read ({error}); "
                "start the run afresh with --force"
            ) from error

    def clear(self) -> None:
        """Remove every earlier result of this run, so that it starts afresh.

        The checkpoint first, and last what says whose it was: a removal that was cut short never
        leaves a state that a run of another config would take for its own.
        """
        with self.writing(self.checkpoint), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.checkpoint.parent)
        shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
        results = (self.history, self.model, self.examples, self.log, self.environment)
        for path in (*results, self.summary, self.config, self.status):
            with self.writing(path):
                path.unlink(missing_ok=True)

    def _status(self, state: str, reason: str | None) -> dict[str, Any]:
        return {
            "state": state,
            "reason": reason,
            "host": platform.node(),
            "pid": os.getpid(),
            "started": self._started,
            "heartbeat": now(),
            "seconds": round(self._earlier_seconds + time.monotonic() - self._clock, 3),
        }

    def _held_message(self) -> str:
        state = self.state()
        return (
            f"this run is being trained by another process: {self.path} (host "
            f"{state.get('host')}, PID {state.get('pid')}, started {state.get('started')})"
        )


def _seconds(recorded: Any) -> float:
    """How long a run has been trained before, by its status; 0 where that says no such thing."""
    number = isinstance(recorded, (int, float)) and 0 <= recorded < 2**53
    return float(recorded) if number else 0.0


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _make_writable(path: Path) -> float:
    """Make the folder; returns the time of its file system, in seconds."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path, prefix=".probe.", suffix=".tmp") as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError as error:
        raise _refused(path, _words(error)) from error


def _refused(path: Path, why: str) -> StoreError:
    return StoreError(
        f"cannot write to {path} ({why}); choose another place with paths.results=DIR"
    )


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _advice(error: OSError) -> str:
    """What can be done about a write that the system refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room there, and the same command goes on from the last checkpoint"
    return "what was written before is kept, and the same command goes on from the last checkpoint"
