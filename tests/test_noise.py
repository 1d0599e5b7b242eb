"""Noise models: their moments and distributions, and that they follow their generator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kexp.noise import BlindGaussian, Gaussian, Poisson, SaltAndPepper

PROPERTY = settings(max_examples=40, deadline=None, database=None, derandomize=True)
KINDS = [Gaussian(), BlindGaussian(), Poisson(), SaltAndPepper()]
kinds = pytest.mark.parametrize("noise", KINDS, ids=lambda noise: type(noise).__name__)

PIXELS = (8, 50, 50, 1)
DRAWS = 8 * 50 * 50


def grey(level: float, shape=PIXELS) -> np.ndarray:
    return np.full(shape, level, np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# All


@kinds
def test_noise_follows_its_generator_and_leaves_the_image_alone(noise):
    clean = rng().random((2, 9, 7, 3)).astype(np.float32)
    before = clean.copy()
    first = noise(clean, rng(1))
    assert np.array_equal(first, noise(clean, rng(1)))
    assert not np.array_equal(first, noise(clean, rng(2)))
    assert np.array_equal(clean, before)
    assert first.dtype == np.float32 and first.shape == clean.shape


@kinds
def test_images_of_a_batch_get_noise_of_their_own(noise):
    first, second = noise(grey(0.5, (2, 20, 20, 1)), rng())
    assert not np.array_equal(first, second)


@kinds
def test_neighbouring_pixels_are_independent(noise):
    rest = noise(grey(0.5), rng()) - 0.5
    for axis in (1, 2):
        shifted = np.roll(rest, 1, axis)
        correlation = np.mean(rest * shifted) / np.mean(rest**2)
        assert abs(correlation) < 5 / np.sqrt(DRAWS)


# Gaussian


@pytest.mark.parametrize("sigma", [1.0, 25.0, 255.0])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_gaussian_noise_has_its_mean_and_deviation_and_is_not_clipped(sigma, level):
    rest = (Gaussian(sigma=sigma)(grey(level), rng()) - level) * 255
    assert rest.mean() == pytest.approx(0, abs=5 * sigma / np.sqrt(DRAWS))
    assert rest.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * DRAWS))
    assert stats.kstest(rest.ravel() / sigma, "norm").pvalue > 1e-3


def test_no_deviation_is_no_noise():
    clean = grey(0.3)
    assert np.array_equal(Gaussian(sigma=0.0)(clean, rng()), clean)
    assert np.array_equal(BlindGaussian(low=0.0, high=0.0)(clean, rng()), clean)
    assert np.array_equal(SaltAndPepper(share=0.0)(clean, rng()), clean)


# Blind Gaussian


def test_blind_noise_draws_a_deviation_for_each_image_evenly_from_its_range():
    rest = BlindGaussian(low=10.0, high=50.0)(grey(0.5, (400, 40, 40, 1)), rng()) - 0.5
    sigma = rest.std(axis=(1, 2, 3)) * 255
    assert sigma.min() > 9 and sigma.max() < 53
    assert stats.kstest(sigma, "uniform", args=(10, 40)).pvalue > 1e-3


def test_blind_noise_of_one_deviation_is_gaussian():
    rest = (BlindGaussian(low=25.0, high=25.0)(grey(0.5), rng()) - 0.5) * 255
    assert rest.std() == pytest.approx(25, rel=5 / np.sqrt(2 * DRAWS))


@PROPERTY
@given(low=st.floats(0, 255), high=st.floats(0, 255))
def test_a_range_must_be_in_order(low, high):
    if low <= high:
        BlindGaussian(low=low, high=high)
    else:
        with pytest.raises(ValueError, match="low must be ≤ high, got low="):
            BlindGaussian(low=low, high=high)


# Poisson


@pytest.mark.parametrize(("peak", "level"), [(1.0, 0.5), (3.0, 0.5), (10.0, 0.2)])
def test_few_photons_are_poisson_distributed(peak, level):
    counts = np.rint(Poisson(peak=peak)(grey(level), rng()) * peak).astype(int)
    mean = peak * level
    last = int(stats.poisson.isf(1e-3, mean))  # the tail beyond is one bin
    observed = np.bincount(np.minimum(counts.ravel(), last), minlength=last + 1)
    p = stats.poisson.pmf(np.arange(last), mean)
    expected = DRAWS * np.append(p, 1 - p.sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize(("peak", "level"), [(1.0, 1.0), (30.0, 0.25), (1000.0, 0.8)])
def test_photon_noise_keeps_the_mean_and_has_variance_clean_over_peak(peak, level):
    noisy = Poisson(peak=peak)(grey(level), rng()).astype(float)
    variance = level / peak
    assert noisy.mean() == pytest.approx(level, abs=5 * np.sqrt(variance / DRAWS))
    kurtosis = 3 + 1 / (peak * level)
    assert noisy.var() == pytest.approx(variance, rel=5 * np.sqrt((kurtosis - 1) / DRAWS))


def test_where_it_is_black_there_are_no_photons():
    assert np.array_equal(Poisson()(grey(0.0), rng()), grey(0.0))


# Salt and pepper


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 1.0])
def test_half_of_the_share_is_black_and_half_is_white(share):
    noisy = SaltAndPepper(share=share)(grey(0.3), rng())
    error = 5 * np.sqrt(share / 2 / DRAWS)
    assert np.mean(noisy == 0) == pytest.approx(share / 2, abs=error)
    assert np.mean(noisy == 1) == pytest.approx(share / 2, abs=error)
    assert set(np.unique(noisy)) <= {np.float32(0), np.float32(0.3), np.float32(1)}


def test_a_share_of_1_leaves_no_pixel():
    assert set(np.unique(SaltAndPepper(share=1.0)(grey(0.3), rng()))) == {0.0, 1.0}


# Refusals


@pytest.mark.parametrize(
    ("noise", "parameters", "rule"),
    [
        (Gaussian, {"sigma": -1.0}, "sigma.*greater than or equal to 0.*-1.0"),
        (Gaussian, {"sigma": 256.0}, "sigma.*less than or equal to 255.*256.0"),
        (Gaussian, {"sigma": float("nan")}, "sigma.*nan"),
        (BlindGaussian, {"high": 300.0}, "high.*less than or equal to 255.*300.0"),
        (BlindGaussian, {"low": 56.0}, "low must be ≤ high, got low=56 and high=55"),
        (Poisson, {"peak": 0.0}, "peak.*greater than 0.*0.0"),
        (Poisson, {"sigma": 1.0}, "sigma"),
        (SaltAndPepper, {"share": 1.1}, "share.*less than or equal to 1.*1.1"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(noise, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        noise(**parameters)
