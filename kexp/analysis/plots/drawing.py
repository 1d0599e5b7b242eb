"""Figures as files and as parts of a page."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from kexp.analysis.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    canvas.INK: "ink",
    canvas.MUTED: "muted",
    canvas.GRID: "grid",
    canvas.PAPER: "paper",
    canvas.BLUE: "blue",
    canvas.VERMILION: "vermilion",
    canvas.GREEN: "green",
    canvas.PURPLE: "purple",
}
"""Colours that a page has a variable for, so that they suit its background."""

FAMILY = re.compile(r"'DejaVu Sans'[^;:]*?sans-serif")
REFERENCE = re.compile(r"url\(#([^)]*)\)")
NO_DATES = {"Date": None, "Creator": None, "Format": None, "Type": None}


def png(figure: Figure) -> bytes:
    """The figure on white, at 150 dots per inch."""
    return _saved(figure, "png", "path", dpi=150, facecolor="white")


def svg(figure: Figure) -> bytes:
    """The figure on white as a file that looks the same everywhere: letters are shapes."""
    return _saved(figure, "svg", "path", facecolor="white", metadata=NO_DATES)


def inline(figure: Figure, prefix: str) -> str:
    """The figure as an SVG element of a page: ids start with `prefix`, ink is the page's."""
    root = ElementTree.fromstring(_saved(figure, "svg", "none", metadata=NO_DATES))
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    wanted = _referred_to(root)
    for element in root.iter():
        if element.get("id") in wanted:
            wanted.discard(element.get("id"))
        else:
            element.attrib.pop("id", None)
        element.tag = _local(element.tag)
        element.attrib = {
            _local(name): _suited(_local(name), value, prefix)
            for name, value in element.attrib.items()
        }
    root.attrib |= {"aria-hidden": "true", "focusable": "false"}
    return ElementTree.tostring(root, encoding="unicode")


def _saved(figure: Figure, form: str, letters: str, **how: object) -> bytes:
    from matplotlib import rc_context

    settings: Any = {"svg.fonttype": letters, "svg.hashsalt": "kexp", "svg.image_inline": True}
    file = io.BytesIO()
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of a letter that the font does not have
        figure.savefig(file, format=form, **how)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def _referred_to(root: ElementTree.Element) -> set[str | None]:
    """The ids that something in the figure points to; a picture shown twice has one id twice."""
    found: set[str | None] = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            found.update(REFERENCE.findall(value))
            if _local(name) == "href" and value.startswith("#"):
                found.add(value[1:])
    return found


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _suited(name: str, value: str, prefix: str) -> str:
    """An attribute with the page's ids, colours and fonts."""
    if name == "id":
        return prefix + value
    if name == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    if name == "style" or name in ("fill", "stroke"):
        for colour, called in NAMES.items():
            value = value.replace(colour, f"var(--{called})")
        value = FAMILY.sub("var(--letters)", value)
    return REFERENCE.sub(rf"url(#{prefix}\1)", value)
