"""The page itself: everything in one file, nothing loaded from elsewhere, nothing trusted."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from kexp.analysis.report.sections import Report, Section
from kexp.errors import spelled

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; "
    "base-uri 'none'; form-action 'none'"
)


def rendered(report: Report) -> str:
    """The page as HTML. What comes from records is escaped; scripts are known by their hash."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    script, style = asset("page.js"), asset("page.css")
    pages = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template("page.html").render(
        report=report,
        drawings={section.key: _drawings(section) for section in report.sections},
        script=script,
        style=style,
        policy=POLICY.format(hash_of(script)),
    )


def _visible(value: Any) -> Any:
    """What is put into the page: of a text, what would turn the letters around is spelled out."""
    return spelled(value, keep="\n\t\u00a0\u202f") if type(value) is str else value


def asset(name: str) -> str:
    """The text of a file that lies beside this one."""
    file = resources.files("kexp.analysis.report").joinpath(name)
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")


def hash_of(script: str) -> str:
    """What a Content-Security-Policy knows a script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _drawings(section: Section) -> dict[str, str]:
    """Each figure as SVG, by its name."""
    from kexp.analysis.plots import drawing

    return {
        shown.name: drawing.inline(shown.figure, f"{section.key}{shown.name}-")
        for shown in section.figures
    }
