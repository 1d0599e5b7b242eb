"""Penalties: a number by hand, an independent reference, properties, gradients, refusals.

And the rules for after a step: formulas, what they leave alone, and that optimizers apply them.
"""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kexp.objective import with_variables
from kexp.regularizers import (
    L1,
    L2,
    ElasticNet,
    GroupLasso,
    MaxNorm,
    Orthogonal,
    Regularizer,
    SpectralNorm,
    WeightDecay,
    Zero,
)
from tests import references
from tests.mathematics.backend import PROPERTY, array, central_difference, gradient, tensor

PENALTIES = {
    "zero": (Zero(), lambda weights: 0.0),
    "weight_decay": (WeightDecay(strength=0.3), lambda weights: 0.0),
    "max_norm": (MaxNorm(limit=0.3), lambda weights: 0.0),
    "l1": (L1(strength=0.3), partial(references.l1, strength=0.3)),
    "l2": (L2(strength=0.3), partial(references.l2, strength=0.3)),
    "elastic_net": (
        ElasticNet(strength=0.3, mixing=0.2),
        partial(references.elastic_net, strength=0.3, mixing=0.2),
    ),
    "group_lasso": (GroupLasso(strength=0.3), partial(references.group_lasso, strength=0.3)),
    "spectral_norm": (SpectralNorm(strength=0.3), partial(references.spectral_norm, strength=0.3)),
    "orthogonal": (Orthogonal(strength=0.3), partial(references.orthogonal, strength=0.3)),
}
OF_MATRICES = {name: PENALTIES[name] for name in ("group_lasso", "spectral_norm", "orthogonal")}
AFTER_STEP = {
    "weight_decay": (WeightDecay(strength=0.4), lambda weights, rate: (1 - 0.4 * rate) * weights),
    "max_norm": (MaxNorm(limit=0.8), lambda weights, rate: references.max_norm(weights, 0.8)),
}


def each(cases: dict, names: str):
    return pytest.mark.parametrize(names.split(), cases.values(), ids=cases.keys())


penalties = each(PENALTIES, "penalty reference")
of_matrices = each(OF_MATRICES, "penalty reference")
least_at_zero = each({k: v for k, v in PENALTIES.items() if k != "orthogonal"}, "penalty reference")
after_step = each(AFTER_STEP, "rule formula")
shapes = pytest.mark.parametrize("shape", [(4, 3), (2, 5), (1, 4), (6, 1), (3, 3, 2, 4)], ids=str)
kernels = arrays.arrays(np.float32, (4, 3), elements=st.floats(-1e3, 1e3, width=32))
seeds = st.integers(0, 2**32 - 1)


def of(penalty, weights) -> float:
    """The penalty as a number."""
    return float(array(penalty(tensor(weights))))


def slope_of(penalty, weights) -> np.ndarray:
    """Its gradient; the last term ties the result to the weights where there is no penalty."""
    return gradient(lambda w: penalty(w) + 0.0 * keras.ops.sum(w), weights)


def after(rule, weights, rate: float = 0.0) -> np.ndarray:
    """What the weights become after a step."""
    return array(rule.after_step(tensor(weights), rate))


def drawn(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rotation(side: int, seed: int) -> np.ndarray:
    return np.linalg.qr(drawn(side, side, seed=seed).astype(float))[0]


# Penalties


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (Zero(), 0.0),
        (L1(strength=0.1), 0.35),  # 0.1·(1 + 2 + 0.5)
        (L2(strength=0.1), 0.525),  # 0.1·(1 + 4 + 0.25): no ½
        (ElasticNet(strength=0.1, mixing=0.25), 0.48125),  # 0.1·(0.25·3.5 + 0.75·5.25)
        (GroupLasso(strength=0.1), 0.4582576),  # 0.1·√4·(√5.25 + 0 + 0)
        (SpectralNorm(strength=0.1), 0.525),  # one filter: 0.1·5.25
        (Orthogonal(strength=0.1), 2.00625),  # G = diag(5.25, 0, 0): 0.1·(4.25² + 1 + 1)
        (WeightDecay(strength=0.1), 0.0),
        (MaxNorm(limit=0.1), 0.0),
    ],
    ids=repr,
)
def test_worked_example(penalty, expected):
    weights = [[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert of(penalty, weights) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (GroupLasso(strength=0.1), 1.4142136),  # 0.1·√2·(5 + 5)
        (SpectralNorm(strength=0.1), 4.5),  # G = [[25, 20], [20, 25]] has eigenvalues 45 and 5
        (Orthogonal(strength=0.1), 195.2),  # 0.1·(24² + 24² + 20² + 20²)
    ],
    ids=repr,
)
def test_worked_example_of_two_filters(penalty, expected):
    assert of(penalty, [[3.0, 0.0], [4.0, 5.0]]) == pytest.approx(expected, rel=1e-6)


