"""Targets known in part: what is unknown is as if it were not there, in value and in slope."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from kexp.losses import (
    Absolute,
    Adaptive,
    Cauchy,
    Charbonnier,
    GemanMcClure,
    General,
    Huber,
    LogCosh,
    Quadratic,
    Quantile,
    ScaleShiftInvariant,
    Tukey,
    Welsch,
)
from kexp.losses.base import Loss, RegressionLoss, defines_of_known
from kexp.losses.image import median_known
from kexp.objective import Objective
from kexp.regularizers import Zero
from tests import references
from tests.mathematics.backend import array, central_difference, gradient, tensor, whole

KINDS = (
    Absolute,
    Adaptive,
    Cauchy,
    Charbonnier,
    GemanMcClure,
    General,
    Huber,
    LogCosh,
    Quadratic,
    Quantile,
    Tukey,
    Welsch,
)
CASES = [
    (kind, elements)
    for kind in KINDS
    for elements in ("mean", "sum", "norm")
    if not (kind in (Adaptive, Quantile) and elements == "norm")
]
each = pytest.mark.parametrize(
    ("kind", "elements"), CASES, ids=lambda part: getattr(part, "__name__", part)
)
SSI, TRIMMED = ScaleShiftInvariant(), ScaleShiftInvariant(trim=0.2)
depth = pytest.mark.parametrize("loss", [SSI, TRIMMED], ids=["ssi", "ssi_trimmed"])


def maps(shape=(3, 9, 7, 1), seed=0, unknown=0.3):
    """Inverse depths of which some are NaN, and predictions."""
    rng = np.random.default_rng(seed)
    y, y_hat = rng.uniform(0.1, 1, shape), rng.normal(0.5, 0.3, shape)
    y[rng.random(shape) < unknown] = np.nan
    y[:, 0, 0] = 0.5
    return y.astype(np.float32), y_hat.astype(np.float32)


def made(kind, elements):
    """A loss, with what it learns at its initial values."""
    loss = kind(elements=elements)
    for name, value in loss.learned(1).items():
        object.__setattr__(loss, name, tensor(value))
    return loss


def known(loss, y, y_hat):
    return array(loss.of_known(tensor(y), tensor(y_hat)))


def alone(loss, y, y_hat):
    """The loss of each sample's known elements, which make up the whole sample; shape (n,)."""
    there = [~np.isnan(sample) for sample in y]
    return np.concatenate(
        [
            array(loss(tensor(y[i][t][None, :, None]), tensor(y_hat[i][t][None, :, None])))
            for i, t in enumerate(there)
        ]
    )


@each
def test_a_loss_is_that_of_the_known_elements_alone(kind, elements):
    """0 for a sample without any, and the usual loss for one of which all is known."""
    loss, (y, y_hat), whole = made(kind, elements), maps(), maps(unknown=0)[0]
    y[0] = whole[0]
    expected = alone(loss, y, y_hat)
    usual = array(loss(tensor(y[:1]), tensor(y_hat[:1])))
    np.testing.assert_allclose(expected[0], usual[0], rtol=2e-6)
    y[2] = np.nan
    found = known(loss, y, y_hat)
    np.testing.assert_allclose(found[:2], expected[:2], rtol=2e-6)
    assert found[2] == 0


@pytest.mark.parametrize(
    ("kind", "elements"), [c for c in CASES if c[1] == "mean" or c[0] in (Quadratic, Huber)]
)
def test_slopes_are_those_of_the_known_elements_alone(kind, elements):
    """And 0 where y is unknown, whatever is predicted there, even of a sample without any."""
    loss, (y, y_hat) = made(kind, elements), maps((2, 5, 4, 1))
    y[1] = np.nan
    y_hat[np.isnan(y)] = 1e30
    slope = gradient(lambda p: keras.ops.sum(loss.of_known(tensor(y), p)), y_hat)
    there = ~np.isnan(y[0])
    part, at = (v[0][there][None, :, None] for v in (y, y_hat))
    expected = gradient(lambda p: keras.ops.sum(loss(tensor(part), p)), at)
    np.testing.assert_allclose(slope[0][there], expected[0, :, 0], rtol=2e-5, atol=1e-8)
    assert (slope[np.isnan(y)] == 0).all()


def test_every_regression_loss_is_among_them():
    from kexp import losses

    classes = (getattr(losses, name) for name in losses.__all__)
    assert {c for c in classes if issubclass(c, RegressionLoss)} == set(KINDS)


def test_a_prediction_that_is_no_number_is_not_hidden():
    y, y_hat = maps()
    y_hat[:, 0, 0] = np.nan
    for loss in (Quadratic(), Quadratic(elements="norm"), SSI, TRIMMED):
        assert np.isnan(known(loss, y, y_hat)).all()


# Depth up to scale and shift


@pytest.mark.parametrize("count", range(1, 8))
def test_the_median_is_that_of_the_known(count):
    values = np.random.default_rng(count).normal(size=(4, 7, 1, 1)).astype(np.float32)
    there = np.argsort(np.random.default_rng(0).random((4, 7)), axis=1) < count
    found = array(median_known(tensor(values), tensor(there[..., None, None], "bool")))
    expected = [np.median(v[t]) for v, t in zip(values[..., 0, 0], there, strict=True)]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


