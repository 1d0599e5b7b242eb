"""Rows as a table for the terminal, or as CSV, JSON, Markdown or LaTeX.

Records may be anybody's: nothing in a cell is obeyed by a terminal, a spreadsheet, a browser or
LaTeX.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from kexp.errors import spelled
from kexp.store import atomic

Rows = Sequence[Mapping[str, Any]]

NARROWEST = 6
"""No column of a table is folded to less than this."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
FIGURES = re.compile(r"[-+−]?[\d.∞\[].*|–|")
"""What stands at the right of its column: numbers, intervals and gaps."""

MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in "\\|`*_[]~$"}
SIGNS = dict(zip("±×∞≤≥≈→Σ", "pm times infty leq geq approx to Sigma".split(), strict=True))
SIGNS |= {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "λ": "lambda"}
SIGNS |= {"Δ": "Delta"}
SIGNS |= {"μ": "mu", "ρ": "rho", "σ": "sigma", "τ": "tau", "θ": "theta", "ψ": "psi"}
LATEX = {sign: f"$\\{name}$" for sign, name in SIGNS.items()}
LATEX |= {"²": "$^2$", "₀": "$_0$", "−": "$-$", "–": "--", "…": r"\ldots{}", "|": r"\textbar{}"}
LATEX |= {c: f"{{{c}}}" for c in "[]*"}  # which after a line's end would be its argument
"""What LaTeX needs besides what tabulate escapes."""


def render(
    columns: Sequence[str], rows: Rows, form: str, title: str = "", caption: str = ""
) -> str:
    """The rows in a form: `table`, `csv`, `json`, `md` or `latex`; no newline at the end.

    A row maps columns to cells; one that is missing is empty. CSV and JSON have numbers in full
    and neither title nor caption; the others show four digits.
    """
    if form == "csv":
        return _csv(columns, rows)
    if form == "json":
        return _json(columns, rows)
    cells = [[shown(row.get(name)) for name in columns] for row in rows]
    head = [spelled(name) for name in columns]
    right = [all(map(FIGURES.fullmatch, column)) for column in zip(*cells, strict=True)]
    write = {"table": _table, "md": _markdown, "latex": _latex}[form]
    return write(head, cells, right or [False] * len(head), spelled(title), spelled(caption))


def shown(value: Any) -> str:
    """A cell for a reader."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    return spelled(str(value))


def _csv(columns: Sequence[str], rows: Rows) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_harmless(name) for name in columns])
    writer.writerows([_harmless(row.get(name)) for name in columns] for row in rows)
    return file.getvalue().rstrip("\n")


def _harmless(value: Any) -> Any:
    """A cell of CSV: a text that a spreadsheet would compute gets a quotation mark in front."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if math.isfinite(value) else ""
    text = "" if value is None else shown(value)
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def _json(columns: Sequence[str], rows: Rows) -> str:
    listed = [{name: row.get(name) for name in columns} for row in rows]
    return json.dumps(atomic.finite(listed), indent=2, allow_nan=False).replace("\x7f", "\\u007f")


def _markdown(
    head: list[str], cells: list[list[str]], right: Sequence[bool], title: str, caption: str
) -> str:
    head, *cells = [[_escaped(cell, MARKDOWN) for cell in row] for row in [head, *cells]]
    table = _tabulated(head, cells, right, "pipe")
    title, caption = (_escaped(text, MARKDOWN) for text in (title, caption))
    return "\n".join([*([f"**{title}**", ""] if title else []), table, *_after(caption)])


def _latex(
    head: list[str], cells: list[list[str]], right: Sequence[bool], title: str, caption: str
) -> str:
    """A table for the package booktabs."""
    text = ". ".join(_of_latex(part) for part in (title, caption) if part)
    table = _escaped(_tabulated(head, cells, right, "latex_booktabs"), LATEX)
    captioned = [rf"\caption{{{text}}}"] if text else []
    return "\n".join([r"\begin{table}", r"\centering", *captioned, table, r"\end{table}"])


def _of_latex(text: str) -> str:
    """A text outside a table, escaped as tabulate escapes a cell."""
    from tabulate import LATEX_ESCAPE_RULES

    return _escaped(_escaped(text, LATEX_ESCAPE_RULES), LATEX)


def _escaped(text: str, replaced: Mapping[str, str]) -> str:
    return "".join(replaced.get(c, c) for c in text)


def _table(
    head: list[str], cells: list[list[str]], right: Sequence[bool], title: str, caption: str
) -> str:
    """Aligned columns, folded where the terminal is too narrow for them."""
    available = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    while sum(widths) + 2 * len(widths) > available and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    table = _tabulated(head, cells, right, "simple", widths)
    notes = "\n".join(textwrap.wrap(caption, min(available, 100)))
    return "\n".join([*([title, ""] if title else []), table, *_after(notes)])


def _tabulated(
    head: list[str],
    cells: list[list[str]],
    right: Sequence[bool],
    form: str,
    widths: list[int] | None = None,
) -> str:
    from tabulate import tabulate

    sides = ["right" if at_right else "left" for at_right in right]
    folded: dict[str, Any] = (
        {"maxcolwidths": widths, "maxheadercolwidths": widths} if widths else {}
    )
    return tabulate(
        cells, head, form, disable_numparse=True, colalign=sides if cells else None, **folded
    )


def _after(caption: str) -> list[str]:
    return ["", caption] if caption else []
