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
from kexp.losses import (
    Absolute,
    Cauchy,
    Charbonnier,
    GemanMcClure,
    Huber,
    LogCosh,
    Quadratic,
    Quantile,
    Tukey,
    Welsch,
)
from tests import references
from tests.mathematics.backend import PROPERTY, array, central_difference, gradient, tensor, whole

QUADRATIC = Quadratic()
EVEN = {
    "quadratic": (QUADRATIC, references.quadratic),
    "absolute": (Absolute(), references.absolute),
    "huber": (Huber(delta=0.7), partial(references.huber, delta=0.7)),
    "charbonnier": (Charbonnier(scale=0.3), partial(references.charbonnier, scale=0.3)),
    "log_cosh": (LogCosh(scale=0.3), partial(references.log_cosh, scale=0.3)),
    "cauchy": (Cauchy(scale=0.6), partial(references.cauchy, scale=0.6)),
    "geman_mcclure": (GemanMcClure(scale=2.5), partial(references.geman_mcclure, scale=2.5)),
    "welsch": (Welsch(scale=1.8), partial(references.welsch, scale=1.8)),
    "tukey": (Tukey(scale=4.685), partial(references.tukey, scale=4.685)),
}
REGRESSION = {
    **EVEN,
    "quantile": (Quantile(q=0.2), partial(references.quantile, q=0.2)),
}
regression = pytest.mark.parametrize(
    ("loss", "reference"), REGRESSION.values(), ids=REGRESSION.keys()
)
even = pytest.mark.parametrize(("loss", "reference"), EVEN.values(), ids=EVEN.keys())
SCALED = (Huber, Charbonnier, LogCosh, Cauchy, GemanMcClure, Welsch, Tukey)
scaled = pytest.mark.parametrize("kind", SCALED, ids=lambda kind: kind.__name__)

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


def of_scale(kind, value):
    """A loss of one scale, whatever the scale is called."""
    (name,) = numbers(kind())
    return kind(**{name: value})


# Numbers worked out by hand


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Quadratic(), 8.0),  # ½·4²
        (Absolute(), 4.0),
        (Huber(delta=3.0), 7.5),  # 3·(4 − 1.5)
        (Huber(delta=5.0), 8.0),
        (Charbonnier(scale=3.0), 6.0),  # 9·(5/3 − 1)
        (LogCosh(scale=4 / np.log(2)), 7.431105),  # (4/log 2)²·log(5/4), as cosh(log 2) = 5/4
        (LogCosh(scale=4.0), 6.940489),  # 16·0.4337808
        (Cauchy(scale=2.0), 3.218876),  # 2·log 5
        (GemanMcClure(scale=2.0), 1.6),  # 8/(1 + 4)
        (GemanMcClure(scale=4.0), 4.0),  # 8/2
        (Welsch(scale=4.0), 5.0569645),  # 8·(1 − 1/e)
        (Tukey(scale=3.0), 1.5),  # 9/6
        (Tukey(scale=4.0), 16 / 6),
        (Tukey(scale=8.0), 6.1666667),  # 64/6·(1 − (3/4)³) = 64/6·37/64
    ],
    ids=repr,
)
def test_worked_example_of_regression(loss, expected):
    assert of_residual(loss, [4.0, -4.0] * 6) == pytest.approx([expected] * 12, rel=1e-6)


def test_elements_of_a_sample_are_averaged_or_summed():
    y, y_hat = tensor([[1.0, 2.0], [0.0, 0.0]]), tensor([[5.0, 2.0], [1.0, 3.0]])
    assert array(Quadratic()(y, y_hat)) == pytest.approx([4.0, 2.5])
    assert array(Quadratic(elements="sum")(y, y_hat)) == pytest.approx([8.0, 5.0])


def test_a_sample_of_one_number_needs_no_reduction():
    y, y_hat = tensor([1.0, 2.0]), tensor([3.0, 2.0])
    for elements in ("mean", "sum", "norm"):
        assert array(Absolute(elements=elements)(y, y_hat)) == pytest.approx([2.0, 0.0])


