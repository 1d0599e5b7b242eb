"""Principal components and robust projection, against scikit-learn, statsmodels and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.decomposition import PCA
from statsmodels.robust import norms
from threadpoolctl import threadpool_info, threadpool_limits

from kexp.eigenspace import Space, eigenspace, half_weight, robust_projection
from kexp.streams import Streams
from kexp.tasks.eigenspace import largest_angle
from kexp.tasks.recognition import SHARES, Gallery, corruption, occlusion, recognition
from tests import references

SCALE = 0.2


def geman_mcclure(r: np.ndarray) -> np.ndarray:
    return 1 / (1 + (r / SCALE) ** 2) ** 2


def huber(r: np.ndarray) -> np.ndarray:
    return SCALE / np.maximum(np.abs(r), SCALE)


def tukey(r: np.ndarray) -> np.ndarray:
    return np.maximum(1 - (r / SCALE) ** 2, 0) ** 2


RHO = {
    "huber": (huber, lambda r: references.huber(r, SCALE)),
    "geman_mcclure": (geman_mcclure, lambda r: references.geman_mcclure(r, SCALE)),
    "tukey": (tukey, lambda r: references.tukey(r, SCALE)),
}


def problem(images: int = 6, pixels: int = 80, k: int = 4, share: float = 0.25):
    """A space, images of it with noise and outliers, and their true coefficients."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(pixels, k)))
    space = Space(rng.random(pixels), basis, np.ones(k), float(k))
    truth = rng.normal(size=(images, k))
    given = space.images(truth) + 0.02 * rng.normal(size=(images, pixels))
    outliers = rng.random(given.shape) < share
    return space, np.where(outliers, rng.uniform(-1, 2, given.shape), given), truth


# Principal components


@pytest.mark.parametrize(("images", "pixels"), [(60, 20), (15, 40), (25, 25)])
def test_principal_components_are_scikit_learns(images: int, pixels: int) -> None:
    x = np.random.default_rng(1).normal(size=(images, pixels)) * np.linspace(1, 3, pixels)
    space, fit = eigenspace(x, 6), PCA(6, svd_solver="full").fit(x)
    np.testing.assert_allclose(space.mean, fit.mean_)
    np.testing.assert_allclose(np.abs(np.diag(space.basis.T @ fit.components_.T)), 1, rtol=1e-9)
    np.testing.assert_allclose(space.variances / space.total, fit.explained_variance_ratio_)
    np.testing.assert_allclose(
        space.images(space.coefficients(x)), fit.inverse_transform(fit.transform(x)), atol=1e-9
    )
    assert (space.basis[np.abs(space.basis).argmax(axis=0), range(6)] > 0).all()


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).random((50, 12)).astype(np.float32)
    whole = eigenspace(x, 3)
    monkeypatch.setattr("kexp.eigenspace.CHUNK", 7)
    np.testing.assert_allclose(eigenspace(x, 3).basis, whole.basis, atol=1e-10)


def test_images_all_alike_have_a_space_of_no_variance() -> None:
    space = eigenspace(np.full((5, 9), 0.5), 2)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(space.images(space.coefficients(np.full((1, 9), 0.5))), 0.5)
    assert space.explained == 1


