"""`--where`: only those runs whose choices, state or numbers meet some conditions."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

from kexp.analysis import quantities as q
from kexp.analysis.design import design
from kexp.analysis.levels import choices, natural, plain, same
from kexp.errors import ConfigError
from kexp.measures import YARDSTICKS
from kexp.store import Record

CONDITION = re.compile(r"([^\s=!<>]+)\s*(!=|<=|>=|==|=|<|>)\s*(.+)")
ORDER = {"<": lt, "<=": le, ">": gt, ">=": ge}
MOST_KEYS = 20
MOST_LIKELY, LONGEST_NAME = 500, 60
"""A name that is none is looked for among so many that are no longer, as it takes milliseconds for
each."""
ABSENT = object()

ABOUT: Mapping[str, Callable[[Record], Any]] = {
    "seed": lambda r: r.summary.get("seed", r.config.get("seed")),
    "study": lambda r: r.path.parent.name,
    "run": lambda r: r.path.name,
    "state": lambda r: r.status.get("state"),
    "label": lambda r: r.summary.get("label"),
}
"""What every record has beside its choices."""


@dataclass(frozen=True)
class Condition:
    """`key operator values`, as it was written in `text`."""

    text: str
    key: str
    operator: str
    values: tuple[str, ...]

    def holds(self, value: Any, label: str | None) -> bool:
        """Whether a value, which a table may call by a `label` such as standard(0.5), meets it."""
        if order := ORDER.get(self.operator):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return number and order(value, float(self.values[0]))
        found = any(text == label or same(value, text) for text in self.values)
        return found != (self.operator == "!=")


def filtered(records: Sequence[Record], conditions: Sequence[str]) -> list[Record]:
    """The records that meet all conditions, such as `dropout=none,standard` or `test.error<0.05`.

    A key is a choice (`dropout`, `dropout.rate`), seed, study, run, state, label, or something
    measured (`gap`, `gap.nll`). What a run lacks is unequal to everything, and neither smaller nor
    larger. Raises `ConfigError` for a condition that is none, or a key that no run has.
    """
    kept = list(records)
    if not conditions:
        return kept
    chosen = {id(record): choices(record) for record in records}
    for text in conditions:
        condition = parsed(text)
        value = _reader(condition, records, chosen)
        labels = _labels(condition, records, chosen)
        left = [r for r in kept if condition.holds(value(r), labels.get(id(r)))]
        if kept and not left:
            raise ConfigError(_none_left(condition, [value(r) for r in kept]))
        kept = left
    return kept


def _none_left(condition: Condition, values: Sequence[Any]) -> str:
    """What there is of a key, where no run meets a condition."""
    known = {plain(value) for value in values if value is not ABSENT}
    there = sorted({v for v in known if not v.startswith("kexp.")} or known, key=natural)
    more = ", …" if there[MOST_KEYS:] else ""
    return (
        f"--where {condition.text}: no run meets it; {condition.key} is "
        f"{', '.join(there[:MOST_KEYS])}{more}"
    )


def parsed(text: str) -> Condition:
    """A condition from the command line. Raises `ConfigError`."""
    match = CONDITION.fullmatch(text.strip())
    if not match:
        raise ConfigError(
            f"--where {text}: write key=value, key=value,value, key!=value, key<value, <=, > or "
            ">=, as in dropout=none or test.error<0.05"
        )
    key, operator, wanted = match.groups()
    values = [v.strip() for v in re.split(r",(?![^(]*\))", wanted)]
    condition = Condition(text, key, operator, tuple(v for v in values if v))
    if operator in ORDER and not _is_number(condition.values):
        raise ConfigError(f"--where {text}: {operator} wants one number, got {wanted}")
    return condition


def _is_number(values: Sequence[str]) -> bool:
    try:
        return len(values) == 1 and float(values[0]) == float(values[0])
    except ValueError:
        return False


def _reader(
    condition: Condition, records: Sequence[Record], chosen: Mapping[int, Mapping[str, Any]]
) -> Callable[[Record], Any]:
    """How to get what a condition is about from a record. Raises `ConfigError`."""
    key = condition.key
    if any(key in of_run for of_run in chosen.values()):
        return lambda record: chosen[id(record)].get(key, ABSENT)
    if key in ABOUT:
        return ABOUT[key]
    part, name = q.parsed(key) or ("", "")
    if part and part != q.MEMORISATION.name and (not name or name in YARDSTICKS):
        measured = [r for r in records if q.measured_by([r])]
        if any(not name or name in q.measured_by([r]) for r in measured):
            return lambda record: _measured(record, part, name)
    raise ConfigError(f"--where {condition.text}: no run has {key}; {_nearest(key, records)}")


def _measured(record: Record, part: str, name: str) -> float | None:
    if not q.measured_by([record]):
        return None
    return q.Quantity(part, YARDSTICKS[name] if name else q.yardstick([record])).of(record)


def _labels(
    condition: Condition, records: Sequence[Record], chosen: Mapping[int, Mapping[str, Any]]
) -> dict[int, str]:
    """What tables call the level of each run, if a condition may mean that: standard(0.5)."""
    if not any("(" in text for text in condition.values):
        return {}
    alike: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if of_run := chosen[id(record)]:
            alike[plain(of_run.get("task")), plain(of_run.get("data"))].append(record)
    rows = [row for group in alike.values() for row in design(group).rows]
    return {
        id(row.record): row.levels[condition.key] for row in rows if condition.key in row.levels
    }


def _nearest(key: str, records: Sequence[Record]) -> str:
    known = list(dict.fromkeys(k for record in records for k in choices(record)))
    known += [k for k in ABOUT if k not in known]
    yardsticks = dict.fromkeys(y for record in records for y in q.measured_by([record]))
    known += [f"{part}.{name}" for part in q.PARTS for name in yardsticks]
    return nearest(key, known)


def nearest(key: str, known: Sequence[str]) -> str:
    """In words, which of the known keys are nearest to one that is none, or what there is."""
    likely = [name for name in known if len(name) <= LONGEST_NAME][:MOST_LIKELY]
    if near := difflib.get_close_matches(key[:LONGEST_NAME], likely, 3):
        return f"nearest {'is' if len(near) == 1 else 'are'} {', '.join(near)}"
    more = ", …" if known[MOST_KEYS:] else ""
    return f"there are {', '.join(known[:MOST_KEYS])}{more}"
