"""Classification losses: a number by hand, a reference, properties, gradients, refusals."""

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
from matplotlib.mathtext import MathTextParser
from sklearn import metrics

from kexp.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    GeneralizedCrossEntropy,
    Hinge,
    LabelSmoothing,
    SymmetricCrossEntropy,
)
from kexp.objective import with_variables
from tests import references
from tests.mathematics.backend import PROPERTY, array, central_difference, gradient, tensor, whole

CROSSENTROPY, BINARY_CROSSENTROPY, HINGE = CrossEntropy(), BinaryCrossEntropy(), Hinge()
FOCUSED = [Focal(gamma=gamma) for gamma in (0.0, 0.5, 2.0, 5.0)]
ORDERED = [GeneralizedCrossEntropy(q=q) for q in (1e-3, 0.3, 0.7, 1.0)]
LINEAR = ORDERED[-1]

BOTH = {
    "label_smoothing": (
        LabelSmoothing(smoothing=0.2),
        partial(references.label_smoothing, smoothing=0.2),
    ),
    "focal": (Focal(gamma=1.5), partial(references.focal, gamma=1.5)),
    "sharp_focal": (Focal(gamma=0.5), partial(references.focal, gamma=0.5)),
    "generalized": (
        GeneralizedCrossEntropy(q=0.4),
        partial(references.generalized_crossentropy, q=0.4),
    ),
    "symmetric": (
        SymmetricCrossEntropy(alpha=0.3, beta=0.6, log_zero=-5.0),
        partial(references.symmetric_crossentropy, alpha=0.3, beta=0.6, log_zero=-5.0),
    ),
    "hinge": (Hinge(margin=1.7), partial(references.hinge, margin=1.7)),
}
"""Losses of any number of classes; one logit z counts as the two logits (0, z)."""


def of_two_classes(reference):
    """The reference for one logit."""
    return lambda logits, labels: reference(references.two_classes(logits), labels)


SOFTMAX = {"crossentropy": (CROSSENTROPY, references.crossentropy), **BOTH}
SIGMOID = {
    "binary_crossentropy": (BINARY_CROSSENTROPY, references.binary_crossentropy),
    **{name: (loss, of_two_classes(reference)) for name, (loss, reference) in BOTH.items()},
    "binary_hinge": (Hinge(margin=0.6), partial(references.binary_hinge, margin=0.6)),
}
CASES = {
    **{f"{name} of 4 logits": (*case, 4) for name, case in SOFTMAX.items()},
    **{f"{name} of 1 logit": (*case, 1) for name, case in SIGMOID.items()},
}
every_loss = pytest.mark.parametrize(
    "loss", [loss for loss, _, _ in CASES.values()], ids=CASES.keys()
)
every_case = pytest.mark.parametrize(
    ("loss", "reference", "width"), CASES.values(), ids=CASES.keys()
)
softmax_loss = pytest.mark.parametrize(
    "loss", [loss for loss, _ in SOFTMAX.values()], ids=SOFTMAX.keys()
)
sigmoid_loss = pytest.mark.parametrize(
    "loss", [loss for loss, _ in SIGMOID.values()], ids=SIGMOID.keys()
)

RNG = np.random.default_rng(5)
LABELS = {4: np.array([0, 3, 1, 2, 3], np.int32), 1: np.array([0, 1, 1, 0, 1], np.int32)}
LOGITS = {width: RNG.normal(0, 2, (5, width)).astype(np.float32) for width in (4, 1)}
HUGE = st.floats(-1e4, 1e4, width=32)
SIXTEENTHS = st.integers(-160_000, 160_000).map(lambda n: n / 16)  # up to 1e4, exact in float32


def labels_for(width):
    """Arrays of five labels for logits of a width."""
    return arrays.arrays(np.int32, (5,), elements=st.integers(0, max(width - 1, 1)))


