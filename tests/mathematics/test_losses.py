"""Regression losses: a number by hand, a reference, properties, gradients, refusals."""

from __future__ import annotations

import functools
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kexp.choice import numbers
from kexp.losses import Absolute, Charbonnier, Huber, Quadratic
from tests import references
from tests.mathematics.backend import PROPERTY, array, central_difference, gradient, tensor, whole

QUADRATIC = Quadratic()
REGRESSION = {
    "quadratic": (QUADRATIC, references.quadratic),
    "absolute": (Absolute(), references.absolute),
    "huber": (Huber(delta=0.7), partial(references.huber, delta=0.7)),
    "charbonnier": (Charbonnier(scale=0.3), partial(references.charbonnier, scale=0.3)),
}
regression = pytest.mark.parametrize(
    ("loss", "reference"), REGRESSION.values(), ids=REGRESSION.keys()
)

RNG = np.random.default_rng(5)
residuals = arrays.arrays(np.float32, (12,), elements=st.floats(-1e4, 1e4, width=32))


def of_residual(loss, r):
    """Elementwise ρ(r) as NumPy."""
    return array(whole(loss.rho)(tensor(r)))


def slope_of_residual(loss, r):
    """ρ'(r) elementwise as NumPy."""
    return gradient(sum_of_rho(loss), r)


@functools.cache
def sum_of_rho(loss):
    return whole(lambda r: keras.ops.sum(loss.rho(r)))


@functools.cache
def sum_of(loss):
    return whole(lambda y, y_hat: keras.ops.sum(loss(y, y_hat)))


# Numbers worked out by hand


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Quadratic(), 8.0),  # ½·4²
        (Absolute(), 4.0),
        (Huber(delta=3.0), 7.5),  # 3·(4 − 1.5)
        (Huber(delta=5.0), 8.0),
        (Charbonnier(scale=3.0), 6.0),  # 9·(5/3 − 1)
    ],
    ids=["quadratic", "absolute", "huber outside", "huber inside", "charbonnier"],
)
def test_worked_example_of_regression(loss, expected):
    assert of_residual(loss, [4.0, -4.0] * 6) == pytest.approx([expected] * 12, rel=1e-6)


def test_elements_of_a_sample_are_averaged_or_summed():
    y, y_hat = tensor([[1.0, 2.0], [0.0, 0.0]]), tensor([[5.0, 2.0], [1.0, 3.0]])
    assert array(Quadratic()(y, y_hat)) == pytest.approx([4.0, 2.5])
    assert array(Quadratic(elements="sum")(y, y_hat)) == pytest.approx([8.0, 5.0])


def test_a_sample_of_one_number_needs_no_reduction():
    y, y_hat = tensor([1.0, 2.0]), tensor([3.0, 2.0])
    for elements in ("mean", "sum"):
        assert array(Absolute(elements=elements)(y, y_hat)) == pytest.approx([2.0, 0.0])


# The references


@regression
@PROPERTY
@given(r=residuals)
def test_residual_loss_is_its_reference(loss, reference, r):
    np.testing.assert_allclose(of_residual(loss, r), reference(r), rtol=2e-6, atol=1e-30)


@regression
def test_regression_loss_is_the_mean_of_its_reference_over_a_sample(loss, reference):
    y, y_hat = RNG.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    mean = reference(y_hat - y).mean(axis=(1, 2, 3))
    values = array(whole(loss.__call__)(tensor(y), tensor(y_hat)))
    np.testing.assert_allclose(values, mean, rtol=1e-5)


# Properties of residual losses


@regression
@PROPERTY
@given(r=residuals)
def test_residual_loss_is_even_not_negative_and_zero_at_zero(loss, reference, r):
    rho = of_residual(loss, r)
    assert np.all(rho >= 0)
    assert np.array_equal(rho, of_residual(loss, -r))
    assert np.array_equal(of_residual(loss, 0 * r), np.zeros(12))


@regression
@PROPERTY
@given(r=residuals)
def test_residual_loss_grows_with_the_size_of_the_residual(loss, reference, r):
    rho = of_residual(loss, np.sort(np.abs(r)))
    assert np.all(np.diff(rho) >= -1e-6 * rho[1:])


