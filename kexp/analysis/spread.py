"""Mean, standard deviation and 95 % interval of one quantity over several runs."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from kexp.analysis.effects import CONFIDENCE
from kexp.analysis.quantities import Quantity
from kexp.store import Record


@dataclass(frozen=True)
class Spread:
    """`mean` ± sample standard deviation `sd` of `n` values; `low` and `high` bound the mean.

    The interval is that of Student's t. One value has neither `sd` nor bounds.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


def spread(quantity: Quantity, records: Iterable[Record], by_seed: bool = False) -> Spread:
    """Of those runs that have a value; with `by_seed`, over seeds of the means of each seed."""
    known = [(record, v) for record in records if (v := quantity.of(record)) is not None]
    values = [value for _, value in known]
    if by_seed:
        of_seed: dict[object, list[float]] = {}
        for record, value in known:
            of_seed.setdefault(record.summary.get("seed"), []).append(value)
        values = [statistics.fmean(of_one) for of_one in of_seed.values()]
    n = len(values)
    if n < 2:
        return Spread(n, *values)
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    margin = student(n - 1) * sd / math.sqrt(n)
    return Spread(n, mean, sd, mean - margin, mean + margin)


@functools.cache
def student(freedom: int) -> float:
    """The t that a Student variable exceeds in absolute value in 5 % of cases."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def shown(quantity: Quantity, of: Spread) -> str:
    """`0.266 ± 0.013`, with two digits of the deviation."""
    unit = "" if quantity.part == "onset" else quantity.yardstick.unit
    if of.mean is None or of.sd is None:
        return quantity.show(of.mean)
    digits = _decimals(quantity.scale * of.sd)
    numbers = (f"{quantity.scale * value:.{digits}f}" for value in (of.mean, of.sd))
    return " ± ".join(numbers) + (f" {unit}" if unit else "")


def interval(quantity: Quantity, of: Spread) -> str:
    """`[0.250, 0.282]`, without its unit."""
    if of.low is None or of.high is None:
        return "–"
    digits = _decimals(quantity.scale * (of.high - of.low) / 2)
    return "[{}, {}]".format(*(f"{quantity.scale * v:.{digits}f}" for v in (of.low, of.high)))


def _decimals(deviation: float) -> int:
    if not deviation or not math.isfinite(deviation):
        return 4
    return min(max(1 - math.floor(math.log10(deviation)), 0), 9)
