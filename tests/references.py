"""Textbook formulas in plain NumPy and SciPy (float64), written without a look at kexp's code.

The tests hold kexp's mathematics against them.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

# Losses of residuals, elementwise


def quadratic(r):
    """½ r²."""
    return np.asarray(r, float) ** 2 / 2


def absolute(r):
    """|r|."""
    return np.maximum(np.asarray(r, float), -np.asarray(r, float))


def huber(r, delta):
    """Huber 1964, by SciPy."""
    return special.huber(delta, np.asarray(r, float))


def charbonnier(r, scale):
    """SciPy's pseudo-Huber function, δ² (√(1 + (r/δ)²) − 1)."""
    return special.pseudo_huber(scale, np.asarray(r, float))


# Losses of logits (n, classes) and integer labels (n,), one value per sample


def soft_crossentropy(logits, targets):
    """−Σ_k t_k log softmax(z)_k for target distributions t, shape (n, classes)."""
    return -np.sum(targets * special.log_softmax(np.asarray(logits, float), axis=1), axis=1)


def crossentropy(logits, labels):
    """Cross-entropy against one-hot targets."""
    return soft_crossentropy(logits, np.eye(np.shape(logits)[1])[labels])


def label_smoothing(logits, labels, smoothing):
    """Cross-entropy against (1 − ε) one-hot + ε/K, the softened target written out."""
    classes = np.shape(logits)[1]
    return soft_crossentropy(
        logits, (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    )


def focal(logits, labels, gamma):
    """(1 − p)^γ (−log p) with p the probability of the label; 1 − p is the sum of the others."""
    logits = np.asarray(logits, float)
    p = special.softmax(logits, axis=1)
    others = np.where(np.eye(logits.shape[1])[labels] == 1, 0.0, p).sum(axis=1)
    return others**gamma * crossentropy(logits, labels)


# Penalties of one array of weights


def l1(weights, strength):
    """λ ‖θ‖₁."""
    return strength * np.linalg.norm(np.ravel(weights).astype(float), 1)


def l2(weights, strength):
    """λ ‖θ‖₂²."""
    return strength * np.linalg.norm(np.ravel(weights).astype(float), 2) ** 2


def elastic_net(weights, strength, mixing):
    """λ (m ‖θ‖₁ + (1 − m) ‖θ‖₂²)."""
    return mixing * l1(weights, strength) + (1 - mixing) * l2(weights, strength)


# Dropout: (mean, variance, share of zeros) of the factor on an element


def dropout_moments(rate):
    """A Bernoulli draw over its mean: variance q(1 − q)/q² with q = 1 − rate."""
    keep = 1 - rate
    return 1.0, keep * (1 - keep) / keep**2, rate


def gaussian_dropout_moments(rate):
    """Srivastava et al. 2014, section 10: N(1, rate/(1 − rate)), never zero."""
    return 1.0, rate / (1 - rate), 0.0


# Normalisations of x (n, h, w, c); gamma and beta are (c,)


def batch_norm(x, gamma, beta, epsilon, mean=None, variance=None):
    """Each channel over the batch and all places, or by a given mean and variance."""
    x = np.asarray(x, float)
    mean = np.mean(x, axis=(0, 1, 2)) if mean is None else mean
    variance = np.var(x, axis=(0, 1, 2)) if variance is None else variance
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def layer_norm(x, gamma, beta, epsilon):
    """Each place of each sample over its channels, one by one."""
    result = np.empty(np.shape(x))
    for place in np.ndindex(*np.shape(x)[:-1]):
        v = np.asarray(x[place], float)
        result[place] = gamma * (v - v.mean()) / np.sqrt(v.var() + epsilon) + beta
    return result


def group_norm(x, gamma, beta, epsilon, groups):
    """Each group of neighbouring channels of each sample over all its places, one by one."""
    x = np.asarray(x, float)
    result = np.empty(x.shape)
    for n in range(len(x)):
        for channels in np.split(np.arange(x.shape[-1]), groups):
            v = x[n][..., channels]
            result[n][..., channels] = (v - v.mean()) / np.sqrt(v.var() + epsilon)
    return gamma * result + beta


# Yardsticks


def ece(logits, labels, bins=15):
    """Expected calibration error, bin by bin (Guo et al. 2017, equation 3)."""
    p = special.softmax(np.asarray(logits, float), axis=1)
    total = 0.0
    for b in range(bins):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(p, labels, strict=True)
            if b / bins <= row.max() < (b + 1) / bins or (b == bins - 1 and row.max() == 1)
        ]
        if inside:
            confidence, correct = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(correct - confidence)
    return total


def ssim(image, other):
    """Mean structural similarity of two grey images in [0, 1] (Wang et al. 2004, equation 13).

    Gaussian window of σ = 1.5 on 11×11 pixels; the border where it does not fit is left out.
    """

    def blur(x):
        return ndimage.gaussian_filter(np.asarray(x, float), 1.5, radius=5)

    mean, other_mean = blur(image), blur(other)
    variance, other_variance = blur(image**2) - mean**2, blur(other**2) - other_mean**2
    covariance = blur(image * other) - mean * other_mean
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean * other_mean + c1) * (2 * covariance + c2)
    similarity /= (mean**2 + other_mean**2 + c1) * (variance + other_variance + c2)
    return similarity[5:-5, 5:-5].mean()
