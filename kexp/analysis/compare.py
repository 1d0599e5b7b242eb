"""`kexp compare`: a table of groups of runs that differ only in their seed, or of single runs."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexp.analysis import quantities as q
from kexp.analysis.comparable import Comparable, comparable, left_out
from kexp.analysis.difference import tell_difference
from kexp.analysis.levels import choices
from kexp.analysis.load import COMPARED, read_records
from kexp.analysis.output import render
from kexp.analysis.quantities import Quantity
from kexp.analysis.spread import Spread, interval, shown, spread
from kexp.analysis.where import ABOUT as OF_RECORD
from kexp.analysis.where import filtered, nearest
from kexp.errors import ConfigError
from kexp.measures import YARDSTICKS
from kexp.store import Record

PARTS = ("validation", "best", "gap", "test")
ABOUT = {name: of_record for name, of_record in OF_RECORD.items() if name != "label"}
"""What else than choices a table can have."""


@dataclass(frozen=True)
class Line:
    """One line of a table: some runs, what they have in common, and their values by quantity."""

    common: Mapping[str, Any]
    runs: Sequence[Record]
    values: Mapping[Quantity, Spread]


@dataclass(frozen=True)
class Comparison:
    """The lines of the runs of one task on one data set, the best on validation first.

    `columns` are the keys of what the runs of a line have in common; `averaged` are choices that
    differ within a line; with `each`, a line is one run.
    """

    title: str
    columns: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    lines: Sequence[Line]
    averaged: tuple[str, ...] = ()
    each: bool = False

    @property
    def by_seed(self) -> bool:
        """Whether values are over seeds, of means of all runs of a seed in a line."""
        return bool(self.averaged) and "seed" not in self.columns


def compare_runs(
    paths: Sequence[Path],
    metric: str | None = None,
    each: bool = False,
    by: Sequence[str] = (),
    where: Sequence[str] = (),
    sort: str | None = None,
    top: int | None = None,
    diff: bool = False,
    form: str = "table",
) -> None:
    """Print how runs compare, and what could not be compared.

    The latter goes to stderr if the former is for other programs. Raises `ConfigError` for names
    that there are not.
    """
    if each and by or diff and (each or by or where or sort or top):
        alone = "--diff" if diff else "--each"
        raise ConfigError(f"{alone} goes with paths, --metric and --format; leave the others out")
    if diff:
        tell_difference(paths, metric, form)
        return
    records = filtered(read_records(paths, COMPARED), where)
    tables = [comparison(runs, metric, each, _keys(by, records)) for runs in comparable(records)]
    print(_written([_ordered(table, sort, top) for table in tables], form))
    for line in left_out(records):
        print(line, file=sys.stdout if form == "table" else sys.stderr)


def comparison(
    runs: Comparable, metric: str | None = None, each: bool = False, by: Sequence[str] = ()
) -> Comparison:
    """Comparable runs in groups that share all but the seed, or, if given, the choices of `by`."""
    records = [*runs.records, *(runs.unfinished if "state" in by else ())]
    quantities = tuple(_quantities(runs.records, metric))
    chosen = {id(record): choices(record) for record in records}
    varying = tuple(_varying(chosen.values()))
    columns = tuple(by) or varying
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        about = chosen[id(record)]
        key = id(record) if each else _cell(record, about, by) if by else _arm(record, about)
        groups[key].append(record)
    averaged = tuple(key for key in varying if key not in by) if by else ()
    table = Comparison(runs.title, columns, quantities, (), averaged, each)
    lines = [
        Line(
            _common(group[0], chosen[id(group[0])], columns),
            group,
            {quantity: spread(quantity, group, table.by_seed) for quantity in quantities},
        )
        for group in groups.values()
    ]
    return _best_first(_with_lines(table, lines))


def _quantities(records: Sequence[Record], metric: str | None) -> list[Quantity]:
    by = q.yardstick(records, metric)
    found = [Quantity(part, by) for part in PARTS]
    if by.name != "error" and "error" in q.measured_by(records):
        found.append(Quantity("test", YARDSTICKS["error"]))
    return [*found, *q.perturbed(by, records)]


def _varying(every: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys in which runs differ; a choice's own parameters only where it has them."""
    values: dict[str, set[tuple[type, Any]]] = defaultdict(set)
    for chosen in every:
        for key, value in chosen.items():
            values[key].add((type(value), value))
    return [key for key, found in values.items() if len(found) > 1]


def _arm(record: Record, chosen: Mapping[str, Any]) -> str:
    """What the runs of a group share: all but the seed."""
    return str(record.summary.get("arm") or json.dumps(chosen, sort_keys=True))


def _cell(record: Record, chosen: Mapping[str, Any], by: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(_value(record, chosen, key)) for key in by)


