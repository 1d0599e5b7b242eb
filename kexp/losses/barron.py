"""The general robust loss of Barron 2019, a family of losses by its shape α; its adaptive form.

"A General and Adaptive Robust Loss Function", CVPR 2019. Equation numbers are of that paper.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from kexp.choice import Positive, choice
from kexp.lazy import keras
from kexp.losses.base import RegressionLoss
from kexp.losses.redescending import squared_ratio

Shape = Annotated[float, Field(le=2, allow_inf_nan=True)]
"""A shape α from −∞ (written -inf) to 2."""

NEARLY_QUADRATIC = 1e-6
"""|α − 2| below which the loss is taken to be quadratic: the difference is below 5e-5 of it."""

LARGEST_SHAPE = 1e12
"""Shapes below minus this many are taken as this one: the difference from −∞ is below 1e-11."""


def general(residual: Any, alpha: Any, scale: Any) -> Any:
    """ρ(r; α, c) = (b/α) ((z/b + 1)^(α/2) − 1) with z = (r/c)², b = |α − 2| (equation 8).

    Written as (b/2) L φ(u) with L = log(1 + z/b), u = α L/2 and φ(u) = (eᵘ − 1)/u, which has no
    singularity at α = 0; z at α = 2, 1 − exp(−z/2) at α = −∞.
    """
    ops = keras.ops
    z = squared_ratio(residual, scale)
    alpha = ops.maximum(ops.cast(alpha, z.dtype), -LARGEST_SHAPE)
    distance = ops.abs(alpha - 2.0)
    quadratic = distance < NEARLY_QUADRATIC
    b = ops.where(quadratic, 1.0, distance)
    ratio = z * (1.0 / b)  # not z / b: the slope of that, z/b², overflows near α = 2
    log = ops.log1p(ratio)
    u = 0.5 * alpha * log
    near_zero = 0.5 * b * log * _growth_near_zero(ops.clip(u, -0.25, 0.25))
    elsewhere = b / _away_from_zero(alpha) * _grown(ratio, alpha, u)
    rho = ops.where(ops.abs(u) < 0.25, near_zero, elsewhere)
    return ops.where(quadratic, 0.5 * z, rho)


def general_weight(residual: Any, alpha: Any, scale: Any) -> Any:
    """w(r) = ρ′(r)/r = (z/b + 1)^(α/2 − 1)/c² with z = (r/c)², b = |α − 2|; 1/c² at α = 2.

    Barron 2019, appendix A, from the derivative of equation 8; exp(−z/2)/c² at α = −∞.
    """
    ops = keras.ops
    z = squared_ratio(residual, scale)
    alpha = ops.maximum(ops.cast(alpha, z.dtype), -LARGEST_SHAPE)
    distance = ops.abs(alpha - 2.0)
    b = ops.where(distance < NEARLY_QUADRATIC, 1.0, distance)
    power = ops.where(distance < NEARLY_QUADRATIC, 0.0, 0.5 * alpha - 1.0)
    return ops.exp(power * ops.log1p(z / b)) / ops.square(ops.cast(scale, z.dtype))


def _growth_near_zero(u: Any) -> Any:
    """φ(u) = (eᵘ − 1)/u for |u| ≤ ¼ by its Taylor series, to 6e-8."""
    return 1.0 + u / 2.0 * (1.0 + u / 3.0 * (1.0 + u / 4.0 * (1.0 + u / 5.0 * (1.0 + u / 6.0))))


def _grown(ratio: Any, alpha: Any, u: Any) -> Any:
    """(ratio + 1)^(α/2) − 1 = eᵘ − 1, by the form that loses no digits for each sign of α."""
    ops = keras.ops
    rising = alpha > 0.0
    power = ops.power(ratio + 1.0, ops.where(rising, 0.5 * alpha, 0.0)) - 1.0
    return ops.where(rising, power, ops.expm1(ops.minimum(u, 0.0)))


def _away_from_zero(alpha: Any) -> Any:
    """α, but for values too near zero to divide by, which are not used."""
    return keras.ops.where(keras.ops.abs(alpha) < 1e-30, 1.0, alpha)


def log_partition(alpha: Any) -> Any:
    """log Z(α) with Z(α) = ∫ exp(−ρ(x; α, 1)) dx (equation 17), for 0 ≤ α ≤ 4; shape of `alpha`.

    By a cubic Hermite spline through exact values, to 1e-6 (a test says so). Z(0) = π√2,
    Z(1) = 2e K₁(1), Z(2) = √(2π). For α < 0 the integral diverges.
    """
    ops = keras.ops
    knots, values, slopes = partition_table()
    dtype = alpha.dtype
    alpha = ops.clip(alpha, float(knots[0]), float(knots[-1]))
    left = ops.searchsorted(ops.convert_to_tensor(knots[1:-1], dtype), ops.reshape(alpha, (-1,)))
    left = ops.reshape(left, ops.shape(alpha))

    def at(table: np.ndarray, shift: int) -> Any:
        return ops.take(ops.convert_to_tensor(table, dtype), left + shift)

    start = at(knots, 0)
    width = at(knots, 1) - start
    t = (alpha - start) / width
    rise = t * t * (3.0 - 2.0 * t)
    bend = t * (1.0 - t) * ((1.0 - t) * at(slopes, 0) - t * at(slopes, 1))
    return at(values, 0) * (1.0 - rise) + at(values, 1) * rise + width * bend


@lru_cache(maxsize=1)
def partition_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knots α in [0, 4], dense near 0 and near 2, where log Z bends most, log Z and its slope."""
    from scipy.interpolate import CubicSpline

    lower = 2.0 * (1.0 - (1.0 - np.linspace(0, 1, 129) ** 2) ** 4)
    halves = lower, (4.0 - lower)[::-1]
    values = [np.array([np.log(partition(alpha)) for alpha in half]) for half in halves]
    slopes = [CubicSpline(h, v)(h, 1) for h, v in zip(halves, values, strict=True)]
    return tuple(np.concatenate(part) for part in (halves, values, slopes))  # pyright: ignore


