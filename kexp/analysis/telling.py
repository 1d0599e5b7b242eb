"""`kexp effects`: the analysis of a study as text, or as a table for other programs."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexp.analysis import sentences
from kexp.analysis.analysis import Analysis, Question, answers
from kexp.analysis.comparable import left_out
from kexp.analysis.effects import Effect
from kexp.analysis.load import read_records
from kexp.analysis.output import render
from kexp.analysis.where import filtered
from kexp.errors import ConfigError, spelled
from kexp.store import atomic

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike

WIDEST = 100
INDENTED: Any = {"initial_indent": "  ", "subsequent_indent": "      ", "break_on_hyphens": False}
COLUMNS = (
    "effect",
    "of",
    "change",
    "95 % interval",
    "p",
    "g",
    "seeds",
    "would be found",
    "verdict",
)
EXACT = ("factor", "level", "baseline", "within", "quantity", "baseline_mean", "mean", "low")
EXACT += ("high", "p", "p_holm", "hedges_g", "seeds", "pairs", "detectable", "verdict")


def tell_effects(
    paths: Sequence[Path],
    where: Sequence[str] = (),
    form: str = "table",
    **asked: Any,
) -> None:
    """Print what each choice did, and what could not be compared."""
    records = filtered(read_records(paths), where)
    answered, faults = answers(records, asking(**asked))
    found = [answer for _, answer in answered]
    if form == "json":
        text = json.dumps(atomic.finite([_as_data(a) for a in found]), indent=2)
        print(text.replace("\x7f", "\\u007f"))
    elif form == "csv":
        print(render(("title", *EXACT), _exact_rows(found), form))
    elif form == "table":
        for answer in found:
            _tell(answer)
    else:
        for a in found:
            print(render(COLUMNS, [_row(e) for e in a.effects], form, a.title, method(a)))
    for line in (*faults, *left_out(records)):
        print(spelled(line), file=sys.stdout if form == "table" else sys.stderr)


def effects_table(
    paths: PathLike | Iterable[PathLike] = "results", where: Sequence[str] = (), **asked: Any
) -> pd.DataFrame:
    """The effects of `kexp effects` as a table, one row each; shares are of 1, not in percent.

    `asked` are `metric`, and sequences `on`, `baseline` and `nuisance` of what the command takes.
    """
    import pandas as pd

    places = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    answered, _ = answers(filtered(read_records(places), where), asking(**asked))
    rows = _exact_rows([answer for _, answer in answered])
    return pd.DataFrame(rows, columns=["title", *EXACT])


def asking(
    metric: str | None = None,
    on: Sequence[str] = (),
    baseline: Sequence[str] = (),
    nuisance: Sequence[str] = (),
) -> Question:
    """The question that the options of a command ask. Raises `ConfigError`."""
    baselines = {}
    for text in baseline:
        name, equals, level = text.partition("=")
        if not equals or not level:
            raise ConfigError(f"--baseline {text}: write factor=level, as in dropout=none")
        baselines[name.strip()] = level.strip()
    return Question(metric, _words(on), baselines, _words(nuisance))


def head(answer: Analysis) -> str:
    """What was run: `mnist_convnet on mnist: 24 configurations × 5 seeds, 120 runs`."""
    design = answer.design
    counts = {"configuration": len(design.cells()), "seed": len(design.seeds)}
    counts["run"] = len(answer.every_run)
    cells, seeds, runs = (f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items())
    return f"{answer.title}: {cells} × {seeds}, {runs}"


def method(answer: Analysis) -> str:
    """How to read the effects."""
    judged = [e for e in answer.effects if e.verdict != "too few"]
    return (
        "mean of the differences from the baseline within a seed, averaged over the other factors; "
        f"95 % intervals of the paired t test; p by Holm over all {len(judged)} comparisons; g is "
        "Hedges' effect size; the change that would be found in 4 studies of 5 is before correction"
    )


def findings(answer: Analysis) -> Iterator[tuple[str, list[str]]]:
    """Everything that is said, as titles and sentences under each."""
    yield "Noise first", [sentences.of_noise(n) for n in answer.noise]
    if answer.chosen:
        yield "Chosen on validation", sentences.of_chosen(answer.chosen, answer.design)
    yield "Effects", [sentences.of_level(g) for g in sentences.by_level(answer.effects)]
    yield "Interactions", [sentences.of_interaction(i) for i in answer.interactions]
    clear = [e for e in answer.simple if e.verdict == "detected"]
    yield (
        "Where factors depend on each other",
        [sentences.of_level(group) for group in sentences.by_level(clear)],
    )
    if answer.points[1:]:
        tradeoff = sentences.of_tradeoff(answer.points, answer.design, *answer.axes)
        yield "Trade-off", [tradeoff]
    yield "What limits this", list(answer.checks)


def _tell(answer: Analysis) -> None:
    in_terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDEST
    width = min(in_terminal, WIDEST)
    print(f"{spelled(head(answer))}\n")
    for title, lines in findings(answer):
        if not lines:
            continue
        print(title)
        for line in lines:
            print(textwrap.fill(spelled(line), width, **INDENTED))
        print()
        if title == "Effects":
            rows = [_row(e) for e in answer.effects]
            print(render(list(COLUMNS), rows, "table", caption=method(answer)) + "\n")
    if not answer.effects:
        print("nothing was varied whose effect could be told; see `kexp compare`")


def _row(e: Effect) -> dict[str, Any]:
    change = e.quantity.change
    judged = e.verdict != "too few"
    bounds = f"[{change(e.low, unit=False)}, {change(e.high, unit=False)}]"
    return {
        "effect": f"{e.factor}={e.level}",
        "of": e.quantity.title,
        "change": change(e.mean),
        "95 % interval": bounds if judged else "–",
        "p": sentences.p_value(e.p_holm) if judged else "–",
        "g": sentences.size(e),
        "seeds": e.seeds,
        "would be found": sentences.findable(e),
        "verdict": sentences.short(e),
    }


def _exact(e: Effect) -> dict[str, Any]:
    """An effect as plain data; changes are in the yardstick's own unit, shares of 1."""
    data = {"quantity": e.quantity.key, "hedges_g": e.size, "seeds": e.seeds, "verdict": e.verdict}
    return {name: data[name] if name in data else getattr(e, name) for name in EXACT}


def _exact_rows(found: Sequence[Analysis]) -> list[dict[str, Any]]:
    return [{"title": a.title, **_exact(e)} for a in found for e in (*a.effects, *a.simple)]


def _as_data(answer: Analysis) -> dict[str, Any]:
    return {
        "title": answer.title,
        "factors": [dataclasses.asdict(factor) for factor in answer.design.factors],
        "seeds": answer.design.seeds,
        "noise": [_plain(n) for n in answer.noise],
        "effects": [_exact(e) | {"differences": dict(e.differences)} for e in answer.effects],
        "simple_effects": [_exact(e) | {"differences": dict(e.differences)} for e in answer.simple],
        "interactions": [_plain(i) for i in answer.interactions],
        "tradeoff": [_plain(p) for p in answer.points],
        "checks": answer.checks,
        "findings": dict(findings(answer)),
    }


def _plain(found: Any) -> dict[str, Any]:
    """A finding as plain data; its quantity by its key."""
    data = dataclasses.asdict(found)
    return data | ({"quantity": found.quantity.key} if "quantity" in data else {})


def _words(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())
