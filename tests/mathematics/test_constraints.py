"""Group lasso, orthogonal and spectral penalties, weight decay, max-norm; and DropConnect."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kexp import dropouts, layers
from kexp.losses import Quadratic
from kexp.objective import Objective
from kexp.regularizers import (
    L1,
    L2,
    GroupLasso,
    MaxNorm,
    Orthogonal,
    SpectralNorm,
    WeightDecay,
    Zero,
)
from tests.mathematics.backend import PROPERTY, array, central_difference, gradient, tensor

RNG = np.random.default_rng(4)
DENSE = RNG.normal(size=(5, 3)).astype(np.float32)
CONVOLUTION = RNG.normal(size=(3, 2, 2, 4)).astype(np.float32)


def group_lasso(w, strength=0.3):
    rows = np.reshape(w, (-1, np.shape(w)[-1]))
    return strength * sum(np.sqrt(len(rows)) * np.linalg.norm(column) for column in rows.T)


def orthogonal(w, strength=0.3):
    rows = np.reshape(w, (-1, np.shape(w)[-1]))
    rows = rows if rows.shape[0] >= rows.shape[1] else rows.T
    return strength * np.linalg.norm(rows.T @ rows - np.eye(rows.shape[1]), "fro") ** 2


def spectral(w, strength=0.3):
    rows = np.reshape(w, (-1, np.shape(w)[-1]))
    return strength * np.linalg.svd(rows, compute_uv=False)[0] ** 2


PENALTIES = {
    "group_lasso": (GroupLasso(strength=0.3), group_lasso),
    "orthogonal": (Orthogonal(strength=0.3), orthogonal),
    "spectral_norm": (SpectralNorm(strength=0.3), spectral),
}
penalties = pytest.mark.parametrize(
    ("penalty", "reference"), PENALTIES.values(), ids=PENALTIES.keys()
)
kernels = arrays.arrays(np.float32, (4, 3), elements=st.floats(-100, 100, width=32))


def of(penalty, weights) -> float:
    return float(array(penalty(tensor(weights))))


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (GroupLasso(strength=0.1), 0.1 * 2**0.5 * (5 + 2)),  # columns (3, 4) and (0, 2)
        (Orthogonal(strength=0.1), 0.1 * (24**2 + 2 * 8**2 + 3**2)),  # Gram (25, 8; 8, 4)
        (SpectralNorm(strength=0.1), 0.1 * (29 + (21**2 + 4 * 64) ** 0.5) / 2),
    ],
    ids=repr,
)
def test_worked_example(penalty, expected):
    assert of(penalty, [[3.0, 0.0], [4.0, 2.0]]) == pytest.approx(expected, rel=1e-5)


@penalties
@pytest.mark.parametrize("weights", [DENSE, DENSE.T, CONVOLUTION], ids=["tall", "wide", "conv"])
def test_penalty_and_its_gradient_are_the_reference(penalty, reference, weights):
    assert of(penalty, weights) == pytest.approx(reference(weights), rel=1e-5)
    expected = central_difference(reference, weights)
    np.testing.assert_allclose(gradient(penalty, weights), expected, rtol=1e-3, atol=1e-4)


@penalties
@PROPERTY
@given(weights=kernels)
def test_penalty_is_even_and_not_negative(penalty, reference, weights):
    value = of(penalty, weights)
    assert value >= 0
    assert value == pytest.approx(of(penalty, -weights), rel=1e-5)
    assert value == pytest.approx(reference(weights.astype(float)), rel=1e-3, abs=1e-4)


@penalties
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e4])
def test_gradient_is_finite(penalty, reference, size):
    assert np.all(np.isfinite(gradient(penalty, [[size, -size, 0.0]] * 4)))


def test_an_orthogonal_kernel_has_no_orthogonal_penalty():
    q, _ = np.linalg.qr(RNG.normal(size=(6, 3)))
    assert of(Orthogonal(strength=1.0), q) == pytest.approx(0, abs=1e-8)
    assert of(Orthogonal(strength=1.0), q.T) == pytest.approx(0, abs=1e-8)
    assert of(Orthogonal(strength=1.0), np.zeros((6, 3))) == pytest.approx(3)


def test_one_weight_per_filter_makes_group_lasso_the_lasso():
    row = RNG.normal(size=(1, 9))
    assert of(GroupLasso(strength=0.2), row) == pytest.approx(of(L1(strength=0.2), row), rel=1e-5)


def test_spectral_norm_is_at_most_the_frobenius_norm():
    assert of(SpectralNorm(strength=1.0), DENSE) <= of(L2(strength=1.0), DENSE)


# Rules for after each step


def stepped(regularizer, start, grads, rate):
    """A kernel after one step of plain gradient descent with the regularizer's rule."""
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(3, use_bias=False, name="dense")(inputs))
    model.get_layer("dense").kernel.assign(start)
    objective = Objective(model, Quadratic(), regularizer)
    optimizer = keras.optimizers.SGD(rate)
    optimizer.build(objective.trainable)
    objective.constrain(optimizer.learning_rate)
    optimizer.apply([tensor(grads)], objective.trainable)
    assert float(array(objective.penalty())) == 0
    return array(model.get_layer("dense").kernel)


