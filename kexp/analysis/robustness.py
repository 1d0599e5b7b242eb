"""The robustness of runs: a yardstick over the strength of each perturbation, in words and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kexp.analysis import bands
from kexp.analysis.bands import Spread
from kexp.analysis.quantities import PERTURBATIONS, under_perturbation
from kexp.measures import Yardstick
from kexp.store import Record


@dataclass(frozen=True)
class Curve:
    """A yardstick of one configuration over the strengths of a perturbation, from 0 on."""

    label: str
    strengths: np.ndarray
    values: Spread


def perturbations(records: Sequence[Record]) -> list[str]:
    """Those that some of the runs were measured under."""
    return [name for name in PERTURBATIONS if any(strengths(r, name) for r in records)]


def strengths(record: Record, perturbation: str) -> list[float]:
    """The strengths at which a run was measured, rising; none where it was not."""
    found = _section(record, perturbation)
    known = [_number(key) for key in found]
    return sorted(value for value in known if value is not None)


def curve(
    label: str, records: Sequence[Record], perturbation: str, yardstick: Yardstick
) -> Curve | None:
    """The curve of some runs, at those strengths that all have; None where there are none."""
    having = [r for r in records if strengths(r, perturbation)]
    if not having:
        return None
    shared = set.intersection(*(set(strengths(r, perturbation)) for r in having))
    at = [0.0, *sorted(shared)]
    values = [np.array([value(r, perturbation, s, yardstick) for s in at]) for r in having]
    return Curve(label, np.array(at), bands.spread(values)) if shared else None


def value(record: Record, perturbation: str, strength: float, yardstick: Yardstick) -> float:
    """A yardstick of a run at a strength, 0 for unperturbed; NaN where it is not known."""
    at = (perturbation, f"{strength:g}") if strength else ("clean",)
    return bands.number(record.summary, ("robustness", *at, yardstick.name))


def described(record: Record, yardstick: Yardstick) -> list[str]:
    """A line for each perturbation of a run, by a yardstick or, where that is the fit, another."""
    lines, yardstick = [], under_perturbation(yardstick, [record])
    for name in perturbations([record]):
        at = [0.0, *strengths(record, name)]
        shown = (f"{s:g}: {_shown(yardstick, value(record, name, s, yardstick))}" for s in at)
        lines.append(f"{yardstick.label} under {PERTURBATIONS[name]} of {', '.join(shown)}")
    return lines


def _shown(yardstick: Yardstick, value: float) -> str:
    return yardstick.show(value if np.isfinite(value) else None)


def _section(record: Record, perturbation: str) -> dict[str, Any]:
    section = record.summary.get("robustness")
    found = section.get(perturbation) if isinstance(section, dict) else None
    return found if isinstance(found, dict) else {}


def _number(key: str) -> float | None:
    try:
        number = float(key)
    except ValueError:
        return None
    return number if np.isfinite(number) and f"{number:g}" == key else None
