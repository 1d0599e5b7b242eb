"""Yardsticks: metrics on predictions that do not depend on the chosen loss. Pure NumPy.

Classification takes logits, shape (n, classes), and integer labels, shape (n,).
Regression takes a prediction and a target of the same shape, (n, height, width, channels),
on the scale where 1.0 is the data range; every value is a mean over the n samples.
Depth takes inverse depths, (n, height, width, 1), in any unit, NaN where the target is unknown.
"""

from __future__ import annotations

import numpy as np
import scipy

BINS = 15


def nll(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log-likelihood in nats per sample, shape (n,): −log softmax(z)[y]."""
    return -scipy.special.log_softmax(logits.astype(np.float64), axis=-1)[
        np.arange(len(labels)), labels
    ]


def error(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 where the most probable class is wrong, else 0, shape (n,)."""
    return (logits.argmax(axis=-1) != labels).astype(np.float64)


def brier(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Brier (1950) score per sample, Σ_k (p_k − [k = y])², in [0, 2], shape (n,)."""
    p = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    p[np.arange(len(labels)), labels] -= 1.0
    return np.square(p).sum(axis=-1)


def ece(logits: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error, in [0, 1], over 15 bins of equal width.

    Σ_b (n_b / n) |accuracy_b − confidence_b|. Guo et al. 2017, equation 3.
    """
    bins = reliability(logits, labels)
    return float(np.abs(bins["correct"] - bins["confidence"]).sum() / len(labels))


def reliability(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Reliability diagram over 15 bins of confidence of equal width, each array of shape (15,).

    `count` of the samples in each bin, and over these the sum of their `confidence` and how many
    are `correct`. Guo et al. 2017, section 2.
    """
    p = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    confidence, correct = p.max(axis=-1), p.argmax(axis=-1) == labels
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return {
        "count": np.bincount(which, minlength=BINS),
        "confidence": np.bincount(which, weights=confidence, minlength=BINS),
        "correct": np.bincount(which, weights=correct, minlength=BINS),
    }


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many samples of each class (rows) were taken for each (columns), shape (k, k)."""
    k = logits.shape[-1]
    return np.bincount(labels * k + logits.argmax(axis=-1), minlength=k * k).reshape(k, k)


def mse(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean squared error of each sample, shape (n,)."""
    return _per_sample(np.square(prediction - target))


def mae(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean absolute error of each sample, shape (n,)."""
    return _per_sample(np.abs(prediction - target))


def psnr(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each sample in dB for a data range of 1, shape (n,)."""
    return -10 * np.log10(np.maximum(mse(prediction, target), 1e-20))


def ssim(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Structural similarity of each image, shape (n,).

    Gaussian window of σ = 1.5, data range 1, population covariance. Wang et al. 2004.
    """
    from skimage.metrics import structural_similarity

    def one(p: np.ndarray, t: np.ndarray) -> float:
        return structural_similarity(
            p,
            t,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
        )

    return np.array([one(p, t) for p, t in zip(prediction, target, strict=True)])


def delta_e(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean colour difference CIEDE2000 over the pixels of CIELAB images (n, h, w, 3), shape (n,).

    1 is about what an eye can just tell apart. Sharma et al. 2005.
    """
    from skimage.color import deltaE_ciede2000

    return _per_sample(deltaE_ciede2000(target, prediction))


WIDENED = 2.0
"""Aligned depths are cut at the nearest true depth over this, and at the farthest times this."""


def aligned_inverse_depth(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """s p + t with the s ≥ 0 and t of least squares Σ (s p + t − y)² of each map; its shape.

    The sum is over the pixels whose target y is not NaN. In both maps larger is nearer: where the
    best s is negative, or the prediction p is constant, s = 0 and t is the mean of y. Ranftl et
    al. 2022 (MiDaS), section 6, but for the sign, which is not looked at there. float64.
    """
    p, y = (v.reshape(len(v), -1).astype(np.float64) for v in (prediction, target))
    known = ~np.isnan(y)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.where(known, values, 0).sum(axis=1, keepdims=True) / count

    p_mean, y_mean = mean(p), mean(y)
    variance, covariance = mean(np.square(p - p_mean)), mean((p - p_mean) * (y - y_mean))
    flat = variance <= 1e-12 * np.square(p_mean)
    scale = np.where(flat, 0, np.maximum(covariance, 0) / np.where(flat, 1, variance))
    return (scale * (p - p_mean) + y_mean).reshape(prediction.shape)


def measured_inverse_depth(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The prediction aligned to its target, and cut so that every depth is positive and finite.

    Depths are cut at half the nearest true depth of the map, and at twice the farthest one.
    """
    axes = tuple(range(1, target.ndim))
    farthest, nearest = (f(target, axis=axes, keepdims=True) for f in (np.nanmin, np.nanmax))
    aligned = aligned_inverse_depth(prediction, target)
    return np.clip(aligned, farthest / WIDENED, nearest * WIDENED)


def abs_rel(inverse: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean |d − d̂|/d of each map over its known pixels, shape (n,); 1/d̂ and 1/d are given."""
    return _per_known(np.abs(target / inverse - 1), target)


def delta1(inverse: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Share of the known pixels of each map with max(d/d̂, d̂/d) < 1.25, in [0, 1], shape (n,).

    Ladický, Shi and Pollefeys 2014.
    """
    ratio = target / inverse
    good = (np.maximum(ratio, 1 / ratio) < 1.25).astype(np.float64)
    return _per_known(np.where(np.isnan(inverse), np.nan, good), target)


CLASSIFICATION = {"nll": nll, "error": error, "brier": brier, "ece": ece}
REGRESSION = {"mse": mse, "mae": mae, "psnr": psnr, "ssim": ssim}
DEPTH = {"abs_rel": abs_rel, "delta1": delta1}


def _per_sample(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)


def _per_known(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean of each map over the pixels whose target is not NaN."""
    known = ~np.isnan(target).reshape(len(target), -1)
    rows = np.where(known, values.reshape(len(values), -1), 0)
    return rows.sum(axis=1, dtype=np.float64) / known.sum(axis=1)
