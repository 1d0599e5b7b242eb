"""Image losses: a number by hand, a reference, properties, gradients, refusals."""

from __future__ import annotations

import functools
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser
from scipy import ndimage
from skimage.metrics import structural_similarity

from kexp.losses import MsSsim, ScaleShiftInvariant, Ssim
from kexp.losses.image import trimmed_mean
from kexp.objective import with_variables
from tests import references
from tests.mathematics.backend import (
    PROPERTY,
    TENSORFLOW,
    array,
    central_difference,
    gradient,
    tensor,
    whole,
)

RNG = np.random.default_rng(11)
SSIM, MS_SSIM, SSI, TRIMMED = Ssim(), MsSsim(), ScaleShiftInvariant(), ScaleShiftInvariant(trim=0.2)
IMAGE = {
    "ssim": (SSIM, references.ssim_loss),
    "ms_ssim": (MS_SSIM, partial(references.ms_ssim_loss, scales=2)),
    "ssi": (SSI, partial(references.ssi, trim=0.0, gradient_weight=0.5, scales=4)),
    "ssi_trimmed": (TRIMMED, partial(references.ssi, trim=0.2, gradient_weight=0.5, scales=4)),
}
image = pytest.mark.parametrize(("loss", "reference"), IMAGE.values(), ids=IMAGE.keys())
similarity = pytest.mark.parametrize("loss", [SSIM, MS_SSIM], ids=["ssim", "ms_ssim"])
depth = pytest.mark.parametrize("loss", [SSI, TRIMMED], ids=["ssi", "ssi_trimmed"])
seeds = st.integers(0, 2**32 - 1)


def pair(shape=(2, 23, 22, 2), seed=3, noise=0.2):
    """A smooth image with structure at all scales, and a noisy copy; both about in [0, 1]."""
    rng = np.random.default_rng(seed)
    blur = (0, 1.5, 1.5, 0)
    y = 0.5 + ndimage.gaussian_filter(rng.normal(size=shape), blur)
    return y.astype(np.float32), (y + noise * rng.normal(size=shape)).astype(np.float32)


def of(loss, y, y_hat):
    """The loss of each image as NumPy."""
    return array(whole(loss.__call__)(tensor(y), tensor(y_hat)))


@functools.cache
def sum_of(loss):
    return whole(lambda y, y_hat: keras.ops.sum(loss(y, y_hat)))


def slope(loss, y, y_hat):
    """Gradient for the prediction."""
    return gradient(lambda p: sum_of(loss)(tensor(y), p), y_hat)


# Numbers worked out by hand


def flat(value, side=24):
    return np.full((1, side, side, 1), value, np.float32)


