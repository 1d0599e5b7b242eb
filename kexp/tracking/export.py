"""Sending runs that are on disk already. Nothing of a record is executed or instantiated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kexp.analysis.load import read_records
from kexp.errors import StoreError, spelled
from kexp.store import Record
from kexp.tracking.base import Tracker, Unreachable, send
from kexp.tracking.live import reason_of


def export_runs(tracker: Tracker, paths: Sequence[Path]) -> int:
    """Send the runs at or below `paths`, and say what could not be; returns how many were not.

    Raises `ConfigError` where a package is missing, `StoreError` where there are no runs or
    nothing to send them to.
    """
    tracker.check()
    tracker.prepare()
    records = read_records(paths)
    failed = sum(not _exported(tracker, record) for record in records)
    for problem in dict.fromkeys(problem for record in records for problem in record.problems):
        print(f"problem: {spelled(problem)}")
    print(f"{tracker.name}: {len(records) - failed} of {len(records)} runs sent")
    return failed


def _exported(tracker: Tracker, record: Record) -> bool:
    """Whether a run could be sent; else its problems say why not."""
    if record.newer or not record.config:
        if not record.problems:
            record.problems.append(f"{record.path}: there is no config of a run")
        return False
    try:
        send(tracker, record)
        return True
    except Unreachable as error:
        raise StoreError(tracker.hidden(str(error))) from None
    except Exception as error:
        record.problems.append(f"{record.path}: {tracker.hidden(reason_of(error))}")
        return False
