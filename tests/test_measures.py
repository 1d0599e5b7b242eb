"""Measures of overfitting: by hand, as properties, and on simulated curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kexp.measures import (
    PERSISTENCE,
    YARDSTICKS,
    best_epoch,
    cost,
    gap,
    noise,
    onset,
    verdict,
)

PROPERTY = settings(max_examples=50, deadline=None, database=None, derandomize=True)
curves = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)

# Gap


@pytest.mark.parametrize("name", ["fit", "objective", "nll", "error", "brier", "ece", "mse", "mae"])
def test_gap_is_positive_where_validation_is_higher(name):
    assert gap(name, validation=0.5, probe=0.2) == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_gap_is_positive_where_validation_is_lower_and_higher_is_better(name):
    assert gap(name, validation=28.0, probe=30.5) == pytest.approx(2.5)


@PROPERTY
@given(name=st.sampled_from(sorted(YARDSTICKS)), a=st.floats(-1e6, 1e6), b=st.floats(-1e6, 1e6))
def test_gap_turns_its_sign_with_its_sides(name, a, b):
    assert gap(name, a, b) == -gap(name, b, a)
    assert gap(name, a, a) == 0


# Onset


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([5, 4, 3, 2, 1], None),  # still falling
        ([3, 2, 1, 2, 3, 4], 3),
        ([3, 2, 1, 2, 3], None),  # two epochs of rise are too few
        ([1, 2, 3, 4], 1),
        ([1, 2, 3], None),
        ([2], None),
        ([1, 1, 1, 1, 1, 1], None),
        ([3, 2, 1, 9, 9, 9, 9, 9, 9, 1.005], None),  # came back to within 1 %
        ([3, 2, 1, 9, 9, 9, 9, 9, 9, 1.5], 3),  # nearer, but not back
        ([3, 2, 1, 1.009, 1.008, 1.009, 1.009], None),  # within 1 %
        ([3, 2, 1, 1, 1, 2, 3, 4, 5, 6, 7], 3),  # the first of equal ones
    ],
)
def test_onset_by_hand(curve, expected):
    assert onset(curve) == expected


def test_onset_of_a_curve_where_higher_is_better():
    assert onset([20, 25, 30, 28, 27, 26], higher_is_better=True) == 3
    assert onset([20, 25, 30, 31, 32, 33], higher_is_better=True) is None
    assert onset([30, 28, 26, 24, 22, 20]) is None


def test_tolerance_says_how_far_back_is_back():
    curve = [1.5, 1.2, 1.0] + [1.05] * 8
    assert onset(curve, tolerance=0.01) == 3
    assert onset(curve, tolerance=0.06) is None


def test_a_rise_must_persist_at_the_end():
    rising = [5, 4, 3, 2, 1] + [4] * PERSISTENCE
    assert onset(rising) == 5
    assert onset(rising[:-1]) is None
    assert onset([*rising, 1.0]) is None


def test_a_rise_within_the_noise_of_the_curve_is_none():
    wild = [1.0, 1.4, 0.9, 1.5, 0.8, 1.3, 0.9, 1.2, 1.3, 1.1]
    assert onset(wild) is None


@PROPERTY
@given(curve=curves)
def test_onset_is_the_best_epoch_or_none(curve):
    at = onset(curve)
    assert at is None or at == best_epoch(curve) <= len(curve) - PERSISTENCE
    assert onset([-v for v in curve], higher_is_better=True) == at


@PROPERTY
@given(curve=curves, exponent=st.integers(-8, 8))
def test_the_unit_of_a_curve_does_not_matter(curve, exponent):
    assume(all(v == 0 or abs(v) > 1e-200 for v in curve))
    assert onset([2.0**exponent * v for v in curve]) == onset(curve)


@PROPERTY
@given(curve=curves)
def test_a_falling_curve_has_no_onset_and_no_cost(curve):
    falling = sorted(curve, reverse=True)
    assert onset(falling) is None
    assert cost(falling) == 0


# Cost and best epoch


def test_cost_is_last_minus_best():
    assert cost([3, 1, 1.5, 2]) == pytest.approx(1.0)
    assert cost([20, 30, 28.5], higher_is_better=True) == pytest.approx(1.5)


@PROPERTY
@given(curve=curves)
def test_cost_is_never_negative_and_turns_with_the_direction(curve):
    assert cost(curve) >= 0
    assert cost([-v for v in curve], higher_is_better=True) == cost(curve)
    assert (cost(curve) == 0) == (curve[-1] == min(curve))


@PROPERTY
@given(curve=curves)
def test_best_epoch_is_the_first_of_the_best_values(curve):
    at = best_epoch(curve)
    assert curve[at - 1] == min(curve) and min(curve) not in curve[: at - 1]
    at = best_epoch(curve, higher_is_better=True)
    assert curve[at - 1] == max(curve) and max(curve) not in curve[: at - 1]


# Noise


def test_noise_by_hand():
    """Second differences of 0, 1, 0, 1, 0, 1 are all 2 in size."""
    assert noise([0, 1, 0, 1, 0, 1]) == pytest.approx(2 / (0.6745 * 6**0.5))
    assert noise([0, 1, 0, 1]) == 0


@PROPERTY
@given(slope=st.integers(-100, 100), start=st.integers(-100, 100), length=st.integers(1, 40))
def test_a_straight_line_has_no_noise(slope, start, length):
    assert noise([start + slope * i for i in range(length)]) == 0


@pytest.mark.parametrize("sigma", [1e-3, 1.0, 50.0])
def test_noise_is_the_standard_deviation_of_noise_on_a_trend(sigma):
    values = 3 - 0.5 * np.arange(4000) * sigma
    values += np.random.default_rng(0).normal(0, sigma, 4000)
    assert noise(values) == pytest.approx(sigma, rel=0.05)


# Verdict


@pytest.mark.parametrize(
    ("yardstick", "curve", "sentence"),
    [
        (
            "nll",
            [0.9, 0.5, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7],
            "validation NLL was best at epoch 3 and rose 0.3 after; the gap is 0.125",
        ),
        (
            "psnr",
            [20, 28, 30, 29.5, 29, 28.5, 28, 27.5, 27],
            "validation PSNR was best at epoch 3 and fell 3 dB after; the gap is 0.125 dB",
        ),
        (
            "error",
            [0.3, 0.2, 0.1],
            "validation error was still getting better at the last epoch, 3; the gap is 12.50 %",
        ),
        (
            "brier",
            [0.3, 0.2, 0.1, 0.1001, 0.1, 0.1001],
            "validation Brier score was best at epoch 3 and ended within its noise of that: "
            "no onset of overfitting; the gap is 0.125",
        ),
        (
            "nll",
            [0.9, 0.4, 0.6, 0.9],
            "validation NLL was best at epoch 2 and rose 0.5 after, for too few epochs to call it "
            "an onset of overfitting; the gap is 0.125",
        ),
        (
            "ssim",
            [0.5, 0.9, 0.7],
            "validation SSIM was best at epoch 2 and fell 0.2 after, for too few epochs to call it "
            "an onset of overfitting; the gap is 0.125",
        ),
    ],
)
def test_verdict_in_words(yardstick, curve, sentence):
    assert verdict(yardstick, curve, 0.125) == sentence


@PROPERTY
@given(name=st.sampled_from(sorted(YARDSTICKS)), curve=curves)
def test_verdict_says_what_onset_says(name, curve):
    higher = YARDSTICKS[name].higher_is_better
    text = verdict(name, curve, 0.0)
    assert text.count(";") == 1
    assert (onset(curve, higher) is None) == any(
        phrase in text for phrase in ("no onset", "too few", "still getting better")
    )


def test_values_are_shown_with_unit_and_digits():
    assert YARDSTICKS["error"].show(0.0123) == "1.23 %"
    assert YARDSTICKS["psnr"].show(30.123456) == "30.12 dB"
    assert YARDSTICKS["nll"].show(0.000123456) == "0.0001235"
    assert YARDSTICKS["nll"].show(None) == "–"


# Simulated curves


def flat(count, sigma, trend=lambda t: np.ones_like(t)):
    """Curves of 30 epochs around a trend, with independent Gaussian noise."""
    rng = np.random.default_rng(2024)
    return trend(np.arange(30.0)) + rng.normal(0, sigma, (count, 30))


@pytest.mark.parametrize("sigma", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("higher_is_better", [False, True])
def test_flat_noisy_curves_rarely_have_an_onset(sigma, higher_is_better):
    found = [onset(c, higher_is_better) is not None for c in flat(500, sigma)]
    assert np.mean(found) <= 0.03


@pytest.mark.parametrize("epochs", [6, 10, 15, 100])
def test_long_and_short_flat_curves_rarely_have_an_onset_either(epochs):
    curves = 1 + np.random.default_rng(epochs).normal(0, 0.1, (500, epochs))
    assert np.mean([onset(c) is not None for c in curves]) <= 0.03


@pytest.mark.parametrize("sigma", [0.005, 0.05])
def test_curves_that_level_off_rarely_have_an_onset(sigma):
    found = [onset(c) is not None for c in flat(500, sigma, lambda t: 1 + 2 * np.exp(-t / 4))]
    assert np.mean(found) <= 0.03


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clear_u_shape_is_found_near_its_epoch(sign):
    """1 + 2 (t − 10)²/400 rises by 1.8, 36 times the noise, after its lowest epoch, the 11th."""
    simulated = flat(200, 0.05, lambda t: 1 + 2 * ((t - 10) / 20) ** 2)
    found = [onset(sign * c, higher_is_better=sign < 0) for c in simulated]
    near = [at is not None and abs(at - 11) <= 5 for at in found]
    assert np.mean([at is not None for at in found]) >= 0.95
    assert np.mean(near) >= 0.95