def test_ssim_of_flat_images_is_their_luminance_factor():
    expected = 1 - (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert of(SSIM, flat(0.25), flat(0.75)) == pytest.approx([expected], rel=1e-5)


def test_ms_ssim_of_flat_images_is_their_luminance_factor_to_the_last_weight():
    luminance = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    expected = 1 - luminance ** (0.2856 / (0.0448 + 0.2856))
    assert of(MS_SSIM, flat(0.25), flat(0.75)) == pytest.approx([expected], rel=1e-5)


def test_ssim_of_an_image_and_its_negative():
    y = np.indices((11, 11)).sum(axis=0)[None, :, :, None] % 2  # one window: a chessboard
    window = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    black = np.outer(window, window)[y[0, :, :, 0] == 0].sum() / window.sum() ** 2
    variance = black * (1 - black)  # of both; the covariance is −variance
    contrast = (9e-4 - 2 * variance) / (9e-4 + 2 * variance)
    luminance = (2 * variance + 1e-4) / (black**2 + (1 - black) ** 2 + 1e-4)
    assert of(SSIM, y, 1 - y) == pytest.approx([1 - luminance * contrast], rel=1e-5)


Y = np.array([0.0, 1.0, 2.0, 5.0], np.float32).reshape(1, 2, 2, 1)
Y_HAT = np.array([0.0, 2.0, 1.0, 3.0], np.float32).reshape(1, 2, 2, 1)
"""t = 1.5 for both, s = 1.5 and 1: d̂* = (−1, −⅓, ⅓, 7/3), d̂ = (−1.5, ½, −½, 1.5), so that
R = (−½, ⅚; −⅚, −⅚), with the steps 4/3 and 0 along the rows, −⅓ and −5/3 along the columns."""


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"gradient_weight": 0.0}, 3 / 8),  # (½ + 3·⅚)/(2·4)
        ({}, 3 / 8 + 0.5 * 5 / 6),  # 10/3 of steps over 4 pixels; one pixel at the next scale
        ({"gradient_weight": 2.0, "scales": 1}, 3 / 8 + 2 * 5 / 6),
        ({"gradient_weight": 0.0, "trim": 0.25}, 13 / 48),  # one ⅚ left out, still over 2·4
        ({"gradient_weight": 0.0, "trim": 0.5}, 4 / 24),
        ({"gradient_weight": 0.0, "trim": 0.75}, 1 / 16),
    ],
)
def test_depth_loss_by_hand(parameters, expected):
    loss = ScaleShiftInvariant(**parameters)
    assert of(loss, Y, Y_HAT) == pytest.approx([expected], rel=1e-5)


# The references


@image
@PROPERTY
@given(seed=seeds)
def test_image_loss_is_its_reference(loss, reference, seed):
    y, y_hat = pair(seed=seed)
    np.testing.assert_allclose(of(loss, y, y_hat), reference(y, y_hat), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("scales", "side"), [(1, 11), (1, 14), (2, 25), (3, 45), (3, 47), (4, 89), (5, 176), (5, 179)]
)
def test_ms_ssim_is_its_reference_at_every_number_of_scales(scales, side):
    y, y_hat = pair((1, side, side + 1, 1))
    expected = references.ms_ssim_loss(y, y_hat, scales)
    np.testing.assert_allclose(of(MsSsim(scales=scales), y, y_hat), expected, rtol=2e-5)


@pytest.mark.skipif(not TENSORFLOW, reason="the second opinion is TensorFlow's")
@pytest.mark.parametrize("shape", [(2, 176, 176, 1), (1, 181, 200, 3)])
def test_ms_ssim_of_five_scales_is_that_of_tensorflow(shape):
    import tensorflow as tf

    y, y_hat = pair(shape)
    expected = 1 - tf.image.ssim_multiscale(y, y_hat, max_val=1.0).numpy()
    np.testing.assert_allclose(of(MsSsim(scales=5), y, y_hat), expected, rtol=3e-4)  # its float32


@pytest.mark.skipif(not TENSORFLOW, reason="the second opinion is TensorFlow's")
def test_ssim_is_that_of_tensorflow():
    import tensorflow as tf

    y, y_hat = pair()
    expected = 1 - tf.image.ssim(y, y_hat, max_val=1.0).numpy()
    np.testing.assert_allclose(of(SSIM, y, y_hat), expected, rtol=2e-5)


def test_ssim_is_that_of_skimage_and_of_the_yardstick_reference():
    y, y_hat = pair((1, 20, 31, 1))
    options = {"data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False}
    skimage = structural_similarity(y[0, :, :, 0], y_hat[0, :, :, 0], sigma=1.5, **options)
    assert of(SSIM, y, y_hat) == pytest.approx([1 - skimage], rel=2e-5)
    assert skimage == pytest.approx(references.ssim(y[0, :, :, 0], y_hat[0, :, :, 0]), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 2, 2, 1), (1, 2, 9, 1), (2, 5, 4, 3), (1, 17, 33, 1)])
