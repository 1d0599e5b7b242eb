"""Findings in plain sentences. Words follow numbers: what is not shown is not said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from kexp.analysis.design import Design
from kexp.analysis.effects import FEWEST_SEEDS, Effect
from kexp.analysis.interactions import Interaction
from kexp.analysis.noise import Noise
from kexp.analysis.nuisance import Chosen
from kexp.analysis.quantities import Quantity, signed
from kexp.analysis.tradeoff import Point

SAID = {
    "none": "no effect detected",
    "uncertain": "not significant after correction",
    "too few": "too few seeds to say",
}


def of_effect(e: Effect) -> str:
    """`NLL gap −0.031 [−0.036, −0.026], narrower`, or what keeps it from being said."""
    change = e.quantity.change
    if e.verdict == "too few":
        return f"{e.quantity.title} {change(e.mean)} ({SAID['too few']})"
    bounds = f"[{change(e.low, unit=False)}, {change(e.high, unit=False)}]"
    return f"{e.quantity.title} {change(e.mean)} {bounds}, {short(e)}"


def short(e: Effect) -> str:
    """The verdict in a few words."""
    return SAID.get(e.verdict) or direction(e)


def direction(e: Effect) -> str:
    """A word for the direction of a detected effect."""
    grew = e.mean > 0
    overfitting = min(e.baseline_mean, e.baseline_mean + e.mean) > 0
    words = {"onset": ("later", "earlier")}
    words["gap"] = ("wider", "narrower") if overfitting else ("higher", "lower")
    words["memorisation"] = ("more learned by heart", "less learned by heart")
    words["cost"] = ("more lost after the best epoch", "less lost after the best epoch")
    if e.quantity.part in words:
        return words[e.quantity.part][0 if grew else 1]
    return "better" if e.better else "worse"


def of_level(of_one: Sequence[Effect]) -> str:
    """All effects of one level in a sentence, as `dropout=standard(0.5) against none: …`.

    What was detected comes first, with its numbers; what was not is named.
    """
    e, judged = of_one[0], [e for e in of_one if e.verdict != "too few"]
    told = [of_effect(e) for e in (judged or of_one) if e.verdict in ("detected", "too few")]
    for verdict in ("uncertain", "none", *(["too few"] if judged else [])):
        titles = [e.quantity.title for e in of_one if e.verdict == verdict]
        told += [f"{SAID[verdict]} on {_and(titles)}"] if titles else []
    within = f", with {e.within}" if e.within else ""
    of_all = seeds(judged or of_one)
    return f"{e.factor}={e.level} against {e.baseline}{within}: {'; '.join(told)}; {of_all}"


def by_level(found: Iterable[Effect]) -> list[list[Effect]]:
    """The effects in groups of one level of one factor."""
    groups: dict[tuple[str, ...], list[Effect]] = {}
    for e in found:
        groups.setdefault((e.factor, e.level, e.within), []).append(e)
    return list(groups.values())


def seeds(of_one: Sequence[Effect]) -> str:
    """`10 paired seeds`, or the range where quantities have different numbers of them."""
    counts = sorted({e.seeds for e in of_one})
    text = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{text} paired seed{'' if counts == [1] else 's'}"


def of_noise(n: Noise) -> str:
    """What the seed alone does."""
    return (
        f"the seed alone moves {n.quantity.title} by {spread(n.quantity, n.deviation)} (standard "
        f"deviation, {n.configurations} configuration{'' if n.configurations == 1 else 's'}, up to "
        f"{n.seeds} seeds)"
    )


def spread(quantity: Quantity, value: float) -> str:
    """A deviation, without a sign."""
    return quantity.change(value).lstrip("+")


def of_interaction(i: Interaction) -> str:
    """Whether two factors depend on each other, and by how much."""
    head = f"{i.first} × {i.second} on {i.quantity.title}"
    test = f"F({i.degrees[0]}, {i.degrees[1]}) = {i.f:.2f}, {p_value(i.p_holm)} corrected"
    if not i.detected:
        return f"{head}: no interaction detected ({test})"
    clear = [c for c in i.contrasts if not c.low <= 0 <= c.high]
    largest = max(clear, key=lambda c: abs(c.estimate), default=None)
    if largest is None:
        return f"{head}: they depend on each other ({test})"
    change = i.quantity.change
    bounds = f"[{change(largest.low, unit=False)}, {change(largest.high, unit=False)}]"
    return (
        f"{head}: with {i.second}={largest.second_level} the effect of "
        f"{i.first}={largest.first_level} differs by {change(largest.estimate)} {bounds} ({test})"
    )


def of_tradeoff(points: Sequence[Point], design: Design, test: Quantity, gap: Quantity) -> str:
    """The configurations that no other is better than in both test value and gap."""
    front = [p for p in points if p.on_front]
    named = "; ".join(
        f"{design.label(p.cell)} ({test.show(p.test)}, gap {gap.show(p.gap)}, "
        f"{100 * p.steady:.0f} % of resamples)"
        for p in front
    )
    return (
        f"of {len(points)} configurations none is better in both {test.title} and {gap.title} than "
        f"{named}"
    )


def of_chosen(chosen: Chosen, design: Design) -> list[str]:
    """Which nuisance levels were chosen, a line for each choice and the configurations with it."""
    cells: dict[tuple[str, ...], list[str]] = {}
    for cell, levels in chosen.levels.items():
        cells.setdefault(levels, []).append(design.label(cell))
    return [
        f"{', '.join(f'{n}={v}' for n, v in zip(chosen.names, levels, strict=True))}: "
        f"{'; '.join(labels)}"
        for levels, labels in cells.items()
    ]


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def p_value(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    if not math.isfinite(p):
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.0995 else f"p = {p:.2f}"


def findable(e: Effect) -> str:
    """The effect that would be found in 4 studies of 5 like this one."""
    return "–" if e.detectable is None else spread(e.quantity, e.detectable)


def size(e: Effect) -> str:
    """Hedges' g, where there is one."""
    return "–" if e.seeds < FEWEST_SEEDS or not math.isfinite(e.size) else signed(e.size)