def logits_of(width, elements=HUGE):
    """Arrays of five times the logits of a width."""
    return arrays.arrays(np.float32, (5, width), elements=elements)


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
    ("loss", "label", "expected"),
    [
        (CrossEntropy(), 0, 0.2547),  # ln(1 + e^−1.9 + e^−3 + e^−2.4)
        (CrossEntropy(), 3, 2.6547),  # 2.4 more
        (LabelSmoothing(smoothing=0.1), 0, 0.4372),  # 0.9·0.2547 + 0.1·(4·3.4547 − 5.5)/4
        (Focal(gamma=2.0), 0, 0.0129),  # 0.2249²·0.2547
        (GeneralizedCrossEntropy(q=0.7), 0, 0.2333),  # (1 − e^(−0.7·0.2547))/0.7
        (GeneralizedCrossEntropy(q=0.7), 3, 1.2058),  # (1 − e^(−0.7·2.6547))/0.7
        (GeneralizedCrossEntropy(q=1.0), 0, 0.2249),  # 1 − 0.7751
        (SymmetricCrossEntropy(), 0, 0.9249),  # 0.1·0.2547 + 4·0.22485
        (SymmetricCrossEntropy(alpha=0.01), 0, 0.9019),  # 0.01·0.2547 + 4·0.22485
        (SymmetricCrossEntropy(beta=0.5, log_zero=-6.0), 0, 0.7000),  # 0.02547 + 3·0.22485
        (Hinge(), 0, 0.0),  # 1 + 1.3 − 3.2 < 0
        (Hinge(margin=2.0), 0, 0.1),  # 2 + 1.3 − 3.2
        (Hinge(), 1, 2.9),  # 1 + 3.2 − 1.3
        (Hinge(), 3, 3.4),  # 1 + 3.2 − 0.8
    ],
    ids=str,
)
def test_worked_example(loss, label, expected):
    values = of_logits(loss, [label] * 5, [[3.2, 1.3, 0.2, 0.8]] * 5)
    assert values == pytest.approx([expected] * 5, abs=6e-5)


@pytest.mark.parametrize(
    ("loss", "z", "label", "expected"),
    [
        (BinaryCrossEntropy(), 0.0, 0, 0.6931),  # ln 2
        (BinaryCrossEntropy(), 2.0, 1, 0.1269),  # ln(1 + e^−2)
        (BinaryCrossEntropy(), 2.0, 0, 2.1269),  # ln(1 + e^2)
        (BinaryCrossEntropy(), -3.0, 1, 3.0486),  # ln(1 + e^3)
        (LabelSmoothing(smoothing=0.1), 2.0, 1, 0.2269),  # 0.95·0.1269 + 0.05·2.1269
        (Focal(gamma=2.0), 2.0, 1, 0.0018),  # 0.1192²·0.1269
        (GeneralizedCrossEntropy(q=0.7), 2.0, 1, 0.1215),  # (1 − 0.8808^0.7)/0.7
        (GeneralizedCrossEntropy(q=1.0), 2.0, 0, 0.8808),  # 1/(1 + e^−2)
        (SymmetricCrossEntropy(), 2.0, 1, 0.4895),  # 0.1·0.1269 + 4·0.1192
        (Hinge(), 2.0, 1, 0.0),
        (Hinge(), 0.4, 1, 0.6),
        (Hinge(), 0.4, 0, 1.4),
        (Hinge(margin=3.0), -2.0, 0, 1.0),
    ],
    ids=str,
)
def test_worked_example_of_one_logit(loss, z, label, expected):
    values = of_logits(loss, [label] * 5, [[z]] * 5)
    assert values == pytest.approx([expected] * 5, abs=6e-5)


def test_worked_example_of_the_softmax():
    p = array(keras.ops.softmax(tensor([[3.2, 1.3, 0.2, 0.8]])))
    assert p[0] == pytest.approx([0.775, 0.116, 0.039, 0.070], abs=5e-4)


# The references


@every_case
@PROPERTY
@given(data=st.data())
def test_loss_is_its_reference(loss, reference, width, data):
    labels, logits = data.draw(labels_for(width)), data.draw(logits_of(width))
    np.testing.assert_allclose(
        of_logits(loss, labels, logits), reference(logits, labels), rtol=1e-5, atol=1e-5
    )


def test_scikit_learn_agrees_on_crossentropy():
    p = array(keras.ops.softmax(tensor(LOGITS[4]))).astype(float)
    expected = metrics.log_loss(LABELS[4], p / p.sum(axis=1, keepdims=True), labels=[0, 1, 2, 3])
    assert of_logits(CROSSENTROPY, LABELS[4], LOGITS[4]).mean() == pytest.approx(expected, rel=1e-5)


def test_scikit_learn_agrees_on_binary_crossentropy():
    p = array(keras.ops.sigmoid(tensor(LOGITS[1])))[:, 0].astype(float)
    values = of_logits(BINARY_CROSSENTROPY, LABELS[1], LOGITS[1])
    assert values.mean() == pytest.approx(metrics.log_loss(LABELS[1], p), rel=1e-5)


