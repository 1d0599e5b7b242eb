"""Losses for regression: ρ(r) of the residual r = ŷ − y, elementwise.

Each loss is a pure function and a thin class around it. All behave like ½ r² near zero,
except the absolute error, so that their values compare for small residuals.
"""

from __future__ import annotations

from typing import Any

from kexp.choice import Positive, choice
from kexp.lazy import keras
from kexp.losses.base import RegressionLoss


def quadratic(residual: Any) -> Any:
    """ρ(r) = ½ r²."""
    return 0.5 * keras.ops.square(residual)


def absolute(residual: Any) -> Any:
    """ρ(r) = |r|, with slope 0 at r = 0 on every backend (JAX's own |r| has slope 1 there)."""
    return residual * keras.ops.stop_gradient(keras.ops.sign(residual))


def huber(residual: Any, delta: Any) -> Any:
    """ρ(r) = ½ r² where |r| ≤ δ, else δ (|r| − ½ δ)."""
    size = keras.ops.abs(residual)
    inside = keras.ops.minimum(size, delta)
    return inside * (size - 0.5 * inside)


def charbonnier(residual: Any, scale: Any) -> Any:
    """ρ(r) = c² (√(1 + (r/c)²) − 1), written so that small residuals lose no digits."""
    root = keras.ops.sqrt(1.0 + keras.ops.square(residual / scale))
    return keras.ops.square(residual) / (root + 1.0)


@choice
class Quadratic(RegressionLoss):
    """Quadratic loss, ρ(r) = ½ r²: the mean squared error with the factor ½ as it is taught.

    With `elements="sum"` it is exactly L(y, ŷ) = ½ ‖ŷ − y‖²; with the default
    `elements="mean"` it is that divided by the number of elements of a sample.
    The yardstick `mse` has no factor ½.
    """

    def rho(self, residual: Any) -> Any:
        """½ r²."""
        return quadratic(residual)


@choice
class Absolute(RegressionLoss):
    """Absolute error, ρ(r) = |r|: its minimum is the median, so outliers count less."""

    def rho(self, residual: Any) -> Any:
        """|r|."""
        return absolute(residual)


@choice
class Huber(RegressionLoss):
    """Huber's loss: quadratic up to |r| = δ, linear beyond.

    ρ(r) = ½ r² where |r| ≤ δ, else δ (|r| − ½ δ). δ > 0, in units of the target.
    δ → ∞ is the quadratic loss; ρ/δ → |r| as δ → 0. Huber 1964, equation 2.6 (his k is δ).
    """

    delta: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """½ r² or δ (|r| − ½ δ)."""
        return huber(residual, self.delta)


@choice
class Charbonnier(RegressionLoss):
    """Charbonnier (pseudo-Huber) loss: a smooth Huber, quadratic near zero and linear far away.

    ρ(r) = c² (√(1 + (r/c)²) − 1). Scale c > 0, in units of the target. c → ∞ is the quadratic
    loss, ρ/c → |r| as c → 0. Charbonnier et al. 1994; c² times Barron 2019, equation 1, α = 1.
    """

    scale: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """c² (√(1 + (r/c)²) − 1)."""
        return charbonnier(residual, self.scale)
