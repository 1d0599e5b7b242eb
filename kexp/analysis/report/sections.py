"""What a report says: a section for each group of runs that may be compared."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from kexp import __version__
from kexp.analysis import telling
from kexp.analysis.analysis import Analysis, Question, answers
from kexp.analysis.comparable import Comparable, left_out
from kexp.analysis.report import exhibits, figures, selection, tables
from kexp.analysis.report.formula import mathml
from kexp.analysis.report.shown import Shown, sentence
from kexp.analysis.report.tables import Table
from kexp.store import Record
from kexp.store.reading import read_json

COMMA = re.compile(r",(?![^\[({]*[\])}])")
"""A comma between overrides, not one inside a list."""

GROUPS = ("loss", "regularizer", "dropout", "norm")


@dataclass(frozen=True)
class Equation:
    """One option of a choice: its formula as MathML, or as TeX where it cannot be had so."""

    group: str
    option: str
    meaning: str
    tex: str
    mathml: str | None


@dataclass(frozen=True)
class Section:
    """One task on one data set. `key` starts its ids, `file` the names of its plots."""

    key: str
    file: str
    title: str
    head: str
    findings: tuple[tuple[str, tuple[str, ...]], ...]
    method: str
    tables: dict[str, Table]
    figures: tuple[Shown, ...]
    equations: tuple[Equation, ...]
    commands: tuple[tuple[str, str], ...]
    trained_with: str


@dataclass(frozen=True)
class Report:
    """The page: sections, what has no section, and what was wrong."""

    title: str
    version: str
    command: str
    sections: tuple[Section, ...]
    states: Table | None
    left_out: tuple[str, ...]


def report_of(records: Sequence[Record], question: Question, command: str) -> Report:
    """Everything that is said of some records. Raises `ConfigError` if no group can be asked."""
    answered, problems = answers(records, question)
    sections = [
        _section(answer, group, number, len(answered), problems)
        for number, (group, answer) in enumerate(answered, start=1)
    ]
    studies = sorted({record.path.parent.name for record in records})
    title = ", ".join(studies[:3]) + (f" and {len(studies) - 3} more" if studies[3:] else "")
    return Report(
        title=title,
        version=__version__,
        command=command,
        sections=tuple(sections),
        states=None if sections else tables.states(records),
        left_out=(*problems, *left_out(records)),
    )


def _section(
    a: Analysis,
    group: Comparable,
    number: int,
    of: int,
    problems: list[str],
) -> Section:
    every = selection.configurations(a)
    shown = figures.drawn(a, every, problems)
    problems += [f"problem: {fault}" for r in group.records if (fault := exhibits.misshapen(r))]
    made = {"runs": tables.runs(group.records, group.unfinished, a.whole, a)}
    if a.noise:
        made["noise"] = tables.noise(a)
    if a.effects:
        made["effects"] = tables.effects(a.effects, "Effects: means of differences within a seed")
    if a.simple:
        made["simple"] = tables.effects(a.simple, "Effects at each level of the other factor")
    return Section(
        key=f"g{number}-",
        file=f"{number}-{_file_name(a.title)}-" if of > 1 else "",
        title=a.title,
        head=telling.head(a),
        findings=tuple((title, tuple(lines)) for title, lines in telling.findings(a) if lines),
        method=sentence(telling.method(a)) if a.effects else "",
        tables=made,
        figures=tuple(shown),
        equations=equations(group.records),
        commands=tuple((r.path.name, command_of(r)) for r in group.records),
        trained_with=_trained_with(group.records),
    )


def equations(records: Sequence[Record]) -> tuple[Equation, ...]:
    """The options of the four choices that these runs made, each once."""
    found: dict[tuple[str, ...], None] = {}
    for record in records:
        chosen, options = (record.summary.get(name) or {} for name in ("choices", "options"))
        for group in GROUPS:
            about = chosen.get(group)
            if isinstance(about, dict):
                texts = (about.get("meaning"), about.get("formula"))
                meaning, tex = (t if isinstance(t, str) else "" for t in texts)
                found[group, str(options.get(group, "")), meaning, tex] = None
    ordered = sorted(found, key=lambda key: GROUPS.index(key[0]))
    return tuple(Equation(*key, mathml=mathml(key[3])) for key in ordered)


def command_of(record: Record) -> str:
    """The command line that trains a run again; from its label where it logged none."""
    command = record.summary.get("command")
    if isinstance(command, list) and command and all(isinstance(w, str) for w in command):
        return shlex.join(command)
    label = str(record.summary.get("label") or "default")
    words = [] if label == "default" else COMMA.split(label)
    options = record.summary.get("options") or {}
    task = [f"task={options['task']}"] if "task" in options and "task=" not in label else []
    return shlex.join(["kexp", "run", *task, *words])


def _trained_with(records: Sequence[Record]) -> str:
    """Versions and device, as the first run has them."""
    found = read_json(records[0].path / "environment.json") or {}
    packages = found.get("packages")
    known = packages if isinstance(packages, dict) else {}
    parts = [f"{name} {known[name]}" for name in ("keras", "tensorflow", "numpy") if name in known]
    own = [f"{name} {found[name]}" for name in ("kexp", "python") if name in found]
    device = [f"on {found['device']}"] if "device" in found else []
    return ", ".join([*own, *parts, *device])


def _file_name(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", title)[:60].strip("-")
