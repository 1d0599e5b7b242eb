"""Dropout layers by their moments and masks; norms by their formulas and reductions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kexp import dropouts, layers, norms
from tests import references
from tests.mathematics.backend import PROPERTY, array, gradient, tensor, whole

KINDS = {
    "dropout": (layers.Dropout, references.dropout_moments),
    "spatial": (layers.SpatialDropout, references.dropout_moments),
    "gaussian": (layers.GaussianDropout, references.gaussian_dropout_moments),
}
CHOICES = {
    "dropout": dropouts.Standard,
    "spatial": dropouts.Spatial,
    "gaussian": dropouts.Gaussian,
}
kinds = pytest.mark.parametrize("kind", [layer for layer, _ in KINDS.values()], ids=KINDS.keys())
moments = pytest.mark.parametrize(("kind", "moments"), KINDS.values(), ids=KINDS.keys())

ONES = np.ones((100, 2, 3, 50), np.float32)
RNG = np.random.default_rng(3)
VALUES = RNG.normal(size=ONES.shape).astype(np.float32)
IMAGES = RNG.normal(1.0, 2.0, (4, 3, 5, 6)).astype(np.float32)


def train(layer, x, seed: int = 1) -> np.ndarray:
    """What the layer makes of `x` in training, with its random stream set to `seed`."""
    layer.seed_generator.state.assign([seed, 0])
    return array(layer(tensor(x), training=True))


# Dropout


@kinds
def test_rate_0_is_the_identity(kind):
    assert np.array_equal(train(kind(0.0), VALUES), VALUES)


@kinds
def test_inference_is_the_identity(kind):
    layer, x = kind(0.7), tensor(VALUES)
    assert np.array_equal(array(layer(x)), VALUES)
    assert np.array_equal(array(layer(x, training=False)), VALUES)


@moments
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_factors_have_the_moments_of_the_reference(kind, moments, rate):
    factors = train(kind(rate), ONES)
    draws = 100 * 50 if kind is layers.SpatialDropout else ONES.size
    mean, variance, zeros = moments(rate)
    error = np.sqrt(1 / draws)
    assert factors.mean() == pytest.approx(mean, abs=5 * error * np.sqrt(variance))
    assert factors.var() == pytest.approx(variance, rel=12 * error)
    assert np.mean(factors == 0) == pytest.approx(zeros, abs=5 * error * np.sqrt(zeros))


@pytest.mark.parametrize("kind", [layers.Dropout, layers.SpatialDropout])
def test_what_is_kept_is_scaled(kind):
    assert np.unique(train(kind(0.2), ONES)) == pytest.approx([0.0, 1.25])


def test_spatial_dropout_takes_whole_channels_of_each_sample():
    factors = train(layers.SpatialDropout(0.5), ONES)
    assert np.array_equal(factors, np.broadcast_to(factors[:, :1, :1], ONES.shape))
    dropped = factors[:, 0, 0] == 0  # of samples and channels
    assert len(np.unique(dropped, axis=0)) == 100
    assert len(np.unique(dropped, axis=1).T) == 50


def test_spatial_dropout_of_vectors_is_dropout():
    vectors = ONES[:, 0, 0]
    expected = train(layers.Dropout(0.5), vectors)
    assert np.array_equal(train(layers.SpatialDropout(0.5), vectors), expected)


def test_dropout_and_gaussian_dropout_draw_for_each_element():
    assert len(np.unique(train(layers.GaussianDropout(0.5), ONES))) > 0.99 * ONES.size
    dropped = train(layers.Dropout(0.5), ONES) == 0
    for axis in range(4):
        first, second = np.take(dropped, 0, axis), np.take(dropped, 1, axis)
        assert np.mean(first == second) == pytest.approx(0.5, abs=0.2)


@kinds
def test_the_same_state_gives_the_same_mask_and_the_next_call_another(kind):
    layer, twin = kind(0.5), kind(0.5)
    first = train(layer, ONES)
    following = array(layer(tensor(ONES), training=True))
    assert np.array_equal(first, train(twin, ONES))
    assert not np.array_equal(first, following)
    assert not np.array_equal(first, train(layer, ONES, seed=2))


@moments
def test_the_rate_is_a_variable(kind, moments):
    layer = kind(0.1)
    layer.rate.assign(0.75)
    assert np.array_equal(train(layer, ONES), train(kind(0.75), ONES))
    layer.rate.assign(0.0)
    assert np.array_equal(train(layer, ONES), ONES)


@kinds
def test_the_rate_is_not_trained(kind):
    layer = kind(0.5)
    assert layer.trainable_variables == []
    assert "rate" in [v.name for v in layer.non_trainable_variables]


@kinds
def test_gradient_of_dropout_is_its_factor(kind):
    layer = kind(0.5)
    factors = train(layer, ONES)
    layer.seed_generator.state.assign([1, 0])
    slope = gradient(lambda x: keras.ops.sum(layer(x, training=True)), VALUES)
    np.testing.assert_allclose(slope, factors, rtol=1e-6)


@kinds
def test_dtype_is_kept_in_mixed_precision(kind):
    layer = kind(0.5, dtype="mixed_float16")
    assert train(layer, ONES).dtype == np.float16
    assert keras.backend.standardize_dtype(layer.rate.dtype) == "float32"


@kinds
@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_layer_refuses_a_rate_outside_0_and_1(kind, rate):
    with pytest.raises(ValueError, match=rf"rate must be in \[0, 1\), got rate={rate}"):
        kind(rate)


@pytest.mark.parametrize("kind", CHOICES.values(), ids=CHOICES.keys())
@pytest.mark.parametrize(
    ("rate", "rule"),
    [
        (-0.1, "greater than or equal to 0.*-0.1"),
        (1.0, "less than 1.*1.0"),
        (float("nan"), "nan"),
        ("0.5", "number.*0.5"),
    ],
)
def test_a_choice_refuses_a_rate_outside_0_and_1(kind, rate, rule):
    with pytest.raises(ValueError, match=f"(?s)rate.*{rule}"):
        kind(rate=rate)


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_places_its_layer_under_a_name(name):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, CHOICES[name](rate=0.3)(inputs, name="here"))
    placed = model.get_layer("here")
    assert type(placed) is KINDS[name][0]
    assert float(array(placed.rate)) == pytest.approx(0.3)


def test_no_dropout_and_no_norm_place_nothing():
    inputs = keras.Input((3,))
    assert dropouts.NoDropout()(inputs, name="here") is inputs
    assert norms.NoNorm()(inputs, name="here") is inputs
    norms.NoNorm().check_width("model.width", 7)


def test_saved_layers_come_back_with_the_rate_they_had(tmp_path):
    x = inputs = keras.Input(ONES.shape[1:])
    for name, kind in CHOICES.items():
        x = kind(rate=0.1)(x, name=name)
    model = keras.Model(inputs, x)
    for name in CHOICES:
        model.get_layer(name).rate.assign(0.5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for seed, name in enumerate(CHOICES):
        layer = again.get_layer(name)
        for twin in (layer, model.get_layer(name)):
            twin.seed_generator.state.assign([seed, 7])
        assert type(layer) is KINDS[name][0]
        assert layer.get_config()["rate"] == 0.1
        assert float(array(layer.rate)) == 0.5
    draws = [array(m(tensor(VALUES), training=True)) for m in (model, again)]
    assert np.array_equal(*draws)
    assert np.array_equal(array(again(tensor(VALUES))), VALUES)


# Norms


def normed(norm, x=IMAGES, training=False):
    """A model of one norm layer with random γ and β: the layer, (γ, β), and its output for x."""
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, norm(inputs, name="norm"))
    layer = model.get_layer("norm")
    gamma, beta = np.random.default_rng(8).normal(1, 0.3, (2, x.shape[-1])).astype(np.float32)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    output = model(tensor(x), training=True) if training else whole(model)(tensor(x))
    return layer, (gamma, beta), array(output)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_in_training_is_its_formula():
    _, scale, output = normed(norms.Batch(epsilon=0.01), training=True)
    close(output, references.batch_norm(IMAGES, *scale, 0.01))


def test_batch_norm_at_inference_uses_running_statistics():
    layer, scale, output = normed(norms.Batch(epsilon=0.01))
    close(output, references.batch_norm(IMAGES, *scale, 0.01, mean=0.0, variance=1.0))
    mean, variance = np.arange(6.0), np.arange(1.0, 7.0)
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    at_inference = array(layer(tensor(IMAGES), training=False))
    close(at_inference, references.batch_norm(IMAGES, *scale, 0.01, mean, variance))
    assert np.array_equal(array(layer.moving_mean), mean)


def test_running_statistics_move_by_momentum():
    layer, _, _ = normed(norms.Batch(momentum=0.8), training=True)
    mean, variance = IMAGES.mean(axis=(0, 1, 2)), IMAGES.var(axis=(0, 1, 2))
    close(array(layer.moving_mean), 0.2 * mean)
    close(array(layer.moving_variance), 0.8 + 0.2 * variance)


@pytest.mark.parametrize("training", [False, True])
def test_layer_norm_is_its_formula_at_every_place(training):
    _, scale, output = normed(norms.Layer(epsilon=0.01), training=training)
    close(output, references.layer_norm(IMAGES, *scale, 0.01))


@pytest.mark.parametrize(("groups", "training"), [(1, False), (2, False), (2, True), (6, False)])
def test_group_norm_is_its_formula(groups, training):
    _, scale, output = normed(norms.Group(groups=groups, epsilon=0.01), training=training)
    close(output, references.group_norm(IMAGES, *scale, 0.01, groups))


def test_group_norm_of_one_place_and_one_group_is_layer_norm():
    place = IMAGES[:, :1, :1]
    close(normed(norms.Group(groups=1), place)[2], normed(norms.Layer(), place)[2])


def test_group_norm_of_one_sample_with_groups_of_one_is_batch_norm():
    sample = IMAGES[:1]
    alone = normed(norms.Group(groups=6), sample)[2]
    close(alone, normed(norms.Batch(), sample, training=True)[2])


@pytest.mark.parametrize("norm", [norms.Batch(), norms.Layer(), norms.Group(groups=2)], ids=repr)
def test_scale_and_shift_of_the_input_do_not_matter(norm):
    expected = normed(norm, 10 * IMAGES, training=True)[2]
    np.testing.assert_allclose(
        normed(norm, 50 * IMAGES + 7, training=True)[2], expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("norm", [norms.Layer(), norms.Group(groups=2)], ids=repr)
def test_a_sample_does_not_depend_on_the_others(norm):
    close(normed(norm)[2][1:2], normed(norm, IMAGES[1:2])[2])


@PROPERTY
@given(groups=st.integers(1, 40), width=st.integers(1, 200))
def test_group_norm_refuses_widths_that_its_groups_do_not_divide(groups, width):
    norm = norms.Group(groups=groups)
    if width in range(groups, 201, groups):
        norm.check_width("model.width", width)
    else:
        rule = f"must divide .* got norm.groups={groups} and model.width={width}$"
        with pytest.raises(ValueError, match=rule):
            norm.check_width("model.width", width)


@pytest.mark.parametrize(
    ("norm", "parameters", "rule"),
    [
        (norms.Batch, {"momentum": 1.0}, "momentum.*less than 1.*1.0"),
        (norms.Batch, {"momentum": -0.1}, "momentum.*greater than or equal to 0.*-0.1"),
        (norms.Batch, {"epsilon": 0.0}, "epsilon.*greater than 0.*0.0"),
        (norms.Layer, {"epsilon": -1e-3}, "epsilon.*greater than 0.*-0.001"),
        (norms.Layer, {"groups": 2}, "groups"),
        (norms.Group, {"groups": 0}, "groups.*greater than or equal to 1.*0"),
        (norms.Group, {"groups": 2.5}, "groups.*integer.*2.5"),
        (norms.NoNorm, {"epsilon": 1e-3}, "epsilon"),
    ],
)
def test_bad_parameters_of_norms_are_refused_with_rule_and_value(norm, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        norm(**parameters)
