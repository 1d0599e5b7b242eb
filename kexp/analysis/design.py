"""The design of a study as it was run: which factors vary, their levels, baselines and seeds."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kexp.errors import ConfigError
from kexp.store import Record
from kexp.store.differences import flatten
from kexp.store.names import OUTSIDE_IDENTITY

CHOICES = ("loss", "regularizer", "dropout", "norm")
NOT_CHOSEN = (*OUTSIDE_IDENTITY, "seed", "schema", "identity")


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


def choices(record: Record) -> dict[str, Any]:
    """What a run chose, by key: `dropout` is the option's name, `dropout.rate` its parameter."""
    flat, options = flatten(record.config), record.summary.get("options") or {}
    named = {f"{group.replace('/', '.')}._target_": option for group, option in options.items()}
    flat |= {key: option for key, option in named.items() if key in flat}
    return {
        key.removesuffix("._target_"): value if _is_scalar(value) else _as_text(value)
        for key, value in flat.items()
        if key.split(".")[0] not in NOT_CHOSEN
    }


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
    labels = _labels(every)
    plan = _plan(records)
    asked, nuisance = list(nuisance), {*nuisance, *plan["nuisance"]}
    rows = tuple(
        Row(record, _seed(record), {name: column[i] for name, column in labels.items()})
        for i, record in enumerate(records)
    )
    _check_known("--baseline", baselines or {}, labels)
    groups = {name.split(".")[0] for name in labels}
    _check_known("--nuisance", (name for name in asked if name not in groups), labels)
    factors = []
    for name in sorted(labels, key=lambda name: _rank(name, plan)):
        column = labels[name]
        planned = _planned(name, plan, every, column)
        if name in (baselines or {}):
            baseline = _level(name, (baselines or {})[name], every, column)
        else:
            baseline = (planned[0] if planned else None) or _usual(name, rows, column)
        order = [baseline, *filter(None, planned), *sorted(set(column), key=_natural)]
        is_nuisance = name in nuisance or name.split(".")[0] in nuisance
        factors.append(Factor(name, tuple(dict.fromkeys(order)), is_nuisance))
    return Design(tuple(factors), rows)


def _labels(every: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """For each factor the label of every run's level."""
    keys = list(dict.fromkeys(key for chosen in every for key in chosen))
    missing = object()
    varying = [k for k in keys if len({plain(c.get(k, missing)) for c in every}) > 1]
    sections = {key for key in keys if any(k.startswith(f"{key}.") for k in keys)}
    options = [key for key in varying if key in sections]
    labels: dict[str, list[str]] = {}
    for key in varying:
        owner = next((o for o in options if key.startswith(f"{o}.")), None)
        if owner is None or _crossed(every, owner, key):
            if key not in sections:
                labels[key] = [plain(chosen.get(key, "–")) for chosen in every]
            else:
                merged = [k for k in keys if k.startswith(f"{key}.")]
                merged = [k for k in merged if not _crossed(every, key, k)]
                labels[key] = _option_labels(every, key, merged)
    return labels


def _crossed(every: Sequence[dict[str, Any]], option: str, key: str) -> bool:
    """Whether a parameter takes the same two or more values with every option of its group."""
    values: dict[Any, set[str]] = defaultdict(set)
    for chosen in every:
        if key in chosen:
            values[chosen.get(option)].add(plain(chosen[key]))
        else:
            return False
    first, *others = values.values()
    return len(first) > 1 and all(other == first for other in others)


def _option_labels(every: Sequence[dict[str, Any]], key: str, parameters: list[str]) -> list[str]:
    """`standard(0.5)`: an option with its number, if it has one, or with what varies of it."""
    of_option: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for chosen in every:
        of_option[chosen.get(key)].append(chosen)
    shown: dict[Any, list[str]] = {}
    only: dict[Any, bool] = {}
    for option, group in of_option.items():
        present = [p for p in parameters if p in group[0]]
        numbers = [p for p in present if _is_number(group[0][p])]
        varying = [p for p in present if len({plain(c.get(p)) for c in group}) > 1]
        shown[option] = varying or (numbers if len(numbers) == 1 else [])
        only[option] = shown[option] == numbers
    labels = []
    for chosen in every:
        option = chosen.get(key)
        parts = [
            plain(chosen.get(p)) if only[option] else f"{p[len(key) + 1 :]}={plain(chosen.get(p))}"
            for p in shown[option]
        ]
        name = plain(option).rpartition(".")[2] if option is not None else "–"
        labels.append(f"{name}({', '.join(parts)})" if parts else name)
    return labels


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
        there = ", ".join(sorted(set(column), key=_natural))
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
    return min(unmentioned if len(unmentioned) == 1 else column, key=_natural)


def _check_known(option: str, names: Iterable[str], labels: Iterable[str]) -> None:
    for name in names:
        if name not in labels:
            there = f"what varies is {', '.join(labels)}" if labels else "nothing varies but seeds"
            raise ConfigError(f"{option} {name}: these runs do not differ in {name}; {there}")


def _seed(record: Record) -> int | None:
    seed = record.summary.get("seed", record.config.get("seed"))
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def same(value: Any, text: str) -> bool:
    """Whether a recorded value is the one that a text on the command line means."""
    if plain(value) == text:
        return True
    try:
        return float(value) == float(text)
    except (TypeError, ValueError, OverflowError):
        return False


def plain(value: Any) -> str:
    """A value as the command line writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _as_text(value: Any) -> str:
    return json.dumps(value, default=str, skipkeys=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _natural(label: str) -> tuple[int, float, str]:
    """Sorts numbers as numbers, before texts; `null` as the largest, as in train_size=null."""
    try:
        return 0, float(label), label
    except ValueError:
        return (1, math.inf, label) if label == "null" else (2, 0.0, label)
