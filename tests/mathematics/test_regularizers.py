"""Penalties: a number by hand, an independent reference, properties, gradients, refusals."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kexp.regularizers import L1, L2, ElasticNet, Zero
from tests import references
from tests.mathematics.backend import PROPERTY, array, central_difference, gradient, tensor

PENALTIES = {
    "zero": (Zero(), lambda weights: 0.0),
    "l1": (L1(strength=0.3), partial(references.l1, strength=0.3)),
    "l2": (L2(strength=0.3), partial(references.l2, strength=0.3)),
    "elastic_net": (
        ElasticNet(strength=0.3, mixing=0.2),
        partial(references.elastic_net, strength=0.3, mixing=0.2),
    ),
}
penalties = pytest.mark.parametrize(
    ("penalty", "reference"), PENALTIES.values(), ids=PENALTIES.keys()
)
kernels = arrays.arrays(np.float32, (4, 3), elements=st.floats(-1e3, 1e3, width=32))


def of(penalty, weights) -> float:
    """The penalty as a number."""
    return float(array(penalty(tensor(weights))))


def slope_of(penalty, weights) -> np.ndarray:
    """Its gradient; the last term ties the result to the weights where there is no penalty."""
    return gradient(lambda w: penalty(w) + 0.0 * keras.ops.sum(w), weights)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (Zero(), 0.0),
        (L1(strength=0.1), 0.35),  # 0.1·(1 + 2 + 0.5)
        (L2(strength=0.1), 0.525),  # 0.1·(1 + 4 + 0.25): no ½
        (ElasticNet(strength=0.1, mixing=0.25), 0.48125),  # 0.1·(0.25·3.5 + 0.75·5.25)
    ],
    ids=["zero", "l1", "l2", "elastic_net"],
)
def test_worked_example(penalty, expected):
    weights = [[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert of(penalty, weights) == pytest.approx(expected, rel=1e-6)


@penalties
@PROPERTY
@given(weights=kernels)
def test_penalty_is_its_reference(penalty, reference, weights):
    assert of(penalty, weights) == pytest.approx(reference(weights), rel=1e-5, abs=1e-30)


@penalties
@PROPERTY
@given(weights=kernels)
def test_penalty_is_even_not_negative_and_zero_at_zero(penalty, reference, weights):
    assert of(penalty, weights) == of(penalty, -weights) >= 0
    assert of(penalty, 0 * weights) == 0


@penalties
def test_penalty_grows_with_the_weights(penalty, reference):
    weights = np.random.default_rng(1).normal(size=(4, 3))
    values = [of(penalty, factor * weights) for factor in (0, 0.5, 1, 2, 1e3)]
    assert values == sorted(values)


@PROPERTY
@given(weights=kernels, factor=st.floats(-8, 8))
def test_l1_is_homogeneous_of_degree_one_and_l2_of_degree_two(weights, factor):
    scaled = np.float32(factor) * weights
    assert of(L1(strength=0.1), scaled) == pytest.approx(
        abs(factor) * of(L1(strength=0.1), weights), rel=1e-4, abs=1e-30
    )
    assert of(L2(strength=0.1), scaled) == pytest.approx(
        factor**2 * of(L2(strength=0.1), weights), rel=1e-4, abs=1e-30
    )


@PROPERTY
@given(weights=kernels, strength=st.floats(0, 10))
def test_elastic_net_has_the_lasso_and_the_ridge_penalty_at_its_ends(weights, strength):
    lasso, ridge = L1(strength=strength), L2(strength=strength)
    net = partial(ElasticNet, strength=strength)
    assert of(net(mixing=1.0), weights) == pytest.approx(of(lasso, weights), rel=1e-6)
    assert of(net(mixing=0.0), weights) == pytest.approx(of(ridge, weights), rel=1e-6)
    half = 0.5 * of(lasso, weights) + 0.5 * of(ridge, weights)
    assert of(net(mixing=0.5), weights) == pytest.approx(half, rel=1e-5)


def test_no_strength_is_no_penalty():
    weights = np.full((4, 3), 7.0)
    for penalty in (L1(strength=0.0), L2(strength=0.0), ElasticNet(strength=0.0)):
        assert of(penalty, weights) == of(Zero(), weights) == 0


@penalties
def test_gradient_is_a_central_difference(penalty, reference):
    weights = np.array([-30, -2, -0.7, -0.3, -0.1, 0.01, 0.02, 0.5, 1.5, 3, 7, 30.0]).reshape(4, 3)
    slope = slope_of(penalty, weights)
    np.testing.assert_allclose(slope, central_difference(reference, weights), rtol=1e-4, atol=1e-9)


@penalties
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e4, 1e15])
def test_gradient_is_finite_at_any_size(penalty, reference, size):
    slope = slope_of(penalty, [[size, -size, 0.0]] * 4)
    assert np.all(np.isfinite(slope))
    assert slope[0, 0] == -slope[0, 1] >= 0
    assert slope[0, 2] == 0


@pytest.mark.parametrize(
    ("penalty", "parameters", "rule"),
    [
        (L1, {"strength": -1e-5}, "strength.*greater than or equal to 0.*-1e-05"),
        (L2, {"strength": -1.0}, "strength.*greater than or equal to 0.*-1.0"),
        (L2, {"strength": float("inf")}, "strength.*finite.*inf"),
        (L2, {"strength": "1e-4"}, "strength.*number.*1e-4"),
        (ElasticNet, {"mixing": 1.5}, "mixing.*less than or equal to 1.*1.5"),
        (ElasticNet, {"mixing": -0.5}, "mixing.*greater than or equal to 0.*-0.5"),
        (Zero, {"strength": 1e-4}, "strength"),
        (L1, {"mixing": 0.5}, "mixing"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(penalty, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        penalty(**parameters)