def _common(record: Record, chosen: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    there = [key for key in columns if key in chosen or key in ABOUT]
    return {key: _value(record, chosen, key) for key in there}


def _value(record: Record, chosen: Mapping[str, Any], key: str) -> Any:
    return ABOUT[key](record) if key in ABOUT and key not in chosen else chosen.get(key)


def _keys(by: Sequence[str], records: Sequence[Record]) -> list[str]:
    """The keys of `--by`, each of which some run has. Raises `ConfigError`."""
    wanted = [key.strip() for text in by for key in text.split(",") if key.strip()]
    known = dict.fromkeys(key for record in records for key in choices(record)) if wanted else {}
    for key in wanted:
        if key not in known and key not in ABOUT:
            raise ConfigError(f"--by {key}: no run has {key}; {nearest(key, [*known, *ABOUT])}")
    return list(dict.fromkeys(wanted))


def _best_first(table: Comparison) -> Comparison:
    first = table.quantities[0]
    sign = -1 if first.higher_is_better else 1

    def place(line: Line) -> tuple[bool, float]:
        mean = line.values[first].mean
        return mean is None, sign * (mean or 0.0)

    return _with_lines(table, sorted(table.lines, key=place))


def _ordered(table: Comparison, sort: str | None, top: int | None) -> Comparison:
    """The table sorted by a column, with no more lines than asked for. Raises `ConfigError`."""
    lines = list(table.lines)
    if sort:
        name = sort.removeprefix("-")
        column = _column(table, name)
        cells = {id(line): _exact(table, line)[column] for line in lines}
        known = [line for line in lines if cells[id(line)] is not None]
        missing = [line for line in lines if cells[id(line)] is None]
        known.sort(key=lambda line: _natural(cells[id(line)]), reverse=sort.startswith("-"))
        lines = known + missing
    return _with_lines(table, lines[:top])


def _column(table: Comparison, name: str) -> str:
    """The column of the exact rows that a name means: as written there, or as a table shows it."""
    exact = _exact_columns(table)
    titles = {quantity.title.lower(): _name(quantity) for quantity in table.quantities}
    titles |= {quantity.key: _name(quantity) for quantity in table.quantities}
    meant = titles.get(name.lower(), name)
    for candidate in (meant, f"{meant}_mean"):
        if candidate in exact:
            return candidate
    known = list(dict.fromkeys([*table.columns, *map(_name, table.quantities), *exact]))
    raise ConfigError(f"--sort {name}: there is no such column; {nearest(name, known)}")


def _natural(value: Any) -> tuple[int, float, str]:
    """Sorts numbers as numbers, and before texts."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 1, 0.0, str(value)
    return (0, number, "") if math.isfinite(number) else (1, 0.0, str(value))


def _with_lines(table: Comparison, lines: Sequence[Line]) -> Comparison:
    return Comparison(
        table.title, table.columns, table.quantities, lines, table.averaged, table.each
    )


def _written(tables: Sequence[Comparison], form: str) -> str:
    if form in ("csv", "json"):
        columns = list(dict.fromkeys(key for table in tables for key in _exact_columns(table)))
        return render(columns, [_exact(t, line) for t in tables for line in t.lines], form)
    if not tables:
        return "no finished runs to compare"
    return "\n\n".join(_for_readers(table, form) for table in tables) + "\n"


def _name(quantity: Quantity) -> str:
    """The name of a quantity in columns for programs."""
    return "test_error" if quantity.key == "test.error" else quantity.part


def _exact_columns(table: Comparison) -> list[str]:
    """The columns for programs, the same for every line."""
    return list(_exact(table, table.lines[0])) if table.lines else []


def _exact(table: Comparison, line: Line) -> dict[str, Any]:
    """A line with its numbers in full, changes and shares in plain units."""
    row = {"table": table.title}
    if table.each:
        row |= {key: read(line.runs[0]) for key, read in ABOUT.items()}
    row |= {f"config.{k}" if k in row else k: line.common.get(k) for k in table.columns}
    row |= {"yardstick": table.quantities[0].yardstick.name, "n": len(line.runs)}
    for quantity, of in line.values.items():
        name = _name(quantity)
        if table.each:
            row[name] = of.mean
        else:
            numbers = {"mean": of.mean, "sd": of.sd, "low": of.low, "high": of.high, "n": of.n}
            row |= {f"{name}_{part}": value for part, value in numbers.items()}
    return row


def _for_readers(table: Comparison, form: str) -> str:
    gap = next(quantity for quantity in table.quantities if quantity.part == "gap")
    rows = []
    for line in table.lines:
        row = {key: _short(value) for key, value in line.common.items()}
        if table.each:
            row |= {"seed": ABOUT["seed"](line.runs[0]), "run": line.runs[0].path.name}
        row["N"] = len(line.runs)
        runs = 0 if table.by_seed else len(line.runs)
        row |= {quantity.title: _cell_of(quantity, line, runs) for quantity in table.quantities}
        row[f"95 % interval of {gap.title}"] = interval(gap, line.values[gap])
        rows.append(row)
    titles = [quantity.title for quantity in table.quantities]
    if table.each:
        columns = [*table.columns, "seed", *titles, "run"]
    else:
        columns = [*table.columns, "N", *titles, f"95 % interval of {gap.title}"]
    return render(columns, rows, form, table.title, _caption(table))


def _cell_of(quantity: Quantity, line: Line, runs: int) -> str:
    of = line.values[quantity]
    return shown(quantity, of) + (f" (N = {of.n})" if 0 < of.n < runs else "")


def _caption(table: Comparison) -> str:
    if table.each:
        return "one run a line"
    seeds = () if "seed" in table.columns else ("seed",)
    if not table.averaged:
        alone = " that differ in their seed alone" if seeds else ""
        return f"mean ± standard deviation over N runs{alone}"
    over = ", ".join(table.averaged)
    of = "seeds, of means over" if table.by_seed else "N runs, averaged over"
    return f"mean ± standard deviation over {of} {over}; N counts runs"


def _short(value: Any) -> Any:
    """`kexp.losses.Huber` as `Huber`, numbers as they were typed; anything else as it is."""
    if isinstance(value, float):
        return f"{value:g}"
    text = isinstance(value, str) and value.startswith("kexp.")
    return value.rpartition(".")[2] if text else "null" if value is None else value
