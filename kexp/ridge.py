"""Ridge regression in closed form: the one case where λ against overfitting can be solved.

    θ̂, b̂ = argmin ‖y − Xθ − b‖² + λ‖θ‖²,    θ̂ = (XᵀX + λI)⁻¹ Xᵀy

One singular value decomposition of the centred X = U diag(s) Vᵀ serves every strength λ: it only
multiplies the part of y along each column of U by s²/(s² + λ).

Sums, not means: λ here is n times the strength that goes with a mean squared error. The intercept
b is not penalised. Sources: Hoerl and Kennard, Technometrics 12 (1970) 55–67; Hastie, Tibshirani
and Friedman, The Elements of Statistical Learning, 2nd ed., section 3.4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class RidgePath:
    """The fits of one data set for m strengths, in the order they were asked for.

    `strengths` (m,), `coefficients` (m, d) in units of y per unit of x, `intercepts` (m,) in units
    of y (zeros where none was fitted), `degrees_of_freedom` (m,).
    """

    strengths: np.ndarray
    coefficients: np.ndarray
    intercepts: np.ndarray
    degrees_of_freedom: np.ndarray

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Xθ̂ + b̂ for x of shape (n, d), one column for each strength: shape (n, m)."""
        x = _matrix(x)
        width = self.coefficients.shape[1]
        if x.shape[1] != width:
            raise ValueError(f"x must have {width} columns as in the fit, got {x.shape[1]}")
        return x @ self.coefficients.T + self.intercepts


def ridge_path(
    x: ArrayLike, y: ArrayLike, strengths: ArrayLike, intercept: bool = True
) -> RidgePath:
    """The minimisers of ‖y − Xθ − b‖² + λ‖θ‖² for every λ in `strengths`.

    θ̂ = V diag(s/(s² + λ)) Uᵀ(y − ȳ),  b̂ = ȳ − x̄·θ̂,  and the effective degrees of freedom
    df = tr H = Σ s²/(s² + λ), plus 1 with an intercept (ESL, equations 3.47 and 3.50).

    Shapes: x (n, d), y (n,), strengths (m,), each 0 ≤ λ ≤ inf, in squared units of x. λ = 0 is
    least squares, with the smallest ‖θ‖ where XᵀX is singular; λ = inf is θ = 0. Singular values
    up to max(n, d)·eps·max(s) count as zero.
    """
    x, strengths = _matrix(x), _strengths(strengths)
    y = _vector("y", y, len(x))
    design, y_mean = _factor(x, intercept), _mean(y, intercept)
    along = design.left.T @ (y - y_mean) / design.values
    kept = _share(design.values, np.sqrt(strengths)[:, None])
    coefficients = (kept * along) @ design.right
    return RidgePath(
        strengths,
        coefficients,
        y_mean - coefficients @ design.mean,
        kept.sum(axis=1) + intercept,
    )


