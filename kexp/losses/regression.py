"""Losses for regression: ρ(r) of the residual r = ŷ − y, elementwise.

Each loss is a pure function and a thin class around it. All behave like ½ r² near zero,
except the absolute and the quantile loss, so that their values compare for small residuals.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from kexp.choice import Between, Positive, choice
from kexp.lazy import keras
from kexp.losses.base import LEAST_RESIDUAL, RegressionLoss


def quadratic(residual: Any) -> Any:
    """ρ(r) = ½ r²."""
    return 0.5 * keras.ops.square(residual)


def absolute(residual: Any) -> Any:
    """ρ(r) = |r|, with slope 0 at r = 0 on every backend (JAX's own |r| has slope 1 there)."""
    return residual * keras.ops.stop_gradient(keras.ops.sign(residual))


def quantile(residual: Any, q: Any) -> Any:
    """ρ(r) = (1 − q) r where r > 0, −q r where r < 0, with slope 0 at r = 0."""
    above, below = (
        keras.ops.cast(keras.ops.sign(s * residual) > 0, residual.dtype) for s in (1, -1)
    )
    return residual * keras.ops.stop_gradient((1.0 - q) * above - q * below)


def huber(residual: Any, delta: Any) -> Any:
    """ρ(r) = ½ r² where |r| ≤ δ, else δ (|r| − ½ δ)."""
    size = keras.ops.abs(residual)
    inside = keras.ops.minimum(size, delta)
    return inside * (size - 0.5 * inside)


def charbonnier(residual: Any, scale: Any) -> Any:
    """ρ(r) = c² (√(1 + (r/c)²) − 1), written so that small residuals lose no digits."""
    root = keras.ops.sqrt(1.0 + keras.ops.square(residual / scale))
    return keras.ops.square(residual) / (root + 1.0)


def log_cosh(residual: Any, scale: Any) -> Any:
    """ρ(r) = c² log cosh(r/c): log(1 + 2 sinh²(u/2)) for small u = |r/c|, else u − log 2 + …"""
    ops = keras.ops
    u = ops.abs(residual) / scale
    near = ops.log1p(2.0 * ops.square(ops.sinh(0.5 * ops.minimum(u, 1.0))))
    far = ops.maximum(u, 1.0) + ops.log1p(ops.exp(-2.0 * ops.maximum(u, 1.0))) - 0.6931471805599453
    return (scale * scale) * ops.where(u < 1.0, near, far)


def _no_less(residual: Any, least: Any) -> Any:
    """|r|, but no less than that."""
    return keras.ops.maximum(keras.ops.abs(residual), least)


@choice
class Quadratic(RegressionLoss):
    """Quadratic loss, ρ(r) = ½ r²: the mean squared error with the factor ½ as it is taught.

    With `elements="sum"` (or `"norm"`) it is exactly L(y, ŷ) = ½ ‖ŷ − y‖²; with the default
    `elements="mean"` it is that divided by the number of elements of a sample.
    The yardstick `mse` has no factor ½. Gauss 1809.
    """

    formula: ClassVar[str] = r"\rho(r) = \frac{1}{2}\, r^2"

    def rho(self, residual: Any) -> Any:
        """½ r²."""
        return quadratic(residual)

    def weight(self, residual: Any) -> Any:
        """w(r) = 1."""
        return keras.ops.ones_like(residual)


@choice
class Absolute(RegressionLoss):
    """Absolute error, ρ(r) = |r|: its minimum is the median, so outliers count less.

    Boscovich 1757, Laplace 1774.
    """

    formula: ClassVar[str] = r"\rho(r) = |r|"

    def rho(self, residual: Any) -> Any:
        """|r|."""
        return absolute(residual)

    def weight(self, residual: Any) -> Any:
        """w(r) = 1/|r|, that of `LEAST_RESIDUAL` where |r| is less (Schlossmacher 1973)."""
        return 1.0 / _no_less(residual, LEAST_RESIDUAL)


@choice
class Quantile(RegressionLoss):
    """Quantile (pinball) loss: its minimum is the q-quantile of y given x.

    ρ(r) = (1 − q) r where r > 0, −q r where r < 0, for r = ŷ − y and 0 < q < 1. q = ½ is half the
    absolute error; a larger q makes it dearer to predict too little. Koenker and Bassett 1978.
    """

    formula: ClassVar[str] = r"\rho(r) = \max\left((1 - q)\, r,\ -q\, r\right)"

    elements: Literal["mean", "sum"] = "mean"
    q: Between = 0.5

    def rho(self, residual: Any) -> Any:
        """(1 − q) r or −q r."""
        return quantile(residual, self.q)

    def weight(self, residual: Any) -> Any:
        """w(r) = (1 − q)/|r| where r > 0, q/|r| where r < 0, with |r| ≥ `LEAST_RESIDUAL`."""
        share = 0.5 + (0.5 - self.q) * keras.ops.sign(residual)
        return share / _no_less(residual, LEAST_RESIDUAL)


@choice
class Huber(RegressionLoss):
    """Huber's loss: quadratic up to |r| = δ, linear beyond.

    ρ(r) = ½ r² where |r| ≤ δ, else δ (|r| − ½ δ). δ > 0, in units of the target.
    δ → ∞ is the quadratic loss; ρ/δ → |r| as δ → 0. Huber 1964, equation 2.6 (his k is δ).
    """

    formula: ClassVar[str] = (
        r"\rho(r) = \frac{1}{2}\, m^2 + \delta\,(|r| - m),\quad m = \min(|r|, \delta)"
    )

    delta: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """½ r² or δ (|r| − ½ δ)."""
        return huber(residual, self.delta)

    def weight(self, residual: Any) -> Any:
        """w(r) = 1 where |r| ≤ δ, else δ/|r|."""
        return self.delta / _no_less(residual, self.delta)


@choice
class Charbonnier(RegressionLoss):
    """Charbonnier (pseudo-Huber) loss: a smooth Huber, quadratic near zero and linear far away.

    ρ(r) = c² (√(1 + (r/c)²) − 1). Scale c > 0, in units of the target. c → ∞ is the quadratic
    loss, ρ/c → |r| as c → 0. Charbonnier et al. 1994; c² times Barron 2019, equation 1, α = 1.
    """

    formula: ClassVar[str] = r"\rho(r) = c^2 \left(\sqrt{1 + (r/c)^2} - 1\right)"

    scale: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """c² (√(1 + (r/c)²) − 1)."""
        return charbonnier(residual, self.scale)

    def weight(self, residual: Any) -> Any:
        """w(r) = 1/√(1 + (r/c)²)."""
        return 1.0 / keras.ops.sqrt(1.0 + keras.ops.square(residual / self.scale))


@choice
class LogCosh(RegressionLoss):
    """Log-cosh loss: quadratic near zero, linear far away, with all derivatives continuous.

    ρ(r) = c² log cosh(r/c). Scale c > 0, in units of the target. c → ∞ is the quadratic loss,
    ρ/c → |r| as c → 0. Green 1990.
    """

    formula: ClassVar[str] = r"\rho(r) = c^2\, \log\, \cosh(r/c)"

    scale: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """c² log cosh(r/c)."""
        return log_cosh(residual, self.scale)

    def weight(self, residual: Any) -> Any:
        """w(r) = tanh(u)/u with u = |r|/c; 1 at r = 0."""
        u = _no_less(residual / self.scale, 1e-4)  # where it is 1 − 3e-9
        return keras.ops.tanh(u) / u
