"""`kexp report`: one HTML page about runs, complete in itself, and its plots as files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kexp.errors import ConfigError, StoreError, spelled


def write_report(
    paths: Sequence[Path],
    output: Path,
    where: Sequence[str] = (),
    plots: Path | None = None,
    **asked: Any,
) -> None:
    """Write the page about the runs at or below `paths`, and with `plots` each plot as a file.

    `asked` are metric, on, baseline and nuisance, as in `kexp effects`. Raises `StoreError` where
    there are no runs or the page cannot be written, `ConfigError` where what is asked is wrong.
    """
    from kexp.analysis.load import read_records
    from kexp.analysis.report.page import rendered
    from kexp.analysis.report.sections import report_of
    from kexp.analysis.telling import asking
    from kexp.analysis.where import filtered

    _check_places(output, plots)
    records = filtered(read_records(paths), where)
    command = _command(paths, output, where, plots, asked)
    report = report_of(records, asking(**asked), command)
    _write(output, rendered(report).encode())
    print(spelled(f"written: {output}"))
    if plots is not None:
        count = _write_plots(report.sections, plots)
        many = f"{count} plot{'' if count == 1 else 's'}, each as PNG and SVG"
        print(spelled(f"written: {plots} ({many})"))


def _check_places(output: Path, plots: Path | None) -> None:
    """Refuse what cannot be written before anything is computed."""
    if output.is_dir():
        example = output / "report.html"
        raise ConfigError(f"{output} is a directory: name a file, as in -o {example}")
    if plots is not None and plots.exists() and not plots.is_dir():
        raise ConfigError(f"{plots} is a file: --plots wants a directory")


def _write_plots(sections: Sequence[Any], folder: Path) -> int:
    """Write each plot; returns how many there are."""
    from kexp.analysis.plots import drawing

    every = [(f"{s.file}{shown.name}", shown.figure) for s in sections for shown in s.figures]
    for name, figure in every:
        _write(folder / f"{name}.png", drawing.png(figure))
        _write(folder / f"{name}.svg", drawing.svg(figure))
    return len(every)


def _write(path: Path, content: bytes) -> None:
    from kexp.store import atomic

    try:
        with atomic.replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def _command(
    paths: Sequence[Path],
    output: Path,
    where: Sequence[str],
    plots: Path | None,
    asked: dict[str, Any],
) -> str:
    """The command line that makes this page again."""
    words = ["kexp", "report", *map(str, paths), "-o", str(output)]
    words += ["--plots", str(plots)] if plots is not None else []
    for name, values in {"where": where, **asked}.items():
        for value in [values] if isinstance(values, str) else values or ():
            words += [f"--{name}", value]
    return shlex.join(words)
