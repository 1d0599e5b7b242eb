"""All figures of a section, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kexp.analysis.analysis import Analysis
from kexp.analysis.plots.configurations import Configuration
from kexp.analysis.report import closeups, comparisons, robustness
from kexp.analysis.report.shown import Shown

Family = Callable[[Analysis, Sequence[Configuration]], Iterator[Shown]]
FAMILIES: tuple[Family, ...] = (
    comparisons.effects,
    comparisons.interactions,
    comparisons.learning_curves,
    comparisons.spread_over_seeds,
    comparisons.all_at_once,
    robustness.robustness,
    closeups.examples,
    closeups.confusion,
    closeups.calibration,
    closeups.learned,
    closeups.ridge,
    closeups.recognition,
    closeups.eigenspace,
)


def drawn(a: Analysis, every: Sequence[Configuration], problems: list[str]) -> list[Shown]:
    """All figures that there is something to draw for; what cannot be drawn is told."""
    found: list[Shown] = []
    for family in FAMILIES:
        try:
            found += family(a, every)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            named = family.__name__.replace("_", " ")
            fault = f"{type(error).__name__}: {error}"
            problems.append(f"{a.title}: {named} cannot be drawn from these records ({fault})")
    return found
