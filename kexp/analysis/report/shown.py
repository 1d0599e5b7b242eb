"""A figure of the page: with what is seen in words, and its numbers in a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kexp.analysis.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN = "Lines are means over seeds, bands ± one standard deviation"


@dataclass(frozen=True)
class Shown:
    """A figure with a name for its file, a heading, and a caption that says what is seen."""

    name: str
    title: str
    caption: str
    figure: Figure
    table: Table | None = None


def sentence(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def how_many(count: int, shown: int, what: str) -> str:
    """What to say where not all could be drawn."""
    return f" {shown} of {count} {what} are drawn." if count > shown else ""
