"""Decorrelated batch normalisation and instance normalisation: formula, reductions, gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg

from kexp import norms
from kexp.layers import DecorrelatedBatchNormalization as Decorrelated
from tests import references
from tests.mathematics.backend import (
    PROPERTY,
    TENSORFLOW,
    array,
    central_difference,
    gradient,
    tensor,
)

RNG = np.random.default_rng(7)
MIX = RNG.normal(size=(8, 8))
ROWS = (RNG.normal(size=(400, 8)) @ MIX + 3).astype(np.float32)
IMAGES = (RNG.normal(size=(6, 9, 7, 8)) @ MIX - 1).astype(np.float32)


def whitened(x, group_size, epsilon):
    """The reference's output; also the means and the covariances."""
    rows = np.reshape(np.asarray(x, float), (-1, x.shape[-1]))
    parts = np.split(rows, x.shape[-1] // group_size, axis=1)
    covariances = [np.atleast_2d(np.cov(part, rowvar=False, bias=True)) for part in parts]
    output = references.decorrelated_batch_norm(x, 1.0, 0.0, epsilon, group_size)
    return output, rows.mean(axis=0), np.array(covariances)


def trained(layer, x):
    return array(layer(tensor(x), training=True))


def test_worked_example():
    """Two channels of variances 4 and 1 without correlation: each over its deviation."""
    x = [[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]]
    output = trained(Decorrelated(group_size=2, epsilon=1e-8), x)
    np.testing.assert_allclose(output, np.sign(x), atol=1e-5)


def test_worked_example_with_correlation():
    """Σ = [[2.5, 1.5], [1.5, 2.5]] has eigenvalues 4 and 1, so W = [[.75, -.25], [-.25, .75]]."""
    x = [[2.0, 2.0], [-2.0, -2.0], [1.0, -1.0], [-1.0, 1.0]]
    layer = Decorrelated(group_size=2, momentum=0.0, epsilon=1e-8)
    np.testing.assert_allclose(trained(layer, x), np.sign(x), atol=1e-5)
    np.testing.assert_allclose(array(layer.moving_covariance), [[[2.5, 1.5], [1.5, 2.5]]])
    at_inference = array(layer(tensor([[1.0, 0.0], [0.0, 1.0]])))
    np.testing.assert_allclose(at_inference, [[0.75, -0.25], [-0.25, 0.75]], atol=1e-5)


@pytest.mark.parametrize("group_size", [1, 2, 4, 8])
@pytest.mark.parametrize("x", [ROWS, IMAGES], ids=["dense", "conv"])
def test_training_is_the_formula(group_size, x):
    layer = Decorrelated(group_size=group_size, epsilon=1e-3)
    expected, mean, covariances = whitened(x, group_size, 1e-3)
    np.testing.assert_allclose(trained(layer, x), expected, atol=3e-3)
    np.testing.assert_allclose(array(layer.moving_mean), 0.1 * mean, rtol=1e-4, atol=1e-5)
    running = 0.9 * np.eye(group_size) + 0.1 * covariances
    np.testing.assert_allclose(array(layer.moving_covariance), running, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("x", [ROWS, IMAGES], ids=["dense", "conv"])
def test_covariance_of_the_output_is_the_identity(x):
    output = trained(Decorrelated(group_size=4), x).reshape(-1, 8)
    assert np.abs(output.mean(axis=0)).max() < 1e-4
    for start in (0, 4):
        covariance = np.cov(output[:, start : start + 4].T, bias=True)
        assert np.abs(covariance - np.eye(4)).max() < 1e-3


@pytest.mark.parametrize("x", [ROWS, IMAGES], ids=["dense", "conv"])
def test_groups_of_one_are_batch_normalisation(x):
    layer = Decorrelated(group_size=1, epsilon=1e-3)
    twin = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    np.testing.assert_allclose(trained(layer, x), trained(twin, x), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(array(layer.moving_mean), array(twin.moving_mean), rtol=1e-4)
    variances = array(layer.moving_covariance)[:, 0, 0]
    np.testing.assert_allclose(variances, array(twin.moving_variance), rtol=1e-4)
    at_inference = array(layer(tensor(x))), array(twin(tensor(x)))
    np.testing.assert_allclose(*at_inference, rtol=1e-3, atol=1e-3)


def test_inference_is_the_formula_with_running_statistics():
    layer = Decorrelated(group_size=4)
    trained(layer, ROWS)
    mean, roots = RNG.normal(size=8), RNG.normal(size=(2, 4, 4))
    covariances = roots @ roots.swapaxes(1, 2) + 0.1 * np.eye(4)
    gamma, beta = RNG.normal(size=(2, 8))
    for variable, value in (
        (layer.moving_mean, mean),
        (layer.moving_covariance, covariances),
        (layer.gamma, gamma),
        (layer.beta, beta),
    ):
        variable.assign(value.astype(np.float32))
    centred = ROWS - mean
    matrices = [linalg.inv(linalg.sqrtm(c + 1e-5 * np.eye(4))) for c in covariances]
    expected = np.hstack([centred[:, :4] @ matrices[0], centred[:, 4:] @ matrices[1]])
    output = array(layer(tensor(ROWS), training=False))
    np.testing.assert_allclose(output, gamma * expected + beta, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(array(layer.moving_mean), mean, rtol=1e-6)


def test_a_frozen_layer_uses_running_statistics():
    layer = Decorrelated(group_size=4, trainable=False)
    np.testing.assert_allclose(trained(layer, ROWS), ROWS / np.sqrt(1 + 1e-5), rtol=1e-6)
    assert np.all(array(layer.moving_mean) == 0)


def test_one_small_batch_does_not_spoil_inference():
    """Two rows span one direction of eight, as the last batch of an epoch may."""
    layer = Decorrelated(group_size=8)
    for _ in range(100):
        trained(layer, ROWS)
    before = array(layer(tensor(ROWS)))
    trained(layer, ROWS[:2])
    after = array(layer(tensor(ROWS)))
    assert np.abs(before - whitened(ROWS, 8, 1e-5)[0]).max() < 0.05
    assert np.sqrt(np.mean((after - before) ** 2)) < 0.2


@PROPERTY
@given(seed=st.integers(0, 999), epsilon=st.floats(0.1, 1.0))
def test_covariance_of_the_output_is_that_of_the_input_over_itself_plus_epsilon(seed, epsilon):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8))).astype(np.float32)
    turns = [np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2)]
    layer = Decorrelated(group_size=4, epsilon=epsilon)
    output, turned = trained(layer, x), trained(layer, x @ linalg.block_diag(*turns))
    for group, turn in zip((slice(0, 4), slice(4, 8)), turns, strict=True):
        np.testing.assert_allclose(turned[:, group], output[:, group] @ turn, atol=2e-3)
        before = np.cov(x[:, group].astype(float), rowvar=False, bias=True)
        after = np.cov(output[:, group].astype(float), rowvar=False, bias=True)
        expected = before @ linalg.inv(before + epsilon * np.eye(4))
        np.testing.assert_allclose(after, expected, atol=1e-3)