@pytest.mark.parametrize("elements", ["mean", "sum", "norm"])
def test_a_batch_of_one_sample_of_one_number(elements):
    for shape in [(1,), (1, 1), (1, 1, 1, 1)]:
        y, y_hat = tensor(np.full(shape, 2.0)), tensor(np.full(shape, 5.0))
        values = array(Cauchy(scale=3.0, elements=elements)(y, y_hat))
        assert values == pytest.approx([4.5 * np.log(2)]) and values.shape == (1,)


def test_worked_example_of_the_quantile_loss():
    # r = ŷ − y: to predict 2 too much costs (1 − q)·2, 2 too little q·2
    assert of_residual(Quantile(q=0.9), [2.0, -2.0, 0.0]) == pytest.approx([0.2, 1.8, 0.0])
    y, y_hat = tensor([[5.0, 0.0], [1.0, 1.0]]), tensor([[1.0, 1.0], [1.0, 1.0]])
    assert array(Quantile(q=0.75)(y, y_hat)) == pytest.approx([(3.0 + 0.25) / 2, 0.0])
    assert array(Quantile(q=0.75, elements="sum")(y, y_hat)) == pytest.approx([3.25, 0.0])


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


@even
@PROPERTY
@given(r=residuals)
def test_residual_loss_is_even_not_negative_and_zero_at_zero(loss, reference, r):
    rho = of_residual(loss, r)
    assert np.all(rho >= 0)
    assert np.array_equal(rho, of_residual(loss, -r))
    assert np.array_equal(of_residual(loss, 0 * r), np.zeros(12))


@PROPERTY
@given(r=residuals, q=st.floats(0.01, 0.99))
def test_quantile_loss_is_not_negative_and_turns_with_its_quantile(r, q):
    rho = of_residual(Quantile(q=q), r)
    assert np.all(rho >= 0)
    np.testing.assert_allclose(of_residual(Quantile(q=1 - q), -r), rho, rtol=1e-5, atol=1e-30)
    assert np.array_equal(of_residual(Quantile(q=q), 0 * r), np.zeros(12))


@regression
@pytest.mark.parametrize("sign", [1, -1])
@PROPERTY
@given(r=residuals)
def test_residual_loss_grows_with_the_size_of_the_residual(loss, reference, sign, r):
    rho = of_residual(loss, sign * np.sort(np.abs(r)))
    assert np.all(np.diff(rho) >= -1e-6 * rho[1:])


@regression
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-4, 1e4, 1e15])
def test_gradient_of_a_residual_loss_is_finite_at_any_size(loss, reference, size):
    slope = slope_of_residual(loss, [size, -size] * 6)
    assert np.all(np.isfinite(slope))
    assert slope[0] >= 0 >= slope[1]


@even
def test_gradient_of_an_even_loss_is_odd(loss, reference):
    r = np.array([0.0, 1e-20, 1e-4, 0.3, 2.0, 1e4, 1e15], np.float32)
    assert np.array_equal(slope_of_residual(loss, r), -slope_of_residual(loss, -r))


@pytest.mark.parametrize("loss", [Absolute(), Quantile(q=0.2)], ids=repr)
def test_a_kink_has_slope_zero(loss):
    assert np.array_equal(slope_of_residual(loss, np.zeros(12)), np.zeros(12))


@scaled
@pytest.mark.parametrize("scale", [0.3, 1.0, 40.0])
def test_small_residuals_cost_half_their_square(kind, scale):
    r = scale * np.array([1e-12, 1e-8, -1e-5, 1e-4, -1e-3], np.float32)
    half = r.astype(float) ** 2 / 2
    np.testing.assert_allclose(of_residual(of_scale(kind, scale), r), half, rtol=3e-6)


@pytest.mark.parametrize(
    ("loss", "bound"),
    [(Huber(delta=0.7), 0.7), (Charbonnier(scale=0.3), 0.3), (LogCosh(scale=0.3), 0.3)],
)
def test_influence_of_an_outlier_is_bounded(loss, bound):
    slope = slope_of_residual(loss, [1e3, 1e6, -1e9] * 4)
    assert slope == pytest.approx([bound, bound, -bound] * 4, rel=1e-5)


