"""Losses: a number by hand, an independent reference, properties, gradients, refusals."""

from __future__ import annotations

import functools
import itertools
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kexp.choice import numbers
from kexp.losses import (
    Absolute,
    Charbonnier,
    CrossEntropy,
    Focal,
    Huber,
    LabelSmoothing,
    Quadratic,
)
from tests import references
from tests.mathematics.backend import PROPERTY, array, central_difference, gradient, tensor, whole

QUADRATIC, CROSSENTROPY = Quadratic(), CrossEntropy()
FOCUSED = [Focal(gamma=gamma) for gamma in (0.0, 0.5, 2.0, 5.0)]
REGRESSION = {
    "quadratic": (QUADRATIC, references.quadratic),
    "absolute": (Absolute(), references.absolute),
    "huber": (Huber(delta=0.7), partial(references.huber, delta=0.7)),
    "charbonnier": (Charbonnier(scale=0.3), partial(references.charbonnier, scale=0.3)),
}
CLASSIFICATION = {
    "crossentropy": (CROSSENTROPY, references.crossentropy),
    "label_smoothing": (
        LabelSmoothing(smoothing=0.2),
        partial(references.label_smoothing, smoothing=0.2),
    ),
    "focal": (Focal(gamma=1.5), partial(references.focal, gamma=1.5)),
    "sharp_focal": (Focal(gamma=0.5), partial(references.focal, gamma=0.5)),
}
regression = pytest.mark.parametrize(
    ("loss", "reference"), REGRESSION.values(), ids=REGRESSION.keys()
)
classification = pytest.mark.parametrize(
    ("loss", "reference"), CLASSIFICATION.values(), ids=CLASSIFICATION.keys()
)

RNG = np.random.default_rng(5)
LABELS = np.array([0, 3, 1, 2, 3], np.int32)
LOGITS = RNG.normal(0, 2, (5, 4)).astype(np.float32)

residuals = arrays.arrays(np.float32, (12,), elements=st.floats(-1e4, 1e4, width=32))
logit_arrays = arrays.arrays(np.float32, (5, 4), elements=st.floats(-1e4, 1e4, width=32))
label_arrays = arrays.arrays(np.int32, (5,), elements=st.integers(0, 3))


def of_residual(loss, r):
    """Elementwise ρ(r) as NumPy."""
    return array(whole(loss.rho)(tensor(r)))


def slope_of_residual(loss, r):
    """ρ'(r) elementwise as NumPy."""
    return gradient(sum_of_rho(loss), r)


@functools.cache
def sum_of_rho(loss):
    return whole(lambda r: keras.ops.sum(loss.rho(r)))


def of_logits(loss, labels, logits):
    """The loss of each sample as NumPy."""
    return array(whole(loss.__call__)(tensor(labels, "int32"), tensor(logits)))


def slope_of_logits(loss, labels, logits):
    """The gradient of the summed loss as NumPy."""
    labels = tensor(labels, "int32")
    return gradient(lambda logits: sum_of(loss)(labels, logits), logits)


@functools.cache
def sum_of(loss):
    return whole(lambda y, y_hat: keras.ops.sum(loss(y, y_hat)))


# Numbers worked out by hand


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (CrossEntropy(), 0.2547),  # ln(1 + e^−1.9 + e^−3 + e^−2.4)
        (LabelSmoothing(smoothing=0.1), 0.4372),  # 0.9·0.2547 + 0.1·(4·3.4547 − 5.5)/4
        (Focal(gamma=2.0), 0.0129),  # 0.2249²·0.2547
    ],
    ids=["crossentropy", "label_smoothing", "focal"],
)
def test_worked_example_of_classification(loss, expected):
    values = of_logits(loss, [0] * 5, [[3.2, 1.3, 0.2, 0.8]] * 5)
    assert values == pytest.approx([expected] * 5, abs=5e-5)


def test_worked_example_of_the_softmax():
    p = array(keras.ops.softmax(tensor([[3.2, 1.3, 0.2, 0.8]])))
    assert p[0] == pytest.approx([0.775, 0.116, 0.039, 0.070], abs=5e-4)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Quadratic(), 8.0),  # ½·4²
        (Absolute(), 4.0),
        (Huber(delta=3.0), 7.5),  # 3·(4 − 1.5)
        (Huber(delta=5.0), 8.0),
        (Charbonnier(scale=3.0), 6.0),  # 9·(5/3 − 1)
    ],
    ids=["quadratic", "absolute", "huber outside", "huber inside", "charbonnier"],
)
def test_worked_example_of_regression(loss, expected):
    assert of_residual(loss, [4.0, -4.0] * 6) == pytest.approx([expected] * 12, rel=1e-6)


def test_elements_of_a_sample_are_averaged_or_summed():
    y, y_hat = tensor([[1.0, 2.0], [0.0, 0.0]]), tensor([[5.0, 2.0], [1.0, 3.0]])
    assert array(Quadratic()(y, y_hat)) == pytest.approx([4.0, 2.5])
    assert array(Quadratic(elements="sum")(y, y_hat)) == pytest.approx([8.0, 5.0])


