"""Textbook formulas in plain NumPy and SciPy (float64), written without a look at kexp's code.

The tests hold kexp's mathematics against them.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, ndimage, signal, special

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


def log_cosh(r, scale):
    """c² log cosh(r/c); cosh⁻² = 1 − tanh² near zero, log(eᵘ + e⁻ᵘ) − log 2 farther away."""
    u = np.asarray(r, float) / scale
    near = -np.log1p(-(np.tanh(np.clip(u, -1, 1)) ** 2)) / 2
    return scale**2 * np.where(np.abs(u) < 1, near, np.logaddexp(u, -u) - np.log(2))


def cauchy(r, scale):
    """c²/2 log(1 + (r/c)²), Zhang 1997, table 1."""
    return scale**2 / 2 * np.log1p((np.asarray(r, float) / scale) ** 2)


def geman_mcclure(r, scale):
    """c² r² / (2 (c² + r²)): Geman and McClure with a scale."""
    squares = np.asarray(r, float) ** 2
    return scale**2 * squares / (2 * (scale**2 + squares))


def welsch(r, scale):
    """c²/2 (1 − exp(−(r/c)²)), Zhang 1997, table 1."""
    return -(scale**2) / 2 * np.expm1(-((np.asarray(r, float) / scale) ** 2))


def tukey(r, scale):
    """c²/6 (1 − (1 − m)³) with (1 − m)³ = exp(3 log(1 − m)), so that small r keep their digits."""
    m = np.minimum((np.asarray(r, float) / scale) ** 2, 1)
    with np.errstate(divide="ignore"):
        return -(scale**2) / 6 * np.expm1(3 * np.log1p(-m))


def quantile(r, q):
    """(1 − q) r above the target, −q r below it (Koenker and Bassett 1978)."""
    r = np.asarray(r, float)
    return np.where(r > 0, (1 - q) * r, -q * r)


BARRON_SPECIAL = {
    2.0: lambda z: z / 2,
    1.0: lambda z: np.expm1(np.log1p(z) / 2),
    0.0: lambda z: np.log1p(z / 2),
    -2.0: lambda z: 2 * z / (z + 4),
    -np.inf: lambda z: -np.expm1(-z / 2),
}
"""Barron 2019, equations 9 to 13, of z = (r/c)²: √(z + 1) − 1 is written as exp(½ log …) − 1."""


def barron(r, alpha, scale=1.0):
    """Barron 2019, equation 8, with its special cases, in longdouble."""
    z = (np.asarray(r, np.longdouble) / np.longdouble(scale)) ** 2
    if float(alpha) in BARRON_SPECIAL:
        return BARRON_SPECIAL[float(alpha)](z)
    alpha = np.longdouble(alpha)
    b = np.abs(alpha - 2)
    return b / alpha * np.expm1(alpha / 2 * np.log1p(z / b))


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


def generalized_crossentropy(logits, labels, q):
    """The Box-Cox transform of the probability of the label, by SciPy, with its sign turned."""
    p = special.softmax(np.asarray(logits, float), axis=1)
    return -special.boxcox(p[np.arange(len(p)), labels], q)


def symmetric_crossentropy(logits, labels, alpha, beta, log_zero):
    """α H(onehot, p) + β H(p, onehot) with the logarithm of the one-hot label written out."""
    p = special.softmax(np.asarray(logits, float), axis=1)
    log_onehot = np.where(np.eye(p.shape[1])[labels] == 1, 0.0, log_zero)
    return alpha * crossentropy(logits, labels) + beta * -np.sum(p * log_onehot, axis=1)


def hinge(logits, labels, margin):
    """Crammer and Singer 2001, sample by sample."""
    rows = zip(np.asarray(logits, float), labels, strict=True)
    leads = np.array([row[label] - np.delete(row, label).max() for row, label in rows])
    return np.clip(margin - leads, 0, None)


# Losses of one logit (n, 1) and labels (n,) in {0, 1}


def two_classes(logits):
    """The logits (0, z), whose softmax is (1 − ŷ, ŷ)."""
    return np.concatenate([np.zeros_like(logits), logits], axis=1)


def signed(logits, labels):
    """s z with s = 1 for class 1 and −1 for class 0: positive where the answer is right."""
    return np.where(np.asarray(labels) == 1, 1.0, -1.0) * np.asarray(logits, float)[:, 0]


def binary_crossentropy(logits, labels):
    """log(1 + exp(−s z))."""
    return np.logaddexp(0, -signed(logits, labels))


def binary_hinge(logits, labels, margin):
    """max(0, m − s z)."""
    return np.clip(margin - signed(logits, labels), 0, None)


# Losses of images (n, h, w, c), one value per image


def ssim_maps(image, other):
    """SSIM and its contrast-structure factor at each place of two grey images, by 2-D windows."""
    away = np.arange(-5, 6) ** 2 / (2 * 1.5**2)
    window = np.exp(-away[:, None] - away[None, :])
    window /= window.sum()

    def mean(x):
        return signal.convolve2d(x, window, mode="valid")

    a, b = mean(image), mean(other)
    variance, other_variance = mean(image**2) - a**2, mean(other**2) - b**2
    contrast = 2 * (mean(image * other) - a * b) + 0.03**2
    contrast /= variance + other_variance + 0.03**2
    return (2 * a * b + 0.01**2) / (a**2 + b**2 + 0.01**2) * contrast, contrast


def halved(image):
    """The mean of each 2×2 block of a grey image, at an odd border of what there is of it."""
    height, width = np.shape(image)
    return np.array(
        [
            [image[i : i + 2, j : j + 2].mean() for j in range(0, width, 2)]
            for i in range(0, height, 2)
        ]
    )


def grey_ms_ssim(image, other, scales):
    """Wang, Simoncelli and Bovik 2003, equation 7, with the first weights made to sum to 1."""
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    factors = []
    for _ in range(scales - 1):
        factors.append(ssim_maps(image, other)[1].mean())
        image, other = halved(image), halved(other)
    factors.append(ssim_maps(image, other)[0].mean())
    return np.prod(np.array(factors) ** (weights / weights.sum()))


def of_grey(similarity, y, y_hat):
    """1 − the mean over the channels of a similarity of grey images, image by image."""
    channels = range(np.shape(y)[-1])
    return np.array(
        [
            1 - np.mean([similarity(one[..., c], other[..., c]) for c in channels])
            for one, other in zip(np.asarray(y, float), np.asarray(y_hat, float), strict=True)
        ]
    )


def ssim_loss(y, y_hat):
    """1 − SSIM."""
    return of_grey(lambda one, other: ssim_maps(one, other)[0].mean(), y, y_hat)


def ms_ssim_loss(y, y_hat, scales):
    """1 − MS-SSIM."""
    return of_grey(lambda one, other: grey_ms_ssim(one, other, scales), y, y_hat)


def ssi(y, y_hat, trim, gradient_weight, scales):
    """Ranftl et al. 2022, section 5, image by image and pixel by pixel; M is that of the scale."""

    def aligned(depth):
        away = depth - np.median(depth)
        return away / np.mean(np.abs(away))

    losses = []
    for depth, guess in zip(np.asarray(y, float), np.asarray(y_hat, float), strict=True):
        r = aligned(guess) - aligned(depth)
        kept = int((1 - trim) * r.size + 1e-9)
        loss = sum(sorted(np.abs(r).ravel())[:kept]) / (2 * r.size)
        for _ in range(scales):
            slopes = sum(
                abs(r[i, j, c] - r[before])
                for i, j, c in np.ndindex(*r.shape)
                for before in ((i - 1, j, c), (i, j - 1, c))
                if min(before) >= 0
            )
            loss += gradient_weight * slopes / r.size
            r = r[::2, ::2]
        losses.append(loss)
    return np.array(losses)


def ssi_known(y, y_hat, trim, gradient_weight, scales):
    """The same over the pixels whose y is not NaN; M counts those of the scale."""
    losses = []
    for depth, guess in zip(np.asarray(y, float), np.asarray(y_hat, float), strict=True):
        there = {place for place in np.ndindex(*depth.shape) if not np.isnan(depth[place])}
        aligned = []
        for values in (guess, depth):
            away = {p: values[p] - np.median([values[q] for q in there]) for p in there}
            spread = sum(map(abs, away.values())) / len(there)
            aligned.append({p: v / spread for p, v in away.items()})
        r = {p: aligned[0][p] - aligned[1][p] for p in there}
        kept = int((1 - trim) * len(there) + 1e-9)
        loss = sum(sorted(map(abs, r.values()))[:kept]) / (2 * len(there))
        for scale in range(scales):
            step = 2**scale
            of_scale = {p for p in there if p[0] % step == 0 and p[1] % step == 0}
            slopes = sum(
                abs(r[i, j, c] - r[before])
                for i, j, c in of_scale
                for before in ((i - step, j, c), (i, j - step, c))
                if before in of_scale
            )
            loss += gradient_weight * slopes / max(len(of_scale), 1)
        losses.append(loss)
    return np.array(losses)


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


def filters(weights):
    """The weights into each output unit, or of each filter, one after the other as a vector."""
    weights = np.asarray(weights, float)
    return [weights[..., i].ravel() for i in range(weights.shape[-1])]


def group_lasso(weights, strength):
    """Yuan and Lin 2006: each group's Euclidean norm times the root of its size."""
    return strength * sum(np.sqrt(len(f)) * np.linalg.norm(f) for f in filters(weights))


