"""Networks: their sizes, what they do untrained, and initial weights that depend on names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kexp.dropouts import NoDropout, Spatial, Standard
from kexp.models import DBSRCNN, Convnet, DnCNN, UNet, seed_weights
from kexp.norms import Batch, Group, Layer, NoNorm
from kexp.streams import Streams
from tests.mathematics.backend import array, tensor, whole

VARIANTS = [
    (NoDropout(), NoNorm()),
    (Standard(rate=0.3), NoNorm()),
    (Spatial(rate=0.0), Batch()),
    (NoDropout(), Layer()),
    (Standard(rate=0.0), Group(groups=4)),
]


def small(seed=0, dropout=None, norm=None, model=None):
    """A small network with seeded weights."""
    shape = (12, 12, 1) if isinstance(model, Convnet) else (None, None, 1)
    model = model or DnCNN(depth=4, width=8)
    built = model.build(shape, 1, dropout or NoDropout(), norm or NoNorm())
    seed_weights(built, Streams(seed))
    return built


def parameters(variables) -> int:
    return sum(int(np.prod(v.shape)) for v in variables)


def kernels(model) -> dict[str, np.ndarray]:
    return {v.path: array(v) for v in model.trainable_variables if v.name == "kernel"}


# Sizes


@pytest.mark.parametrize("dropout", [NoDropout(), Standard()], ids=repr)
def test_convnet_has_34826_parameters_as_in_keras_example(dropout):
    model = Convnet().build((28, 28, 1), 10, dropout, NoNorm())
    assert parameters(model.trainable_variables) == 34_826
    assert model.output_shape == (None, 10)


def test_dncnn_of_the_paper_has_the_parameters_of_its_formula():
    model = DnCNN(depth=17, width=64).build((None, None, 1), 1, NoDropout(), Batch())
    first = 9 * 64 + 64
    last = 9 * 64 + 1
    middle = 15 * (9 * 64 * 64 + 64)
    scale_and_offset = running = 15 * 2 * 64
    total = first + middle + scale_and_offset + last
    assert parameters(model.trainable_variables) == total == 557_057
    assert parameters(model.variables) == total + running
    layers = [type(layer) for layer in model.layers]
    assert layers.count(keras.layers.Conv2D) == 17
    assert layers.count(keras.layers.BatchNormalization) == 15


def test_a_norm_stands_between_convolution_and_relu():
    names = [layer.name for layer in small(norm=Batch(), dropout=Standard()).layers]
    assert names[1:] == [
        *("conv_1", "relu_1"),
        *("conv_2", "norm_2", "relu_2"),
        *("conv_3", "norm_3", "relu_3"),
        *("dropout", "conv_4", "clean"),
    ]


@pytest.mark.parametrize("model", [Convnet(filters=[4]), Convnet(filters=[4, 4], kernel_size=2)])
def test_the_smallest_side_of_a_convnet_is_the_smallest(model):
    side = model.smallest_side()
    built = model.build((side, side, 1), 3, NoDropout(), NoNorm())
    assert built.get_layer("flatten").output.shape == (None, 4)
    with pytest.raises(ValueError):
        model.build((side - 1, side - 1, 1), 3, NoDropout(), NoNorm())


# What they do


@pytest.mark.parametrize(("dropout", "norm"), VARIANTS)
def test_an_untrained_dncnn_returns_its_input(dropout, norm):
    noisy = np.random.default_rng(0).normal(0.5, 0.3, (2, 9, 7, 1)).astype(np.float32)
    model = small(dropout=dropout, norm=norm)
    assert np.array_equal(array(whole(model)(tensor(noisy))), noisy)


def test_dncnn_subtracts_what_its_last_layer_estimates():
    model = small()
    model.get_layer("conv_4").bias.assign([0.25])
    noisy = np.full((2, 9, 7, 1), 0.75, np.float32)
    assert np.array_equal(array(whole(model)(tensor(noisy))), np.full_like(noisy, 0.5))


def test_dncnn_takes_images_of_any_size():
    model = small(norm=Batch())
    model.get_layer("conv_4").kernel.assign(np.full((3, 3, 8, 1), 0.1))
    for height, width in [(1, 1), (40, 23)]:
        noisy = np.ones((2, height, width, 1), np.float32)
        assert whole(model)(tensor(noisy)).shape == noisy.shape


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (Convnet(filters=[32, 60]), "norm.groups=8 and model.filters=60"),
        (DnCNN(width=30), "norm.groups=8 and model.width=30"),
    ],
)
def test_a_width_that_the_norm_cannot_take_is_refused(model, rule):
    model.check(NoNorm())
    with pytest.raises(ValueError, match=rule):
        model.check(Group(groups=8))


@pytest.mark.parametrize(
    ("model", "keys", "rule"),
    [
        (DnCNN, {"depth": 1}, "depth.*greater than or equal to 2.*1"),
        (DnCNN, {"width": 0}, "width.*greater than or equal to 1.*0"),
        (Convnet, {"filters": []}, "filters.*at least 1 item"),
        (Convnet, {"filters": [32, -1]}, "filters.*greater than or equal to 1.*-1"),
        (Convnet, {"kernel_size": 2.5}, "kernel_size.*integer.*2.5"),
        (Convnet, {"width": 32}, "width"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(model, keys, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        model(**keys)


# DBSRCNN


def test_dbsrcnn_of_the_paper_has_105921_parameters():
    model = DBSRCNN().build((None, None, 1), 1, NoDropout(), NoNorm())
    assert parameters(model.trainable_variables) == 105_921
    kernels = [layer.kernel.shape for layer in model.layers if hasattr(layer, "kernel")]
    assert [tuple(shape) for shape in kernels] == [
        *((9, 9, 1, 32), (5, 5, 32, 32)),
        *((5, 5, 64, 32), (5, 5, 32, 32), (5, 5, 32, 1)),
    ]


def test_dbsrcnn_joins_the_first_two_layers():
    """With all other kernels zero, the output is that of the first layer or of the second."""
    image = np.random.default_rng(0).random((1, 21, 18, 1), np.float32)
    model = small(model=DBSRCNN(width=4))
    first = array(keras.Model(model.inputs, model.get_layer("relu_1").output)(tensor(image)))
    second = array(keras.Model(model.inputs, model.get_layer("relu_2").output)(tensor(image)))
    for number in (3, 4):
        kernel = np.zeros(model.get_layer(f"conv_{number}").kernel.shape, np.float32)
        kernel[2, 2, :4] = np.eye(4)
        model.get_layer(f"conv_{number}").kernel.assign(kernel)
    for maps, at in ((first, 0), (second, 4)):
        kernel = np.zeros((5, 5, 8, 4), np.float32)
        kernel[2, 2, at : at + 4] = np.eye(4)
        model.get_layer("conv_3").kernel.assign(kernel)
        last = np.zeros((5, 5, 4, 1), np.float32)
        last[2, 2] = 1
        model.get_layer("output").kernel.assign(last)
        expected = maps.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(array(model(tensor(image))), expected, rtol=1e-5, atol=1e-6)


def test_norm_and_dropout_in_dbsrcnn_stand_where_they_do_in_others():
    model = small(norm=Batch(), dropout=Standard(), model=DBSRCNN(width=4))
    assert [layer.name for layer in model.layers[1:]] == [
        *("conv_1", "norm_1", "relu_1"),
        *("conv_2", "norm_2", "relu_2", "join"),
        *("conv_3", "norm_3", "relu_3"),
        *("conv_4", "norm_4", "relu_4"),
        *("dropout", "output"),
    ]


# Initial weights


def test_layers_in_common_start_alike_whatever_the_norm_and_dropout():
    first, *others = [kernels(small(dropout=d, norm=n)) for d, n in VARIANTS]
    assert list(first) == [f"conv_{i}/kernel" for i in (1, 2, 3, 4)]
    for other in others:
        assert list(other) == list(first)
        for path, kernel in first.items():
            assert np.array_equal(kernel, other[path])


def test_layers_in_common_start_alike_in_networks_of_different_depth():
    shallow, deep = kernels(small()), kernels(small(model=DnCNN(depth=6, width=8)))
    for path in ("conv_1/kernel", "conv_2/kernel", "conv_3/kernel"):
        assert np.array_equal(shallow[path], deep[path])


def test_initial_weights_come_from_the_seed_alone():
    model, one, two = small(seed=1), kernels(small(seed=1)), kernels(small(seed=2))
    assert all(np.array_equal(kernel, one[path]) for path, kernel in kernels(model).items())
    seed_weights(model, Streams(2))
    assert all(np.array_equal(kernel, two[path]) for path, kernel in kernels(model).items())
    for path in ("conv_1/kernel", "conv_2/kernel", "conv_3/kernel"):
        assert not np.any(one[path] == two[path])


def test_layers_of_the_same_shape_start_differently():
    weights = kernels(small())
    assert weights["conv_2/kernel"].shape == weights["conv_3/kernel"].shape
    assert not np.any(weights["conv_2/kernel"] == weights["conv_3/kernel"])


def test_initial_kernels_are_glorot_uniform_and_the_rest_is_as_keras_has_it():
    model = small(model=Convnet(filters=[64, 64]), norm=Batch(), dropout=Standard(rate=0.3))
    kernel = kernels(model)["conv_2/kernel"]
    limit = np.sqrt(6 / (9 * 64 + 9 * 64))
    assert np.abs(kernel).max() == pytest.approx(limit, rel=1e-2)
    assert kernel.var() == pytest.approx(limit**2 / 3, rel=0.03)
    assert kernel.mean() == pytest.approx(0.0, abs=0.03 * limit)
    norm = model.get_layer("norm_1")
    assert np.all(array(norm.gamma) == 1) and np.all(array(norm.beta) == 0)
    assert np.all(array(model.get_layer("conv_1").bias) == 0)
    assert float(array(model.get_layer("dropout").rate)) == pytest.approx(0.3)


# U-Net


@pytest.mark.parametrize("side", [(4, 4), (17, 10), (23, 32)])
@pytest.mark.parametrize("levels", [1, 2])
def test_the_output_of_a_u_net_has_the_sides_of_its_input(side, levels):
    model = UNet(levels=levels, width=4).build((None, None, 1), 2, NoDropout(), NoNorm())
    assert model(tensor(np.zeros((2, *side, 1), np.float32))).shape == (2, *side, 2)


def test_a_u_net_has_the_parameters_of_its_formula():
    model = UNet(levels=2, width=8).build((None, None, 3), 2, Standard(), Batch())

    def convolution(inputs, outputs):
        return 9 * inputs * outputs + outputs + 2 * outputs  # the latter γ and β

    pairs = [(3, 8), (8, 16), (16, 32), (32 + 16, 16), (16 + 8, 8)]
    total = sum(convolution(a, b) + convolution(b, b) for a, b in pairs)
    assert parameters(model.trainable_variables) == total + 9 * 8 * 2 + 2


def test_a_u_net_sees_as_far_as_its_levels_and_joins_what_belongs_together():
    """A change of one pixel reaches its own place; far from it, nothing."""
    model = small(model=UNet(levels=1, width=4))

    def of(image):
        return array(model(tensor(image)))[0, ..., 0]

    image = np.random.default_rng(0).random((1, 33, 33, 1), np.float32)
    other = image.copy()
    other[0, 16, 16] += 1
    changed = np.argwhere(of(other) != of(image))
    assert [16, 16] in changed.tolist()
    assert np.abs(changed - 16).max() <= 3 + 2 * 5
