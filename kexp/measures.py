"""Pure measures of overfitting: learning curves in, numbers and words out.

Curves are sequences with one value per epoch, first epoch first. Where higher is better
(PSNR, SSIM) the sign is turned, so that a positive gap or cost always means overfitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE = 0.01
"""A validation value within 1 % of the lowest one counts as "still there"."""

DEVIATIONS = 4
"""So does one within 4 standard deviations of the curve's own noise: the lowest of many noisy
values is low by chance, and with 3 one flat curve of 30 epochs in 25 would have an onset."""

PERSISTENCE = 3
"""A rise counts once the curve has stayed above tolerance for this many last epochs."""


@dataclass(frozen=True)
class Yardstick:
    """A metric that does not depend on the loss under study, with its direction and unit."""

    name: str
    label: str
    higher_is_better: bool = False
    unit: str = ""

    @property
    def sign(self) -> int:
        """+1 where lower is better, −1 where higher is better."""
        return -1 if self.higher_is_better else 1

    def show(self, value: float | None) -> str:
        """The value with a unit and a sensible number of digits."""
        if value is None:
            return "–"
        if self.unit == "%":
            return f"{100 * value:.2f} %"
        return f"{value:.4g}{' ' + self.unit if self.unit else ''}"


FIT = Yardstick("fit", "fit")
YARDSTICKS = {
    y.name: y
    for y in (
        FIT,
        Yardstick("objective", "objective"),
        Yardstick("nll", "NLL"),
        Yardstick("error", "error", unit="%"),
        Yardstick("brier", "Brier score"),
        Yardstick("ece", "ECE", unit="%"),
        Yardstick("mse", "MSE"),
        Yardstick("mae", "MAE"),
        Yardstick("psnr", "PSNR", higher_is_better=True, unit="dB"),
        Yardstick("ssim", "SSIM", higher_is_better=True),
        Yardstick("delta_e", "ΔE₀₀"),
        Yardstick("abs_rel", "absolute relative error", unit="%"),
        Yardstick("delta1", "δ < 1.25", higher_is_better=True, unit="%"),
    )
}


def gap(yardstick: str, validation: float, probe: float) -> float:
    """Validation minus probe, sign turned where higher is better: positive is overfitting."""
    return YARDSTICKS[yardstick].sign * (validation - probe)


def noise(curve: Sequence[float]) -> float:
    """Standard deviation of the epoch-to-epoch noise of a curve.

    From the median absolute second difference, which ignores any straight trend:
    σ = median|v[i+1] − 2 v[i] + v[i−1]| / (0.6745 √6). Zero for fewer than 5 epochs.
    """
    if len(curve) < 5:
        return 0.0
    second = np.diff(np.asarray(curve, dtype=float), 2)
    return float(np.median(np.abs(second)) / (0.6745 * np.sqrt(6)))


def best_epoch(curve: Sequence[float], higher_is_better: bool = False) -> int:
    """The epoch, counted from 1, of the best value; the first one where several tie."""
    values = np.asarray(curve, dtype=float)
    return int(np.argmax(values) if higher_is_better else np.argmin(values)) + 1


def onset(
    curve: Sequence[float], higher_is_better: bool = False, tolerance: float = TOLERANCE
) -> int | None:
    """The epoch of the best validation value after which the curve never comes back to it.

    "Come back" means within the larger of `tolerance` (relative) and `DEVIATIONS` standard
    deviations of the curve's own noise. The curve must end with at least `PERSISTENCE` epochs
    outside; otherwise there is no onset and the answer is None.
    """
    if len(curve) <= PERSISTENCE:
        return None
    stayed_out = _outside(curve, higher_is_better, tolerance)[-PERSISTENCE:].all()
    return best_epoch(curve, higher_is_better) if stayed_out else None


def cost(curve: Sequence[float], higher_is_better: bool = False) -> float:
    """Last minus best value (sign turned where higher is better): what stopping would save."""
    sign = -1 if higher_is_better else 1
    return float(sign * curve[-1] - np.min(sign * np.asarray(curve, dtype=float)))


def verdict(yardstick: str, validation: Sequence[float], final_gap: float) -> str:
    """One plain sentence: when validation was best, what it lost afterwards, and the gap."""
    y = YARDSTICKS[yardstick]
    at, worse = onset(validation, y.higher_is_better), cost(validation, y.higher_is_better)
    best = best_epoch(validation, y.higher_is_better)
    moved = "fell" if y.higher_is_better else "rose"
    if at is not None:
        text = f"validation {y.label} was best at epoch {at} and {moved} {y.show(worse)} after"
    elif best == len(validation):
        text = f"validation {y.label} was still getting better at the last epoch, {best}"
    elif _outside(validation, y.higher_is_better, TOLERANCE)[-1]:
        text = (
            f"validation {y.label} was best at epoch {best} and {moved} {y.show(worse)} after, "
            "for too few epochs to call it an onset of overfitting"
        )
    else:
        text = (
            f"validation {y.label} was best at epoch {best} and ended within its noise of that: "
            "no onset of overfitting"
        )
    return f"{text}; the gap is {y.show(final_gap)}"


def _outside(curve: Sequence[float], higher_is_better: bool, tolerance: float) -> np.ndarray:
    """Which epochs are worse than the best by more than tolerance and noise, shape (epochs,)."""
    values = np.asarray(curve, dtype=float) * (-1 if higher_is_better else 1)
    lowest = np.min(values)
    return values > lowest + max(tolerance * abs(lowest), DEVIATIONS * noise(curve))