def test_weight_decay_is_decoupled_from_the_gradient():
    grads = RNG.normal(size=(5, 3)).astype(np.float32)
    expected = (1 - 0.1 * 0.5) * (DENSE - 0.1 * grads)
    np.testing.assert_allclose(
        stepped(WeightDecay(strength=0.5), DENSE, grads, 0.1), expected, rtol=1e-5, atol=1e-6
    )


def test_max_norm_scales_back_the_columns_beyond_it_alone():
    start = np.zeros((5, 3), np.float32)
    start[0], start[1] = (3.0, 0.5, 0.0), (4.0, 0.5, 0.0)
    kernel = stepped(MaxNorm(limit=2.0), start, np.zeros((5, 3)), 0.1)
    np.testing.assert_allclose(kernel[:2, 0], [1.2, 1.6], rtol=1e-5)
    assert np.array_equal(kernel[:, 1:], start[:, 1:])


def test_no_rule_leaves_a_kernel_free():
    grads = np.ones((5, 3), np.float32)
    np.testing.assert_allclose(stepped(Zero(), DENSE, grads, 0.1), DENSE - 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("kernels", "names"),
    [("all", ["conv", "dense"]), ("convolution", ["conv"]), ("dense", ["dense"])],
)
def test_a_regularizer_may_be_of_one_kind_of_layer(kernels, names):
    x = inputs = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, name="conv")(x))
    model = keras.Model(inputs, keras.layers.Dense(1, name="dense")(x))
    objective = Objective(model, Quadratic(), L2(strength=1.0, kernels=kernels))
    assert [k.path.split("/")[0] for k in objective.regularized] == names
    expected = sum(np.sum(array(model.get_layer(n).kernel) ** 2) for n in names)
    assert float(array(objective.penalty())) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("regularizer", "parameters", "rule"),
    [
        (GroupLasso, {"strength": -1.0}, "strength.*greater than or equal to 0.*-1.0"),
        (Orthogonal, {"strength": -1.0}, "strength.*greater than or equal to 0.*-1.0"),
        (SpectralNorm, {"strength": -1.0}, "strength.*greater than or equal to 0.*-1.0"),
        (WeightDecay, {"strength": -1.0}, "strength.*greater than or equal to 0.*-1.0"),
        (MaxNorm, {"limit": 0.0}, "limit.*greater than 0.*0.0"),
        (L2, {"kernels": "bias"}, "kernels.*bias"),
        (Zero, {"kernels": "all"}, "kernels"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(regularizer, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        regularizer(**parameters)


# DropConnect


def pair(rate):
    """A plain layer and its DropConnect twin with the same weights, dense and convolution."""
    image = tensor(RNG.normal(size=(2, 6, 6, 3)))
    for plain, x in (
        (keras.layers.Dense(40, name="layer", activation="relu"), tensor(RNG.normal(size=(7, 30)))),
        (keras.layers.Conv2D(8, 3, padding="same", name="layer"), image),
    ):
        plain(x)
        plain.bias.assign(RNG.normal(size=plain.bias.shape))
        twin = dropouts.DropConnect(rate=rate).connected(plain, "last")
        twin(x)
        twin.kernel.assign(array(plain.kernel))
        twin.bias.assign(array(plain.bias))
        yield plain, twin, x


def test_rate_0_and_inference_are_the_plain_layer():
    for rate, training in ((0.0, True), (0.6, False)):
        for plain, twin, x in pair(rate):
            expected = array(plain(x))
            np.testing.assert_allclose(array(twin(x, training=training)), expected, atol=1e-5)


def test_weights_are_dropped_and_the_bias_is_not():
    layer = layers.DropConnectDense(50, rate=0.3)
    eye = tensor(np.eye(200))
    layer(eye)
    layer.kernel.assign(np.ones((200, 50)))
    layer.bias.assign(np.full(50, 5.0))
    kept = array(layer(eye, training=True)) - 5
    assert np.unique(np.round(kept, 4)) == pytest.approx([0, 1 / 0.7], abs=1e-3)
    assert np.mean(kept == 0) == pytest.approx(0.3, abs=0.03)


def test_the_same_state_gives_the_same_mask():
    for _, twin, x in pair(0.5):
        outputs = []
        for seed in (1, 1, 2):
            twin.seed_generator.state.assign([seed, 0])
            outputs.append(array(twin(x, training=True)))
        assert np.array_equal(*outputs[:2]) and not np.array_equal(*outputs[1:])


def test_variables_have_the_names_of_the_plain_layer():
    for plain, twin, _ in pair(0.5):
        paths = [v.path for v in plain.trainable_variables]
        assert [v.path for v in twin.trainable_variables] == paths
        assert float(array(twin.rate)) == 0.5 and not twin.rate.trainable


def test_other_places_keep_the_plain_layer():
    plain = keras.layers.Dense(3)
    assert dropouts.DropConnect(places=["hidden"]).connected(plain, "input", "last") is plain
    assert dropouts.Standard().connected(plain, "last") is plain


def test_a_saved_layer_comes_back(tmp_path):
    inputs = keras.Input((6, 6, 3))
    x = layers.DropConnectConv2D(4, 3, rate=0.2, name="conv")(inputs)
    model = keras.Model(inputs, layers.DropConnectDense(2, rate=0.4, name="dense")(x))
    model.get_layer("conv").rate.assign(0.7)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    image = tensor(RNG.normal(size=(2, 6, 6, 3)))
    np.testing.assert_array_equal(array(again(image)), array(model(image)))
    assert float(array(again.get_layer("conv").rate)) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dropout(0.5),
        layers.SpatialDropout(0.5),
        layers.GaussianDropout(0.5),
        layers.DropConnectDense(9, rate=0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_random_layers_can_be_active_at_inference(layer):
    x = tensor(np.ones((8, 20)))
    quiet = array(layer(x, training=False))
    layer.active_at_inference = True
    first, second = (array(layer(x, training=False)) for _ in range(2))
    layer.active_at_inference = False
    assert not np.array_equal(first, second) and not np.array_equal(first, quiet)
    assert np.array_equal(array(layer(x, training=False)), quiet)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_outside_0_and_1_is_refused(rate):
    with pytest.raises(ValueError, match=rf"rate must be in \[0, 1\), got rate={rate}"):
        layers.DropConnectDense(3, rate=rate)
    with pytest.raises(ValueError, match="rate"):
        dropouts.DropConnect(rate=rate)
