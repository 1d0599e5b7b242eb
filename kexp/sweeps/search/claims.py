"""Which process works on a trial, and whether it still does."""

from __future__ import annotations

import contextlib
import os
import platform
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from kexp.store import RunFolder
from kexp.store.folder import STALE_SECONDS

ACTIVE: set[str] = set()
"""The searches under way in this process."""


@contextlib.contextmanager
def claiming() -> Iterator[dict[str, Any]]:
    """Who this search is, as it is written to its trials; active until the block ends."""
    token = uuid.uuid4().hex
    ACTIVE.add(token)
    try:
        began = psutil.Process().create_time()
        yield {"host": platform.node(), "pid": os.getpid(), "began": began, "search": token}
    finally:
        ACTIVE.discard(token)


def is_dead(owner: Any, folders: Sequence[Path], lock: Path) -> bool:
    """Whether the search that asked for a trial, whose runs are in `folders`, is known to be dead.

    On this host its process tells. On another, its runs do: they have begun, and none has had a
    heartbeat lately, by the clock of the file system that `lock` is on.
    """
    if not isinstance(owner, dict):
        return True
    if owner.get("host") == platform.node():
        return not _works(owner)
    times = [_time(RunFolder(folder).status) for folder in folders]
    begun = [time for time in times if time is not None]
    lock.touch()
    return bool(begun) and (_time(lock) or 0.0) - max(begun) > STALE_SECONDS


def _works(owner: dict[str, Any]) -> bool:
    if owner.get("pid") == os.getpid():
        return owner.get("search") in ACTIVE
    try:
        process = psutil.Process(int(owner["pid"]))
        same = abs(process.create_time() - float(owner["began"])) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _time(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
