"""The folder of one run: its files, who may write it, and in which order."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import time
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from kexp.errors import StoreError
from kexp.store.atomic import append_json, write_arrays, write_json, write_text
from kexp.store.reading import read_history, read_json


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

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; refused while another process on this disk holds it."""
        _make_writable(self.path)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(self._held_message()) from None
        try:
            self._tidy()
            yield
        finally:
            lock.release()

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
        self.beat()

    def beat(self) -> None:
        """Renew the heartbeat of a running run."""
        self._write_status("running", None)

    def end(self, state: str, reason: str | None = None) -> None:
        """Set the final state and, unless the run finished, the reason in words."""
        self._write_status(state, reason)

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
        shutil.rmtree(self.checkpoint.parent, ignore_errors=True)

    def _write_status(self, state: str, reason: str | None) -> None:
        record = {
            "state": state,
            "reason": reason,
            "host": platform.node(),
            "pid": os.getpid(),
            "started": self._started,
            "heartbeat": now(),
            "seconds": round(self._earlier_seconds + time.monotonic() - self._clock, 3),
        }
        write_json(self.status, record)

    def _held_message(self) -> str:
        state = self.state()
        return (
            f"this run is being trained by another process: {self.path} (host "
            f"{state.get('host')}, PID {state.get('pid')}, started {state.get('started')})"
        )


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _make_writable(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(
            f"cannot write to {path} ({error.strerror}); choose another place with "
            "paths.results=DIR"
        ) from error