@regression
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-4, 1e4, 1e15])
def test_gradient_of_a_residual_loss_is_finite_at_any_size(loss, reference, size):
    slope = slope_of_residual(loss, [size, -size] * 6)
    assert np.all(np.isfinite(slope))
    assert slope[0] == -slope[1] >= 0


@pytest.mark.parametrize(
    ("loss", "bound"), [(Huber(delta=0.7), 0.7), (Charbonnier(scale=0.3), 0.3)]
)
def test_influence_of_an_outlier_is_bounded(loss, bound):
    slope = slope_of_residual(loss, [1e3, 1e6, -1e9] * 4)
    assert slope == pytest.approx([bound, bound, -bound] * 4, rel=1e-5)


@pytest.mark.parametrize(
    "loss", [Huber(delta=1e6), Charbonnier(scale=1e6)], ids=["huber", "charbonnier"]
)
@PROPERTY
@given(r=arrays.arrays(np.float32, (12,), elements=st.floats(-100, 100, width=32)))
def test_wide_robust_losses_are_the_quadratic_loss(loss, r):
    np.testing.assert_allclose(
        of_residual(loss, r), of_residual(QUADRATIC, r), rtol=1e-5, atol=1e-30
    )


@pytest.mark.parametrize(
    "loss", [Huber(delta=1e-5), Charbonnier(scale=1e-5)], ids=["huber", "charbonnier"]
)
def test_narrow_robust_losses_are_the_absolute_error(loss):
    r = np.array([-50, -2, -0.5, 0.5, 2, 50] * 2, np.float32)
    np.testing.assert_allclose(of_residual(loss, r) / 1e-5, np.abs(r), rtol=1e-4)


# Gradients


@regression
def test_gradient_of_a_residual_loss_is_a_central_difference(loss, reference):
    r = np.array([-40, -3, -1.1, -0.69, -0.2, 1e-3, 0.01, 0.35, 0.71, 2, 5, 60], np.float32)
    expected = central_difference(lambda r: reference(r).sum(), r)
    np.testing.assert_allclose(slope_of_residual(loss, r), expected, rtol=1e-4)


@regression
def test_gradient_for_a_prediction_is_a_central_difference(loss, reference):
    y, y_hat = RNG.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    slope = gradient(lambda p: sum_of(loss)(tensor(y), p), y_hat)
    expected = central_difference(lambda p: reference(p - y).mean(axis=(1, 2, 3)).sum(), y_hat)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)


# Refusals


@regression
@pytest.mark.parametrize(
    ("y", "y_hat"),
    [
        ((20, 1), (20, 3)),
        ((20,), (20, 1)),
        ((20, 1), (20,)),
        ((1, 3), (20, 3)),
        ((4, 8, 8, 1), (4, 8, 8)),
    ],
)
def test_a_target_is_never_broadcast_against_a_prediction(loss, reference, y, y_hat):
    with pytest.raises(ValueError, match="same shape") as refusal:
        loss(keras.ops.zeros(y), keras.ops.zeros(y_hat))
    assert str(y) in str(refusal.value) and str(y_hat) in str(refusal.value)


@pytest.mark.parametrize(
    ("loss", "parameters", "rule"),
    [
        (Huber, {"delta": 0.0}, "delta.*greater than 0.*0.0"),
        (Huber, {"delta": -1.0}, "delta.*greater than 0.*-1.0"),
        (Huber, {"delta": float("inf")}, "delta.*finite.*inf"),
        (Huber, {"delta": float("nan")}, "delta.*nan"),
        (Huber, {"delta": "wide"}, "delta.*number.*wide"),
        (Huber, {"delta": True}, "delta.*number.*True"),
        (Huber, {"detla": 1.0}, "detla"),
        (Huber, {"elements": "median"}, "elements.*'mean', 'sum' or 'norm'.*median"),
        (Charbonnier, {"scale": 0.0}, "scale.*greater than 0.*0.0"),
        (Charbonnier, {"scale": -0.1}, "scale.*greater than 0.*-0.1"),
        (Quadratic, {"delta": 1.0}, "delta"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(loss, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        loss(**parameters)


def test_whole_numbers_are_taken_as_floats_and_choices_cannot_change():
    huber = Huber(delta=2)
    assert numbers(huber) == {"delta": 2.0}
    with pytest.raises(AttributeError):
        huber.delta = 3.0
