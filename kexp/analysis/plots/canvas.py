"""What all plots share: colours, marks, an empty figure, and its ink.

No pyplot and no global state. Ink, grid and paper have colours of their own, so that a page can
put its own in their place; data have colours that are told apart with any colour vision (Okabe
and Ito), and a marker and a line style besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1b1f24", "#59616b", "#dfe3e8", "#fffffe"
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, "#e69f00", "#56b4e9", MUTED)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 3)))
WIDTH = 9.0
LONGEST = 48


def look(number: int) -> dict[str, Any]:
    """Colour, marker and line style of the nth line of a plot."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number % len(LINES)],
    }


def empty(width: float = WIDTH, height: float = 4.0) -> Figure:
    """A figure without axes, to be drawn as PNG or SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)  # pyright: ignore
    return figure


def grid_of(count: int, columns: int, height: float, **how: Any) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of a height in inches, `columns` beside each other."""
    columns = max(1, min(count, columns))
    rows = -(-count // columns)
    figure = empty(WIDTH, rows * height + 0.4)
    every = figure.subplots(rows, columns, squeeze=False, **how).ravel()
    for axes in every[count:]:
        axes.remove()
    return figure, list(every[:count])


def inked(figure: Figure) -> Figure:
    """The figure with its text, ticks and frames in the colour of ink."""
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(which="both", colors=INK, labelsize=8)
        upright = "right" if axes.yaxis.get_ticks_position() == "right" else "left"
        for side, spine in axes.spines.items():
            spine.set_color(INK)
            spine.set_visible(spine.get_visible() and side in (upright, "bottom"))
    for text in figure.findobj(Text):
        if text.get_color() == "black":
            text.set_color(INK)
    return figure


def titled(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Title and axis labels in the sizes that all plots use."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(x, fontsize=8.5)
    axes.set_ylabel(y, fontsize=8.5)


def epochs(axes: Axes) -> None:
    """Whole numbers along x."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def ruled(axes: Axes, which: str = "both") -> None:
    """Faint lines behind the data."""
    axes.grid(axis=which, color=GRID, linewidth=0.6)  # pyright: ignore[reportArgumentType]
    axes.set_axisbelow(True)


def legend(figure: Figure, handles: Sequence[Any], columns: int = 3) -> None:
    """A legend below all panels."""
    if handles:
        figure.legend(
            handles=list(handles),
            loc="outside lower center",
            ncols=min(columns, len(handles)),
            frameon=False,
            fontsize=8,
        )


def plain(text: str, longest: int = LONGEST) -> str:
    """A text from a record as it is drawn: no formula, no control characters, not endless."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
    return shown.replace("$", r"\$")
