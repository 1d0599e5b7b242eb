"""From comparable runs to everything that is said of them: noise, effects, interactions, checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kexp.analysis import quantities as q
from kexp.analysis.checks import checks, corrupted
from kexp.analysis.comparable import Comparable, comparable
from kexp.analysis.design import Design, design
from kexp.analysis.effects import Effect, effects, simple_effects
from kexp.analysis.interactions import Interaction, interactions
from kexp.analysis.noise import Noise, noise
from kexp.analysis.nuisance import Chosen, settle
from kexp.analysis.quantities import Quantity
from kexp.analysis.tradeoff import Point, tradeoff
from kexp.errors import ConfigError
from kexp.measures import YARDSTICKS
from kexp.store import Record


@dataclass(frozen=True)
class Question:
    """What to ask of runs: by which yardstick and quantities, and against which baselines.

    Left out, the yardstick is the study's or the task's, quantities are the study's or gap,
    validation, test, onset and cost, and baselines are the study's, `none`, or the task's default.
    """

    metric: str | None = None
    on: tuple[str, ...] = ()
    baselines: Mapping[str, str] = field(default_factory=dict)
    nuisance: tuple[str, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """The answer for the runs of one task on one data set.

    `design` has the runs that were compared, `whole` and `every_run` also those of nuisance levels
    that were not chosen. `simple` are the effects of factors that depend on each other, by the
    first quantity, at each level of the other. `axes` are those of the trade-off `points`.
    """

    title: str
    whole: Design
    design: Design
    every_run: tuple[Record, ...]
    quantities: tuple[Quantity, ...]
    noise: tuple[Noise, ...]
    effects: tuple[Effect, ...]
    interactions: tuple[Interaction, ...]
    simple: tuple[Effect, ...]
    points: tuple[Point, ...]
    axes: tuple[Quantity, Quantity]
    chosen: Chosen | None
    checks: tuple[str, ...]


def answers(
    records: Sequence[Record], question: Question
) -> tuple[list[tuple[Comparable, Analysis]], list[str]]:
    """An analysis of each group of records that may be compared, and why others have none.

    Raises `ConfigError` where no group can be asked this.
    """
    groups, found, faults = comparable(records), [], []
    for group in groups:
        try:
            found.append((group, analyse(group, question)))
        except ConfigError as error:
            faults.append(f"left out: {group.title}: {error}")
            if len(groups) == 1:
                raise
    if groups and not found:
        raise ConfigError("\n".join(faults))
    return found, faults


def analyse(runs: Comparable, question: Question | None = None) -> Analysis:
    """Everything that can be said of comparable runs. Raises `ConfigError` for unknown names."""
    question = question or Question()
    records, metric = runs.records, question.metric
    by = q.yardstick(records, metric)
    on = question.on or (() if metric else q.of_study(records))
    asked = q.named(on, records, metric) or q.usual(records, metric)
    whole = design(records, question.baselines, question.nuisance)
    settled, chosen = settle(whole, Quantity("validation", by))
    found = effects(settled, asked)
    between = interactions(settled, asked[:1])
    crossed = [(i.first, i.second) for i in between if i.detected]
    axes = _axes(records, metric)
    return Analysis(
        title=runs.title,
        whole=whole,
        design=settled,
        every_run=tuple(records),
        quantities=tuple(asked),
        noise=tuple(noise(settled, asked)),
        effects=tuple(found),
        interactions=tuple(between),
        simple=tuple(simple_effects(settled, crossed, asked[0])),
        points=() if corrupted(settled) else tuple(tradeoff(settled, *axes)),
        axes=axes,
        chosen=chosen,
        checks=tuple(checks(settled, found, between, runs.unfinished, asked, chosen)),
    )


def _axes(records: Sequence[Record], metric: str | None) -> tuple[Quantity, Quantity]:
    """The two sides of the trade-off: the test error, or the test value of the yardstick; gap."""
    by = q.yardstick(records, metric)
    known = q.measured_by(records)
    test = YARDSTICKS["error"] if "error" in known else by
    return Quantity("test", test), Quantity("gap", by)