def test_worked_example_of_more_outputs_than_inputs():
    """W Wᵀ = 1 + 4 = 5 is the smaller Gram matrix of W = (1, 2): λ (5 − 1)² and λ 5."""
    assert of(Orthogonal(strength=0.1), [[1.0, 2.0]]) == pytest.approx(1.6, rel=1e-6)
    assert of(SpectralNorm(strength=0.1), [[1.0, 2.0]]) == pytest.approx(0.5, rel=1e-6)


@penalties
@PROPERTY
@given(weights=kernels)
def test_penalty_is_its_reference(penalty, reference, weights):
    smallest = 1e-5 if isinstance(penalty, Orthogonal) else 1e-30  # it takes a 1 away
    assert of(penalty, weights) == pytest.approx(reference(weights), rel=1e-5, abs=smallest)


@of_matrices
@shapes
def test_penalty_is_its_reference_whatever_the_shape(penalty, reference, shape):
    weights = drawn(*shape)
    assert of(penalty, weights) == pytest.approx(reference(weights), rel=1e-5)


@penalties
@PROPERTY
@given(weights=kernels)
def test_penalty_is_even_and_not_negative(penalty, reference, weights):
    assert of(penalty, weights) == of(penalty, -weights) >= 0


@least_at_zero
def test_penalty_is_zero_at_zero_and_grows_with_the_weights(penalty, reference):
    weights = drawn(4, 3)
    values = [of(penalty, factor * weights) for factor in (0, 0.5, 1, 2, 1e3)]
    assert values[0] == 0
    assert values == sorted(values)


@PROPERTY
@given(weights=kernels, factor=st.floats(-8, 8))
@pytest.mark.parametrize(
    ("penalty", "degree"), [(L1, 1), (GroupLasso, 1), (L2, 2), (SpectralNorm, 2)]
)
def test_penalty_is_homogeneous_of_its_degree(penalty, degree, weights, factor):
    penalty = penalty(strength=0.1)
    assert of(penalty, np.float32(factor) * weights) == pytest.approx(
        abs(factor) ** degree * of(penalty, weights), rel=1e-4, abs=1e-30
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


def test_group_lasso_of_single_weights_is_the_lasso():
    weights = drawn(1, 12)
    expected = of(L1(strength=0.1), weights)
    assert of(GroupLasso(strength=0.1), weights) == pytest.approx(expected, rel=1e-6)


@PROPERTY
@given(weights=kernels)
def test_spectral_norm_is_at_most_the_frobenius_norm(weights):
    spectral, frobenius = SpectralNorm(strength=0.1), L2(strength=0.1)
    total = of(frobenius, weights)
    assert total * (1 / 3 - 1e-5) <= of(spectral, weights) <= total * (1 + 1e-5)


@PROPERTY
@given(seed=seeds)
def test_spectral_norm_is_the_frobenius_norm_at_rank_one(seed):
    weights = np.outer(drawn(4, seed=seed), drawn(3, seed=seed + 1))
    expected = of(L2(strength=0.1), weights)
    assert of(SpectralNorm(strength=0.1), weights) == pytest.approx(expected, rel=1e-5)


@PROPERTY
@given(seed=seeds)
@pytest.mark.parametrize(
    "penalty", [SpectralNorm(strength=0.1), Orthogonal(strength=0.1)], ids=repr
)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5)], ids=str)
def test_rotations_do_not_matter(penalty, shape, seed):
    weights = drawn(*shape, seed=seed)
    expected = of(penalty, weights)
    rotated = rotation(shape[0], seed + 1) @ weights @ rotation(shape[1], seed + 2)
    assert of(penalty, rotated) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4), (3, 3, 2, 4)], ids=str)