REDESCENDING = {
    Cauchy: lambda c: np.inf,
    GemanMcClure: lambda c: c**2 / 2,
    Welsch: lambda c: c**2 / 2,
    Tukey: lambda c: c**2 / 6,
}
redescending = pytest.mark.parametrize(
    ("kind", "bound"), REDESCENDING.items(), ids=[kind.__name__ for kind in REDESCENDING]
)


@redescending
@pytest.mark.parametrize("scale", [0.2, 1.0, 30.0])
def test_influence_of_an_outlier_falls_again(kind, bound, scale):
    sizes = scale * 10.0 ** np.linspace(-3, 4, 71)
    influence = slope_of_residual(kind(scale=scale), sizes)
    top = influence.argmax()
    assert 0.2 * scale < influence[top] < 0.6 * scale and scale / 4 < sizes[top] < 2 * scale
    assert np.all(np.diff(influence[: top + 1]) > 0)
    assert np.all(np.diff(influence[top:]) <= 1e-7 * scale)
    assert np.all(influence >= -1e-9 * scale)
    assert slope_of_residual(kind(scale=scale), [100 * scale]) <= 0.0101 * scale


@pytest.mark.parametrize(
    ("kind", "share"),
    [(Cauchy, 100 / 10001), (GemanMcClure, 100 / 10001**2), (Welsch, 0), (Tukey, 0)],
)
def test_influence_at_a_hundred_scales(kind, share):
    influence = slope_of_residual(kind(scale=0.5), [50.0, -50.0])
    np.testing.assert_allclose(influence, [0.5 * share, -0.5 * share], rtol=1e-4, atol=1e-9)


@redescending
@PROPERTY
@given(r=residuals, scale=st.floats(0.0625, 128, width=32))
def test_loss_of_an_outlier_is_bounded(kind, bound, r, scale):
    rho = of_residual(kind(scale=scale), r)
    assert np.all(rho <= bound(scale) * (1 + 1e-6))
    if np.isfinite(bound(scale)):
        far = of_residual(kind(scale=scale), [1e4 * scale, -1e15])
        assert far == pytest.approx([bound(scale)] * 2, rel=1e-6)


def test_beyond_its_scale_the_biweight_has_no_influence():
    r = np.array([0.70001, -0.70001, 1, -40, 1e15, 1e30] * 2, np.float32)
    assert np.array_equal(slope_of_residual(Tukey(scale=0.7), r), np.zeros(12))
    assert np.ptp(of_residual(Tukey(scale=0.7), r)) == 0


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8, 0.97])
def test_the_constant_of_least_quantile_loss_is_the_quantile(q):
    y = np.sort(RNG.gamma(2.0, size=501)).astype(np.float32)
    predictions = np.broadcast_to(y[:, None], (501, 501))
    targets = np.broadcast_to(y, (501, 501))
    means = array(Quantile(q=q)(tensor(targets), tensor(predictions)))
    assert y[means.argmin()] == np.quantile(y, q, method="inverted_cdf")


@PROPERTY
@given(r=residuals)
def test_the_median_loss_is_half_the_absolute_error(r):
    """Exactly, but that a backend may take a half that is no normal number any more for 0."""
    median, half = of_residual(Quantile(q=0.5), r), of_residual(Absolute(), r) / 2
    normal = half >= np.finfo(np.float32).tiny
    assert np.array_equal(median[normal], half[normal])
    assert np.isin(median[~normal], [0, *half[~normal]]).all()


@scaled
@PROPERTY
@given(r=arrays.arrays(np.float32, (12,), elements=st.floats(-100, 100, width=32)))
def test_wide_robust_losses_are_the_quadratic_loss(kind, r):
    np.testing.assert_allclose(
        of_residual(of_scale(kind, 1e6), r), of_residual(QUADRATIC, r), rtol=1e-5, atol=1e-25
    )


@pytest.mark.parametrize(
    "loss",
    [Huber(delta=1e-5), Charbonnier(scale=1e-5), LogCosh(scale=1e-5)],
    ids=["huber", "charbonnier", "log_cosh"],
)
def test_narrow_robust_losses_are_the_absolute_error(loss):
    r = np.array([-50, -2, -0.5, 0.5, 2, 50] * 2, np.float32)
    np.testing.assert_allclose(of_residual(loss, r) / 1e-5, np.abs(r), rtol=1e-4)