@pytest.mark.parametrize("components", [0, 6, 10])
def test_more_components_than_can_be_had_are_refused(components: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to the smaller of 5 images.*got {components}"):
        eigenspace(np.zeros((5, 9)), components)


def test_the_largest_angle_between_spans() -> None:
    one = np.array([[1.0, 0, 0], [0, 1, 0]])
    turned = np.array([[2.0, 0, 0], [0, np.cos(0.3), np.sin(0.3)]])
    assert largest_angle(one, turned) == pytest.approx(np.degrees(0.3))
    assert largest_angle(one, np.array([[1.0, 0, 0], [1, 0, 0]])) == 90
    assert largest_angle(one, turned[:1]) == pytest.approx(0) and largest_angle(one, one[:0]) == 0
    assert largest_angle(one[:1], turned) == 90
    assert largest_angle(one, np.array([[1.0, 1, 0], [1, -1, 0]])) == pytest.approx(0, abs=1e-6)


# Robust projection


@pytest.mark.parametrize("name", RHO)
def test_it_ends_in_the_minimum_that_scipy_finds(name: str) -> None:
    """Of Σρ itself, from where it ended: a minimum; and from the truth: the same one."""
    weight, rho = RHO[name]
    space, images, truth = problem()
    found = robust_projection(space, images, weight, tolerance=1e-9, most=500)
    for image, c, start in zip(images, found.coefficients, truth, strict=True):

        def total(c: np.ndarray, image: np.ndarray = image) -> float:
            return float(rho(space.images(c[None])[0] - image).sum())

        for origin in (c, start):
            least = minimize(total, origin, method="BFGS", options={"gtol": 1e-7}).x
            np.testing.assert_allclose(c, least, atol=2e-5)


@pytest.mark.parametrize(
    ("weight", "norm"),
    [(huber, norms.HuberT(SCALE)), (tukey, norms.TukeyBiweight(SCALE))],
    ids=["huber", "tukey"],
)
def test_a_step_is_that_of_statsmodels(weight, norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a shrinking scale it is their iteration, with a scale of 1, from least squares."""
    space, images, _ = problem()
    monkeypatch.setattr("kexp.eigenspace.SHRINKING", 0.0)
    found = robust_projection(space, images, weight, tolerance=1e-10, most=300)
    for image, c in zip(images, found.coefficients, strict=True):
        model = sm.RLM(image - space.mean, space.basis, M=norm)
        theirs = model.fit(
            scale_est=_One(), conv="coefs", tol=1e-10, maxiter=300, update_scale=False
        )
        if weight is huber:
            np.testing.assert_allclose(c, theirs.params, atol=1e-6)
        else:  # of several minima; they begin at scale 1, this at where no pixel is below half
            assert rho_of(space, image, c) <= rho_of(space, image, theirs.params) + 1e-9


class _One:
    """A scale of 1, whatever the residuals are."""

    def __call__(self, *_: object) -> float:
        return 1.0


def rho_of(space: Space, image: np.ndarray, c: np.ndarray) -> float:
    return float(references.tukey(space.images(c[None])[0] - image, SCALE).sum())


def test_least_squares_is_the_projection_of_the_quadratic_loss() -> None:
    space, images, _ = problem()
    found = robust_projection(space, images, np.ones_like)
    np.testing.assert_array_equal(found.coefficients, space.coefficients(images))
    assert not found.iterations.any() and (found.weights == 1).all() and found.converged.all()
    assert half_weight(np.ones_like, 3) is None


def test_outliers_lose_their_weight_and_the_truth_is_found() -> None:
    space, images, truth = problem()
    found = robust_projection(space, images, geman_mcclure)
    far = np.abs(space.images(truth) - images) > 3 * SCALE
    assert found.weights[far].max() < 0.05 < 0.9 < np.median(found.weights[~far])
    error = np.abs(found.coefficients - truth).max()
    assert error < 0.1 < np.abs(space.coefficients(images) - truth).max()


def growing(r: np.ndarray) -> np.ndarray:
    return 1 + 4 * r**2


def only_below(r: np.ndarray) -> np.ndarray:
    """Huber's weight where r < 0, and that of least squares elsewhere."""
    return np.where(r < 0, huber(r), 1.0)


@pytest.mark.parametrize(
    ("weight", "rho"),
    [
        (growing, lambda r: 0.5 * r**2 + r**4),
        (only_below, lambda r: np.where(r < 0, references.huber(r, SCALE), 0.5 * r**2)),
    ],
    ids=["growing", "only below"],
)
def test_other_losses_are_not_taken_for_the_quadratic_one(weight, rho) -> None:
    space, images, _ = problem()
    found = robust_projection(space, images, weight, tolerance=1e-9, most=500)
    assert found.iterations.all() and found.converged.all()
    for image, c in zip(images, found.coefficients, strict=True):

        def total(c: np.ndarray, image: np.ndarray = image) -> float:
            return float(rho(space.images(c[None])[0] - image).sum())

        least = minimize(total, space.coefficients(image[None])[0], method="BFGS").x
        np.testing.assert_allclose(c, least, atol=1e-4)


def test_constant_weights_of_several_channels_are_weighted_least_squares() -> None:
    space, images, _ = problem()
    w = np.tile([1.0, 3.0], 40)
    found = robust_projection(space, images, lambda r: w * np.ones_like(r), tolerance=1e-9)
    root = np.sqrt(w)[:, None]
    for image, c in zip(images, found.coefficients, strict=True):
        fit = np.linalg.lstsq(root * space.basis, root[:, 0] * (image - space.mean), rcond=None)
        np.testing.assert_allclose(c, fit[0], rtol=1e-6)


def test_it_says_which_estimates_have_converged() -> None:
    space, images, _ = problem()
    assert robust_projection(space, images, geman_mcclure).converged.all()
    few = robust_projection(space, images, geman_mcclure, most=3)
    assert not few.converged.any() and (few.iterations == 3).all()


def test_half_a_weight() -> None:
    assert half_weight(huber, 3) == pytest.approx(2 * SCALE, rel=1e-5)
    expected = SCALE * np.sqrt(np.sqrt(2) - 1)
    assert half_weight(geman_mcclure, 3) == pytest.approx(expected, rel=1e-5)
    channels = np.array([1.0, 0.5, 2.0])  # the second falls first
    assert half_weight(lambda r: huber(r / channels), 3) == pytest.approx(SCALE, rel=1e-5)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None, database=None, derandomize=True)
def test_no_projection_is_worse_than_least_squares(seed: int) -> None:
    """In Σρ, whatever the image; and the answer does not depend on which images stand beside it."""
    space, images, _ = problem()
    rng = np.random.default_rng(seed)
    wild = np.concatenate([images, rng.uniform(-5, 5, images.shape)])
    found = robust_projection(space, wild, huber)
    r, plain = (space.images(c) - wild for c in (found.coefficients, space.coefficients(wild)))
    assert (references.huber(r, SCALE).sum(1) <= references.huber(plain, SCALE).sum(1) + 1e-6).all()
    alone = robust_projection(space, wild[-1:], huber)
    np.testing.assert_allclose(alone.coefficients[0], found.coefficients[-1], rtol=1e-6, atol=1e-9)


def test_where_every_weight_vanishes_the_coefficients_stay() -> None:
    space, images, _ = problem()
    found = robust_projection(space, images, lambda r: (np.abs(r) < 1e-9).astype(float))
    assert np.isfinite(found.coefficients).all()
    none = robust_projection(space, images, lambda r: (np.abs(r) > 1e5).astype(float))
    assert (none.iterations == 1).all() and not none.weights.any()
    np.testing.assert_array_equal(none.coefficients, space.coefficients(images))


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    space, images, _ = problem()
    whole = robust_projection(space, images, tukey)
    monkeypatch.setattr("kexp.eigenspace.BLOCK", 7)
    found = robust_projection(space, images, tukey)
    np.testing.assert_allclose(found.coefficients, whole.coefficients, rtol=1e-7)


def test_small_systems_are_solved_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    space, images, _ = problem()
    solve, threads = np.linalg.solve, []

    def solved(*args: np.ndarray) -> np.ndarray:
        threads.extend(i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas")
        return solve(*args)

    monkeypatch.setattr("numpy.linalg.solve", solved)
    with threadpool_limits(2, "blas"):
        robust_projection(space, images, huber)
        after = [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]
    assert set(threads) <= {1} and set(after) <= {2}


def test_known_pixels_are_least_squares_on_them() -> None:
    space, images, _ = problem()
    mask = np.random.default_rng(3).random(images.shape) < 0.5
    for c, image, kept in zip(space.known(images, mask), images, mask, strict=True):
        expected, *_ = np.linalg.lstsq(space.basis[kept], (image - space.mean)[kept], rcond=None)
        np.testing.assert_allclose(c, expected, rtol=1e-6)


# Damage and recognition


@pytest.mark.parametrize("occluder", ["texture", "white", "grey"])
@pytest.mark.parametrize("shape", [(5, 28, 28, 1), (3, 20, 50, 3)])
def test_a_block_hides_its_share(occluder, shape) -> None:
    damage = occlusion(np.full(shape, -1.0), occluder, Streams(0))
    for share in SHARES:
        hidden = damage(share) >= 0
        assert np.abs(hidden.mean(axis=(1, 2, 3)) - share).max() < 0.03
        for image, mask in zip(damage(share), hidden[..., 0], strict=True):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            assert mask.sum() == len(rows) * len(columns), "one block"
            values = np.unique(image[mask])
            assert share == 0 or (len(values) == 1) == (occluder != "texture")
    if occluder == "white":
        assert damage(0.5).max() == 1


def test_damage_grows_and_is_that_of_the_seed() -> None:
    images = np.full((4, 30, 30, 1), -1.0)
    damage = corruption(images, Streams(0))
    for less, more in zip(SHARES, SHARES[1:], strict=False):
        changed = damage(less) >= 0
        assert np.array_equal(damage(less)[changed], damage(more)[changed])
        assert changed.mean() == pytest.approx(less, abs=0.03)
    again = occlusion(images, "texture", Streams(0))(0.4)
    assert np.array_equal(again, occlusion(images, "texture", Streams(0))(0.4))
    assert not np.array_equal(again, occlusion(images, "texture", Streams(1))(0.4))


def test_recognition_counts() -> None:
    """Of two classes far from each other, with the M-estimator right wherever it can be."""
    rng = np.random.default_rng(0)
    train = np.repeat([[0.0] * 50 + [1.0] * 50, [1.0] * 50 + [0.0] * 50], 20, axis=0)
    train += 0.05 * rng.normal(size=train.shape)
    labels = np.repeat([0, 1], 20)
    space = eigenspace(train, 2)
    gallery = Gallery(space.coefficients(train), labels)
    images = train[::4].reshape(10, 10, 10, 1)
    found = recognition(space, gallery, images, labels[::4], lambda share: images, geman_mcclure)
    for method in ("least_squares", "m_estimator", "known"):
        assert found[method]["correct"] == [10] * len(SHARES)
        assert found[method]["rate"][0] == 1 and found[method]["high"][0] == 1
        assert found[method]["low"][0] == pytest.approx(1 / (1 + 1.959964**2 / 10))
    assert found["m_estimator"]["converged"] == [1.0] * len(SHARES)
    assert found["m_estimator"]["gained"] == found["m_estimator"]["lost"] == [0] * len(SHARES)
    negative = recognition(
        space, gallery, images, labels[::4], lambda share: 1 - images, geman_mcclure
    )
    assert negative["least_squares"]["correct"] == [0] * len(SHARES)
