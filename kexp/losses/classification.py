"""Losses for classification: logits z of shape (n, classes) and integer labels of shape (n,).

Each is a pure function of the labels and the log-probabilities log softmax(z), which the
caller computes once and stably, and a thin class around it. One logit z of shape (n, 1) arrives
as the two classes (0, z), whose log-probabilities are log(1 − ŷ) and log ŷ, ŷ = 1/(1 + exp(−z)).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from kexp.choice import NonNegative, Positive, ProperShare, choice
from kexp.lazy import keras
from kexp.losses.base import ClassificationLoss

Order = Annotated[float, Field(gt=0, le=1)]
Negative = Annotated[float, Field(lt=0)]


def crossentropy(labels: Any, log_p: Any) -> Any:
    """−log p_y, shape (n,)."""
    return -_of_label(labels, log_p)


def binary_crossentropy(labels: Any, log_p: Any) -> Any:
    """−y log ŷ − (1 − y) log(1 − ŷ), shape (n,), from log_p = (log(1 − ŷ), log ŷ), shape (n, 2)."""
    y = keras.ops.cast(labels, log_p.dtype)
    return -y * log_p[:, 1] - (1.0 - y) * log_p[:, 0]


def label_smoothing(labels: Any, log_p: Any, smoothing: Any) -> Any:
    """(1 − ε)(−log p_y) + ε · mean_k(−log p_k), shape (n,)."""
    uniform = -keras.ops.mean(log_p, axis=-1)
    return (1.0 - smoothing) * crossentropy(labels, log_p) + smoothing * uniform


def focal(labels: Any, log_p: Any, gamma: Any) -> Any:
    """(1 − p_y)^γ (−log p_y), shape (n,); 1 − p is kept above 1e-7 so that gradients are finite."""
    wrong = keras.ops.maximum(_of_others(labels, log_p), 1e-7)
    return keras.ops.power(wrong, gamma) * crossentropy(labels, log_p)


def generalized_crossentropy(labels: Any, log_p: Any, q: Any) -> Any:
    """(1 − p_y^q)/q, shape (n,), by expm1 so that small q and p_y near 1 keep their digits."""
    return -keras.ops.expm1(q * _of_label(labels, log_p)) / q


def symmetric_crossentropy(labels: Any, log_p: Any, alpha: Any, beta: Any, log_zero: Any) -> Any:
    """α(−log p_y) + β(−A)(1 − p_y), shape (n,), where A stands for log 0."""
    reverse = -log_zero * _of_others(labels, log_p)
    return alpha * crossentropy(labels, log_p) + beta * reverse


def hinge(labels: Any, log_p: Any, margin: Any) -> Any:
    """max(0, m + max_{k≠y} z_k − z_y), shape (n,); log p_k − log p_y is z_k − z_y."""
    rivals = keras.ops.where(_hot(labels, log_p) > 0, -float("inf"), log_p)
    lead = _of_label(labels, log_p) - keras.ops.max(rivals, axis=-1)
    return keras.ops.relu(margin - lead)


@choice
class CrossEntropy(ClassificationLoss):
    """Softmax cross-entropy, L = −log softmax(z)_y, in nats.

    The negative log-likelihood of a categorical distribution; equal to the yardstick `nll`.
    Bridle 1990.
    For a single logit see `BinaryCrossEntropy`.
    """

    targets: ClassVar[tuple[str, ...]] = ("classification",)
    formula: ClassVar[str] = r"L = -\log\, p_y, \quad p = \mathrm{softmax}(z)"

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """−log p_y."""
        return crossentropy(labels, log_p)


@choice
class BinaryCrossEntropy(ClassificationLoss):
    """Sigmoid cross-entropy, L = −y log ŷ − (1 − y) log(1 − ŷ) with ŷ = 1/(1 + exp(−z)), in nats.

    One logit z per sample, shape (n, 1), and labels y in {0, 1}, shape (n,). The negative
    log-likelihood of a Bernoulli distribution; softmax cross-entropy of the two logits (0, z).
    Berkson 1944, Cox 1958.
    """

    targets: ClassVar[tuple[str, ...]] = ("binary",)
    formula: ClassVar[str] = (
        r"L = -y \log\, \hat{y} - (1 - y) \log (1 - \hat{y}), \quad \hat{y} = \frac{1}{1 + e^{-z}}"
    )

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """Loss of each sample, shape (n,). Raises `ValueError` where the shapes do not fit."""
        if tuple(y_hat.shape)[1:] != (1,):
            raise ValueError(
                f"{type(self).__name__} needs labels of shape (n,) and one logit per sample, "
                f"shape (n, 1), got labels {tuple(y.shape)} and logits {tuple(y_hat.shape)}"
            )
        return super().__call__(y, y_hat)

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """−y log ŷ − (1 − y) log(1 − ŷ)."""
        return binary_crossentropy(labels, log_p)


@choice
class LabelSmoothing(ClassificationLoss):
    """Cross-entropy against softened labels: (1 − ε) on the label, ε spread over all K classes.

    L = (1 − ε)(−log p_y) + (ε/K) Σ_k −log p_k. Smoothing 0 ≤ ε < 1; ε = 0 is cross-entropy.
    Szegedy et al. 2016, section 7.
    """

    formula: ClassVar[str] = (
        r"L = -(1 - \varepsilon) \log\, p_y - \frac{\varepsilon}{K} \sum_{k=1}^{K} \log\, p_k"
    )

    smoothing: ProperShare = 0.1

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """(1 − ε)(−log p_y) + ε · mean_k(−log p_k)."""
        return label_smoothing(labels, log_p, self.smoothing)


@choice
class Focal(ClassificationLoss):
    """Focal loss: cross-entropy that counts well-classified samples less.

    L = (1 − p_y)^γ (−log p_y). Focusing γ ≥ 0; γ = 0 is cross-entropy.
    Lin et al. 2017, equation 4 (without their α).
    """

    formula: ClassVar[str] = r"L = -(1 - p_y)^{\gamma} \log\, p_y"

    gamma: NonNegative = 2.0

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """(1 − p_y)^γ (−log p_y)."""
        return focal(labels, log_p, self.gamma)


@choice
class GeneralizedCrossEntropy(ClassificationLoss):
    """Between cross-entropy (q → 0) and 1 − p_y (q = 1), which heeds wrong labels less.

    L = (1 − p_y^q)/q, bounded by 1/q. Order 0 < q ≤ 1; q = 1 is half the absolute error
    Σ_k |p_k − onehot_k|. Zhang and Sabuncu 2018, equation 6.
    """

    formula: ClassVar[str] = r"L = \frac{1 - p_y^{\,q}}{q}"

    q: Order = 0.7

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """(1 − p_y^q)/q."""
        return generalized_crossentropy(labels, log_p, self.q)


@choice
class SymmetricCrossEntropy(ClassificationLoss):
    """Cross-entropy plus reverse cross-entropy, in which label and prediction change places.

    L = α(−log p_y) + β RCE with RCE = −Σ_k p_k log onehot_k = −A(1 − p_y), where A < 0
    (`log_zero`) stands for log 0. α ≥ 0, β ≥ 0; α = 1, β = 0 is cross-entropy. The reverse part
    is bounded by −βA: the larger β/α, the less a wrong label counts.
    Wang et al. 2019, equations 5 to 9, with A = −4 and α = 0.1 (CIFAR-10) or 0.01 (MNIST).
    """

    formula: ClassVar[str] = r"L = -\alpha \log\, p_y - \beta A\, (1 - p_y)"

    alpha: NonNegative = 0.1
    beta: NonNegative = 1.0
    log_zero: Negative = -4.0

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """α(−log p_y) − βA(1 − p_y)."""
        return symmetric_crossentropy(labels, log_p, self.alpha, self.beta, self.log_zero)


@choice
class Hinge(ClassificationLoss):
    """Multi-class hinge: the label's logit is to lead every other by a margin.

    L = max(0, m + max_{k≠y} z_k − z_y), in units of the logits. Margin m > 0. Crammer and
    Singer 2001. For one logit it is max(0, m − s z) with s = 1 for class 1 and −1 for class 0,
    the loss of the support-vector machine: Cortes and Vapnik 1995.
    """

    formula: ClassVar[str] = r"L = \max\left(0,\ m + \max_{k \neq y}\, z_k - z_y\right)"

    margin: Positive = 1.0

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """max(0, m + max_{k≠y} z_k − z_y)."""
        return hinge(labels, log_p, self.margin)


def _hot(labels: Any, log_p: Any) -> Any:
    """One-hot labels of the shape and type of `log_p`."""
    return keras.ops.one_hot(labels, log_p.shape[-1], dtype=log_p.dtype)


def _of_label(labels: Any, log_p: Any) -> Any:
    """log p_y of each sample, shape (n,)."""
    return keras.ops.sum(_hot(labels, log_p) * log_p, axis=-1)


def _of_others(labels: Any, log_p: Any) -> Any:
    """1 − p_y of each sample, shape (n,), exact where p_y is near 1."""
    return -keras.ops.expm1(_of_label(labels, log_p))