def test_orthogonal_is_zero_for_orthogonal_filters_and_not_at_zero(shape):
    penalty, inputs, outputs = Orthogonal(strength=0.5), int(np.prod(shape[:-1])), shape[-1]
    weights = rotation(max(inputs, outputs), 5)[:inputs, :outputs].reshape(shape)
    assert of(penalty, weights) == pytest.approx(0, abs=1e-11)
    assert np.abs(slope_of(penalty, weights)).max() < 1e-5
    assert of(penalty, 0 * weights) == 0.5 * min(inputs, outputs)
    assert of(penalty, 1.1 * weights) > 1e-3


def test_no_strength_is_no_penalty():
    weights = np.full((4, 3), 7.0)
    for kind in (L1, L2, ElasticNet, GroupLasso, SpectralNorm, Orthogonal, WeightDecay):
        assert of(kind(strength=0.0), weights) == of(Zero(), weights) == 0


@penalties
def test_gradient_is_a_central_difference(penalty, reference):
    weights = np.array([-30, -2, -0.7, -0.3, -0.1, 0.01, 0.02, 0.5, 1.5, 3, 7, 30.0]).reshape(4, 3)
    slope = slope_of(penalty, weights)
    expected = central_difference(reference, weights)
    smallest = 1e-3 if isinstance(penalty, Orthogonal) else 1e-9  # beside slopes of 30⁴ and more
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=smallest)


@of_matrices
@shapes
def test_gradient_is_a_central_difference_whatever_the_shape(penalty, reference, shape):
    weights = drawn(*shape, seed=2)
    slope, expected = slope_of(penalty, weights), central_difference(reference, weights)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@least_at_zero
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e4, 1e15])
def test_penalty_and_gradient_are_finite_at_any_size(penalty, reference, size):
    weights = [[size, -size, 0.0]] * 4
    slope = slope_of(penalty, weights)
    assert np.isfinite(of(penalty, weights))
    assert np.all(np.isfinite(slope))
    assert slope[0, 0] == pytest.approx(-slope[0, 1], rel=1e-5)
    assert slope[0, 0] >= 0
    assert np.abs(slope[:, 2]).max() <= 1e-6 * slope[0, 0]


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e4, 1e8])
def test_orthogonal_is_finite_up_to_a_size(size):
    weights = np.array([[size, -size, 0.0]] * 4)
    assert np.isfinite(of(Orthogonal(strength=0.1), weights))
    assert np.all(np.isfinite(slope_of(Orthogonal(strength=0.1), weights)))


def test_group_lasso_has_no_slope_at_a_zero_filter_and_that_of_its_direction_elsewhere():
    weights = np.array([[3.0, 0.0], [4.0, 0.0]])
    slope = slope_of(GroupLasso(strength=0.1), weights)
    np.testing.assert_allclose(slope, 0.1 * np.sqrt(2) * weights / 5, rtol=1e-6)


def test_spectral_norm_of_equal_singular_values_has_the_slope_of_one_of_them():
    slope = slope_of(SpectralNorm(strength=0.5), np.eye(3))
    assert np.linalg.svd(slope)[1] == pytest.approx([1, 0, 0], abs=1e-6)


@pytest.mark.parametrize("penalty", [L1(), L2(), SpectralNorm(), Orthogonal()], ids=repr)
def test_weights_that_are_not_numbers_are_not_hidden(penalty):
    weights = drawn(4, 3)
    weights[1, 0] = np.nan
    assert np.isnan(of(penalty, weights))


# Rules for after a step


@pytest.mark.parametrize("penalty", [Zero(), L1(), L2(), ElasticNet(), GroupLasso()], ids=repr)
def test_a_penalty_leaves_kernels_alone_after_a_step(penalty):
    assert penalty.after_step(tensor(drawn(4, 3)), 0.1) is None


