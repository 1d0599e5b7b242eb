"""Redescending losses, Barron's family, the norm of a sample: by hand, by reference, by limits."""

from __future__ import annotations

import copy
import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import integrate, special

from kexp.losses import (
    Absolute,
    Adaptive,
    Cauchy,
    Charbonnier,
    GemanMcClure,
    General,
    Huber,
    LogCosh,
    Quadratic,
    Quantile,
    Tukey,
    Welsch,
)
from kexp.losses.barron import general, log_partition, partition
from kexp.objective import with_variables
from tests.mathematics.backend import PROPERTY, array, central_difference, gradient, tensor, whole

C = 0.7
TEXTBOOK = {
    "cauchy": (Cauchy(scale=C), lambda r: C**2 / 2 * np.log1p((r / C) ** 2)),
    "geman_mcclure": (GemanMcClure(scale=C), lambda r: r**2 / 2 / (1 + (r / C) ** 2)),
    "welsch": (Welsch(scale=C), lambda r: C**2 / 2 * -np.expm1(-((r / C) ** 2))),
    "tukey": (
        Tukey(scale=C),
        lambda r: np.where(np.abs(r) <= C, C**2 / 6 * (1 - (1 - (r / C) ** 2) ** 3), C**2 / 6),
    ),
    "log_cosh": (
        LogCosh(scale=C),
        lambda r: C**2 * (np.logaddexp(r / C, -r / C) - np.log(2.0)),
    ),
    "quantile": (Quantile(q=0.2), lambda r: np.maximum(0.8 * r, -0.2 * r)),
}
textbook = pytest.mark.parametrize(("loss", "reference"), TEXTBOOK.values(), ids=TEXTBOOK.keys())

SPECIAL = {
    2.0: lambda z: z / 2,
    1.0: lambda z: z / (np.sqrt(z + 1) + 1),
    0.0: lambda z: np.log1p(z / 2),
    -2.0: lambda z: 2 * z / (z + 4),
    -math.inf: lambda z: -np.expm1(-z / 2),
}
SHAPES = [2.0, 1.9999, 1.5, 1.0, 0.5, 1e-3, 1e-8, 0.0, -1e-8, -1e-2, -2.0, -10.0, -1e4, -math.inf]
residuals = arrays.arrays(np.float32, (12,), elements=st.floats(-1e4, 1e4, width=32))


def of(loss, r):
    return array(whole(loss.rho)(tensor(r)))


def slope(loss, r):
    return gradient(lambda x: keras.ops.sum(loss.rho(x)), r)


def barron(r, alpha, c=1.0):
    """Equation 8 of Barron 2019 in float64, the special cases apart."""
    z = (np.asarray(r, float) / c) ** 2
    if alpha in SPECIAL:
        return SPECIAL[alpha](z)
    b = abs(alpha - 2)
    return b / alpha * np.expm1(alpha / 2 * np.log1p(z / b))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Cauchy(scale=2.0), 2 * math.log(5)),  # ½·4·log(1 + 16/4)
        (GemanMcClure(scale=2.0), 1.6),  # ½·16/(1 + 4)
        (Welsch(scale=2.0), 2 * (1 - math.exp(-4))),
        (Tukey(scale=8.0), 64 / 6 * (1 - 0.75**3)),
        (Tukey(scale=3.0), 1.5),  # 9/6: beyond the scale
        (LogCosh(scale=1.0), 3.3071882),  # log cosh 4
        (General(alpha=1.0, scale=3.0), 2 / 3),  # √(16/9 + 1) − 1
        (General(alpha=-2.0, scale=2.0), 1.0),  # 2·4/(4 + 4)
    ],
    ids=repr,
)
def test_worked_example(loss, expected):
    assert of(loss, [4.0, -4.0]) == pytest.approx([expected] * 2, rel=1e-6)


def test_worked_example_of_the_quantile_loss():
    assert of(Quantile(q=0.9), [2.0, -2.0, 0.0]) == pytest.approx([0.2, 1.8, 0.0])


@textbook
@PROPERTY
@given(r=residuals)
def test_loss_is_its_reference(loss, reference, r):
    np.testing.assert_allclose(of(loss, r), reference(r.astype(float)), rtol=1e-5, atol=3e-7)


@textbook
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-4, 1e4, 1e15, 1e19])
def test_gradient_is_finite_at_any_size(loss, reference, size):
    assert np.all(np.isfinite(slope(loss, [size, -size])))