@depth
@pytest.mark.parametrize("shape", [(2, 9, 7, 1), (1, 2, 2, 1), (2, 5, 2, 2)])
@pytest.mark.parametrize("unknown", [0.1, 0.6])
def test_depth_loss_is_its_reference(loss, shape, unknown):
    y, y_hat = maps(shape, seed=4, unknown=unknown)
    y[:, 1, -1] = 0.9
    expected = references.ssi_known(y, y_hat, loss.trim, loss.gradient_weight, loss.scales)
    np.testing.assert_allclose(known(loss, y, y_hat), expected, rtol=2e-5, atol=1e-6)


@depth
def test_depth_loss_without_unknown_pixels_is_the_usual_one(loss):
    y, y_hat = maps((2, 16, 16, 1), unknown=0)
    usual = array(loss(tensor(y), tensor(y_hat)))
    np.testing.assert_allclose(known(loss, y, y_hat), usual, rtol=1e-5)


@depth
@pytest.mark.parametrize(("seed", "scale", "shift"), [(0, 0.1, -3), (1, 10, 0.5), (2, 1, 3)])
def test_scale_shift_and_what_stands_at_unknown_pixels_do_not_matter(loss, seed, scale, shift):
    y, y_hat = maps((1, 12, 10, 1), seed)
    moved = (scale * y_hat + shift).astype(np.float32)
    moved[np.isnan(y)] = 1e20
    np.testing.assert_allclose(known(loss, y, y_hat), known(loss, y, moved), rtol=2e-3, atol=1e-4)


@depth
def test_slopes_of_the_depth_loss(loss):
    y, y_hat = maps((1, 6, 5, 1), seed=8)
    slope = gradient(lambda p: keras.ops.sum(loss.of_known(tensor(y), p)), y_hat)
    expected = central_difference(
        lambda p: references.ssi_known(y, p, loss.trim, loss.gradient_weight, loss.scales)[0], y_hat
    )
    np.testing.assert_allclose(slope, expected, rtol=2e-3, atol=1e-5)
    assert (slope[np.isnan(y)] == 0).all()


@depth
def test_a_map_of_which_nothing_or_one_pixel_is_known(loss):
    y, y_hat = maps((3, 8, 8, 1))
    y[1:] = np.nan
    y[2, 3, 3] = 0.4
    assert (known(loss, y, y_hat)[1:] == 0).all()
    slope = gradient(lambda p: keras.ops.sum(loss.of_known(tensor(y), p)), y_hat)
    assert np.isfinite(slope).all() and (slope[1:] == 0).all() and (slope[0] != 0).any()


# Objective


@functools.cache
def pointwise():
    inputs = keras.Input((4, 4, 1))
    return keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs))


@pytest.mark.parametrize("loss", [Quadratic(), SSI], ids=["mse", "ssi"])
def test_the_objective_of_partial_targets(loss):
    y, y_hat = maps((3, 4, 4, 1))
    partial = Objective(pointwise(), loss, Zero(), partial=True)
    usual = Objective(pointwise(), loss, Zero())
    fit = array(whole(partial.fit)(tensor(y), tensor(y_hat)))
    assert fit == pytest.approx(known(loss, y, y_hat).mean(), rel=1e-6)
    assert np.isnan(array(whole(usual.fit)(tensor(y), tensor(y_hat))))


class Plain(Loss):
    """A user's, which does not say what it is of partly known targets."""

    def __call__(self, y, y_hat):
        return keras.ops.mean(keras.ops.square(y_hat - y), axis=(1, 2, 3))


class Doubled(Quadratic):
    """Overrides `__call__` alone: the `of_known` it inherits is that of another loss."""

    def __call__(self, y, y_hat):
        return 2.0 * super().__call__(y, y_hat)


class Both(Doubled):
    """Says what it is of partly known targets."""

    def of_known(self, y, y_hat):
        return 2.0 * super().of_known(y, y_hat)


class NoLoss:
    """Not even derived from kexp's."""

    __call__ = Plain.__call__


class NoLossOfKnown(NoLoss):
    """And still says what it is of partly known targets."""

    def of_known(self, y, y_hat):
        return 2.0 * Quadratic().of_known(y, y_hat)


@pytest.mark.parametrize(
    ("loss", "defined"),
    [
        *((loss, True) for loss in (Quadratic(), SSI, Both(), NoLossOfKnown())),
        *((loss, False) for loss in (Plain(), Doubled(), NoLoss(), lambda y, y_hat: y)),
    ],
)
def test_who_says_what_a_loss_is_of_partly_known_targets(loss, defined):
    assert defines_of_known(loss) == defined


@pytest.mark.parametrize("loss", [Plain(), Doubled(), Both(), NoLoss(), NoLossOfKnown()])
def test_a_loss_of_ones_own_is_not_bypassed(loss):
    """Of targets that are all known it is its `__call__`, of partial ones its own `of_known`."""
    (y, y_hat), full = maps((3, 4, 4, 1)), maps((3, 4, 4, 1), unknown=0)[0]
    fit = whole(Objective(pointwise(), loss, Zero(), partial=True).fit)
    usual = array(loss(tensor(full), tensor(y_hat))).mean()
    assert array(fit(tensor(full), tensor(y_hat))) == pytest.approx(usual, rel=1e-6)
    if defines_of_known(loss):
        partial = known(loss, y, y_hat).mean()
        assert array(fit(tensor(y), tensor(y_hat))) == pytest.approx(partial, rel=1e-6)


def test_a_loss_without_of_known_does_not_pretend_to_have_it():
    y, y_hat = maps()
    with pytest.raises(TypeError, match=r"Plain must define of_known\(y, y_hat\)"):
        known(Plain(), y, y_hat)