def test_scikit_learn_agrees_on_the_hinge():
    for width, decisions in ((4, LOGITS[4]), (1, LOGITS[1][:, 0])):
        expected = metrics.hinge_loss(LABELS[width], decisions, labels=range(max(width, 2)))
        values = of_logits(HINGE, LABELS[width], LOGITS[width])
        assert values.mean() == pytest.approx(expected, rel=1e-5)


# Properties of all


@every_case
@PROPERTY
@given(data=st.data())
def test_loss_and_gradient_are_finite_and_the_loss_is_not_negative(loss, reference, width, data):
    labels, logits = data.draw(labels_for(width)), data.draw(logits_of(width))
    values = of_logits(loss, labels, logits)
    assert values.shape == (5,)
    assert np.all(np.isfinite(values)) and np.all(values >= 0)
    assert np.all(np.isfinite(slope_of_logits(loss, labels, logits)))


@softmax_loss
@PROPERTY
@given(labels=labels_for(4), logits=logits_of(4, SIXTEENTHS), shift=SIXTEENTHS)
def test_adding_a_number_to_all_logits_changes_nothing(loss, labels, logits, shift):
    shifted = of_logits(loss, labels, logits + np.float32(shift))
    np.testing.assert_allclose(shifted, of_logits(loss, labels, logits), rtol=1e-6)


@softmax_loss
@PROPERTY
@given(labels=labels_for(4), logits=logits_of(4), order=st.permutations(range(4)))
def test_renaming_the_classes_changes_nothing(loss, labels, logits, order):
    renamed = of_logits(loss, np.argsort(order)[labels], logits[:, order])
    np.testing.assert_allclose(renamed, of_logits(loss, labels, logits), rtol=1e-5, atol=1e-6)


@sigmoid_loss
@PROPERTY
@given(labels=labels_for(1), logits=logits_of(1))
def test_loss_of_one_logit_is_that_of_two_classes(loss, labels, logits):
    softmax = CROSSENTROPY if loss is BINARY_CROSSENTROPY else loss
    two = of_logits(softmax, labels, references.two_classes(logits))
    np.testing.assert_allclose(of_logits(loss, labels, logits), two, rtol=1e-5, atol=1e-6)


@sigmoid_loss
@PROPERTY
@given(labels=labels_for(1), logits=logits_of(1))
def test_swapping_the_two_classes_and_the_sign_changes_nothing(loss, labels, logits):
    swapped = of_logits(loss, 1 - labels, -logits)
    np.testing.assert_allclose(swapped, of_logits(loss, labels, logits), rtol=1e-6)


@every_case
def test_numbers_may_be_variables(loss, reference, width):
    twin, _ = with_variables(loss)
    labels, logits = LABELS[width], LOGITS[width]
    values = array(twin(tensor(labels, "int32"), tensor(logits)))
    np.testing.assert_allclose(values, of_logits(loss, labels, logits), rtol=1e-6)
    slope = gradient(lambda z: keras.ops.sum(twin(tensor(labels, "int32"), z)), logits)
    np.testing.assert_allclose(slope, slope_of_logits(loss, labels, logits), rtol=1e-5, atol=1e-7)


# Special cases


@pytest.mark.parametrize(
    "loss",
    [
        LabelSmoothing(smoothing=0.0),
        Focal(gamma=0.0),
        SymmetricCrossEntropy(alpha=1.0, beta=0.0),
    ],
    ids=str,
)
@PROPERTY
@given(labels=labels_for(4), logits=logits_of(4))
def test_losses_that_become_crossentropy(loss, labels, logits):
    np.testing.assert_allclose(
        of_logits(loss, labels, logits), of_logits(CROSSENTROPY, labels, logits), rtol=1e-6
    )


@PROPERTY
@given(labels=labels_for(4), logits=logits_of(4))
def test_focusing_never_raises_the_loss(labels, logits):
    values = [of_logits(loss, labels, logits) for loss in FOCUSED]
    for weaker, stronger in itertools.pairwise(values):
        assert np.all(stronger <= weaker * (1 + 1e-6) + 1e-30)


