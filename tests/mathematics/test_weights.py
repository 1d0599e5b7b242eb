"""Weights w(r) = ρ′(r)/r of the regression losses: references in float64, limits, properties."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest
from statsmodels.robust import norms

from kexp.config.fitting import fitting, option_class
from kexp.losses import (
    Absolute,
    Adaptive,
    Cauchy,
    GemanMcClure,
    General,
    Huber,
    Quantile,
    Tukey,
)
from kexp.losses.barron import Settled
from kexp.losses.base import LEAST_RESIDUAL, RegressionLoss, weight_by_slope
from tests import references
from tests.mathematics.test_losses import EVEN

LOSSES = {
    **EVEN,
    "quantile": (Quantile(q=0.2), partial(references.quantile, q=0.2)),
    **{
        f"general, α = {alpha}": (
            General(alpha=alpha, scale=0.4),
            partial(references.barron, alpha=alpha, scale=0.4),
        )
        for alpha in (2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -2.0, -30.0, -np.inf)
    },
}
each = pytest.mark.parametrize(("loss", "reference"), LOSSES.values(), ids=LOSSES.keys())
SIZES = np.geomspace(2e-3, 9.0, 60)
RESIDUALS = np.concatenate([-SIZES[::-1], SIZES])


def weight(loss: RegressionLoss, r: np.ndarray) -> np.ndarray:
    """w(r) as NumPy, in float64 where the backend has it."""
    return np.asarray(keras.ops.convert_to_numpy(loss.weight(keras.ops.convert_to_tensor(r))))


@each
def test_weight_is_the_slope_of_the_reference_over_r(loss, reference) -> None:
    """By central differences of the textbook's formula, not of the code's."""
    r = RESIDUALS[np.abs(np.abs(RESIDUALS) - 0.7) > 2e-4]  # not at a corner of Huber's slope
    step = 1e-4 * np.abs(r)
    expected = (reference(r + step) - reference(r - step)) / (2 * step) / r
    np.testing.assert_allclose(weight(loss, r), expected.astype(float), rtol=2e-5, atol=1e-9)


@each
def test_a_weight_falls_and_is_finite_from_zero_on(loss, reference) -> None:
    r = np.concatenate([[0.0], np.geomspace(1e-9, 1e9, 200)]).astype(np.float32)
    for sign in (1, -1):
        w = weight(loss, sign * r)
        assert np.isfinite(w).all() and (w >= 0).all()
        assert (np.diff(w[1:]) <= 1e-6 * w[1:-1]).all()
    if not isinstance(loss, (Absolute, Quantile)):
        assert w[0] == pytest.approx(w[1], rel=1e-6), "the limit"


def test_weights_by_hand() -> None:
    r = np.array([0.0, 1.0, -2.0])
    np.testing.assert_allclose(weight(Huber(delta=0.5), r), [1, 0.5, 0.25])
    np.testing.assert_allclose(weight(GemanMcClure(scale=1.0), r), [1, 1 / 4, 1 / 25])
    np.testing.assert_allclose(weight(Cauchy(scale=1.0), r), [1, 1 / 2, 1 / 5])
    np.testing.assert_allclose(weight(Tukey(scale=2.0), r), [1, 9 / 16, 0])
    np.testing.assert_allclose(weight(Absolute(), r), [1 / LEAST_RESIDUAL, 1, 0.5])
    np.testing.assert_allclose(weight(Quantile(q=0.8), r), [0.5 / LEAST_RESIDUAL, 0.2, 0.4])


@pytest.mark.parametrize(
    ("loss", "norm"),
    [(Huber(delta=1.3), norms.HuberT(1.3)), (Tukey(scale=4.0), norms.TukeyBiweight(4.0))],
    ids=["huber", "tukey"],
)
def test_weights_are_those_of_statsmodels(loss, norm) -> None:
    np.testing.assert_allclose(weight(loss, RESIDUALS), norm.weights(RESIDUALS), rtol=1e-6)


def test_a_learned_loss_has_the_weight_of_what_it_learned() -> None:
    learned = {"alpha": [1.0, 0.0], "scale": [0.5, 0.2]}
    settled = Adaptive().settled(learned)
    assert isinstance(settled, Settled)
    r = np.array([[0.3, 0.3], [-1.0, 2.0]])
    both = [weight(General(alpha=a, scale=c), r) for a, c in ((1.0, 0.5), (0.0, 0.2))]
    expected = np.column_stack([both[0][:, 0], both[1][:, 1]])
    np.testing.assert_allclose(weight(settled, r), expected, rtol=1e-6)
    whole = Adaptive(per="all").settled({"alpha": 1.0, "scale": 0.5})
    np.testing.assert_allclose(weight(whole, r), both[0], rtol=1e-6)
    assert Huber().settled({}) == Huber()


class Fourth(RegressionLoss):
    """A loss of one's own that defines ρ alone: ρ = ½ r² + r⁴."""

    def rho(self, residual):
        return 0.5 * residual**2 + residual**4


def test_a_loss_without_a_weight_has_that_of_its_slope() -> None:
    expected, found = 1 + 4 * RESIDUALS**2, weight(Fourth(), RESIDUALS)
    precise = 1e-5 if found.dtype == np.float64 else 2e-4
    np.testing.assert_allclose(found, expected, rtol=precise)
    assert weight(Fourth(), np.zeros(2)) == pytest.approx(1.0, rel=precise)
    found = weight_by_slope(Huber(delta=0.7).rho, keras.ops.convert_to_tensor(RESIDUALS))
    assert keras.ops.convert_to_numpy(found) == pytest.approx(
        weight(Huber(delta=0.7), RESIDUALS), rel=2e-3
    )


class Rooted(RegressionLoss):
    """Charbonnier's as it is written, ρ alone: ρ = c² (sqrt(1 + (r/c)²) − 1) with c = 0.1."""

    def rho(self, residual):
        return 0.1**2 * (keras.ops.sqrt(1 + (residual / 0.1) ** 2) - 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_weight_of_small_residuals_is_not_lost_to_rounding(dtype) -> None:
    r = np.array([0.0, 1e-9, 1e-4, 3e-4, 1e-3, 0.1, -1e-4, -0.1]).astype(dtype)
    np.testing.assert_allclose(weight(Rooted(), r), 1 / np.sqrt(1 + (r / 0.1) ** 2), rtol=1e-5)


def test_every_loss_for_projections_has_its_own_weight() -> None:
    for option in fitting("loss", "projection"):
        assert option_class("loss", option).weight is not RegressionLoss.weight, option
