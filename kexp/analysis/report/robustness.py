"""The figure of robustness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kexp.analysis import robustness as found
from kexp.analysis.analysis import Analysis
from kexp.analysis.plots import robustness as drawn
from kexp.analysis.plots.configurations import Configuration
from kexp.analysis.quantities import PERTURBATIONS, under_perturbation
from kexp.analysis.report import selection, tables
from kexp.analysis.report.shown import MEAN, Shown, how_many

MOST_LINES = 7


def robustness(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """The yardstick under perturbed inputs, over their strength."""
    records, cells = [row.record for row in a.design.rows], a.design.cells()
    yardstick = under_perturbation(a.axes[0].yardstick, records)
    names = found.perturbations(records)
    having = [c for c in every if any(found.perturbations([row.record]) for row in cells[c.cell])]
    shown = selection.spaced(a, having, MOST_LINES)
    curves = {}
    for name in names:
        of_each = (
            found.curve(c.label, [r.record for r in cells[c.cell]], name, yardstick) for c in shown
        )
        if lines := [curve for curve in of_each if curve is not None]:
            curves[name] = lines
    if not curves:
        return
    rows = [
        (PERTURBATIONS[name], curve.label, f"{s:g}", yardstick.show(float(mean)))
        for name, lines in curves.items()
        for curve in lines
        for s, mean in zip(curve.strengths, curve.values.mean, strict=True)
    ]
    more = how_many(len(having), len(shown), "configurations")
    yield Shown(
        "robustness",
        "Robustness",
        f"{yardstick.label} of test examples whose inputs are perturbed, with the last weights. "
        "FGSM and PGD change every input value by at most ε, in the direction that raises the "
        f"loss of the task; they know the network. {MEAN}.{more}",
        drawn.curves(curves, yardstick),
        tables.texts(
            "Under perturbation",
            ("perturbation", "configuration", "strength", yardstick.label),
            rows,
        ),
    )