def partition(alpha: float) -> float:
    """Z(α) by quadrature, for 0 ≤ α ≤ 4.

    The trapezoidal rule after x = exp(π/2 sinh t), which is exact to rounding (Takahasi and Mori
    1974).
    """
    t = np.linspace(-4.5, 4.5, 1201)
    x = np.exp(0.5 * np.pi * np.sinh(t))
    with np.errstate(over="ignore"):
        density = np.exp(-_general_of(x, alpha)) * x * 0.5 * np.pi * np.cosh(t)
    return float(2 * density.sum() * (t[1] - t[0]))


def _general_of(x: np.ndarray, alpha: float) -> np.ndarray:
    """ρ(x; α, 1) in float64, for the quadrature."""
    b = abs(alpha - 2.0)
    if b == 0:
        return 0.5 * x**2
    log = np.log1p(x**2 / b)
    return 0.5 * b * log if alpha == 0 else b / alpha * np.expm1(0.5 * alpha * log)


@choice
class General(RegressionLoss):
    """Barron's general robust loss: one shape α that runs through the losses of the textbooks.

    ρ(r; α, c) = (|α − 2|/α) (((r/c)²/|α − 2| + 1)^(α/2) − 1), with shape −∞ ≤ α ≤ 2 and scale
    c > 0 in units of the target. α = 2: ½ (r/c)²; α = 1: Charbonnier, √((r/c)² + 1) − 1; α = 0:
    Cauchy, log(½ (r/c)² + 1); α = −2: Geman–McClure, 2 (r/c)²/((r/c)² + 4); α = −∞ (written
    -inf): Welsch, 1 − exp(−½ (r/c)²). Near zero it is ½ (r/c)²: unlike the single losses it is not
    multiplied by c². Residuals beyond 1e15 c count as that. Barron 2019, equations 8 to 14.
    """

    formula: ClassVar[str] = (
        r"\rho(r;\, \alpha, c) = \frac{|\alpha - 2|}{\alpha}"
        r"\left(\left(\frac{(r/c)^2}{|\alpha - 2|} + 1\right)^{\alpha/2} - 1\right)"
    )

    alpha: Shape = 1.0
    scale: Positive = 1.0

    def rho(self, residual: Any) -> Any:
        """(|α − 2|/α) (((r/c)²/|α − 2| + 1)^(α/2) − 1)."""
        return general(residual, self.alpha, self.scale)

    def weight(self, residual: Any) -> Any:
        """w(r) = ((r/c)²/|α − 2| + 1)^(α/2 − 1)/c²."""
        return general_weight(residual, self.alpha, self.scale)