@PROPERTY
@given(angle=st.floats(0, 6.28))
def test_zca_turns_with_its_input(angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    layer = Decorrelated(group_size=2)
    straight, turned = trained(layer, ROWS[:, :2]), trained(layer, ROWS[:, :2] @ turn)
    np.testing.assert_allclose(turned, straight @ turn, atol=5e-3)


WHITE = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)


@pytest.mark.parametrize("x", [ROWS[:6, :4], WHITE], ids=["correlated", "equal eigenvalues"])
def test_gradient_is_a_central_difference(x):
    size = x.shape[1]
    weight = RNG.normal(size=x.shape)
    layer = Decorrelated(group_size=size, epsilon=0.1)
    at = gradient(lambda v: keras.ops.sum(layer(v, training=True) * tensor(weight)), x)
    expected = central_difference(lambda v: np.sum(whitened(v, size, 0.1)[0] * weight), x)
    np.testing.assert_allclose(at, expected, rtol=5e-3, atol=5e-4)


@pytest.mark.parametrize(
    "x",
    [ROWS[:2], 1e4 * ROWS[:4], np.full((5, 8), 3.0), np.zeros((4, 8))],
    ids=["few rows", "eigenvalues below 0 by rounding", "constant", "zero"],
)
def test_rank_deficient_batches_are_finite(x):
    layer = Decorrelated(group_size=8)
    assert np.all(np.isfinite(trained(layer, x)))
    weight = tensor(RNG.normal(size=x.shape))
    at = gradient(lambda v: keras.ops.sum(layer(v, training=True) * weight), x)
    assert np.all(np.isfinite(at))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_batch_that_is_not_finite_gives_nan_and_no_error(value):
    x = ROWS[:20].copy()
    x[3, 1] = value
    output = trained(Decorrelated(group_size=4), x)
    assert np.all(np.isnan(output[:, :4])) and np.all(np.isfinite(output[:, 4:]))


@pytest.mark.skipif(not TENSORFLOW, reason="a loop in a graph of TensorFlow")
def test_it_trains_in_a_loop_in_a_graph():
    import tensorflow as tf

    x, weight = tensor(IMAGES), tensor(RNG.normal(size=IMAGES.shape))
    layer = Decorrelated(group_size=4)
    layer.build(IMAGES.shape)

    def step(i, _):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(layer(x, training=True) * weight)
        return i + 1, tape.gradient(value, x)

    @tf.function
    def steps():
        return tf.while_loop(lambda i, _: i < 3, step, (0, tf.zeros_like(x)))[1]

    _, mean, covariances = whitened(IMAGES, 4, 1e-5)
    eager = gradient(lambda v: keras.ops.sum(Decorrelated(4)(v, training=True) * weight), IMAGES)
    np.testing.assert_allclose(steps(), eager, rtol=1e-3, atol=1e-5)
    kept = 0.9**3
    np.testing.assert_allclose(array(layer.moving_mean), (1 - kept) * mean, rtol=1e-4, atol=1e-5)
    running = kept * np.eye(4) + (1 - kept) * covariances
    np.testing.assert_allclose(array(layer.moving_covariance), running, rtol=1e-3, atol=1e-3)


