"""What a reader must know of a design before believing its effects: its gaps, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kexp.analysis.design import Design
from kexp.analysis.effects import FEWEST_SEEDS, Effect, interval
from kexp.analysis.interactions import Interaction
from kexp.analysis.levels import natural
from kexp.analysis.nuisance import Chosen
from kexp.analysis.quantities import Quantity
from kexp.store import Record
from kexp.store.reading import read_json

MOST_NAMED = 5


def checks(
    design: Design,
    found: Sequence[Effect],
    interactions: Sequence[Interaction],
    unfinished: Sequence[Record],
    quantities: Sequence[Quantity],
    chosen: Chosen | None,
) -> list[str]:
    """A sentence for everything that limits what the effects can say."""
    return [
        *_unfinished(unfinished),
        *_few_seeds(design),
        *_missing_cells(design),
        *_unpaired(design, found),
        *_missing_values(design, quantities),
        *_on_the_edge(found),
        *_depends(interactions),
        *_selection(chosen, design),
        *_shared(design),
        *_studies(design),
        *_environments(design),
        *_corrupted(design, quantities),
    ]


def _unfinished(unfinished: Sequence[Record]) -> Iterator[str]:
    states = Counter(str(r.status.get("state", "unreadable")) for r in unfinished)
    if diverged := states.pop("diverged", 0):
        names = _named(r.path.name for r in unfinished if r.status.get("state") == "diverged")
        yield (
            f"{_runs(diverged)} diverged and {_is(diverged)} left out ({names}): what is told is "
            "of those that did not, so a choice that diverges often looks better than it is"
        )
    if states:
        named = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        yield f"{_runs(states.total())} did not finish and {_is(states.total())} left out: {named}"


def _few_seeds(design: Design) -> Iterator[str]:
    count = len(design.seeds)
    if count < FEWEST_SEEDS:
        seeds = "1 seed" if count == 1 else f"{count} seeds"
        yield (
            f"there {'is' if count == 1 else 'are'} {seeds}: nothing is claimed with fewer than "
            f"{FEWEST_SEEDS}; add seeds, as in 'seed=range(5)'"
        )


def _missing_cells(design: Design) -> Iterator[str]:
    """Combinations that were not run, and those with fewer seeds than others."""
    if not design.names:
        return
    possible = math.prod(len(design.factor(name).levels) for name in design.names)
    cells = design.cells()
    if len(cells) < possible:
        yield (
            f"{possible - len(cells)} of {possible} combinations of levels have no run: effects "
            "are taken over those that have, so their average is over fewer of the other choices"
        )
    seeds = {cell: {row.seed for row in rows} for cell, rows in cells.items()}
    every = set(design.seeds)
    short = [cell for cell, of_cell in seeds.items() if of_cell < every]
    if short:
        yield (
            f"the design is unbalanced: {len(short)} of {len(cells)} combinations lack a seed that "
            f"others have ({_named(design.label(cell) for cell in short)}); only pairs within a "
            "seed are used"
        )


def _unpaired(design: Design, found: Sequence[Effect]) -> Iterator[str]:
    """Levels that share no seed with their baseline, with all else equal; runs without a seed."""
    compared = {(e.factor, e.level) for e in found}
    for name in design.names:
        factor = design.factor(name)
        lonely = [level for level in factor.levels[1:] if (name, level) not in compared]
        if lonely:
            yield (
                f"{name}={', '.join(lonely)} cannot be compared with {factor.baseline}: no two "
                "runs with the same seed differ in that alone"
            )
    without = sum(row.seed is None for row in design.rows)
    if without:
        yield f"{_runs(without)} {'has' if without == 1 else 'have'} no seed and no partner"


def _missing_values(design: Design, quantities: Sequence[Quantity]) -> Iterator[str]:
    for quantity in quantities:
        missing = sum(quantity.of(row.record) is None for row in design.rows)
        if missing == len(design.rows) and quantity.part == "onset":
            yield f"no run had an onset of overfitting in {quantity.yardstick.label}"
        elif missing and quantity.part == "onset":
            yield (
                f"{_of(missing, len(design.rows))} had no onset of overfitting in "
                f"{quantity.yardstick.label}: the effect on it is over pairs in which both had one"
            )
        elif missing:
            yield f"{_of(missing, len(design.rows))} have no {quantity.title}"


def _on_the_edge(found: Sequence[Effect]) -> Iterator[str]:
    """Detected effects whose interval holds zero once a single seed is left out."""
    for e in found:
        if e.verdict == "detected" and e.seeds > FEWEST_SEEDS:
            needed = [seed for seed in e.differences if _holds_zero_without(e, seed)]
            if needed:
                yield (
                    f"the effect of {e.factor}={e.level} on {e.quantity.title} is on the edge: "
                    f"without seed {' or '.join(map(str, needed))} its interval holds zero"
                )


def _holds_zero_without(e: Effect, left_out: int) -> bool:
    _, low, high, _ = interval([d for seed, d in e.differences.items() if seed != left_out])
    return low <= 0 <= high


def _depends(interactions: Sequence[Interaction]) -> Iterator[str]:
    pairs = [f"{i.first} and {i.second}" for i in interactions if i.detected]
    if pairs:
        title = interactions[0].quantity.title
        yield (
            f"the effects on {title} of {'; '.join(pairs)} depend on each other: the average over "
            "the other's levels may hold at none of them, see them one by one"
        )


def _selection(chosen: Chosen | None, design: Design) -> Iterator[str]:
    if not chosen:
        return
    verb = "was" if len(chosen.names) == 1 else "were"
    yield (
        f"{' and '.join(chosen.names)} {verb} chosen on validation for every combination: "
        "validation values, and gaps, are a little too good for that, test values are not"
    )
    for place, name in enumerate(chosen.names):
        tried = sorted(design.factor(name).levels, key=natural)
        picked = {levels[place] for levels in chosen.levels.values()}
        for edge in dict.fromkeys((tried[0], tried[-1])):
            if edge in picked and len(tried) > 1 and natural(edge)[0] == 0:
                yield f"{name}={edge} was chosen at the edge of what was tried: try beyond it"


def _shared(design: Design) -> Iterator[str]:
    """Runs that differ in nothing under study and share their seed."""
    counts = Counter((row.seed, row.cell(design.names)) for row in design.rows)
    many = {key: n for key, n in counts.items() if n > 1 and key[0] is not None}
    if many:
        (seed, cell), n = next(iter(many.items()))
        more = f", and so do runs of {len(many) - 1} other combinations" if len(many) > 1 else ""
        yield (
            f"{n} runs of {design.label(cell)} share the seed {seed}{more}: their mean is taken "
            "for one run"
        )


def _studies(design: Design) -> Iterator[str]:
    names = sorted({row.record.path.parent.name for row in design.rows})
    if len(names) > 1:
        yield (
            f"runs of {len(names)} studies ({_named(iter(names))}) are taken together; ask for one "
            f"by --where study={names[0]}"
        )


def _environments(design: Design) -> Iterator[str]:
    """Where runs were made on different devices or with different versions of what trains them."""
    found = [read_json(row.record.path / "environment.json") or {} for row in design.rows]
    for name, of in ENVIRONMENT.items():
        kinds = sorted({str(value) for e in found if (value := of(e)) is not None})
        if len(kinds) > 1:
            yield (
                f"runs differ in {name} ({_named(iter(kinds))}): where the two of a pair do, their "
                "difference is not of the choice alone"
            )


def _corrupted(design: Design, quantities: Sequence[Quantity]) -> Iterator[str]:
    """What a gap means where the probe has wrong targets and validation has none."""
    if corrupted(design) and any(q.part == "gap" for q in quantities):
        yield (
            "a share of the training targets is wrong, in the probe too, and validation is clean: "
            "the gap is lower the less of that was learned by heart, so it does not tell "
            "overfitting here, and there is no trade-off with it; see validation and test"
        )


def corrupted(design: Design) -> bool:
    """Whether runs were trained on targets of which a share is wrong."""
    data = [row.record.config.get("data") for row in design.rows]
    return any(isinstance(d, dict) and (d.get("label_noise") or d.get("outliers")) for d in data)


def _version(package: str) -> Callable[[dict[str, Any]], Any]:
    def of(environment: dict[str, Any]) -> Any:
        packages = environment.get("packages")
        return packages.get(package) if isinstance(packages, dict) else None

    return of


ENVIRONMENT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "device": lambda environment: environment.get("device"),
    "kexp's version": lambda environment: environment.get("kexp"),
    **{
        f"the version of {name}": _version(name) for name in ("keras", "tensorflow", "jax", "torch")
    },
}


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _of(count: int, every: int) -> str:
    return f"{count} of {every} runs"


def _named(labels: Iterator[str]) -> str:
    every = list(labels)
    more = f"; and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return "; ".join(every[:MOST_NAMED]) + more
