"""The folder of one run: its files, who may write it, and in which order."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from kexp.errors import Held, StoreError
from kexp.store.atomic import append_json, write_arrays, write_json, write_text
from kexp.store.reading import read_history, read_json

BEAT_SECONDS = 15.0
"""The heartbeat of a run that is being trained is renewed this often."""

STALE_SECONDS = 120.0
"""A run on another host whose heartbeat is older than this may be taken over."""


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

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process. Raises `Held` while another process holds it.

        The lock of another host may not reach here over a shared disk: there the run is held
        while its heartbeat is fresh.
        """
        touched = _make_writable(self.path)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise Held(self._held_message()) from None
        try:
            if self._beats_elsewhere(touched):
                raise Held(self._held_message())
            self._tidy()
            yield
        finally:
            lock.release()

    def _beats_elsewhere(self, touched: float) -> bool:
        """Whether another host is training the run. `touched` is when a file was just written.

        Both times are the file system's own, so that it matters nothing what the hosts' clocks say.
        """
        state = self.state()
        if state.get("state") != "running" or state.get("host") in (None, platform.node()):
            return False
        return touched - self.status.stat().st_mtime < STALE_SECONDS

    def _tidy(self) -> None:
        """Remove what writers left behind that were killed in the middle."""
        for file in (*self.path.rglob(".*.tmp"), *self.path.glob(".partial.keras")):
            file.unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """The content of status.json, empty where there is none."""
        return read_json(self.status) or {}

    def start(self) -> None:
        """Say in status.json that this process has begun, or taken up, the run."""
        before = self.state()
        self._clock = time.monotonic()
        self._earlier_seconds = float(before.get("seconds") or 0.0)
        self._started = before.get("started") or now()
        self._running = True
        self.beat()

    def beat(self) -> None:
        """Renew the heartbeat of a run, unless it has ended."""
        with self._status_lock:
            if self._running:
                write_json(self.status, self._status("running", None))

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
            write_json(self.status, self._status(state, reason))

    def conclude(self, state: str, reason: str) -> None:
        """Say how the run ended, for a process that died without a word."""
        with self.locked():
            write_json(self.status, {**self.state(), "state": state, "reason": reason})
            with open(self.log, "a", encoding="utf-8", errors="replace") as log:
                print(reason, file=log)

    def append(self, record: dict[str, Any]) -> None:
        """Add one epoch to the history, on disk when this returns."""
        append_json(self.history, record)

    def rewind(self, epochs: int) -> list[dict[str, Any]]:
        """Keep the first `epochs` records of the history and return them."""
        records, _ = read_history(self.history)
        kept = [r for r in records if r["epoch"] <= epochs]
        text = "".join(json.dumps(r, allow_nan=False) + "\n" for r in kept)
        if not self.history.exists() or self.history.read_bytes() != text.encode():
            write_text(self.history, text)
        return kept

    def save_checkpoint(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace the state to resume from."""
        write_arrays(self.checkpoint, arrays)

    def load_checkpoint(self) -> dict[str, np.ndarray] | None:
        """The state to resume from, or None where there is none."""
        if not self.checkpoint.exists():
            return None
        try:
            with open(self.checkpoint, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise StoreError(
                f"the checkpoint {self.checkpoint} cannot be read ({error}); "
                "start the run afresh with --force"
            ) from error

    def clear(self) -> None:
        """Remove every earlier result of this run, so that it starts afresh."""
        files = (self.config, self.environment, self.history, self.summary, self.status)
        for path in (*files, self.model, self.examples, self.log):
            path.unlink(missing_ok=True)
        for place in (self.checkpoint.parent, self.path / "tensorboard"):
            shutil.rmtree(place, ignore_errors=True)

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


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _make_writable(path: Path) -> float:
    """Make the folder; returns the time of its file system, in seconds."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-{platform.node()}-{os.getpid()}"
        probe.touch()
        touched = probe.stat().st_mtime
        probe.unlink()
        return touched
    except OSError as error:
        raise StoreError(
            f"cannot write to {path} ({error.strerror}); choose another place with "
            "paths.results=DIR"
        ) from error
