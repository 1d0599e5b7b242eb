"""Redescending M-estimators: losses whose influence ψ(r) = ρ'(r) falls again for large residuals.

In the parametrisation of Zhang 1997 ("Parameter estimation techniques", table 1): ρ(r) ≈ ½ r²
near zero for every scale c, which is in units of the target. An outlier far beyond c has nearly no
influence; in exchange ρ is not convex, and where training starts matters.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kexp.choice import Positive, choice
from kexp.lazy import keras
from kexp.losses.base import RegressionLoss

LARGEST_RATIO = 1e15
"""Residuals count as this many scales at most, so that no square overflows float32."""


def squared_ratio(residual: Any, scale: Any) -> Any:
    """(r/c)², with |r/c| cut at `LARGEST_RATIO`."""
    return keras.ops.square(keras.ops.clip(residual / scale, -LARGEST_RATIO, LARGEST_RATIO))


def cauchy(residual: Any, scale: Any) -> Any:
    """ρ(r) = ½ c² log(1 + (r/c)²)."""
    return 0.5 * (scale * scale) * keras.ops.log1p(squared_ratio(residual, scale))


def geman_mcclure(residual: Any, scale: Any) -> Any:
    """ρ(r) = ½ r² / (1 + (r/c)²), bounded by ½ c²."""
    z = squared_ratio(residual, scale)
    return 0.5 * (scale * scale) * (z / (1.0 + z))


def welsch(residual: Any, scale: Any) -> Any:
    """ρ(r) = ½ c² (1 − exp(−(r/c)²)), bounded by ½ c²."""
    return -0.5 * (scale * scale) * keras.ops.expm1(-squared_ratio(residual, scale))


def tukey(residual: Any, scale: Any) -> Any:
    """ρ(r) = c²/6 (1 − (1 − (r/c)²)³) where |r| ≤ c, else c²/6; multiplied out: no digits lost."""
    z = keras.ops.minimum(squared_ratio(residual, scale), 1.0)
    return (scale * scale) * (z * (3.0 - 3.0 * z + keras.ops.square(z))) / 6.0


@choice
class Cauchy(RegressionLoss):
    """Cauchy (Lorentzian) loss: the negative log-likelihood of Cauchy noise, but for a constant.

    ρ(r) = ½ c² log(1 + (r/c)²). Influence falls as 1/r. Scale c > 0; c → ∞ is the quadratic loss.
    Black and Anandan 1996; Barron 2019 with α = 0 and his scale c/√2, times ½ c².
    """

    formula: ClassVar[str] = r"\rho(r) = \frac{c^2}{2}\, \log\left(1 + (r/c)^2\right)"

    scale: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """½ c² log(1 + (r/c)²)."""
        return cauchy(residual, self.scale)

    def weight(self, residual: Any) -> Any:
        """w(r) = 1/(1 + (r/c)²)."""
        return 1.0 / (1.0 + squared_ratio(residual, self.scale))


@choice
class GemanMcClure(RegressionLoss):
    """Geman–McClure loss: bounded, influence falls as 1/r³.

    ρ(r) = ½ r² / (1 + (r/c)²) < ½ c². Scale c > 0; c → ∞ is the quadratic loss.
    Geman and McClure 1985; Barron 2019 with α = −2 and his scale c/2, times ¼ c².
    """

    formula: ClassVar[str] = r"\rho(r) = \frac{1}{2}\, \frac{r^2}{1 + (r/c)^2}"

    scale: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """½ r² / (1 + (r/c)²)."""
        return geman_mcclure(residual, self.scale)

    def weight(self, residual: Any) -> Any:
        """w(r) = 1/(1 + (r/c)²)²."""
        return 1.0 / keras.ops.square(1.0 + squared_ratio(residual, self.scale))


@choice
class Welsch(RegressionLoss):
    """Welsch (Leclerc) loss: bounded, an outlier's influence falls exponentially.

    ρ(r) = ½ c² (1 − exp(−(r/c)²)) < ½ c². Scale c > 0; c → ∞ is the quadratic loss.
    Dennis and Welsch 1978, Leclerc 1989; Barron 2019 with α = −∞ and his scale c/√2, times ½ c².
    """

    formula: ClassVar[str] = r"\rho(r) = \frac{c^2}{2} \left(1 - e^{-(r/c)^2}\right)"

    scale: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """½ c² (1 − exp(−(r/c)²))."""
        return welsch(residual, self.scale)

    def weight(self, residual: Any) -> Any:
        """w(r) = exp(−(r/c)²)."""
        return keras.ops.exp(-squared_ratio(residual, self.scale))


@choice
class Tukey(RegressionLoss):
    """Tukey's biweight: beyond c an outlier has no influence at all.

    ρ(r) = c²/6 (1 − (1 − (r/c)²)³) where |r| ≤ c, else c²/6. Scale c > 0; c → ∞ is the quadratic
    loss. c = 4.685 σ gives 95 % efficiency for Gaussian noise of σ. Beaton and Tukey 1974.
    """

    formula: ClassVar[str] = (
        r"\rho(r) = \frac{c^2}{6} \left(1 - (1 - m)^3\right),\quad m = \min\left((r/c)^2, 1\right)"
    )

    scale: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """c²/6 (1 − (1 − (r/c)²)³), or c²/6."""
        return tukey(residual, self.scale)

    def weight(self, residual: Any) -> Any:
        """w(r) = (1 − (r/c)²)² where |r| ≤ c, else 0."""
        return keras.ops.square(1.0 - keras.ops.minimum(squared_ratio(residual, self.scale), 1.0))