def test_a_network_trains_and_comes_back(tmp_path):
    """Images of any size; batches of 6 and of 4 in one epoch; Keras's own compiled training."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(8, 3, padding="same")(x)
    x = keras.layers.ReLU()(norms.Decorrelated(group_size=4, momentum=0.5)(x, name="norm"))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(x))
    clean = np.random.default_rng(2).normal(size=(10, 8, 8, 1)).astype(np.float32)
    model.compile(keras.optimizers.Adam(0.03), "mse")
    losses = model.fit(clean, 2 * clean + 1, 6, epochs=12, verbose=0, shuffle=False).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert model.get_layer("norm").output.shape == (None, None, None, 8)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    other_size = tensor(IMAGES[..., :1])
    np.testing.assert_array_equal(array(again(other_size)), array(model(other_size)))
    for v, twin in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(array(v), array(twin))


def test_a_saved_layer_comes_back(tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, norms.Decorrelated(group_size=4, momentum=0.5)(inputs, name="dbn"))
    model(tensor(ROWS), training=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(array(again(tensor(ROWS))), array(model(tensor(ROWS))))
    assert again.get_layer("dbn").get_config()["momentum"] == 0.5


def test_a_layer_that_was_saved_with_whitening_matrices_is_refused():
    """Its matrices have the shape of covariances, and would be taken for them."""
    config = Decorrelated(group_size=4).get_config()
    assert Decorrelated.from_config(config).group_size == 4
    del config["moving"]
    with pytest.raises(ValueError, match="saved by an earlier kexp.*train it again"):
        Decorrelated.from_config(config)


def test_dtype_is_kept_in_mixed_precision():
    layer = Decorrelated(group_size=4, dtype="mixed_float16")
    x = ROWS[:50].astype(np.float16)
    output = trained(layer, x)
    assert output.dtype == np.float16
    np.testing.assert_allclose(output, whitened(x, 4, 1e-5)[0], rtol=2e-3, atol=5e-3)
    assert {str(v.dtype) for v in layer.variables} == {"float32"}


@pytest.mark.parametrize("training", [True, False])
def test_instance_norm_is_each_channel_of_each_image(training):
    inputs = keras.Input(IMAGES.shape[1:])
    model = keras.Model(inputs, norms.Instance(epsilon=0.01)(inputs, name="norm"))
    gamma, beta = RNG.normal(size=(2, 8)).astype(np.float32)
    model.get_layer("norm").gamma.assign(gamma)
    model.get_layer("norm").beta.assign(beta)
    output = array(model(tensor(IMAGES), training=training))
    expected = references.instance_norm(IMAGES, gamma, beta, 0.01)
    np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-3)


def test_instance_norm_is_group_norm_with_a_group_for_each_channel():
    inputs = keras.Input(IMAGES.shape[1:])
    pair = norms.Instance(epsilon=0.01), norms.Group(groups=8, epsilon=0.01)
    model = keras.Model(inputs, [norm(inputs, name=f"norm_{i}") for i, norm in enumerate(pair)])
    np.testing.assert_array_equal(*map(array, model(tensor(IMAGES))))


def test_instance_norm_needs_positions_and_groups_more_than_one_channel():
    with pytest.raises(ValueError, match="norm=instance needs images"):
        norms.Instance().check_positions("model=mlp", [8])
    with pytest.raises(ValueError, match="got norm.groups=8 and a width of 8"):
        norms.Group(groups=8).check_positions("model=mlp", [16, 8])
    norms.Group(groups=8).check_positions("model=mlp", [16])


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"group_size": 0}, "group_size must be a whole number >= 1, got group_size=0"),
        ({"group_size": 2.5}, "group_size must be a whole number >= 1, got group_size=2.5"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\), got momentum=-0.1"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got momentum=1.0"),
        ({"epsilon": 0.0}, "epsilon must be > 0 and finite, got epsilon=0.0"),
    ],
)
def test_a_layer_refuses_bad_parameters(parameters, rule):
    with pytest.raises(ValueError, match=rule):
        Decorrelated(**parameters)
    with pytest.raises(ValueError, match=next(iter(parameters))):
        norms.Decorrelated(**parameters)


def test_a_group_size_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="got group_size=3 and channels=8"):
        Decorrelated(group_size=3)(tensor(ROWS))
    with pytest.raises(ValueError, match="got group_size=3 and channels=None"):
        Decorrelated(group_size=3)(keras.Input((None,)))
    with pytest.raises(ValueError, match="got norm.group_size=3 and model.width=8"):
        norms.Decorrelated(group_size=3).check_width("model.width", 8)
    norms.Decorrelated(group_size=4).check_width("model.width", 8)