@textbook
def test_gradient_is_a_central_difference(loss, reference):
    r = np.array([-40, -3, -1.1, -0.69, -0.2, 0.01, 0.35, 0.71, 2, 5], np.float32)
    expected = central_difference(lambda r: reference(r).sum(), r)
    np.testing.assert_allclose(slope(loss, r), expected, rtol=2e-4, atol=1e-6)


@textbook
@PROPERTY
@given(r=residuals)
def test_loss_is_not_negative_and_grows_with_the_residual(loss, reference, r):
    for sign in (1, -1):
        rho = of(loss, sign * np.sort(np.abs(r)))
        assert np.all(rho >= 0) and np.all(np.diff(rho) >= -1e-6 * rho[1:])
    assert np.all(of(loss, 0 * r) == 0)


@pytest.mark.parametrize("kind", [Cauchy, GemanMcClure, Welsch, Tukey, LogCosh, Charbonnier, Huber])
def test_small_residuals_cost_half_their_square(kind):
    name = "delta" if kind is Huber else "scale"
    r = np.array([1e-3, -2e-3, 5e-3], np.float32)
    np.testing.assert_allclose(of(kind(**{name: 1.0}), r), r.astype(float) ** 2 / 2, rtol=1e-4)


@pytest.mark.parametrize("loss", [Cauchy(scale=C), GemanMcClure(scale=C), Welsch(scale=C)])
def test_the_influence_of_an_outlier_falls(loss):
    near, far = slope(loss, [C, 100 * C])
    assert 0 <= far < 0.03 * near


def test_beyond_its_scale_the_biweight_has_no_influence():
    assert np.all(slope(Tukey(scale=C), [0.71, -0.71, 1.0, 1e6]) == 0)


def test_the_quantile_loss_is_least_at_the_quantile():
    y = np.random.default_rng(0).gamma(2.0, size=2001)
    for q in (0.1, 0.5, 0.9):
        candidates = np.quantile(y, [q - 0.02, q, q + 0.02])
        costs = [of(Quantile(q=q), c - y).mean() for c in candidates]
        assert np.argmin(costs) == 1


# The norm of a sample


NORMED = [Quadratic, Absolute, Huber, Charbonnier, LogCosh, Cauchy, GemanMcClure, Welsch, Tukey]


@pytest.mark.parametrize("kind", NORMED)
def test_the_loss_of_a_norm_is_that_of_its_norm(kind):
    rng = np.random.default_rng(1)
    y, y_hat = rng.normal(size=(2, 5, 3, 2, 1)).astype(np.float32)
    norms = np.linalg.norm((y_hat - y).reshape(5, -1), axis=1)
    values = array(kind(elements="norm")(tensor(y), tensor(y_hat)))
    np.testing.assert_allclose(values, of(kind(), norms), rtol=1e-5)


@pytest.mark.parametrize("size", [0.0, 1e-25, 1.0, 1e17])
def test_gradient_of_a_norm_is_finite(size):
    y = tensor(np.zeros((2, 3)))
    for kind in NORMED:
        loss = kind(elements="norm")
        at = gradient(lambda p, loss=loss: keras.ops.sum(loss(y, p)), np.full((2, 3), size))
        assert np.all(np.isfinite(at)), kind


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_norm_does_not_hide_what_is_not_finite(value):
    y_hat = tensor([[1.0, value], [3.0, 4.0]])
    values = array(Absolute(elements="norm")(tensor(np.zeros((2, 2))), y_hat))
    assert not np.isfinite(values[0]) and values[1] == pytest.approx(5.0)


def test_gradient_of_a_norm_is_a_central_difference():
    y_hat = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    loss, y = Cauchy(scale=C, elements="norm"), tensor(np.zeros((4, 3)))
    expected = central_difference(
        lambda p: TEXTBOOK["cauchy"][1](np.linalg.norm(p, axis=1)).sum(), y_hat
    )
    at = gradient(lambda p: keras.ops.sum(loss(y, p)), y_hat)
    np.testing.assert_allclose(at, expected, rtol=1e-4, atol=1e-6)


def test_the_norm_of_the_quadratic_loss_is_its_sum():
    y, y_hat = np.random.default_rng(3).normal(size=(2, 4, 6)).astype(np.float32)
    one, other = (Quadratic(elements=e)(tensor(y), tensor(y_hat)) for e in ("norm", "sum"))
    np.testing.assert_allclose(array(one), array(other), rtol=1e-5)


