"""One run for a reader: its choices, its curves, its verdict."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kexp.analysis import recognition, ridge_path, robustness
from kexp.analysis.curves import draw_png, terminal_plot
from kexp.errors import ConfigError, NoRuns, StoreError, spelled
from kexp.measures import YARDSTICKS
from kexp.store import Record, read_run
from kexp.store.differences import flatten


def show_run(
    path: Path,
    png: Path | None = None,
    metric: str | None = None,
    ridge: Path | None = None,
    eigenspace: Path | None = None,
) -> None:
    """Print the run at `path`, and draw into the files that are given.

    `png` is for its curves, `ridge` for its ridge path, `eigenspace` for its recognition.
    """
    record = read_run(path)
    if not record.status and not record.config:
        raise NoRuns(f"{path} is not a run: it has neither status.json nor config.yaml")
    _say(_header(record))
    _if_sound(record, "history.jsonl", lambda: _curves(record, metric, png))
    if ridge:
        _if_sound(record, "summary.json", lambda: _draw_ridge(record, ridge))
    if eigenspace:
        _if_sound(record, "summary.json", lambda: _draw_eigenspace(record, eigenspace))
    _if_sound(record, "summary.json", lambda: _say(_footer(record)))
    for problem in record.problems:
        _say(f"problem: {problem}")


def _say(text: str) -> None:
    """Print what a record says; a terminal obeys nothing in it."""
    print(spelled(text, keep="\n"))


def _if_sound(record: Record, name: str, show: Callable[[], None]) -> None:
    """Show what is in a file of the record; where it is not of the right shape, say so instead."""
    try:
        show()
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError) as error:
        problem = f"{record.path / name} is not as kexp writes it"
        record.problems.append(f"{problem} ({type(error).__name__}: {error})")


def _curves(record: Record, metric: str | None, png: Path | None) -> None:
    history = record.history()
    if not history and png:
        _say("no epoch has been recorded: no picture was written")
    if not history:
        return
    name = metric or _own_yardstick(record, history[0])
    if name not in history[0]["gap"]:
        known = ", ".join(history[0]["gap"])
        raise ConfigError(f"--metric {name}: this run has {known}")
    columns = min(shutil.get_terminal_size((80, 24)).columns, 100)
    _say(terminal_plot(history, YARDSTICKS[name], columns))
    if png:
        _draw(png, lambda: draw_png(history, YARDSTICKS[name], _title(record), png))


def _draw_ridge(record: Record, file: Path) -> None:
    if "ridge" not in record.summary:
        raise ConfigError(
            f"--ridge {file}: {record.path} has no ridge path; task=ridge records one"
        )
    _draw(file, lambda: ridge_path.draw(record.summary["ridge"], _title(record), file))


def _draw_eigenspace(record: Record, file: Path) -> None:
    if "eigenspace" not in record.summary:
        raise ConfigError(
            f"--eigenspace {file}: {record.path} has no eigenspace; task=eigenspace records one"
        )
    examples = recognition.pictures(record.examples())
    found = recognition.read(record.summary["eigenspace"])
    _draw(file, lambda: recognition.draw(found, examples, _title(record), file))


def _draw(file: Path, draw: Callable[[], None]) -> None:
    """Write a picture, and say so. Raises `ConfigError` for an ending that is no picture's."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if file.suffix.lower().lstrip(".") not in known:
        raise ConfigError(f"{file}: a picture ends in .png, .svg or .pdf")
    try:
        draw()
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}") from error
    _say(f"written: {file}")


def _own_yardstick(record: Record, epoch: dict[str, Any]) -> str:
    """The yardstick that the run names as its own, or else its first."""
    monitor, others = record.summary.get("monitor"), ("fit", "objective")
    known = [name for name in epoch["gap"] if name in YARDSTICKS]
    own = [name for name in known if name == monitor] or [n for n in known if n not in others]
    return [*own, *known][0]


def _title(record: Record) -> str:
    """What to write above the curves: the choices and, below, the verdict."""
    label = str(record.summary.get("label") or record.path.name)
    text = f"{label.replace(',', ', ')}\n{record.summary.get('verdict', '')}".strip()
    return spelled(text, keep="\n").replace("$", r"\$")


def _header(record: Record) -> str:
    lines = [f"{record.path}", f"state: {record.status.get('state', 'unknown')}"]
    if record.status.get("reason"):
        lines.append(f"reason: {record.status['reason']}")
    flat = flatten(record.config)
    left = ("paths.", "study.", "schema", "identity", "name")
    shown = {k.removesuffix("._target_"): v for k, v in flat.items() if not k.startswith(left)}
    return "\n".join([*lines, *(f"  {key:<28} {value}" for key, value in shown.items())])


def _footer(record: Record) -> str:
    summary = record.summary
    if not summary:
        return "no summary: the run has not finished"
    speed = summary["throughput"]
    return "\n".join(
        [
            *([ridge_path.described(summary["ridge"])] if "ridge" in summary else []),
            *([recognition.described(summary)] if "eigenspace" in summary else []),
            *([_mc_dropout(summary)] if "mc_dropout" in summary else []),
            *_baselines(summary),
            *_robustness(record),
            f"verdict: {summary['verdict']}",
            f"{summary['parameters']:,} parameters, {summary['epochs']} epochs, "
            f"{speed['training_seconds']:.1f} s training at "
            f"{speed['examples_per_second'] or 0:,.0f} examples/s, "
            f"{speed['measuring_seconds']:.1f} s measuring",
        ]
    )


def _baselines(summary: dict[str, Any]) -> list[str]:
    """What takes no training beside the network, on the test split; a line each."""
    shown = YARDSTICKS[summary["monitor"]]
    return [
        f"test {shown.label} of the {what}, without training: {shown.show(values[shown.name])}"
        for what, values in summary.get("baselines", {}).items()
        if shown.name in values
    ]


def _robustness(record: Record) -> list[str]:
    """Where it was measured, the run's yardstick under perturbed inputs."""
    lines = robustness.described(record, YARDSTICKS[record.summary["monitor"]])
    examples = record.summary["robustness"]["examples"] if lines else 0
    return [f"robustness, of {examples} test examples:", *(f"  {la}" for la in lines)] * bool(lines)


def _mc_dropout(summary: dict[str, Any]) -> str:
    """Monte-Carlo dropout beside the deterministic network, on the test split."""
    sampled, shown = summary["mc_dropout"], YARDSTICKS[summary["monitor"]]
    values = (part["test"][shown.name] for part in (sampled, {"test": summary["test"]["last"]}))
    mean, single = (shown.show(value) for value in values)
    return (
        f"Monte-Carlo dropout over {sampled['passes']} passes: test {shown.label} {mean}, "
        f"without {single}"
    )