def test_a_sample_of_one_number_needs_no_reduction():
    y, y_hat = tensor([1.0, 2.0]), tensor([3.0, 2.0])
    for elements in ("mean", "sum"):
        assert array(Absolute(elements=elements)(y, y_hat)) == pytest.approx([2.0, 0.0])


# The references


@regression
@PROPERTY
@given(r=residuals)
def test_residual_loss_is_its_reference(loss, reference, r):
    np.testing.assert_allclose(of_residual(loss, r), reference(r), rtol=2e-6, atol=1e-30)


@regression
def test_regression_loss_is_the_mean_of_its_reference_over_a_sample(loss, reference):
    y, y_hat = RNG.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    mean = reference(y_hat - y).mean(axis=(1, 2, 3))
    values = array(whole(loss.__call__)(tensor(y), tensor(y_hat)))
    np.testing.assert_allclose(values, mean, rtol=1e-5)


@classification
@PROPERTY
@given(labels=label_arrays, logits=logit_arrays)
def test_classification_loss_is_its_reference(loss, reference, labels, logits):
    expected = reference(logits, labels)
    size = 1e-6 * np.ptp(logits)  # what float32 can resolve of a difference of logits
    np.testing.assert_allclose(
        of_logits(loss, labels, logits), expected, rtol=1e-5, atol=1e-5 + size
    )


# Properties of residual losses


@regression
@PROPERTY
@given(r=residuals)
def test_residual_loss_is_even_not_negative_and_zero_at_zero(loss, reference, r):
    rho = of_residual(loss, r)
    assert np.all(rho >= 0)
    assert np.array_equal(rho, of_residual(loss, -r))
    assert np.array_equal(of_residual(loss, 0 * r), np.zeros(12))


@regression
@PROPERTY
@given(r=residuals)
def test_residual_loss_grows_with_the_size_of_the_residual(loss, reference, r):
    rho = of_residual(loss, np.sort(np.abs(r)))
    assert np.all(np.diff(rho) >= -1e-6 * rho[1:])


@regression
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-4, 1e4, 1e15])
def test_gradient_of_a_residual_loss_is_finite_at_any_size(loss, reference, size):
    slope = slope_of_residual(loss, [size, -size] * 6)
    assert np.all(np.isfinite(slope))
    assert slope[0] == -slope[1] >= 0


@pytest.mark.parametrize(
    ("loss", "bound"), [(Huber(delta=0.7), 0.7), (Charbonnier(scale=0.3), 0.3)]
)
def test_influence_of_an_outlier_is_bounded(loss, bound):
    slope = slope_of_residual(loss, [1e3, 1e6, -1e9] * 4)
    assert slope == pytest.approx([bound, bound, -bound] * 4, rel=1e-5)


@pytest.mark.parametrize(
    "loss", [Huber(delta=1e6), Charbonnier(scale=1e6)], ids=["huber", "charbonnier"]
)
@PROPERTY
@given(r=arrays.arrays(np.float32, (12,), elements=st.floats(-100, 100, width=32)))
def test_wide_robust_losses_are_the_quadratic_loss(loss, r):
    np.testing.assert_allclose(
        of_residual(loss, r), of_residual(QUADRATIC, r), rtol=1e-5, atol=1e-30
    )


@pytest.mark.parametrize(
    "loss", [Huber(delta=1e-5), Charbonnier(scale=1e-5)], ids=["huber", "charbonnier"]
)
def test_narrow_robust_losses_are_the_absolute_error(loss):
    r = np.array([-50, -2, -0.5, 0.5, 2, 50] * 2, np.float32)
    np.testing.assert_allclose(of_residual(loss, r) / 1e-5, np.abs(r), rtol=1e-4)


# Properties of classification losses


@classification
@PROPERTY
@given(labels=label_arrays, logits=logit_arrays)
def test_classification_loss_is_finite_and_not_negative(loss, reference, labels, logits):
    values = of_logits(loss, labels, logits)
    assert values.shape == (5,)
    assert np.all(np.isfinite(values)) and np.all(values >= 0)


@classification
@PROPERTY
@given(labels=label_arrays, logits=logit_arrays)
def test_gradient_of_a_classification_loss_is_finite(loss, reference, labels, logits):
    assert np.all(np.isfinite(slope_of_logits(loss, labels, logits)))