@PROPERTY
@given(labels=labels_for(4), logits=logits_of(4))
def test_generalized_crossentropy_falls_with_its_order_from_crossentropy(labels, logits):
    values = [of_logits(loss, labels, logits) for loss in (CROSSENTROPY, *ORDERED)]
    for lower, higher in itertools.pairwise(values):
        assert np.all(higher <= lower * (1 + 1e-6) + 1e-30)
    for loss, value in zip(ORDERED, values[1:], strict=True):
        assert np.all(value <= 1 / loss.q * (1 + 1e-6))


@PROPERTY
@given(labels=labels_for(4), logits=logits_of(4, st.floats(-20, 20, width=32)))
def test_generalized_crossentropy_of_order_near_0_is_crossentropy(labels, logits):
    values = of_logits(GeneralizedCrossEntropy(q=1e-7), labels, logits)
    expected = of_logits(CROSSENTROPY, labels, logits)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-12)


@PROPERTY
@given(labels=labels_for(4), logits=logits_of(4))
def test_generalized_crossentropy_of_order_1_is_half_the_absolute_error(labels, logits):
    p = array(keras.ops.softmax(tensor(logits)))
    half = np.abs(p - np.eye(4)[labels]).sum(axis=1) / 2
    np.testing.assert_allclose(of_logits(LINEAR, labels, logits), half, rtol=1e-5, atol=1e-6)


@PROPERTY
@given(labels=labels_for(4), logits=logits_of(4), log_zero=st.sampled_from([-0.5, -4.0, -9.0]))
def test_reverse_crossentropy_is_generalized_crossentropy_of_order_1(labels, logits, log_zero):
    reverse = SymmetricCrossEntropy(alpha=0.0, log_zero=log_zero)
    expected = -log_zero * of_logits(LINEAR, labels, logits)
    np.testing.assert_allclose(of_logits(reverse, labels, logits), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [Hinge(margin=0.25), Hinge(margin=4.0)], ids=str)
@PROPERTY
@given(
    labels=labels_for(4),
    logits=logits_of(4, SIXTEENTHS),
    lead=st.integers(-80, 80).map(lambda n: n / 8 + 1 / 16),  # never the margin itself
)
def test_hinge_is_zero_beyond_the_margin_and_a_line_before_it(loss, labels, logits, lead):
    label = np.eye(4)[labels] == 1
    rival = np.where(label, -np.inf, logits).max(axis=1, keepdims=True)
    logits = np.where(label, rival + lead, logits)
    values, slope = of_logits(loss, labels, logits), slope_of_logits(loss, labels, logits)
    assert values == pytest.approx(max(0.0, loss.margin - lead), rel=1e-5, abs=1e-6)
    assert slope[label] == pytest.approx(-1.0 if lead < loss.margin else 0.0, abs=1e-6)
    assert slope.sum(axis=1) == pytest.approx(0.0, abs=1e-6)


def test_gradient_of_the_hinge_is_finite_at_its_kinks():
    ties = [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, -1.0], [2.0, 2.0, 2.0, 3.0]]
    for logits in ties:
        slope = slope_of_logits(HINGE, [3] * 5, [logits] * 5)
        assert np.all(np.isfinite(slope)) and np.all(np.abs(slope) <= 1 + 1e-6)


def test_a_certain_and_right_answer_costs_nothing_but_for_smoothing():
    for loss in (CROSSENTROPY, FOCUSED[2], *ORDERED, SymmetricCrossEntropy(), HINGE):
        assert np.all(of_logits(loss, [0] * 5, [[1e4, 0.0, 0.0, 0.0]] * 5) == 0)
    for loss in (BINARY_CROSSENTROPY, FOCUSED[2], *ORDERED, SymmetricCrossEntropy(), HINGE):
        assert np.all(of_logits(loss, [0] * 5, [[-1e4]] * 5) == 0)
    smoothed = of_logits(LabelSmoothing(smoothing=0.1), [0] * 5, [[1e4, 0.0, 0.0, 0.0]] * 5)
    assert smoothed == pytest.approx([750.0] * 5)


def test_a_certain_and_wrong_answer_costs_what_each_loss_is_bounded_by():
    wrong = partial(of_logits, labels=[1] * 5, logits=[[1e4, 0.0, 0.0, 0.0]] * 5)
    assert wrong(CROSSENTROPY) == pytest.approx([1e4] * 5)
    assert wrong(HINGE) == pytest.approx([1e4 + 1] * 5)
    assert wrong(ORDERED[2]) == pytest.approx([1 / 0.7] * 5)
    assert wrong(LINEAR) == pytest.approx([1.0] * 5)
    assert wrong(SymmetricCrossEntropy(alpha=0.0, beta=0.5)) == pytest.approx([2.0] * 5)