# Gradients


@regression
def test_gradient_of_a_residual_loss_is_a_central_difference(loss, reference):
    r = np.array([-40, -3, -1.1, -0.69, -0.2, 1e-3, 0.01, 0.35, 0.71, 2, 5, 60], np.float32)
    expected = central_difference(lambda r: reference(r).sum(), r)
    np.testing.assert_allclose(slope_of_residual(loss, r), expected, rtol=1e-4, atol=1e-8)


@regression
def test_gradient_for_a_prediction_is_a_central_difference(loss, reference):
    y, y_hat = RNG.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    slope = gradient(lambda p: sum_of(loss)(tensor(y), p), y_hat)
    expected = central_difference(lambda p: reference(p - y).mean(axis=(1, 2, 3)).sum(), y_hat)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)


# The norm of a sample


NORM = {
    name: (type(loss)(**numbers(loss), elements="norm"), reference)
    for name, (loss, reference) in EVEN.items()
}
normed = pytest.mark.parametrize(("loss", "reference"), NORM.values(), ids=NORM.keys())


@normed
@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 2, 2), (5, 1), (5, 1, 1, 1), (5,)])
def test_loss_of_a_norm_is_the_reference_of_the_norm(loss, reference, shape):
    y, y_hat = (np.float32(3) * RNG.normal(size=(2, *shape))).astype(np.float32)
    norms = np.linalg.norm((y_hat.astype(float) - y).reshape(5, -1), axis=1)
    values = array(whole(loss.__call__)(tensor(y), tensor(y_hat)))
    np.testing.assert_allclose(values, reference(norms), rtol=4e-6)


def test_norm_of_the_quadratic_loss_is_its_sum():
    y, y_hat = RNG.normal(size=(2, 4, 3, 2)).astype(np.float32)
    one, other = (Quadratic(elements=e)(tensor(y), tensor(y_hat)) for e in ("norm", "sum"))
    np.testing.assert_allclose(array(one), array(other), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e-25, 1e-3, 1e15, 1e25])
def test_a_norm_neither_overflows_nor_vanishes(size):
    y_hat = tensor(np.array([[3 * size, 4 * size, 0], [0, 0, 0]]))
    values = array(Absolute(elements="norm")(tensor(np.zeros((2, 3))), y_hat))
    np.testing.assert_allclose(values, [5 * size, 0], rtol=1e-6)


@normed
@pytest.mark.parametrize("size", [0.0, 1e-25, 1e15])
def test_gradient_of_a_norm_is_finite_at_any_size(loss, reference, size):
    y = tensor(np.zeros((3, 4)))
    y_hat = np.array([np.full(4, size), [size, 0, 0, 0], [1.0, -2.0, 0.0, 0.5]], np.float32)
    slope = gradient(lambda p: sum_of(loss)(y, p), y_hat)
    assert np.all(np.isfinite(slope)) and np.all(slope * y_hat >= 0)
    assert np.all(slope[y_hat == 0] == 0)


@normed
def test_gradient_of_a_norm_is_a_central_difference(loss, reference):
    y, y_hat = RNG.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    slope = gradient(lambda p: sum_of(loss)(tensor(y), p), y_hat)

    def total(p):
        return reference(np.linalg.norm((p - y).reshape(3, -1), axis=1)).sum()

    np.testing.assert_allclose(slope, central_difference(total, y_hat), rtol=1e-4, atol=1e-6)


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
        (LogCosh, {"scale": 0.0}, "scale.*greater than 0.*0.0"),
        (Cauchy, {"scale": -1.0}, "scale.*greater than 0.*-1.0"),
        (GemanMcClure, {"scale": float("inf")}, "scale.*finite.*inf"),
        (Welsch, {"scale": float("nan")}, "scale.*nan"),
        (Tukey, {"scale": 0.0}, "scale.*greater than 0.*0.0"),
        (Tukey, {"c": 1.0}, "c"),
        (Quantile, {"q": 0.0}, "q.*greater than 0.*0.0"),
        (Quantile, {"q": 1.0}, "q.*less than 1.*1.0"),
        (Quantile, {"elements": "norm"}, "elements.*'mean' or 'sum'.*norm"),
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