@classification
def test_adding_a_number_to_all_logits_changes_nothing(loss, reference):
    shifted = of_logits(loss, LABELS, LOGITS + 8)
    np.testing.assert_allclose(shifted, of_logits(loss, LABELS, LOGITS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "loss", [LabelSmoothing(smoothing=0.0), Focal(gamma=0.0)], ids=["smoothing", "focal"]
)
@PROPERTY
@given(labels=label_arrays, logits=logit_arrays)
def test_no_smoothing_and_no_focusing_are_crossentropy(loss, labels, logits):
    np.testing.assert_allclose(
        of_logits(loss, labels, logits), of_logits(CROSSENTROPY, labels, logits), rtol=1e-6
    )


@PROPERTY
@given(labels=label_arrays, logits=logit_arrays)
def test_focusing_never_raises_the_loss(labels, logits):
    values = [of_logits(loss, labels, logits) for loss in FOCUSED]
    for weaker, stronger in itertools.pairwise(values):
        assert np.all(stronger <= weaker * (1 + 1e-6) + 1e-30)


def test_a_certain_and_right_answer_costs_nothing_but_for_smoothing():
    labels, logits = [0] * 5, [[1e4, 0.0, 0.0, 0.0]] * 5
    assert np.all(of_logits(CROSSENTROPY, labels, logits) == 0)
    assert np.all(of_logits(FOCUSED[2], labels, logits) == 0)
    smoothed = of_logits(LabelSmoothing(smoothing=0.1), labels, logits)
    assert smoothed == pytest.approx([750.0] * 5)


# Gradients


@regression
def test_gradient_of_a_residual_loss_is_a_central_difference(loss, reference):
    r = np.array([-40, -3, -1.1, -0.69, -0.2, 1e-3, 0.01, 0.35, 0.71, 2, 5, 60], np.float32)
    expected = central_difference(lambda r: reference(r).sum(), r)
    np.testing.assert_allclose(slope_of_residual(loss, r), expected, rtol=1e-4)


@classification
def test_gradient_of_a_classification_loss_is_a_central_difference(loss, reference):
    expected = central_difference(lambda z: reference(z, LABELS).sum(), LOGITS)
    slope = slope_of_logits(loss, LABELS, LOGITS)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)


@regression
def test_gradient_for_a_prediction_is_a_central_difference(loss, reference):
    y, y_hat = RNG.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    slope = gradient(lambda p: sum_of(loss)(tensor(y), p), y_hat)
    expected = central_difference(lambda p: reference(p - y).mean(axis=(1, 2, 3)).sum(), y_hat)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)


# Refusals


@regression
@pytest.mark.parametrize(
    ("y", "y_hat"),
    [
        ((20, 1), (20, 3)),
        ((20,), (20, 1)),
        ((20, 1), (20,)),
        ((1, 3), (20, 3)),
        ((4, 8, 8, 1), (4, 8, 8)),
    ],
)
def test_a_target_is_never_broadcast_against_a_prediction(loss, reference, y, y_hat):
    with pytest.raises(ValueError, match="same shape") as refusal:
        loss(keras.ops.zeros(y), keras.ops.zeros(y_hat))
    assert str(y) in str(refusal.value) and str(y_hat) in str(refusal.value)


@classification
@pytest.mark.parametrize(
    ("y", "y_hat"),
    [
        ((20, 1), (20, 4)),
        ((20, 4), (20, 4)),
        ((20,), (20,)),
        ((20,), (20, 1, 4)),
        ((), (4,)),
        ((1,), (20, 4)),
        ((20,), (1, 4)),
    ],
)
def test_labels_that_do_not_fit_the_logits_are_refused(loss, reference, y, y_hat):
    with pytest.raises(ValueError, match=r"labels of shape \(n,\)") as refusal:
        loss(keras.ops.zeros(y, "int32"), keras.ops.zeros(y_hat))
    assert str(y) in str(refusal.value) and str(y_hat) in str(refusal.value)


@pytest.mark.parametrize(
    ("loss", "parameters", "rule"),
    [
        (Huber, {"delta": 0.0}, "delta.*greater than 0.*0.0"),
        (Huber, {"delta": -1.0}, "delta.*greater than 0.*-1.0"),
        (Huber, {"delta": float("inf")}, "delta.*finite.*inf"),
        (Huber, {"delta": float("nan")}, "delta.*nan"),
        (Huber, {"delta": "wide"}, "delta.*number.*wide"),
        (Huber, {"delta": True}, "delta.*number.*True"),
        (Huber, {"detla": 1.0}, "detla"),
        (Huber, {"elements": "median"}, "elements.*'mean' or 'sum'.*median"),
        (Charbonnier, {"scale": 0.0}, "scale.*greater than 0.*0.0"),
        (Charbonnier, {"scale": -0.1}, "scale.*greater than 0.*-0.1"),
        (LabelSmoothing, {"smoothing": 1.0}, "smoothing.*less than 1.*1.0"),
        (LabelSmoothing, {"smoothing": -0.1}, "smoothing.*greater than or equal to 0.*-0.1"),
        (Focal, {"gamma": -2.0}, "gamma.*greater than or equal to 0.*-2.0"),
        (CrossEntropy, {"smoothing": 0.1}, "smoothing"),
        (Quadratic, {"delta": 1.0}, "delta"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(loss, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        loss(**parameters)


def test_whole_numbers_are_taken_as_floats_and_choices_cannot_change():
    huber = Huber(delta=2)
    assert numbers(huber) == {"delta": 2.0}
    with pytest.raises(AttributeError):
        huber.delta = 3.0