def orthogonal(weights, strength):
    """Every inner product of two filters (or of two inputs, where those are fewer) held to I."""
    vectors = np.array(filters(weights))
    vectors = vectors if len(vectors) <= vectors.shape[1] else vectors.T
    pairs = [(i, j) for i in range(len(vectors)) for j in range(len(vectors))]
    return strength * sum((vectors[i] @ vectors[j] - (i == j)) ** 2 for i, j in pairs)


def spectral_norm(weights, strength):
    """The largest singular value squared, by LAPACK's singular value decomposition."""
    return strength * np.linalg.svd(np.array(filters(weights)), compute_uv=False).max() ** 2


def max_norm(weights, limit):
    """Each filter, divided by its norm and made as long as the limit where it is longer."""
    longest = [
        f / np.linalg.norm(f) * limit if np.linalg.norm(f) > limit else f for f in filters(weights)
    ]
    return np.array(longest).T.reshape(np.shape(weights))


# Dropout: (mean, variance, share of zeros) of the factor on an element


def dropout_moments(rate):
    """A Bernoulli draw over its mean: variance q(1 − q)/q² with q = 1 − rate."""
    keep = 1 - rate
    return 1.0, keep * (1 - keep) / keep**2, rate


def gaussian_dropout_moments(rate):
    """Srivastava et al. 2014, section 10: N(1, rate/(1 − rate)), never zero."""
    return 1.0, rate / (1 - rate), 0.0


