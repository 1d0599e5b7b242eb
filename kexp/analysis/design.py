"""The design of a study as it was run: which factors vary, their levels, baselines and seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kexp.analysis.levels import choices, labels, natural, plain, same
from kexp.analysis.quantities import Quantity
from kexp.errors import ConfigError
from kexp.store import Record

CHOICES = ("loss", "regularizer", "dropout", "norm")


@dataclass(frozen=True)
class Factor:
    """Something that varies: `levels` are labels such as `standard(0.5)`, the baseline first.

    A nuisance factor is not under study: the best of its levels is chosen before others compare.
    """

    name: str
    levels: tuple[str, ...]
    nuisance: bool = False

    @property
    def baseline(self) -> str:
        """The level that the others are compared with."""
        return self.levels[0]


@dataclass(frozen=True)
class Row:
    """One run of a design: its seed and, by factor, the label of its level."""

    record: Record
    seed: int | None
    levels: Mapping[str, str]

    def cell(self, factors: Iterable[str]) -> tuple[str, ...]:
        """Its levels of some factors."""
        return tuple(self.levels[name] for name in factors)


@dataclass(frozen=True)
class Design:
    """Factors × seeds, and the runs that fill it."""

    factors: tuple[Factor, ...]
    rows: tuple[Row, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the factors under study."""
        return tuple(f.name for f in self.factors if not f.nuisance)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, in order."""
        return tuple(sorted({row.seed for row in self.rows if row.seed is not None}))

    def values(self, quantity: Quantity) -> dict[tuple[int, tuple[str, ...]], float]:
        """The value of each seed and combination of levels; the mean where runs share both."""
        if quantity not in self._known:
            self._known[quantity] = self._values(quantity)
        return self._known[quantity]

    @cached_property
    def _known(self) -> dict[Quantity, dict[tuple[int, tuple[str, ...]], float]]:
        return {}

    def _values(self, quantity: Quantity) -> dict[tuple[int, tuple[str, ...]], float]:
        found: dict[tuple[int, tuple[str, ...]], list[float]] = defaultdict(list)
        for row in self.rows:
            value = quantity.of(row.record)
            if row.seed is not None and value is not None:
                found[row.seed, row.cell(self.names)].append(value)
        return {key: math.fsum(values) / len(values) for key, values in found.items()}

    def cells(self) -> dict[tuple[str, ...], list[Row]]:
        """The runs of each combination of levels of the factors under study, by these levels."""
        found: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row.cell(self.names)].append(row)
        order = [{level: i for i, level in enumerate(self.factor(n).levels)} for n in self.names]
        place = {cell: [o[le] for o, le in zip(order, cell, strict=True)] for cell in found}
        return {cell: found[cell] for cell in sorted(found, key=lambda cell: place[cell])}

    def restricted(self, name: str, level: str) -> Design:
        """The runs at one level of a factor."""
        return replace(self, rows=tuple(row for row in self.rows if row.levels[name] == level))

    def factor(self, name: str) -> Factor:
        """The factor of a name."""
        return next(f for f in self.factors if f.name == name)

    def label(self, cell: Sequence[str]) -> str:
        """What to call a combination of levels: `dropout=none, norm=batch`."""
        parts = [f"{name}={level}" for name, level in zip(self.names, cell, strict=True)]
        return ", ".join(parts) or "all runs"


def design(
    records: Sequence[Record],
    baselines: Mapping[str, str] | None = None,
    nuisance: Iterable[str] = (),
) -> Design:
    """The design that some comparable runs make up.

    `baselines` names the baseline level of a factor, by its name; `nuisance` are further nuisance
    factors. Baselines and nuisance factors of the study that was run are taken from its records.
    Raises `ConfigError` for names that there are not.
    """
    every = [choices(record) for record in records]
    plan, baselines, asked = _plan(records), baselines or {}, list(nuisance)
    hidden = {*asked, *plan["nuisance"]}
    apart = {*plan["factors"], *hidden}
    columns = labels(every, apart, _companions(plan) - apart)
    rows = tuple(
        Row(record, _seed(record), {name: column[i] for name, column in columns.items()})
        for i, record in enumerate(records)
    )
    _check_known("--baseline", baselines, columns)
    groups = {name.split(".")[0] for name in columns}
    _check_known("--nuisance", (name for name in asked if name not in groups), columns)
    factors = []
    for name in sorted(columns, key=lambda name: _rank(name, plan)):
        column = columns[name]
        planned = _planned(name, plan, every, column)
        first = _level(name, baselines[name], every, column) if name in baselines else None
        first = first or (planned[0] if planned else None) or _usual(name, rows, column)
        order = [first, *filter(None, planned), *sorted(set(column), key=natural)]
        is_nuisance = name in hidden or name.split(".")[0] in hidden
        factors.append(Factor(name, tuple(dict.fromkeys(order)), is_nuisance))
    return Design(tuple(factors), rows)


def _plan(records: Sequence[Record]) -> dict[str, dict[str, list[Any]]]:
    """Factors and nuisance factors of the studies that the runs belong to, with their levels."""
    plan: dict[str, dict[str, list[Any]]] = {"factors": {}, "nuisance": {}}
    for record in records:
        study = record.config.get("study")
        for kind, found in plan.items():
            section = study.get(kind) if isinstance(study, dict) else None
            for key, levels in (section if isinstance(section, dict) else {}).items():
                if isinstance(levels, list) and levels:
                    found.setdefault(str(key), levels)
    return plan


def _companions(plan: dict[str, dict[str, list[Any]]]) -> set[str]:
    """The keys that only go with planned levels of a factor, and lie outside its own section."""
    return {
        key
        for kind in plan.values()
        for name, levels in kind.items()
        for level in levels
        for key in (str(other).partition("=")[0] for other in _others(level))
        if not key.startswith(f"{name}.")
    }


def _others(level: Any) -> list[Any]:
    return level[1:] if isinstance(level, list) else []


def _rank(name: str, plan: dict[str, dict[str, list[Any]]]) -> tuple[int, int]:
    """Factors of the study in its order, then the four choices, then the rest."""
    for number, key in enumerate(plan["factors"] | plan["nuisance"]):
        if name == key or name.startswith(f"{key}."):
            return 0, number
    group = name.split(".")[0]
    return 1, CHOICES.index(group) if group in CHOICES else len(CHOICES)


def _planned(
    name: str, plan: dict[str, dict[str, list[Any]]], every: Sequence[Any], column: list[str]
) -> list[str | None]:
    """The labels of a factor's levels in the order of the study; None for one that was not run."""
    for key, levels in (plan["factors"] | plan["nuisance"]).items():
        if name == key or name.startswith(f"{key}."):
            return [_matching(key, level, every, column) for level in levels]
    return []


