"""Tables of the page: plain texts in rows, with a number to sort by where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kexp.analysis import sentences
from kexp.analysis.analysis import Analysis
from kexp.analysis.bands import Band
from kexp.analysis.design import Design
from kexp.analysis.effects import Effect
from kexp.analysis.plots.configurations import Configuration
from kexp.analysis.quantities import Quantity
from kexp.store import Record

MOST_OPTIONS = 24


@dataclass(frozen=True)
class Cell:
    """A text, and what it is sorted by if that is not the text."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """`options` has, by column, the texts to choose from in a filter."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    options: tuple[tuple[int, tuple[str, ...]], ...] = ()


def effects(every: Sequence[Effect], caption: str) -> Table:
    """Every effect in full."""
    columns = ("choice", "against", "quantity", "change", "95 % interval", "p", "g", "N")
    columns += ("would be found", "finding")
    return Table(caption, columns, tuple(_effect(e) for e in every))


def _effect(e: Effect) -> tuple[Cell, ...]:
    change, judged = e.quantity.change, e.verdict != "too few"
    bounds = f"[{change(e.low, unit=False)}, {change(e.high, unit=False)}]"
    within = f" (with {e.within})" if e.within else ""
    return (
        Cell(f"{e.factor}={e.level}{within}"),
        Cell(e.baseline),
        Cell(e.quantity.title),
        Cell(change(e.mean)),
        Cell(bounds if judged else "–"),
        Cell(sentences.p_value(e.p_holm).removeprefix("p ").removeprefix("= ") if judged else "–"),
        Cell(sentences.size(e)),
        Cell(str(e.seeds)),
        Cell(sentences.findable(e)),
        Cell(sentences.short(e)),
    )


def noise(a: Analysis) -> Table:
    """What the seed alone does."""
    rows = tuple(
        (
            Cell(n.quantity.title),
            Cell(sentences.spread(n.quantity, n.deviation)),
            Cell(str(n.configurations)),
            Cell(str(n.seeds)),
        )
        for n in a.noise
    )
    columns = ("quantity", "deviation over seeds", "configurations", "seeds")
    return Table("What the seed alone does", columns, rows)


def runs(
    every: Sequence[Record], unfinished: Sequence[Record], design: Design, a: Analysis
) -> Table:
    """Every run, those that did not finish too."""
    gap, by = a.axes[1], a.axes[1].yardstick
    shown = [Quantity("train", by), Quantity("validation", by), gap, Quantity("test", by)]
    shown += [a.axes[0]] if a.axes[0] not in shown else []
    shown += [Quantity("onset", by), Quantity("cost", by)]
    levels = {id(row.record): row.levels for row in design.rows}
    factors = [f.name for f in design.factors]
    rows = tuple(
        _run(record, levels.get(id(record), {}), factors, shown) for record in (*every, *unfinished)
    )
    columns = ("run", "state", *factors, "seed", *(q.title for q in shown), "epochs")
    options = [(i, _options(rows, i)) for i in range(1, 2 + len(factors))]
    some = tuple((i, texts) for i, texts in options if 2 <= len(texts) <= MOST_OPTIONS)
    return Table("All runs; press a column's name to sort by it", columns, rows, some)


def states(every: Sequence[Record]) -> Table:
    """Runs of which none has finished: what became of them."""
    rows = tuple(
        (
            Cell(r.path.name),
            Cell(str(r.status.get("state", "unreadable"))),
            Cell(str(r.status.get("reason") or "–")),
        )
        for r in every
    )
    return Table("All runs; press a column's name to sort by it", ("run", "state", "reason"), rows)


def _run(
    record: Record, levels: Any, factors: Sequence[str], shown: Sequence[Quantity]
) -> tuple[Cell, ...]:
    seed = record.summary.get("seed", record.config.get("seed"))
    epochs = record.summary.get("epochs")
    values = [(q, q.of(record)) for q in shown]
    return (
        Cell(record.path.name),
        Cell(str(record.status.get("state", "unreadable"))),
        *(Cell(levels.get(name, "–")) for name in factors),
        _number(seed),
        *(Cell("–" if value is None else q.show(value), value) for q, value in values),
        _number(epochs),
    )


def _number(value: Any) -> Cell:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(str(value), float(value)) if known else Cell("–")


def _options(rows: Sequence[tuple[Cell, ...]], column: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row[column].text for row in rows))


def configurations(every: Sequence[Configuration], a: Analysis) -> Table:
    """Means and deviations over seeds of every configuration."""
    steady = {p.cell: p.steady for p in a.points}
    shown = list(dict.fromkeys([*a.axes, *a.quantities]))
    columns = (*a.design.names, "seeds", *(q.title for q in shown), "on the front")
    rows = tuple(
        (
            *map(Cell, c.cell),
            Cell(str(max(v.size for v in c.values.values()))),
            *(Cell(mean_and_deviation(q, c)) for q in shown),
            Cell(f"{'yes' if c.on_front else 'no'} ({100 * steady.get(c.cell, 0):.0f} %)"),
        )
        for c in every
    )
    caption = (
        "Configurations, the narrowest gap first: mean ± standard deviation over seeds; last, the "
        "share of resamples of the seeds in which it is on the front"
    )
    return Table(caption, columns, rows)


def mean_and_deviation(quantity: Quantity, c: Configuration) -> str:
    """`0.31 ± 0.02`, without the deviation where there is one value."""
    values = c.values[quantity]
    if not values.size:
        return "–"
    spread = sentences.spread(quantity, c.deviation(quantity))
    return quantity.show(c.mean(quantity)) + (f" ± {spread}" if values.size > 1 else "")


def curves(bands: Sequence[Band], gap: Quantity) -> Table:
    """Where curves ended: mean ± deviation at the last epoch, and the best epoch of the mean."""
    of = {name: Quantity(name, gap.yardstick) for name in ("train", "validation", "gap")}
    sign = -1 if gap.yardstick.higher_is_better else 1
    rows = []
    for band in bands:
        ends = [(of[n], getattr(band, n)) for n in of]
        mean = sign * band.validation.mean
        best = str(int(np.nanargmin(mean)) + 1) if np.isfinite(mean).any() else "–"
        cells = [Cell(_end(q, s.mean[-1], s.deviation[-1])) for q, s in ends]
        rows.append((Cell(band.label), Cell(str(band.seeds)), *cells, Cell(best)))
    columns = ("configuration", "runs", *(q.title for q in of.values()), "best epoch of the mean")
    return Table("Mean ± standard deviation over seeds at the last epoch", columns, tuple(rows))


def _end(quantity: Quantity, mean: float, deviation: float) -> str:
    shown = quantity.show(float(mean)) if np.isfinite(mean) else "–"
    spread = f" ± {sentences.spread(quantity, float(deviation))}" if np.isfinite(deviation) else ""
    return shown + spread


def texts(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table of what can be written as it is."""
    return Table(caption, tuple(columns), tuple(tuple(Cell(str(c)) for c in row) for row in rows))
