"""DropConnect by reduction to Keras's layers, its masks and moments; and drawing at inference."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kexp import layers
from tests import references
from tests.mathematics.backend import array, gradient, tensor

DENSE = (layers.DropConnectDense, keras.layers.Dense, {"units": 40}, (50,))
CONV = (layers.DropConnectConv2D, keras.layers.Conv2D, {"filters": 40, "kernel_size": 3}, (3, 3, 6))
KINDS = {"dense": DENSE, "conv": CONV}
"""DropConnect's layer, Keras's, its size, and the shape of one input that meets every weight."""

SETTINGS = {
    "dense": (*DENSE, {}),
    "dense, no bias": (*DENSE, {"use_bias": False, "activation": "relu"}),
    "dense of maps": (*DENSE[:3], (2, 3, 50), {"activation": "softmax"}),
    "conv": (*CONV, {}),
    "conv, same": (*CONV[:3], (7, 8, 6), {"padding": "same", "activation": "relu"}),
    "conv, strides": (*CONV[:3], (7, 8, 6), {"strides": 2, "padding": "same"}),
    "conv, dilation": (*CONV[:3], (7, 8, 6), {"dilation_rate": 2, "use_bias": False}),
}

kinds = pytest.mark.parametrize(("kind", "plain", "size", "shape"), KINDS.values(), ids=KINDS)
settings = pytest.mark.parametrize(
    ("kind", "plain", "size", "shape", "more"), SETTINGS.values(), ids=SETTINGS
)


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def built(kind, shape, **config):
    """A layer named "here" whose kernel and bias are the same whatever its class."""
    layer = kind(**config, name="here")
    layer.build((None, *shape))
    for seed, variable in enumerate(layer.trainable_variables):
        variable.assign(values(*variable.shape, seed=seed + 10))
    return layer


def train(layer, x, seed: int = 1) -> np.ndarray:
    """What the layer makes of `x` in training, with its random stream set to `seed`."""
    layer.seed_generator.state.assign([seed, 0])
    return array(layer(tensor(x), training=True))


def units(shape) -> np.ndarray:
    """Inputs of which each meets one weight of each filter, so that outputs are the kernel."""
    count = int(np.prod(shape))
    return np.eye(count, dtype=np.float32).reshape(count, *shape)


def factors(kind, size, shape, rate, seed: int = 1) -> np.ndarray:
    """By what each weight of a kernel is multiplied, one row per weight of a filter."""
    layer = built(kind, shape, **size, rate=rate)
    layer.kernel.assign(np.ones(layer.kernel.shape))
    layer.bias.assign(np.zeros(layer.bias.shape))
    return train(layer, units(shape), seed).reshape(-1, layer.kernel.shape[-1])


# Reduction to Keras's layers


@settings
def test_rate_0_is_the_plain_layer(kind, plain, size, shape, more):
    x = values(4, *shape)
    layer, twin = built(kind, shape, rate=0.0, **size, **more), built(plain, shape, **size, **more)
    assert np.array_equal(train(layer, x), array(twin(tensor(x))))


@settings
def test_inference_is_the_plain_layer(kind, plain, size, shape, more):
    x = tensor(values(4, *shape))
    layer, twin = built(kind, shape, rate=0.7, **size, **more), built(plain, shape, **size, **more)
    assert np.array_equal(array(layer(x)), array(twin(x)))
    assert np.array_equal(array(layer(x, training=False)), array(twin(x)))
    assert not np.array_equal(train(layer, x), array(twin(x)))


@settings
def test_training_is_the_plain_layer_with_the_kernel_dropped(kind, plain, size, shape, more):
    x = values(4, *shape)
    layer, twin = built(kind, shape, rate=0.4, **size, **more), built(plain, shape, **size, **more)
    mask = factors(kind, size, twin.kernel.shape[:-1], 0.4).reshape(twin.kernel.shape)
    twin.kernel.assign(array(twin.kernel) * mask)
    np.testing.assert_allclose(train(layer, x), array(twin(tensor(x))), rtol=1e-5, atol=1e-5)


@kinds
def test_variables_have_the_names_of_the_plain_layer(kind, plain, size, shape):
    models = []
    for config in ({"rate": 0.3}, None):
        inputs = keras.Input(shape)
        layer = (
            plain(**size, name="here") if config is None else kind(**size, **config, name="here")
        )
        models.append(keras.Model(inputs, layer(inputs)))
    ours, theirs = ([(v.path, v.name, v.shape) for v in m.trainable_variables] for m in models)
    assert ours == theirs
    assert [path for path, _, _ in ours] == ["here/kernel", "here/bias"]
    layer = models[0].get_layer("here")
    assert [v.path for v in layer.weights] == ["here/kernel", "here/bias", "here/rate"]
    assert not layer.rate.trainable


@kinds
def test_output_shape_is_that_of_the_plain_layer(kind, plain, size, shape):
    layer, twin = kind(**size, rate=0.3), plain(**size)
    assert layer.compute_output_shape((5, *shape)) == twin.compute_output_shape((5, *shape))


# Masks and moments


@kinds
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_weights_are_dropped_at_the_rate_and_the_others_scaled(kind, plain, size, shape, rate):
    found = factors(kind, size, shape, rate)
    assert np.unique(found) == pytest.approx([0, 1 / (1 - rate)])
    mean, variance, zeros = references.dropout_moments(rate)
    error = 5 * np.sqrt(1 / found.size)
    assert np.mean(found == 0) == pytest.approx(zeros, abs=error * np.sqrt(rate * (1 - rate)))
    assert found.mean() == pytest.approx(mean, abs=error * np.sqrt(variance))


@kinds
def test_every_weight_has_a_draw_of_its_own(kind, plain, size, shape):
    dropped = factors(kind, size, shape, 0.5) == 0
    assert len(np.unique(dropped, axis=0)) == dropped.shape[0]
    assert len(np.unique(dropped, axis=1).T) == dropped.shape[1]


@kinds
@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_outputs_have_the_moments_of_the_reference(kind, plain, size, shape, rate):
    """Filters with the same weights, so that they differ in their draws alone."""
    count, x = 4000, values(1, *shape)
    layer = built(kind, shape, **{**size, next(iter(size)): count}, rate=rate)
    weights = values(*layer.kernel.shape[:-1], 1, seed=3)
    layer.kernel.assign(np.broadcast_to(weights, layer.kernel.shape))
    layer.bias.assign(np.full(count, 0.5))
    outputs = train(layer, x).ravel()
    mean, variance = references.dropconnect_moments(x, weights, rate)
    assert outputs.mean() == pytest.approx(0.5 + mean, abs=5 * np.sqrt(variance / count))
    assert outputs.var() == pytest.approx(variance, rel=12 * np.sqrt(1 / count))


@kinds
def test_a_batch_shares_its_mask(kind, plain, size, shape):
    x = np.repeat(values(1, *shape), 5, axis=0)
    outputs = train(built(kind, shape, **size, rate=0.5), x)
    np.testing.assert_allclose(outputs, np.repeat(outputs[:1], 5, axis=0), rtol=1e-4, atol=1e-5)


@kinds
def test_the_same_state_gives_the_same_mask_and_the_next_call_another(kind, plain, size, shape):
    x = values(2, *shape)
    layer, twin = (built(kind, shape, **size, rate=0.5) for _ in range(2))
    first = train(layer, x)
    following = array(layer(tensor(x), training=True))
    assert np.array_equal(first, train(twin, x))
    assert not np.array_equal(first, following)
    assert not np.array_equal(first, train(layer, x, seed=2))


@kinds
def test_the_rate_is_a_variable(kind, plain, size, shape):
    x = values(2, *shape)
    layer = built(kind, shape, **size, rate=0.1)
    layer.rate.assign(0.75)
    assert np.array_equal(train(layer, x), train(built(kind, shape, **size, rate=0.75), x))


@kinds
def test_a_bias_is_never_dropped(kind, plain, size, shape):
    layer = built(kind, shape, **size, rate=0.9)
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    outputs = train(layer, values(3, *shape)).reshape(3, -1)
    assert np.array_equal(outputs, np.tile(array(layer.bias), (3, 1)))


@kinds
def test_gradient_of_the_kernel_is_only_where_weights_are_kept(kind, plain, size, shape):
    layer = built(kind, shape, **size, rate=0.5)
    mask = factors(kind, size, shape, 0.5).reshape(layer.kernel.shape)
    layer.seed_generator.state.assign([1, 0])
    kernel, bias = (array(v) for v in layer.trainable_variables)
    state = [v.value for v in layer.non_trainable_variables]
    ones = tensor(np.ones((1, *shape)))

    def total(kernel, bias):
        outputs, _ = layer.stateless_call([kernel, bias], state, ones, training=True)
        return keras.ops.sum(outputs)

    np.testing.assert_allclose(gradient(lambda k: total(k, tensor(bias)), kernel), mask, rtol=1e-6)
    slope = gradient(lambda b: total(tensor(kernel), b), bias)
    np.testing.assert_allclose(slope, np.ones(bias.shape), rtol=1e-6)


@kinds
def test_dtype_is_kept_in_mixed_precision(kind, plain, size, shape):
    layer = built(kind, shape, **size, rate=0.5, dtype="mixed_float16")
    assert train(layer, values(2, *shape)).dtype == np.float16
    for variable in layer.weights:
        assert keras.backend.standardize_dtype(variable.dtype) == "float32"


# Making, saving and refusing


@settings
def test_a_layer_comes_back_from_its_config(kind, plain, size, shape, more):
    layer = built(kind, shape, **size, **more, rate=0.3)
    layer.active_at_inference = True
    config = layer.get_config()
    assert config["rate"] == 0.3
    assert "active_at_inference" not in config
    again = kind.from_config(config)
    assert again.get_config() == config
    theirs = plain(**size, **more, name="here").get_config()
    assert {**theirs, "rate": 0.3} == config
    assert not again.active_at_inference


@settings
def test_saved_layers_come_back_with_the_rate_they_had(kind, plain, size, shape, more, tmp_path):
    inputs = keras.Input(shape)
    layer = kind(**size, **more, rate=0.1, name="here")
    model = keras.Model(inputs, layer(inputs))
    layer.rate.assign(0.5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    found = again.get_layer("here")
    assert type(found) is kind
    assert found.get_config()["rate"] == 0.1
    assert float(array(found.rate)) == 0.5
    x = values(2, *shape)
    assert np.array_equal(train(found, x), train(layer, x))
    model.save_weights(tmp_path / "model.weights.h5")
    found.rate.assign(0.9)
    again.load_weights(tmp_path / "model.weights.h5")
    assert float(array(found.rate)) == 0.5


@kinds
@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_layer_refuses_a_rate_outside_0_and_1(kind, plain, size, shape, rate):
    with pytest.raises(ValueError, match=rf"rate must be in \[0, 1\), got rate={rate}"):
        kind(**size, rate=rate)


@kinds
def test_a_rate_must_be_given(kind, plain, size, shape):
    with pytest.raises(TypeError, match="rate"):
        kind(**size)


# Drawing at inference


@pytest.mark.parametrize(
    "make",
    [
        layers.Dropout,
        layers.SpatialDropout,
        layers.GaussianDropout,
        lambda rate: layers.DropConnectDense(4, rate=rate),
        lambda rate: layers.DropConnectConv2D(4, 3, rate=rate),
    ],
    ids=["dropout", "spatial", "gaussian", "dropconnect dense", "dropconnect conv"],
)
def test_a_layer_can_draw_at_inference(make):
    layer, x = make(0.5), tensor(values(3, 6, 7, 5))
    still = array(layer(x, training=False))
    drawn = train(layer, x)
    assert layer.active_at_inference is False
    layer.active_at_inference = True
    for call in (lambda: layer(x, training=False), lambda: layer(x)):
        layer.seed_generator.state.assign([1, 0])
        assert np.array_equal(array(call()), drawn)
    assert not np.array_equal(array(layer(x, training=False)), drawn)
    assert "active_at_inference" not in layer.get_config()
    layer.active_at_inference = False
    assert np.array_equal(array(layer(x, training=False)), still)
    assert not np.array_equal(drawn, still)