def bias_variance(
    x: ArrayLike,
    expected: ArrayLike,
    noise_variance: float,
    strengths: ArrayLike,
    intercept: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Squared bias and variance of the fitted values at the training inputs, x being fixed.

    For y = f + noise of variance σ² and fitted values ŷ = H_λ y (ESL, section 7.3):

        bias²(λ) = ‖H_λ f − f‖²/n,    variance(λ) = σ² tr(H_λ H_λᵀ)/n

    and E‖ŷ − f‖²/n is their sum. Shapes: x (n, d), `expected` f = E[y|x] (n,), strengths (m,);
    both answers (m,), in squared units of y.

    With a least-squares fit in the place of f, bias² comes out too high by what the noise in that
    fit adds: on average σ² Σ (λ/(s² + λ))²/n.
    """
    x, strengths = _matrix(x), _strengths(strengths)
    expected = _vector("expected", expected, len(x))
    if not 0 <= noise_variance < np.inf:
        raise ValueError(f"noise_variance must be >= 0 and finite, got {noise_variance}")
    design, roots = _factor(x, intercept), np.sqrt(strengths)[:, None]
    along, outside = _split(design, expected - _mean(expected, intercept))
    # Not 1 − kept, which would lose all digits where λ is small.
    lost = _share(roots, design.values)
    kept = _share(design.values, roots)
    squared_bias = (lost**2 @ along**2 + outside @ outside) / len(x)
    return squared_bias, noise_variance * ((kept**2).sum(axis=1) + intercept) / len(x)


def residual_variance(x: ArrayLike, y: ArrayLike, intercept: bool = True) -> float:
    """The unbiased estimate of the noise variance from the residuals of least squares.

    σ̂² = ‖y − ŷ‖²/(n − rank X − 1), without the 1 where there is no intercept, and X centred
    where there is one (ESL, equation 3.8). Shapes: x (n, d), y (n,). In squared units of y.
    """
    x = _matrix(x)
    y = _vector("y", y, len(x))
    design = _factor(x, intercept)
    fitted = len(design.values) + intercept
    if len(x) <= fitted:
        raise ValueError(
            f"samples must be > the {fitted} degrees of freedom of the fit, got {len(x)} samples"
        )
    _, outside = _split(design, y - _mean(y, intercept))
    return float(outside @ outside / (len(x) - fitted))


class _Factors(NamedTuple):
    """X = 1·mean + left diag(values) right, without the singular values that count as zero.

    Shapes: mean (d,), left (n, rank), values (rank,), right (rank, d).
    """

    mean: np.ndarray
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray


def _factor(x: np.ndarray, intercept: bool) -> _Factors:
    """The singular value decomposition of x, centred where there is an intercept."""
    mean = _mean(x, intercept)
    left, values, right = np.linalg.svd(x - mean, full_matrices=False)
    smallest = max(x.shape) * np.finfo(float).eps * values.max(initial=0)
    rank = int((values > smallest).sum())
    return _Factors(mean, left[:, :rank], values[:rank], right[:rank])


def _mean(values: np.ndarray, intercept: bool) -> np.ndarray:
    """The mean over samples; zero where there is no intercept."""
    if not intercept:
        return np.zeros(values.shape[1:])
    mean = values.mean(axis=0)
    # Without a second pass, the rounding of a constant column would pass for a feature.
    return mean + (values - mean).mean(axis=0)


def _share(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a²/(a² + b²), also where a square would overflow; 0 at a = 0, 1 at a = inf."""
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return 1 / (1 + (b / a) ** 2)


def _split(design: _Factors, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What of a centred target lies along each column of U (rank,), and what is left over (n,)."""
    along = design.left.T @ target
    return along, target - design.left @ along


def _matrix(x: ArrayLike) -> np.ndarray:
    """x as numbers of shape (n, d) with n ≥ 1, or an error that says what it is."""
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(f"x must have shape (n, d) with n >= 1, got {x.shape}")
    return _finite("x", x)


def _vector(name: str, values: ArrayLike, samples: int) -> np.ndarray:
    """A target as numbers of shape (samples,), or an error that says what it is."""
    values = np.asarray(values, dtype=float)
    if values.shape != (samples,):
        raise ValueError(f"{name} must have shape ({samples},) as x has rows, got {values.shape}")
    return _finite(name, values)


def _strengths(strengths: ArrayLike) -> np.ndarray:
    """The strengths as numbers of shape (m,), none negative, or an error that says which is."""
    # A copy: the path keeps it.
    strengths = np.array(strengths, dtype=float)
    if strengths.ndim != 1:
        raise ValueError(f"strengths must have shape (m,), got {strengths.shape}")
    wrong = strengths[~(strengths >= 0)]
    if wrong.size:
        raise ValueError(f"strengths must be >= 0, got {wrong[0]}")
    return strengths


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    """The same array, or an error that says which value is not finite and where."""
    finite = np.isfinite(values)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} must be finite, got {values[where]} at {where}")
    return values
