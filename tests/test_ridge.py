"""Ridge regression: by hand, against scikit-learn and explicit matrices, and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, Ridge

from kexp.ridge import bias_variance, residual_variance, ridge_path

PROPERTY = settings(max_examples=50, deadline=None, database=None, derandomize=True)
STRENGTHS = np.geomspace(1e-3, 1e6, 200)
BOTH = pytest.mark.parametrize("intercept", [True, False])


def random_data(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features with an offset and unlike scales, and a noisy linear target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.3, 3, size=d) + rng.normal(size=d)
    return x, x @ rng.normal(size=d) + 2 + rng.normal(size=n)


DATA = {
    "diabetes": load_diabetes(return_X_y=True),
    "raw diabetes": load_diabetes(return_X_y=True, scaled=False),
    "tall": random_data(60, 7),
    "wide": random_data(20, 35),
    "square": random_data(12, 12),
    "one feature": random_data(9, 1),
    "one sample": random_data(1, 3),
}
EACH = pytest.mark.parametrize("name", DATA)


def hat(x: np.ndarray, strength: float, intercept: bool) -> np.ndarray:
    """H of ŷ = Hy by its definition, with the intercept as an unpenalised column of ones."""
    penalty = strength * np.eye(x.shape[1] + intercept)
    if intercept:
        x = np.column_stack([np.ones(len(x)), x])
        penalty[0, 0] = 0
    return x @ np.linalg.solve(x.T @ x + penalty, x.T)


# By hand


def test_a_path_by_hand():
    """Columns are orthogonal with squares 4 and 1, and Xᵀy = (4, 3): θ = (4/(4+λ), 3/(1+λ))."""
    path = ridge_path([[2, 0], [0, 1], [0, 0]], [2, 3, 5], [0, 1, 4, np.inf], intercept=False)
    np.testing.assert_allclose(path.coefficients, [[1, 3], [0.8, 1.5], [0.5, 0.6], [0, 0]])
    np.testing.assert_allclose(path.degrees_of_freedom, [2, 0.8 + 0.5, 0.5 + 0.2, 0])
    np.testing.assert_array_equal(path.intercepts, 0)
    np.testing.assert_array_equal(path.strengths, [0, 1, 4, np.inf])


def test_an_intercept_by_hand():
    """x̄ = 2, ȳ = 4; centred, xᵀx = 2 and xᵀy = 4: θ = 4/(2+λ), b = 4 − 2θ."""
    path = ridge_path([[1], [2], [3]], [2, 4, 6], [0, 2, np.inf])
    np.testing.assert_allclose(path.coefficients, [[2], [1], [0]], atol=1e-14)
    np.testing.assert_allclose(path.intercepts, [0, 2, 4], atol=1e-14)
    np.testing.assert_allclose(path.degrees_of_freedom, [2, 1.5, 1])
    np.testing.assert_allclose(path.predict([[10]]), [[20, 12, 4]])


def test_bias_and_variance_by_hand():
    """One column with square 4, so H = s²/(s²+λ) along it: 1, ½ and 0."""
    x, expected = [[2], [0]], [6, 2]
    bias, variance = bias_variance(x, expected, 3, [0, 4, np.inf], intercept=False)
    np.testing.assert_allclose(bias, [4 / 2, (9 + 4) / 2, (36 + 4) / 2])
    np.testing.assert_allclose(variance, [3 / 2, 3 / 4 / 2, 0])


def test_residual_variance_by_hand():
    """Residuals of y on x: slope 1, (0.5, −1, 0.5), with 3 − 2 degrees of freedom left."""
    assert residual_variance([[0], [1], [2]], [0.5, 0, 2.5]) == pytest.approx(1.5)
    assert residual_variance([[0], [0], [2]], [3, 4, 9], intercept=False) == pytest.approx(12.5)


# Against independent implementations


@BOTH
@EACH
def test_the_path_is_that_of_scikit_learn(name, intercept):
    x, y = DATA[name]
    path = ridge_path(x, y, STRENGTHS, intercept)
    for i, strength in enumerate(STRENGTHS):
        other = Ridge(alpha=strength, fit_intercept=intercept).fit(x, y)
        size = np.abs(other.coef_).max()
        np.testing.assert_allclose(path.coefficients[i], other.coef_, rtol=1e-8, atol=1e-8 * size)
        np.testing.assert_allclose(path.intercepts[i], other.intercept_, rtol=1e-8, atol=1e-8)


@EACH
def test_predictions_are_those_of_scikit_learn(name):
    x, y = DATA[name]
    new = x[::-1][:5] * 1.5
    predicted = ridge_path(x, y, STRENGTHS[::40]).predict(new)
    assert predicted.shape == (len(new), 5)
    for column, strength in zip(predicted.T, STRENGTHS[::40], strict=True):
        np.testing.assert_allclose(column, Ridge(alpha=strength).fit(x, y).predict(new), rtol=1e-8)


@BOTH
@EACH
def test_strength_zero_is_least_squares_of_the_smallest_norm(name, intercept):
    x, y = DATA[name]
    shift = (x.mean(axis=0), y.mean()) if intercept else (0, 0)
    expected = np.linalg.lstsq(x - shift[0], y - shift[1], rcond=None)[0]
    (found,) = ridge_path(x, y, [0], intercept).coefficients
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@BOTH
def test_a_singular_design_takes_the_pseudoinverse(intercept):
    x, y = random_data(30, 4)
    x = np.column_stack([x, x[:, 0] - 2 * x[:, 1], x[:, 2]])
    shift = (x.mean(axis=0), y.mean()) if intercept else (0, 0)
    path = ridge_path(x, y, [0, 1e-300, 1e-12], intercept)
    expected = np.linalg.pinv(x - shift[0], rcond=1e-12) @ (y - shift[1])
    np.testing.assert_allclose(path.coefficients, np.tile(expected, (3, 1)), rtol=1e-8)
    np.testing.assert_allclose(path.degrees_of_freedom, 4 + intercept)


@pytest.mark.parametrize("constant", [0.1, 1e6 + 0.1, -3e9 / 7])
def test_a_constant_column_is_left_to_the_intercept(constant):
    x, y = random_data(37, 2)
    path = ridge_path(np.column_stack([x, np.full(37, constant)]), y, [0, 1])
    alone = ridge_path(x, y, [0, 1])
    np.testing.assert_array_equal(path.coefficients[:, 2], 0)
    np.testing.assert_allclose(path.coefficients[:, :2], alone.coefficients)
    np.testing.assert_allclose(path.degrees_of_freedom, alone.degrees_of_freedom)


@BOTH
@pytest.mark.parametrize("name", ["diabetes", "tall", "wide"])
def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix(name, intercept):
    x, y = DATA[name]
    strengths = [0.01, 1, 100]
    found = ridge_path(x, y, strengths, intercept).degrees_of_freedom
    expected = [np.trace(hat(x, strength, intercept)) for strength in strengths]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@BOTH
@pytest.mark.parametrize("name", ["diabetes", "tall", "wide"])
def test_bias_and_variance_are_those_of_the_hat_matrix(name, intercept):
    x, expected = DATA[name]
    strengths = [0.01, 1, 100]
    bias, variance = bias_variance(x, expected, 2.5, strengths, intercept)
    for i, strength in enumerate(strengths):
        matrix = hat(x, strength, intercept)
        np.testing.assert_allclose(bias[i], np.mean((matrix @ expected - expected) ** 2), rtol=1e-7)
        np.testing.assert_allclose(variance[i], 2.5 * np.trace(matrix @ matrix.T) / len(x))


@BOTH
def test_bias_and_variance_are_those_of_a_simulation(intercept):
    rng = np.random.default_rng(1)
    x, expected = random_data(25, 6)
    strengths, draws = [0, 3, 50, np.inf], 4000
    fits = np.empty((draws, 25, len(strengths)))
    for fit in fits:
        fit[:] = ridge_path(x, expected + 2 * rng.normal(size=25), strengths, intercept).predict(x)
    bias, variance = bias_variance(x, expected, 4, strengths, intercept)
    simulated = fits.var(axis=0, ddof=1).mean(axis=0)
    np.testing.assert_allclose(variance, simulated, rtol=0.03)
    # The mean of the draws is itself off by variance/draws.
    off = np.mean((fits.mean(axis=0) - expected[:, None]) ** 2, axis=0)
    np.testing.assert_allclose(bias, off - simulated / draws, rtol=0.02)
    error = np.mean((fits - expected[:, None]) ** 2, axis=(0, 1))
    np.testing.assert_allclose(bias + variance, error, rtol=0.02)


@BOTH
def test_residual_variance_is_that_of_least_squares(intercept):
    x, y = DATA["diabetes"]
    model = LinearRegression(fit_intercept=intercept).fit(x, y)
    expected = np.sum((y - model.predict(x)) ** 2) / (442 - 10 - intercept)
    assert residual_variance(x, y, intercept) == pytest.approx(expected, rel=1e-10)
    doubled = np.column_stack([x, x])
    assert residual_variance(doubled, y, intercept) == pytest.approx(expected, rel=1e-10)


def test_plugging_in_a_fit_overstates_the_bias_by_what_is_documented():
    rng = np.random.default_rng(2)
    x, _ = random_data(25, 6)
    truth = x @ rng.normal(size=6)
    strengths = [3.0, 50.0]
    plugged, variances = [], []
    for _ in range(4000):
        y = truth + 2 * rng.normal(size=25)
        fit = ridge_path(x, y, [0]).predict(x)[:, 0]
        plugged.append(bias_variance(x, fit, 4, strengths)[0])
        variances.append(residual_variance(x, y))
    s2 = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    excess = [4 * np.sum((k / (s2 + k)) ** 2) / 25 for k in strengths]
    bias = bias_variance(x, truth, 4, strengths)[0]
    np.testing.assert_allclose(np.mean(plugged, axis=0), bias + excess, rtol=0.03)
    assert np.mean(variances) == pytest.approx(4, rel=0.03)


# Properties

designs = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda shape: st.tuples(
        arrays(float, shape, elements=st.floats(-100, 100, allow_subnormal=False)),
        arrays(float, shape[0], elements=st.floats(-100, 100, allow_subnormal=False)),
    )
)


@PROPERTY
@given(data=designs, strength=st.floats(1e-3, 1e6), intercept=st.booleans())
def test_the_normal_equations_hold(data, strength, intercept):
    x, y = data
    path = ridge_path(x, y, [strength], intercept)
    if intercept:
        np.testing.assert_allclose(y.mean(), path.predict(x).mean(), atol=1e-8)
        x, y = x - x.mean(axis=0), y - y.mean()
    left = (x.T @ x + strength * np.eye(x.shape[1])) @ path.coefficients[0]
    size = np.linalg.norm(x) * np.linalg.norm(y)
    np.testing.assert_allclose(left, x.T @ y, rtol=1e-8, atol=1e-10 * (1 + size))


@PROPERTY
@given(data=designs, intercept=st.booleans())
def test_a_larger_strength_shrinks_everything_but_the_bias(data, intercept):
    x, y = data
    strengths = np.geomspace(1e-3, 1e9, 50)
    path = ridge_path(x, y, strengths, intercept)
    bias, variance = bias_variance(x, y, 1, strengths, intercept)
    for falling in (np.linalg.norm(path.coefficients, axis=1), path.degrees_of_freedom, variance):
        assert (np.diff(falling) <= 1e-12 * (1 + falling[0])).all()
    assert (np.diff(bias) >= -1e-12 * (1 + bias[-1])).all()


@BOTH
def test_the_norm_falls_to_zero_along_the_path(intercept):
    x, y = DATA["diabetes"]
    path = ridge_path(x, y, [0, *STRENGTHS, np.inf], intercept)
    norms = np.linalg.norm(path.coefficients, axis=1)
    assert (np.diff(norms) < 0).all()
    assert norms[-1] == 0
    assert path.intercepts[-1] == (pytest.approx(y.mean()) if intercept else 0)


@BOTH
@pytest.mark.parametrize("exponent", [-200, 200])
def test_extreme_units_do_not_matter(exponent, intercept):
    x, y = DATA["tall"]
    scale, strengths = 2.0**exponent, np.array([0, 0.5, 1, 4])
    path = ridge_path(x, y, strengths, intercept)
    scaled = ridge_path(scale * x, y, scale**2 * strengths, intercept)
    np.testing.assert_allclose(scale * scaled.coefficients, path.coefficients)
    np.testing.assert_allclose(scaled.degrees_of_freedom, path.degrees_of_freedom)
    # Where the squares themselves are no longer numbers.
    huge = ridge_path(2.0**600 * x, y, [0, 1e300], intercept)
    np.testing.assert_allclose(2.0**600 * huge.coefficients[0], path.coefficients[0])


def test_a_small_bias_keeps_its_digits():
    """Along one column of square 1, the bias is (λ/(1+λ))²·9/2."""
    bias, _ = bias_variance([[1], [0]], [3, 0], 1, [1e-12], intercept=False)
    np.testing.assert_allclose(bias, [4.5e-24], rtol=1e-10, atol=0)


@BOTH
@pytest.mark.parametrize("x", [np.zeros((3, 2)), np.empty((3, 0))], ids=["zeros", "no features"])
def test_nothing_to_fit_leaves_the_mean(x, intercept):
    path = ridge_path(x, [1, 2, 6], [0, 1, np.inf], intercept)
    assert path.coefficients.shape == (3, x.shape[1])
    np.testing.assert_array_equal(path.coefficients, 0)
    np.testing.assert_allclose(path.predict(x), 3 * intercept)
    np.testing.assert_array_equal(path.degrees_of_freedom, intercept)
    squares = 14 / 2 if intercept else 41 / 3
    assert residual_variance(x, [1, 2, 6], intercept) == pytest.approx(squares)


def test_order_and_arguments_are_left_alone():
    x, y = DATA["tall"]
    strengths = np.array([5.0, 0.0, 2.0])
    path = ridge_path(x, y, strengths)
    again = ridge_path(x.copy(), y.copy(), np.sort(strengths))
    np.testing.assert_allclose(path.coefficients, again.coefficients[[2, 0, 1]])
    strengths[0] = 7
    assert path.strengths[0] == 5
    assert ridge_path(x, y, []).predict(x).shape == (60, 0)


# Refusals

X, Y = [[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]], [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("x", "y", "strengths", "message"),
    [
        ([1, 2], Y, [1], "x must have shape (n, d) with n >= 1, got (2,)"),
        (np.empty((0, 2)), [], [1], "x must have shape (n, d) with n >= 1, got (0, 2)"),
        (X, [1, 2], [1], "y must have shape (3,) as x has rows, got (2,)"),
        (X, [[1], [2], [3]], [1], "y must have shape (3,) as x has rows, got (3, 1)"),
        ([[1, 2], [3, np.nan]], [1, 2], [1], "x must be finite, got nan at (1, 1)"),
        (X, [1, np.inf, 3], [1], "y must be finite, got inf at (1,)"),
        (X, Y, 1, "strengths must have shape (m,), got ()"),
        (X, Y, [[1]], "strengths must have shape (m,), got (1, 1)"),
        (X, Y, [1, -0.5], "strengths must be >= 0, got -0.5"),
        (X, Y, [np.nan, 1], "strengths must be >= 0, got nan"),
    ],
)
def test_refusals_give_rule_and_value(x, y, strengths, message):
    with pytest.raises(ValueError) as caught:
        ridge_path(x, y, strengths)
    assert str(caught.value) == message
    with pytest.raises(ValueError) as caught:
        bias_variance(x, y, 1, strengths)
    assert str(caught.value) == message.replace("y must", "expected must")


def test_predict_refuses_another_width():
    path = ridge_path(X, Y, [1])
    with pytest.raises(ValueError, match="x must have 2 columns as in the fit, got 3"):
        path.predict([[1, 2, 3]])
    with pytest.raises(ValueError, match="x must be finite, got -inf"):
        path.predict([[1, -np.inf]])


@pytest.mark.parametrize("noise_variance", [-1, np.nan, np.inf])
def test_a_noise_variance_is_a_finite_number_from_zero(noise_variance):
    message = f"noise_variance must be >= 0 and finite, got {noise_variance}"
    with pytest.raises(ValueError, match=message):
        bias_variance(X, Y, noise_variance, [1])


def test_residual_variance_needs_degrees_of_freedom():
    message = "samples must be > the 3 degrees of freedom of the fit, got 3 samples"
    with pytest.raises(ValueError, match=message):
        residual_variance(X, Y)
    assert residual_variance(X, Y, intercept=False) >= 0
    with pytest.raises(ValueError, match="got 2 samples"):
        residual_variance(X[:2], Y[:2], intercept=False)