# Barron's general loss


@pytest.mark.parametrize("alpha", SPECIAL)
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_special_cases_to_1e_6_relative(alpha, scale):
    r = np.concatenate([10.0 ** np.linspace(-6, 6, 1001), -(10.0 ** np.linspace(-3, 3, 101))])
    r = (scale * r).astype(np.float32)
    expected = SPECIAL[alpha]((r.astype(float) / np.float32(scale)) ** 2)
    np.testing.assert_allclose(of(General(alpha=alpha, scale=scale), r), expected, rtol=1e-6)


@pytest.mark.parametrize("alpha", SHAPES)
def test_general_loss_is_its_equation_in_float64(alpha):
    r = np.concatenate([10.0 ** np.linspace(-4, 4, 401), [0.0]]).astype(np.float32)
    np.testing.assert_allclose(
        of(General(alpha=alpha), r), barron(r, float(np.float32(alpha))), rtol=2e-5, atol=1e-30
    )


@pytest.mark.parametrize("alpha", SHAPES)
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-4, 1.0, 1e4, 1e15, 1e20])
def test_gradients_of_the_general_loss_are_finite(alpha, size):
    assert np.all(np.isfinite(slope(General(alpha=alpha), [size, -size])))
    if math.isfinite(alpha):
        r = tensor([size, -size])
        by_shape = gradient(lambda a: keras.ops.sum(general(r, a[0], 1.0)), [alpha])
        assert np.all(np.isfinite(by_shape))


@pytest.mark.parametrize("alpha", [1.7, 1.0, 0.3, 0.0, -0.5, -3.0])
def test_gradients_of_the_general_loss_are_central_differences(alpha):
    r = np.array([-20.0, -2.0, -0.3, 0.1, 0.9, 7.0], np.float32)
    expected = central_difference(lambda r: barron(r, alpha, 0.8).sum(), r)
    np.testing.assert_allclose(slope(General(alpha=alpha, scale=0.8), r), expected, rtol=3e-4)
    by_both = gradient(lambda p: keras.ops.sum(general(tensor(r), p[0], p[1])), [alpha, 0.8])
    shapes = central_difference(lambda p: barron(r, p[0] + 1e-9, p[1]).sum(), [alpha, 0.8], 1e-4)
    np.testing.assert_allclose(by_both, shapes, rtol=3e-3)


@PROPERTY
@given(r=st.floats(-100, 100, width=32), one=st.floats(-20, 2), other=st.floats(-20, 2))
def test_the_general_loss_grows_with_its_shape(r, one, other):
    low, high = (float(of(General(alpha=a), [r])[0]) for a in sorted((one, other)))
    assert low <= high * (1 + 1e-5) + 1e-12


def test_relations_that_the_docstrings_state():
    r = np.linspace(-5, 5, 101).astype(np.float32)
    c = 0.6
    for loss, twin, factor in [
        (Charbonnier(scale=c), General(alpha=1.0, scale=c), c**2),
        (Cauchy(scale=c), General(alpha=0.0, scale=c / math.sqrt(2)), c**2 / 2),
        (GemanMcClure(scale=c), General(alpha=-2.0, scale=c / 2), c**2 / 4),
        (Welsch(scale=c), General(alpha=-math.inf, scale=c / math.sqrt(2)), c**2 / 2),
    ]:
        np.testing.assert_allclose(of(loss, r), factor * of(twin, r), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("alpha", SHAPES)
def test_a_shape_may_be_a_variable(alpha):
    loss = General(alpha=alpha, scale=0.5)
    twin, variables = with_variables(loss)
    assert sorted(variables) == ["alpha", "scale"]
    r = np.linspace(-3, 3, 31)
    np.testing.assert_allclose(of(twin, r), of(loss, r), rtol=1e-6)


# The partition function and the adaptive loss


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.3, 1.0, 1.5, 1.99, 2.0, 2.01, 2.5, 3.0, 3.99])
def test_partition_function_is_its_integral(alpha):
    value, _ = integrate.quad(lambda t: np.exp(-barron(np.tan(t), alpha)) / np.cos(t) ** 2, 0, 1.57)
    assert partition(alpha) == pytest.approx(2 * value, rel=1e-3)


def test_partition_function_in_closed_form():
    assert partition(0.0) == pytest.approx(np.pi * np.sqrt(2), rel=1e-10)
    assert partition(1.0) == pytest.approx(2 * np.e * special.k1(1), rel=1e-10)
    assert partition(2.0) == pytest.approx(np.sqrt(2 * np.pi), rel=1e-10)