@choice
class Adaptive(RegressionLoss):
    """Barron's adaptive loss: shape α and scale c are learned along with the network.

    The negative log-likelihood ρ(r; α, c) + log c + log Z(α) of the density that belongs to the
    general loss; the last terms keep the fit from calling everything an outlier. One (α, c) per
    channel of the target, or one for all (`per`). α = low + (high − low) sigmoid(a), with
    0 ≤ low < high ≤ 2, and c = floor + softplus(s): a and s are what is learned. They start in
    the middle of the range and at c = `scale`. The loss may be negative. Barron 2019, section 3;
    log Z is exact to 1e-6.
    """

    formula: ClassVar[str] = r"\rho(r;\, \alpha, c) + \log\, c + \log\, Z(\alpha)"

    elements: Literal["mean", "sum"] = "mean"
    per: Literal["channel", "all"] = "channel"
    low: Annotated[float, Field(ge=0, lt=2)] = 0.001
    high: Annotated[float, Field(gt=0, le=2)] = 1.999
    scale: Positive = 1.0
    floor: Positive = 1e-5

    @model_validator(mode="after")
    def _ordered(self) -> Adaptive:
        if self.low >= self.high:
            raise ValueError(f"low must be < high, got low={self.low} and high={self.high}")
        if self.scale <= self.floor:
            raise ValueError(f"scale must be > floor, got {self.scale} and floor={self.floor}")
        return self

    def learned(self, channels: int) -> dict[str, np.ndarray]:
        """a = 0, and s such that c is `scale`."""
        shape = (channels,) if self.per == "channel" else ()
        above = float(np.asarray(self.scale)) - float(np.asarray(self.floor))
        start = np.log(np.expm1(above)) if above < 30 else above
        return {"shape_logit": np.zeros(shape), "scale_logit": np.full(shape, start)}

    def rho(self, residual: Any) -> Any:
        """ρ(r; α, c) + log c + log Z(α)."""
        alpha, scale = self._shape_and_scale()
        rest = keras.ops.log(scale) + log_partition(alpha)
        return general(residual, alpha, scale) + rest

    def weight(self, residual: Any) -> Any:
        """That of the general loss with the present α and c; log c + log Z(α) has no slope."""
        return general_weight(residual, *self._shape_and_scale())

    def settled(self, shown: dict[str, Any]) -> RegressionLoss:
        """The loss with α and c held at what `shown` gave."""
        return Settled(
            alpha=np.atleast_1d(shown["alpha"]).tolist(),
            scale=np.atleast_1d(shown["scale"]).tolist(),
            elements=self.elements,
        )

    def shown(self) -> dict[str, Any]:
        """The learned α and c: a number, or a list with one per channel."""
        alpha, scale = (keras.ops.convert_to_numpy(v) for v in self._shape_and_scale())
        return {"alpha": alpha.tolist(), "scale": scale.tolist()}

    def _shape_and_scale(self) -> tuple[Any, Any]:
        """α and c from the variables that are learned."""
        ops, made = keras.ops, vars(self)
        alpha = self.low + (self.high - self.low) * ops.sigmoid(made["shape_logit"])
        return alpha, self.floor + ops.softplus(made["scale_logit"])


@choice
class Settled(RegressionLoss):
    """The general loss with a shape α and a scale c for each channel, or one for all."""

    alpha: list[Shape]
    scale: list[Positive]

    def rho(self, residual: Any) -> Any:
        """(|α − 2|/α) (((r/c)²/|α − 2| + 1)^(α/2) − 1)."""
        return general(residual, *self._of(residual))

    def weight(self, residual: Any) -> Any:
        """w(r) = ((r/c)²/|α − 2| + 1)^(α/2 − 1)/c²."""
        return general_weight(residual, *self._of(residual))

    def _of(self, residual: Any) -> tuple[Any, Any]:
        tensor = keras.ops.convert_to_tensor
        return tensor(self.alpha, residual.dtype), tensor(self.scale, residual.dtype)