def _matching(key: str, level: Any, every: Sequence[Any], column: list[str]) -> str | None:
    """The label of the first run that has a level of a study, companions included."""
    value, *others = level if isinstance(level, list) and level else [level]
    wanted = {key: plain(value)}
    wanted |= {k: v for k, _, v in (str(other).partition("=") for other in others)}
    for chosen, label in zip(every, column, strict=True):
        if all(same(chosen.get(k), v) for k, v in wanted.items()):
            return label
    return None


def _level(name: str, wanted: str, every: Sequence[Any], column: list[str]) -> str:
    """The label that a level named by itself, its option or value has. Raises `ConfigError`."""
    if wanted in column:
        return wanted
    found = {la for c, la in zip(every, column, strict=True) if same(c.get(name), wanted)}
    if len(found) != 1:
        there = ", ".join(sorted(set(column), key=natural))
        many = "several levels are called so" if found else "there is no such level"
        raise ConfigError(f"--baseline {name}={wanted}: {many}; {name} has {there}")
    return found.pop()


def _usual(name: str, rows: Sequence[Row], column: list[str]) -> str:
    """`none`, or else the task's own level, which labels of runs do not mention, or the first."""
    if "none" in column:
        return "none"
    unmentioned = {
        level
        for row, level in zip(rows, column, strict=True)
        if f"{name}=" not in str(row.record.summary.get("label", f"{name}="))
    }
    return min(unmentioned if len(unmentioned) == 1 else column, key=natural)


def _check_known(option: str, names: Iterable[str], columns: Iterable[str]) -> None:
    for name in names:
        if name not in columns:
            named = ", ".join(columns)
            there = f"what varies is {named}" if named else "nothing varies but seeds"
            raise ConfigError(f"{option} {name}: these runs do not differ in {name}; {there}")


def _seed(record: Record) -> int | None:
    seed = record.summary.get("seed", record.config.get("seed"))
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None
