"""Which runs may stand beside each other: finished, counted once, of one task and one data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kexp.analysis.quantities import measured_by
from kexp.errors import spelled
from kexp.store import Record
from kexp.store.differences import flatten
from kexp.store.reading import read_json


@dataclass
class Comparable:
    """Finished runs of one task on the same data, and those that ended otherwise."""

    title: str
    records: list[Record] = field(default_factory=list)
    unfinished: list[Record] = field(default_factory=list)


def comparable(records: Sequence[Record]) -> list[Comparable]:
    """The records in groups that may be compared. Copies of a run are counted once."""
    groups: dict[tuple[str, str, str], Comparable] = {}
    for record in _distinct(r for r in records if finished(r)):
        key = (*_kind(record), _checksum(record))
        groups.setdefault(key, Comparable(_title(record))).records.append(record)
    for kind in {key[:2] for key in groups}:
        same = [group for key, group in groups.items() if key[:2] == kind]
        for number, group in enumerate(same[1:] and same, start=1):
            group.title += f" (data {number} of {len(same)})"
    for record in records:
        if not finished(record) and record.config:
            _place(record, groups)
    return list(groups.values())


def _place(record: Record, groups: dict[tuple[str, str, str], Comparable]) -> None:
    """Put an unfinished run to those of its data, or of its data set where these are not known."""
    kind, checksum = _kind(record), _checksum(record)
    of_kind = [key for key in groups if key[:2] == kind]
    if of_kind:
        key = (*kind, checksum)
        groups[key if key in groups else of_kind[0]].unfinished.append(record)


def finished(record: Record) -> bool:
    """Whether a run has finished and its summary has something to compare."""
    return record.status.get("state") == "finished" and bool(measured_by([record]))


def left_out(records: Sequence[Record]) -> Iterator[str]:
    """Why some runs are not compared, and what was wrong with others, a line each."""
    for record in records:
        if not finished(record) and not record.newer:
            state, reason = record.status.get("state", "unreadable"), record.status.get("reason")
            if state == "finished":
                reason = "but its summary has nothing to compare"
            yield spelled(f"left out: {record.path} ({state}{f': {reason}' if reason else ''})")
        yield from (spelled(f"problem: {problem}") for problem in record.problems)


def _distinct(records: Iterable[Record]) -> list[Record]:
    """The records without copies of the same run, which are no further seeds."""
    known: dict[str, Path] = {}
    distinct = []
    for record in records:
        identity = str(record.summary.get("identity", record.path))
        if identity in known:
            problem = f"{record.path} is a copy of {known[identity]}, counted once"
            record.problems.append(problem)
        else:
            known[identity] = record.path
            distinct.append(record)
    return distinct


def _kind(record: Record) -> tuple[str, str]:
    """The classes of the task and the data set of a run."""
    flat = flatten(record.config)
    return str(flat.get("task._target_", "?")), str(flat.get("data._target_", "?"))


def _checksum(record: Record) -> str:
    """The checksum of the data of a run; an unfinished one has it in environment.json."""
    data = record.summary.get("data")
    if data is None:
        data = (read_json(record.path / "environment.json") or {}).get("data")
    return str(data.get("sha256", "")) if isinstance(data, dict) else ""


def _title(record: Record) -> str:
    """`mnist_convnet on digits`, or the names of the classes where options are not recorded."""
    options = record.summary.get("options", {})
    classes = [name.rpartition(".")[2] for name in _kind(record)]
    task, data = (
        str(options.get(group, name)) for group, name in zip(("task", "data"), classes, strict=True)
    )
    return f"{task} on {data}"