def test_worked_examples_of_rules():
    """(1 − 0.1·0.5)·2 = 1.9; the filter (3, 4) is 5 long, the filter (0.5, 0) shorter than 2."""
    assert after(WeightDecay(strength=0.5), [[2.0]], rate=0.1) == pytest.approx(1.9, rel=1e-6)
    cut = after(MaxNorm(limit=2.0), [[3.0, 0.5], [4.0, 0.0]])
    np.testing.assert_allclose(cut, [[1.2, 0.5], [1.6, 0.0]], rtol=1e-6)


@after_step
@shapes
def test_rule_is_its_formula_whatever_the_shape(rule, formula, shape):
    weights = drawn(*shape)
    np.testing.assert_allclose(after(rule, weights, 0.3), formula(weights, 0.3), rtol=1e-5)


@PROPERTY
@given(weights=kernels, limit=st.floats(1e-3, 1e3))
def test_max_norm_cuts_long_filters_and_leaves_short_ones_bit_for_bit(weights, limit):
    cut = after(MaxNorm(limit=limit), weights)
    norms = np.linalg.norm(weights.astype(float), axis=0)
    assert np.array_equal(cut[:, norms < 0.99999 * limit], weights[:, norms < 0.99999 * limit])
    assert np.all(np.linalg.norm(cut.astype(float), axis=0) <= limit * (1 + 1e-6))
    expected = references.max_norm(weights, limit)
    np.testing.assert_allclose(cut, expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e15, 1e30])
def test_max_norm_holds_filters_of_any_size(size):
    cut = after(MaxNorm(limit=2.0), np.full((4, 3), size))
    np.testing.assert_allclose(cut, np.full((4, 3), min(size, 1.0)), rtol=1e-6)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.1),
}


@after_step
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_an_optimizer_applies_a_rule_after_each_step(rule, formula, make):
    """A kernel and a bias beside twins without a rule, which are set to where the others are."""
    start = {"kernel": drawn(4, 3), "bias": drawn(3, seed=2)}
    ruled = [keras.Variable(value, name=name) for name, value in start.items()]
    plain = [keras.Variable(value, name=name) for name, value in start.items()]
    optimizers = [make(), make()]
    kernel, bias = ruled
    kernel.constraint = lambda k: rule.after_step(k, optimizers[0].learning_rate)
    for step, rate in enumerate([0.1, 0.1, 0.02]):
        slopes = [tensor(drawn(4, 3, seed=step)), tensor(drawn(3, seed=step))]
        for optimizer, variables in zip(optimizers, (ruled, plain), strict=True):
            optimizer.learning_rate = rate
            optimizer.apply(slopes, variables)
        np.testing.assert_allclose(array(kernel), formula(array(plain[0]), rate), rtol=2e-6)
        assert step > 0 or not np.array_equal(array(kernel), array(plain[0]))
        assert np.array_equal(array(bias), array(plain[1]))
        plain[0].assign(kernel)