@pytest.mark.parametrize("trim", [0.0, 0.1, 0.2, 0.5, 0.9])
def test_depth_loss_is_its_reference_at_any_size(shape, trim):
    y, y_hat = RNG.normal(size=(2, *shape)).astype(np.float32)
    loss = ScaleShiftInvariant(trim=trim, gradient_weight=0.3, scales=5)
    expected = references.ssi(y, y_hat, trim=trim, gradient_weight=0.3, scales=5)
    np.testing.assert_allclose(of(loss, y, y_hat), expected, rtol=2e-5)


def test_ms_ssim_of_one_scale_is_ssim():
    y, y_hat = pair()
    np.testing.assert_allclose(of(MsSsim(scales=1), y, y_hat), of(SSIM, y, y_hat), rtol=1e-5)


# Properties


@image
@PROPERTY
@given(seed=seeds)
def test_image_loss_is_zero_for_a_perfect_prediction(loss, reference, seed):
    y, _ = pair(seed=seed)
    assert of(loss, y, y) == pytest.approx([0, 0], abs=1e-6)


@image
@PROPERTY
@given(seed=seeds, noise=st.floats(0, 3))
def test_image_loss_is_symmetric_and_not_negative(loss, reference, seed, noise):
    y, y_hat = pair(seed=seed, noise=noise)
    values = of(loss, y, y_hat)
    assert np.all(values >= -1e-6)
    np.testing.assert_allclose(values, of(loss, y_hat, y), rtol=1e-5, atol=1e-6)


@similarity
@PROPERTY
@given(seed=seeds, sign=st.sampled_from([-1, 1]))
def test_dissimilarity_is_at_most_two_or_one(loss, seed, sign):
    y, noise = np.random.default_rng(seed).random((2, 2, 23, 22, 2), np.float32)
    most = 2 if loss is SSIM else 1
    assert np.all(of(loss, y, (1 - y) if sign < 0 else noise) <= most + 1e-6)