def dropconnect_moments(inputs, weights, rate):
    """Mean and variance of Σ m_i w_i x_i over independent factors m_i of `dropout_moments`."""
    terms = np.ravel(inputs).astype(float) * np.ravel(weights)
    return terms.sum(), dropout_moments(rate)[1] * np.sum(terms**2)


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


def instance_norm(x, gamma, beta, epsilon):
    """Each channel of each sample over all its places, one by one."""
    result = np.empty(np.shape(x))
    for n in range(len(x)):
        for c in range(np.shape(x)[-1]):
            v = np.asarray(x[n][..., c], float)
            result[n][..., c] = gamma[c] * (v - v.mean()) / np.sqrt(v.var() + epsilon) + beta[c]
    return result


def whitening(rows, epsilon):
    """Σ^(−1/2) with Σ the covariance of rows (m, channels) plus ε I, by SciPy's matrix root."""
    covariance = np.atleast_2d(np.cov(np.asarray(rows, float), rowvar=False, bias=True))
    return linalg.inv(linalg.sqrtm(covariance + epsilon * np.eye(len(covariance))))


def decorrelated_batch_norm(x, gamma, beta, epsilon, group_size):
    """Huang et al. 2018, ZCA, group by group; x is (n, …, c)."""
    rows = np.reshape(np.asarray(x, float), (-1, np.shape(x)[-1]))
    result = np.empty(rows.shape)
    for start in range(0, rows.shape[1], group_size):
        channels = slice(start, start + group_size)
        v = rows[:, channels]
        result[:, channels] = (v - v.mean(axis=0)) @ whitening(v, epsilon)
    return (gamma * result + beta).reshape(np.shape(x))


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