# Gradients


@every_case
def test_gradient_is_a_central_difference(loss, reference, width):
    labels, logits = LABELS[width], LOGITS[width]
    expected = central_difference(lambda z: reference(z, labels).sum(), logits)
    slope = slope_of_logits(loss, labels, logits)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)


def test_gradient_of_binary_crossentropy_is_probability_less_label():
    labels, logits = LABELS[1], LOGITS[1]
    p = 1 / (1 + np.exp(-logits.astype(float)))
    slope = slope_of_logits(BINARY_CROSSENTROPY, labels, logits)
    np.testing.assert_allclose(slope, p - labels[:, None], rtol=1e-5)


# Refusals

MISFITS = [
    ((20, 1), (20, 4)),
    ((20, 4), (20, 4)),
    ((20, 1), (20, 1)),
    ((20,), (20,)),
    ((20,), (20, 1, 4)),
    ((), (4,)),
    ((1,), (20, 4)),
    ((20,), (1, 4)),
    ((1,), (20, 1)),
]


@every_loss
@pytest.mark.parametrize(("y", "y_hat"), MISFITS)
def test_labels_that_do_not_fit_the_logits_are_refused(loss, y, y_hat):
    with pytest.raises(ValueError, match=r"labels of shape \(n,\)") as refusal:
        loss(keras.ops.zeros(y, "int32"), keras.ops.zeros(y_hat))
    assert str(y) in str(refusal.value) and str(y_hat) in str(refusal.value)


@pytest.mark.parametrize("y_hat", [(20,), (20, 2), (20, 4), (20, 1, 1)])
def test_binary_crossentropy_takes_one_logit_only(y_hat):
    with pytest.raises(ValueError, match=r"one logit per sample, shape \(n, 1\)") as refusal:
        BINARY_CROSSENTROPY(keras.ops.zeros((20,), "int32"), keras.ops.zeros(y_hat))
    assert str(y_hat) in str(refusal.value)


@pytest.mark.parametrize(
    ("loss", "parameters", "rule"),
    [
        (LabelSmoothing, {"smoothing": 1.0}, "smoothing.*less than 1.*1.0"),
        (LabelSmoothing, {"smoothing": -0.1}, "smoothing.*greater than or equal to 0.*-0.1"),
        (Focal, {"gamma": -2.0}, "gamma.*greater than or equal to 0.*-2.0"),
        (CrossEntropy, {"smoothing": 0.1}, "smoothing"),
        (BinaryCrossEntropy, {"q": 0.7}, "q"),
        (GeneralizedCrossEntropy, {"q": 0.0}, "q.*greater than 0.*0.0"),
        (GeneralizedCrossEntropy, {"q": 1.5}, "q.*less than or equal to 1.*1.5"),
        (GeneralizedCrossEntropy, {"q": float("nan")}, "q.*nan"),
        (SymmetricCrossEntropy, {"alpha": -0.1}, "alpha.*greater than or equal to 0.*-0.1"),
        (SymmetricCrossEntropy, {"beta": -1.0}, "beta.*greater than or equal to 0.*-1.0"),
        (SymmetricCrossEntropy, {"log_zero": 0.0}, "log_zero.*less than 0.*0.0"),
        (SymmetricCrossEntropy, {"log_zero": 4.0}, "log_zero.*less than 0.*4.0"),
        (SymmetricCrossEntropy, {"log_zero": -float("inf")}, "log_zero.*finite.*inf"),
        (Hinge, {"margin": 0.0}, "margin.*greater than 0.*0.0"),
        (Hinge, {"margin": -1.0}, "margin.*greater than 0.*-1.0"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(loss, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        loss(**parameters)


# What a loss says of itself


def test_targets_of_the_losses():
    assert CROSSENTROPY.targets == ("classification",)
    assert BINARY_CROSSENTROPY.targets == ("binary",)
    for loss, _ in BOTH.values():
        assert loss.targets == ("classification", "binary")


@every_loss
def test_formula_can_be_typeset(loss):
    assert loss.formula.startswith("L = ") and "\n" not in loss.formula
    MathTextParser("path").parse(f"${loss.formula}$")
