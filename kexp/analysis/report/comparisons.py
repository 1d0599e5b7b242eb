"""Figures that compare configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kexp.analysis import bands, sentences
from kexp.analysis.analysis import Analysis
from kexp.analysis.plots import configurations as draw_configurations
from kexp.analysis.plots import curves as draw_curves
from kexp.analysis.plots import effects as draw_effects
from kexp.analysis.plots import interactions as draw_interactions
from kexp.analysis.plots.configurations import Configuration
from kexp.analysis.report import selection, tables
from kexp.analysis.report.shown import MEAN, Shown, how_many, sentence

MOST_PANELS, MOST_LINES = 12, 7


def effects(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """Every effect with its interval."""
    if not a.effects:
        return
    levels = sentences.by_level(a.effects)
    baselines = ", ".join(f"{n}={a.design.factor(n).baseline}" for n in a.design.names)
    more = how_many(len(levels), draw_effects.MOST_LEVELS, "levels")
    yield Shown(
        "effects",
        "Effects",
        f"Mean change against the baseline ({baselines}) over paired seeds, with its 95 % "
        f"interval. Filled points were detected after correction; where an interval holds "
        f"zero, no effect was detected.{more}",
        draw_effects.forest(a.effects),
    )


def interactions(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """Means by two factors."""
    chosen = draw_interactions.pairs(a.design, a.interactions)
    if not chosen:
        return
    quantity = a.quantities[0]
    rows = []
    for first, second in chosen:
        for (x, y), m in draw_interactions.means(a.design, first, second, quantity).items():
            ends = f"[{quantity.show(m.low)}, {quantity.show(m.high)}]" if m.seeds > 1 else "–"
            rows.append((f"{first}={x}", f"{second}={y}", quantity.show(m.mean), ends, m.seeds))
    pairs = len(a.design.names) * (len(a.design.names) - 1) // 2
    yield Shown(
        "interactions",
        "Interactions",
        f"{sentence(quantity.title)} by the levels of two factors, averaged over the others; bars "
        "are 95 % intervals within seeds, so what all runs of a seed share is taken out. Where "
        "lines are parallel, the one factor does the same at every level of the other."
        f"{how_many(pairs, len(chosen), 'pairs')}",
        draw_interactions.interaction(a.design, chosen, quantity),
        tables.texts(
            f"{quantity.title} by two factors",
            ("first", "second", "mean", "95 % interval", "seeds"),
            rows,
        ),
    )


def learning_curves(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """Curves of train and validation, and of the gap."""
    yardstick, gap = a.axes[1].yardstick, a.axes[1]
    cells = a.design.cells()
    found: dict[tuple[str, ...], bands.Band] = {}
    for c in selection.spaced(a, every, MOST_PANELS):
        if of_runs := bands.histories(cells[c.cell]):
            found[c.cell] = bands.band(c.label, of_runs, yardstick)
    if not found:
        return
    drawn = selection.by_levels(a.design, [c for c in every if c.cell in found])
    fewer = [found[c.cell] for c in selection.spaced(a, drawn, MOST_LINES)]
    shown = [replace(found[c.cell], label=selection.titled(a.design, c)) for c in drawn]
    yield Shown(
        "learning-curves",
        "Learning curves",
        f"{yardstick.label} of train (probe) and validation over epochs. {MEAN}. The steep first "
        f"epochs may leave the axis.{how_many(len(every), len(shown), 'configurations')}",
        draw_curves.learning(shown, yardstick),
        tables.curves(shown, gap),
    )
    yield Shown(
        "gap-curves",
        "Gap over epochs",
        f"{gap.title}, validation minus train, turned so that positive is overfitting. {MEAN}."
        f"{how_many(len(every), len(fewer), 'configurations')}",
        draw_curves.gaps(fewer, yardstick),
        tables.curves(fewer, gap),
    )


def spread_over_seeds(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """A dot per run."""
    if not any(v.size > 1 for c in every for v in c.values.values()):
        return
    gap, test = a.axes[1], a.axes[0]
    yield Shown(
        "spread-over-seeds",
        "Spread over seeds",
        "A dot per run, a bar at the mean. Configurations whose dots overlap cannot be told apart "
        "by one run each; pairs of the same seed can tell them apart all the same."
        f"{how_many(len(every), draw_configurations.MOST_ROWS, 'configurations')}",
        draw_configurations.spread(
            selection.spaced(a, every, draw_configurations.MOST_ROWS), [gap, test]
        ),
    )


def all_at_once(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """Parallel coordinates, and the trade-off of test value and gap."""
    test, gap = a.axes
    known = [c for c in every if c.values[test].size and c.values[gap].size]
    if len(known) < 2:
        return
    more = how_many(len(known), draw_configurations.MOST_LINES, "configurations")
    yield Shown(
        "parallel-coordinates",
        "All configurations at once",
        f"A line per configuration, from its levels to {test.title} and {gap.title}, coloured by "
        f"the gap.{more}",
        draw_configurations.parallel(known, a.design, test, gap),
    )
    front = sorted((c for c in known if c.on_front), key=lambda c: c.mean(test))
    named = "; ".join(f"{i}: {c.label}" for i, c in enumerate(front, start=1))
    yield Shown(
        "trade-off",
        "Trade-off",
        f"{sentence(test.title)} and {gap.title} of every configuration, mean ± standard deviation "
        f"over seeds. No other configuration is better in both than these: {named}.",
        draw_configurations.tradeoff(known, test, gap),
        tables.configurations(every, a),
    )