def test_a_compiled_step_applies_a_rule_with_its_own_learning_rate():
    """For input 0 the gradient of a kernel is 0, so that the rule alone changes it."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    kernel, start = model.trainable_variables[0], drawn(4, 3)
    kernel.assign(start)
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    rule, numbers = with_variables(WeightDecay(strength=0.5))
    kernel.constraint = lambda k: rule.after_step(k, model.optimizer.learning_rate)
    batch = np.zeros((2, 4), np.float32), np.ones((2, 3), np.float32)
    model.train_on_batch(*batch)
    np.testing.assert_allclose(array(kernel), 0.95 * start, rtol=1e-6)
    model.optimizer.learning_rate = 0.2
    model.train_on_batch(*batch)
    np.testing.assert_allclose(array(kernel), 0.95 * 0.9 * start, rtol=1e-6)


# What they have in common


@pytest.mark.parametrize(
    ("kernels", "expected"), [("all", [1, 1]), ("dense", [1, 0]), ("convolution", [0, 1])]
)
def test_a_regularizer_is_for_kernels_of_a_kind_of_layer(kernels, expected):
    dense, convolution = keras.layers.Dense(3), keras.layers.Conv2D(3, 3)
    line = keras.layers.Conv1D(3, 3)
    for layer, shape in ((dense, (1, 2)), (convolution, (1, 5, 5, 2)), (line, (1, 5, 2))):
        layer.build(shape)
    for kind in (L1, L2, ElasticNet, GroupLasso, Orthogonal, SpectralNorm, WeightDecay, MaxNorm):
        regularizer = kind(kernels=kernels)
        assert [regularizer.applies_to(la.kernel) for la in (dense, convolution)] == expected
        assert regularizer.applies_to(line.kernel) == expected[1]
    assert Zero().applies_to(dense.kernel) and Zero().applies_to(convolution.kernel)


@pytest.mark.parametrize("kind", [L1, L2, GroupLasso, Orthogonal, SpectralNorm])
def test_the_strength_of_a_penalty_can_be_a_variable(kind):
    weights = drawn(4, 3)
    twin, numbers = with_variables(kind(strength=0.1, kernels="dense"))
    numbers["strength"].assign(0.7)
    other = kind(strength=0.7)
    assert of(twin, weights) == pytest.approx(of(other, weights), rel=1e-6)
    np.testing.assert_allclose(slope_of(twin, weights), slope_of(other, weights), rtol=1e-5)
    assert twin.kernels == "dense"


@pytest.mark.parametrize(
    ("rule", "name", "other"),
    [
        (WeightDecay(strength=0.1), "strength", WeightDecay(strength=0.7)),
        (MaxNorm(limit=0.1), "limit", MaxNorm(limit=0.7)),
    ],
    ids=["weight_decay", "max_norm"],
)
def test_the_number_of_a_rule_can_be_a_variable(rule, name, other):
    twin, numbers = with_variables(rule)
    numbers[name].assign(0.7)
    weights = drawn(4, 3)
    np.testing.assert_allclose(after(twin, weights, 0.3), after(other, weights, 0.3), rtol=1e-6)


def test_every_formula_can_be_drawn():
    from matplotlib.mathtext import MathTextParser

    for kind in Regularizer.__subclasses__():
        if kind.__module__ == Regularizer.__module__:
            assert kind.formula and "\n" not in kind.formula
            MathTextParser("agg").parse(f"${kind.formula}$")


@pytest.mark.parametrize(
    ("penalty", "parameters", "rule"),
    [
        (L1, {"strength": -1e-5}, "strength.*greater than or equal to 0.*-1e-05"),
        (L2, {"strength": -1.0}, "strength.*greater than or equal to 0.*-1.0"),
        (L2, {"strength": float("inf")}, "strength.*finite.*inf"),
        (L2, {"strength": "1e-4"}, "strength.*number.*1e-4"),
        (L2, {"kernels": "bias"}, "kernels.*'all', 'convolution' or 'dense'.*'bias'"),
        (L2, {"kernels": True}, "kernels.*'all', 'convolution' or 'dense'.*True"),
        (ElasticNet, {"mixing": 1.5}, "mixing.*less than or equal to 1.*1.5"),
        (ElasticNet, {"mixing": -0.5}, "mixing.*greater than or equal to 0.*-0.5"),
        (GroupLasso, {"strength": -1e-5}, "strength.*greater than or equal to 0.*-1e-05"),
        (Orthogonal, {"strength": -1e-5}, "strength.*greater than or equal to 0.*-1e-05"),
        (SpectralNorm, {"strength": -1e-5}, "strength.*greater than or equal to 0.*-1e-05"),
        (WeightDecay, {"strength": -1e-5}, "strength.*greater than or equal to 0.*-1e-05"),
        (MaxNorm, {"limit": 0.0}, "limit.*greater than 0.*0.0"),
        (MaxNorm, {"limit": -2.0}, "limit.*greater than 0.*-2.0"),
        (MaxNorm, {"strength": 1.0}, "strength"),
        (Zero, {"strength": 1e-4}, "strength"),
        (Zero, {"kernels": "all"}, "kernels"),
        (L1, {"mixing": 0.5}, "mixing"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(penalty, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        penalty(**parameters)