@depth
@PROPERTY
@given(seed=seeds, scale=st.floats(0.1, 10), shift=st.floats(-2, 2))
def test_depth_loss_ignores_scale_and_shift_of_either_map(loss, seed, scale, shift):
    y, y_hat = pair(seed=seed)
    values = of(loss, y, y_hat)
    np.testing.assert_allclose(of(loss, y, scale * y_hat + shift), values, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(of(loss, scale * y + shift, y_hat), values, rtol=1e-3, atol=1e-5)


@depth
def test_depth_loss_tells_a_map_from_its_negative(loss):
    y, _ = pair()
    assert np.all(of(loss, y, -y) > 0.5)


def trimmed(values, trim):
    """The trimmed mean of values that are all known."""
    return array(trimmed_mean(tensor(values), tensor(np.ones_like(values), "bool"), trim))


@PROPERTY
@given(seed=seeds, trim=st.floats(0, 0.99), wild=st.floats(2, 1e6))
def test_trimming_ignores_up_to_its_share_of_wild_values(seed, trim, wild):
    rng = np.random.default_rng(seed)
    values = rng.random((3, 50), np.float32)
    outliers = int(trim * 50 + 1e-6)
    tame = np.sort(values, axis=1)
    tame[:, 50 - outliers :] = 1.0
    wilder = tame.copy()
    wilder[:, 50 - outliers :] = wild
    means = [trimmed(rng.permuted(v, axis=1), trim) for v in (tame, wilder)]
    np.testing.assert_allclose(*means, rtol=1e-5, atol=1e-7)


def test_trimming_is_per_image():
    tame = np.tile(np.float32([1, 1, 1, 1]), (2, 1))
    tame[0] = 100
    assert trimmed(tame, 0.25) == pytest.approx([75, 0.75])


def test_wild_target_pixels_cost_less_where_they_are_trimmed():
    y, _ = pair((1, 20, 20, 1))
    wild = y.copy()
    wild[0, ::7, ::5, 0] = 3.0  # 3 % of the pixels
    plain, trimmed = (
        of(ScaleShiftInvariant(trim=trim, gradient_weight=0.0), wild, y)[0] for trim in (0.0, 0.1)
    )
    assert trimmed < 0.6 * plain


@image
def test_images_of_a_batch_do_not_mix(loss, reference):
    y, y_hat = pair((3, 23, 22, 1))
    alone = np.concatenate([of(loss, y[i : i + 1], y_hat[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(of(loss, y, y_hat), alone, rtol=1e-5)


# Numbers as variables


def test_trim_and_gradient_weight_may_be_variables():
    y, y_hat = pair()
    twin, variables = with_variables(TRIMMED)
    assert set(variables) == {"trim", "gradient_weight"} and twin.scales == 4
    for trim, weight in ((0.2, 0.5), (0.0, 0.1), (0.7, 0.0)):
        variables["trim"].assign(trim)
        variables["gradient_weight"].assign(weight)
        expected = references.ssi(y, y_hat, trim=trim, gradient_weight=weight, scales=4)
        values = array(twin(tensor(y), tensor(y_hat)))
        np.testing.assert_allclose(values, expected, rtol=2e-5)


@pytest.mark.skipif(not TENSORFLOW, reason="as TensorFlow's engine calls a loss")
@image
def test_number_of_images_may_be_unknown(loss, reference):
    import tensorflow as tf

    y, y_hat = pair()
    spec = tf.TensorSpec([None, *y.shape[1:]])
    twin, _ = with_variables(loss)
    values = tf.function(lambda y, y_hat: twin(y, y_hat), input_signature=[spec, spec])(y, y_hat)
    np.testing.assert_allclose(values, of(loss, y, y_hat), rtol=1e-5)


# Gradients


@pytest.mark.parametrize(
    ("loss", "reference", "shape"),
    [
        (*IMAGE["ssim"], (2, 12, 13, 2)),
        (*IMAGE["ms_ssim"], (1, 23, 22, 1)),
        (*IMAGE["ssi"], (2, 5, 4, 1)),
        (*IMAGE["ssi"], (1, 5, 5, 1)),
        (*IMAGE["ssi_trimmed"], (2, 6, 5, 1)),
    ],
)
def test_gradient_of_an_image_loss_is_a_central_difference(loss, reference, shape):
    y, y_hat = pair(shape)
    expected = central_difference(lambda p: reference(y, p).sum(), y_hat)
    atol = 2e-4 * np.abs(expected).max()
    np.testing.assert_allclose(slope(loss, y, y_hat), expected, rtol=1e-3, atol=atol)


@image
def test_gradient_is_zero_for_a_perfect_prediction(loss, reference):
    y, _ = pair()
    # Not compiled: a compiler may round y and ŷ apart, and |r| has a kink at 0.
    at_y = gradient(lambda p: keras.ops.sum(loss(tensor(y), p)), y)
    assert at_y == pytest.approx(np.zeros(y.shape), abs=1e-5)


@image
@pytest.mark.parametrize(
    ("y", "y_hat"),
    [
        (flat(0.5), flat(0.5)),
        (flat(0.0), flat(0.0)),
        (flat(0.0), flat(1.0)),
        (pair((1, 24, 24, 1))[0], flat(0.5)),
        (flat(0.5), pair((1, 24, 24, 1))[0]),
        (pair((1, 24, 24, 1))[0], 1 - pair((1, 24, 24, 1))[0]),
    ],
    ids=["grey", "black", "black, white", "predicts grey", "grey target", "negative"],
)
def test_value_and_gradient_are_finite_where_there_is_no_structure(loss, reference, y, y_hat):
    assert np.all(np.isfinite(of(loss, y, y_hat)))
    assert np.all(np.isfinite(slope(loss, y, y_hat)))


@image
def test_image_loss_falls_along_its_gradient(loss, reference):
    y, y_hat = pair((1, 24, 24, 1))
    values = [of(loss, y, y_hat)[0]]
    for _ in range(8):
        step = slope(loss, y, y_hat)
        y_hat = y_hat - 0.01 * step / np.abs(step).max()
        values.append(of(loss, y, y_hat)[0])
    assert np.all(np.diff(values) < 0)


# Refusals


@image
@pytest.mark.parametrize(
    ("y", "y_hat"),
    [
        ((2, 24, 24, 1), (2, 24, 24, 3)),
        ((2, 24, 24, 1), (2, 24, 24)),
        ((1, 24, 24, 1), (2, 24, 24, 1)),
        ((2, 24, 25, 1), (2, 25, 24, 1)),
    ],
)
def test_a_target_is_never_broadcast_against_a_prediction(loss, reference, y, y_hat):
    with pytest.raises(ValueError, match="same shape") as refusal:
        loss(keras.ops.zeros(y), keras.ops.zeros(y_hat))
    assert str(y) in str(refusal.value) and str(y_hat) in str(refusal.value)


@image
@pytest.mark.parametrize("shape", [(24, 24, 1), (24,), (1, 24, 24, 1, 1)])
def test_only_images_are_taken(loss, reference, shape):
    with pytest.raises(ValueError, match=r"needs images of shape \(n, height") as refusal:
        loss(keras.ops.zeros(shape), keras.ops.zeros(shape))
    assert type(loss).__name__ in str(refusal.value) and str(shape) in str(refusal.value)


SMALLEST = [(SSIM, 11), *((MsSsim(scales=i), 11 * 2 ** (i - 1)) for i in range(1, 6)), (SSI, 2)]


@pytest.mark.parametrize(("loss", "least"), SMALLEST)
def test_small_images_are_refused_by_their_side(loss, least):
    loss.check_side("task.patch", least)
    with pytest.raises(ValueError, match=f"needs images of {least}×{least} at least") as refusal:
        loss.check_side("task.patch", least - 1)
    assert f"got task.patch={least - 1}" in str(refusal.value)


def test_the_refusal_names_the_parameter_that_asks_for_the_size():
    rule = r"^loss\.scales=5 needs images of 176×176 at least, got task\.patch=40$"
    with pytest.raises(ValueError, match=rule):
        MsSsim(scales=5).check_side("task.patch", 40)


@pytest.mark.parametrize(("loss", "least"), SMALLEST)
@pytest.mark.parametrize("axis", [1, 2])
def test_small_images_are_refused_when_called(loss, least, axis):
    shape = [1, least, least, 1]
    shape[axis] -= 1
    with pytest.raises(ValueError, match=f"{least}×{least} at least.*={least - 1}"):
        loss(keras.ops.zeros(shape), keras.ops.zeros(shape))


@pytest.mark.parametrize(
    ("loss", "parameters", "rule"),
    [
        (MsSsim, {"scales": 0}, "scales.*greater than or equal to 1.*0"),
        (MsSsim, {"scales": 6}, "scales.*less than or equal to 5.*6"),
        (MsSsim, {"scales": 2.0}, "scales.*integer.*2.0"),
        (ScaleShiftInvariant, {"trim": 1.0}, "trim.*less than 1.*1.0"),
        (ScaleShiftInvariant, {"trim": -0.1}, "trim.*greater than or equal to 0.*-0.1"),
        (ScaleShiftInvariant, {"trim": float("nan")}, "trim.*nan"),
        (ScaleShiftInvariant, {"gradient_weight": -1.0}, "gradient_weight.*or equal to 0.*-1.0"),
        (ScaleShiftInvariant, {"scales": 0}, "scales.*greater than or equal to 1.*0"),
        (Ssim, {"sigma": 1.5}, "sigma"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(loss, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        loss(**parameters)


# What a loss says of itself


@image
def test_targets_and_formula(loss, reference):
    of_depth = ("depth regression",) if isinstance(loss, ScaleShiftInvariant) else ()
    assert loss.targets == ("image regression", *of_depth)
    assert loss.formula.startswith("L = ") and "\n" not in loss.formula
    MathTextParser("path").parse(f"${loss.formula}$")