def test_the_spline_is_exact_to_1e_6():
    near = 10.0 ** np.linspace(-6, 0, 25)
    alphas = np.concatenate([np.linspace(0, 4, 60), near, 2 - near, 2 + near])
    exact = np.log([partition(a) for a in alphas])
    values = array(log_partition(tensor(alphas, "float64")))
    np.testing.assert_allclose(values, exact, atol=1e-6)
    np.testing.assert_allclose(array(log_partition(tensor(alphas))), exact, atol=2e-6)


def learning(loss, channels=1):
    """The loss with its variables, as in training."""
    twin = copy.copy(loss)
    for name, value in loss.learned(channels).items():
        object.__setattr__(twin, name, keras.Variable(value, dtype="float32"))
    return twin


@pytest.mark.parametrize(("logit", "scale"), [(-3.0, 0.2), (0.0, 1.0), (3.0, 5.0)])
def test_the_adaptive_loss_is_a_negative_log_likelihood(logit, scale):
    loss = learning(Adaptive(scale=scale))
    loss.shape_logit.assign([logit])
    t = np.linspace(-12, 12, 4001)
    r = scale * np.sinh(t)
    density = np.exp(-of(loss, r[:, None])[:, 0].astype(float)) * scale * np.cosh(t)
    assert integrate.trapezoid(density, t) == pytest.approx(1, abs=2e-3)


def test_the_adaptive_loss_starts_in_the_middle_and_at_its_scale():
    for per, shape in (("channel", [3]), ("all", [])):
        shown = learning(Adaptive(per=per, scale=0.3), channels=3).shown()
        assert np.shape(shown["alpha"]) == np.shape(shown["scale"]) == tuple(shape)
        assert np.ravel(shown["alpha"]) == pytest.approx(1.0)
        assert np.ravel(shown["scale"]) == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "cauchy"])
def test_the_adaptive_loss_learns_the_shape_of_the_noise(kind):
    rng = np.random.default_rng(0)
    r = 0.5 * (rng.normal(size=4000) if kind == "gaussian" else rng.standard_cauchy(4000))
    loss, rate = learning(Adaptive(per="all")), 1.0
    names = ("shape_logit", "scale_logit")

    def cost(values):
        for i, name in enumerate(names):
            object.__setattr__(loss, name, values[i])
        return keras.ops.mean(loss.rho(tensor(r)))

    values = np.array([0.0, 0.5])
    for _ in range(150):
        values = values - rate * np.clip(gradient(cost, values), -1, 1)
    cost(tensor(values))
    shown = loss.shown()
    assert shown["alpha"] > 1.6 if kind == "gaussian" else shown["alpha"] < 0.4
    assert shown["scale"] == pytest.approx(0.5 if kind == "gaussian" else 0.5 / 2**0.5, rel=0.25)


@pytest.mark.parametrize(
    ("loss", "parameters", "rule"),
    [
        (General, {"alpha": 2.1}, "alpha.*less than or equal to 2.*2.1"),
        (General, {"alpha": math.nan}, "alpha"),
        (General, {"alpha": math.inf}, "alpha.*less than or equal to 2.*inf"),
        (General, {"scale": 0.0}, "scale.*greater than 0.*0.0"),
        (General, {"scale": math.inf}, "scale.*finite.*inf"),
        (Cauchy, {"scale": -1.0}, "scale.*greater than 0.*-1.0"),
        (Tukey, {"scale": 0.0}, "scale.*greater than 0.*0.0"),
        (LogCosh, {"scale": 0.0}, "scale.*greater than 0.*0.0"),
        (Quantile, {"q": 0.0}, "q.*greater than 0.*0.0"),
        (Quantile, {"q": 1.0}, "q.*less than 1.*1.0"),
        (Quantile, {"elements": "norm"}, "elements.*norm"),
        (Adaptive, {"elements": "norm"}, "elements.*norm"),
        (Adaptive, {"low": 1.0, "high": 0.5}, "low must be < high, got low=1.0 and high=0.5"),
        (Adaptive, {"high": 2.5}, "high.*less than or equal to 2.*2.5"),
        (Adaptive, {"low": -0.5}, "low.*greater than or equal to 0.*-0.5"),
        (Adaptive, {"scale": 1e-6}, "scale must be > floor"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(loss, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        loss(**parameters)
