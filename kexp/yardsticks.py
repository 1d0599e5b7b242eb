"""Yardsticks: metrics on predictions that do not depend on the chosen loss. Pure NumPy.

Classification takes logits, shape (n, classes), and integer labels, shape (n,).
Regression takes a prediction and a target of the same shape, (n, height, width, channels),
on the scale where 1.0 is the data range; every value is a mean over the n samples.
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


CLASSIFICATION = {"nll": nll, "error": error, "brier": brier, "ece": ece}
REGRESSION = {"mse": mse, "mae": mae, "psnr": psnr, "ssim": ssim}


def _per_sample(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
