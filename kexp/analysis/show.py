"""One run for a reader: its choices, its curves, its verdict."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from kexp.analysis import ridge_path
from kexp.analysis.curves import draw_png, terminal_plot
from kexp.errors import StoreError
from kexp.measures import YARDSTICKS
from kexp.store import Record, read_run
from kexp.store.differences import flatten


def show_run(
    path: Path, png: Path | None = None, metric: str | None = None, ridge: Path | None = None
) -> None:
    """Print the run at `path`; with `png` and `ridge` also draw its curves and its ridge path."""
    record = read_run(path)
    if not record.status and not record.config:
        raise StoreError(f"{path} is not a run: it has neither status.json nor config.yaml")
    history = record.history()
    print(_header(record))
    if history:
        name = metric or record.summary.get("monitor") or _first_yardstick(history[0])
        if name not in history[0]["gap"]:
            known = ", ".join(history[0]["gap"])
            raise StoreError(f"--metric {name}: this run has {known}")
        columns = min(shutil.get_terminal_size((80, 24)).columns, 100)
        print(terminal_plot(history, YARDSTICKS[name], columns))
        if png:
            draw_png(history, YARDSTICKS[name], _title(record), png)
            print(f"written: {png}")
    elif png:
        print("no epoch has been recorded: no picture was written")
    if ridge:
        _draw_ridge(record, ridge)
    for problem in record.problems:
        print(f"problem: {problem}")
    print(_footer(record))


def _draw_ridge(record: Record, file: Path) -> None:
    if "ridge" not in record.summary:
        raise StoreError(f"--ridge {file}: {record.path} has no ridge path; task=ridge records one")
    ridge_path.draw(record.summary["ridge"], _title(record), file)
    print(f"written: {file}")


def _first_yardstick(epoch: dict[str, Any]) -> str:
    return next(name for name in epoch["validation"] if name not in ("fit", "objective"))


def _title(record: Record) -> str:
    """What to write above the curves: the choices and, below, the verdict."""
    label = record.summary.get("label") or record.path.name
    return f"{label.replace(',', ', ')}\n{record.summary.get('verdict', '')}".strip()


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
            *([_mc_dropout(summary)] if "mc_dropout" in summary else []),
            f"verdict: {summary['verdict']}",
            f"{summary['parameters']:,} parameters, {summary['epochs']} epochs, "
            f"{speed['training_seconds']:.1f} s training at "
            f"{speed['examples_per_second'] or 0:,.0f} examples/s, "
            f"{speed['measuring_seconds']:.1f} s measuring",
        ]
    )


def _mc_dropout(summary: dict[str, Any]) -> str:
    """Monte-Carlo dropout beside the deterministic network, on the test split."""
    sampled, shown = summary["mc_dropout"], YARDSTICKS[summary["monitor"]]
    values = (part["test"][shown.name] for part in (sampled, {"test": summary["test"]["last"]}))
    mean, single = (shown.show(value) for value in values)
    return (
        f"Monte-Carlo dropout over {sampled['passes']} passes: test {shown.label} {mean}, "
        f"without {single}"
    )
