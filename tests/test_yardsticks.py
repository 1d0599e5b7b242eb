"""Yardsticks against scikit-learn, scikit-image and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import softmax
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from kexp import yardsticks
from kexp.measures import YARDSTICKS
from kexp.yardsticks import CLASSIFICATION, REGRESSION, brier, ece, error, mae, mse, nll, psnr, ssim
from tests import references

PROPERTY = settings(max_examples=40, deadline=None, database=None, derandomize=True)
RNG = np.random.default_rng(11)
LOGITS = RNG.normal(0, 2, (200, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 200).astype(np.int32)
CLEAN = RNG.random((3, 24, 20, 1)).astype(np.float32)
NOISY = (CLEAN + RNG.normal(0, 0.1, CLEAN.shape)).astype(np.float32)

logit_arrays = arrays.arrays(np.float32, (6, 4), elements=st.floats(-1e4, 1e4, width=32))
label_arrays = arrays.arrays(np.int32, (6,), elements=st.integers(0, 3))

# Classification


def test_classification_by_hand():
    """p = (0.775, 0.116, 0.039, 0.070): −ln 0.7752 = 0.2547; 0.225² + 0.116² + 0.039² + 0.070²."""
    logits = np.array([[3.2, 1.3, 0.2, 0.8]] * 2, np.float32)
    labels = np.array([0, 1], np.int32)
    assert nll(logits, labels) == pytest.approx([0.2547, 2.1547], abs=5e-5)
    assert error(logits, labels).tolist() == [0.0, 1.0]
    assert brier(logits, labels)[0] == pytest.approx(0.0704, abs=5e-5)


def test_nll_and_error_are_scikit_learns():
    p = softmax(LOGITS.astype(float), axis=1)
    p /= p.sum(axis=1, keepdims=True)
    assert nll(LOGITS, LABELS).mean() == pytest.approx(log_loss(LABELS, p, labels=range(5)))
    assert error(LOGITS, LABELS).mean() == 1 - accuracy_score(LABELS, LOGITS.argmax(axis=1))


def test_brier_score_is_the_sum_of_scikit_learns_over_the_classes():
    p = softmax(LOGITS.astype(float), axis=1)
    parts = [brier_score_loss(LABELS == k, p[:, k]) for k in range(5)]
    assert brier(LOGITS, LABELS).mean() == pytest.approx(sum(parts))


def test_ece_by_hand():
    """Three answers of confidence 0.9, two of them right; two of 0.7, none right."""
    certain, unsure = np.log([0.9, 0.1]), np.log([0.7, 0.3])
    logits = np.array([certain] * 3 + [unsure] * 2, np.float32)
    labels = np.array([0, 0, 1, 1, 1], np.int32)
    by_hand = 3 / 5 * abs(2 / 3 - 0.9) + 2 / 5 * abs(0 - 0.7)
    assert ece(logits, labels) == pytest.approx(by_hand, rel=1e-6)
    assert by_hand == pytest.approx(0.42)


def test_ece_is_its_reference():
    assert yardsticks.BINS == 15
    for scale in (0.0, 0.3, 1, 100):
        logits = (scale * LOGITS).astype(np.float32)
        assert ece(logits, LABELS) == pytest.approx(references.ece(logits, LABELS), abs=1e-12)


def test_calibrated_answers_have_a_small_ece_and_overconfident_ones_a_large_one():
    p = softmax(RNG.normal(0, 1.5, (20_000, 4)), axis=1)
    labels = (p.cumsum(axis=1) < RNG.random((20_000, 1))).sum(axis=1).astype(np.int32)
    assert ece(np.log(p), labels) < 0.02
    assert ece(3 * np.log(p), labels) > 0.1


@PROPERTY
@given(logits=logit_arrays, labels=label_arrays)
def test_classification_yardsticks_are_finite_and_in_range(logits, labels):
    assert np.all(np.isfinite(nll(logits, labels))) and np.all(nll(logits, labels) >= 0)
    assert np.all(np.isin(error(logits, labels), [0, 1]))
    assert np.all((brier(logits, labels) >= 0) & (brier(logits, labels) <= 2))
    assert 0 <= ece(logits, labels) <= 1


@PROPERTY
@given(logits=logit_arrays, labels=label_arrays, order=st.permutations(range(6)))
def test_the_order_of_the_samples_does_not_matter(logits, labels, order):
    for metric in CLASSIFICATION.values():
        there, here = metric(logits[order], labels[order]), metric(logits, labels)
        assert np.mean(there) == pytest.approx(np.mean(here), abs=1e-9)


# Regression


def test_regression_by_hand():
    target = np.full((2, 4, 4, 1), 0.5)
    prediction = target + np.array([0.1, -0.01]).reshape(2, 1, 1, 1)
    assert mse(prediction, target) == pytest.approx([1e-2, 1e-4])
    assert mae(prediction, target) == pytest.approx([0.1, 0.01])
    assert psnr(prediction, target) == pytest.approx([20.0, 40.0])


def test_psnr_is_scikit_images():
    expected = [
        peak_signal_noise_ratio(t, p, data_range=1.0) for t, p in zip(CLEAN, NOISY, strict=True)
    ]
    assert psnr(NOISY, CLEAN) == pytest.approx(expected, rel=1e-6)


def test_ssim_is_scikit_images_and_that_of_the_paper():
    pale = 0.5 + 0.1 * CLEAN.astype(float)  # so that the formula's constants weigh
    noisy = pale + 0.3 * (NOISY - CLEAN)
    settings = {"data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False}
    pairs = [(t[..., 0], p[..., 0]) for t, p in zip(pale, noisy, strict=True)]
    ours = ssim(noisy, pale)
    theirs = [structural_similarity(t, p, sigma=1.5, **settings) for t, p in pairs]
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours == pytest.approx([references.ssim(t, p) for t, p in pairs], rel=1e-9)


def test_ssim_of_colour_images_is_the_mean_over_channels():
    colour, target = (np.concatenate([x[:1], x[1:2], x[2:]], axis=-1) for x in (NOISY, CLEAN))
    assert ssim(colour, target) == pytest.approx([ssim(NOISY, CLEAN).mean()], rel=1e-5)


def test_equal_images_have_a_finite_psnr_and_an_ssim_of_1():
    assert psnr(CLEAN, CLEAN) == pytest.approx([200.0] * 3)
    assert ssim(CLEAN, CLEAN) == pytest.approx([1.0] * 3)


@PROPERTY
@given(
    images=arrays.arrays(
        np.float32, (2, 2, 12, 12, 1), elements=st.floats(-2, 2, width=32), fill=st.floats(0, 1)
    )
)
def test_regression_yardsticks_are_symmetric_and_in_range(images):
    here, there = images
    for name, metric in REGRESSION.items():
        values = metric(here, there)
        assert values.shape == (2,) and np.all(np.isfinite(values)), name
        assert values == pytest.approx(metric(there, here), abs=1e-5), name
    assert np.all(mae(here, there) ** 2 <= mse(here, there) * (1 + 1e-6) + 1e-12)


# Directions


def test_every_yardstick_says_which_direction_is_better():
    one_hot = np.eye(5, dtype=np.float32)[LABELS]
    for name, metric in CLASSIFICATION.items():
        good, bad = np.mean(metric(9 * one_hot, LABELS)), np.mean(metric(-9 * one_hot, LABELS))
        assert YARDSTICKS[name].sign * (bad - good) > 0, name
    for name, metric in REGRESSION.items():
        good, bad = np.mean(metric(NOISY, CLEAN)), np.mean(metric(1 - CLEAN, CLEAN))
        assert YARDSTICKS[name].sign * (bad - good) > 0, name
