"""Losses for classification: logits z of shape (n, classes) and integer labels of shape (n,).

Each is a pure function of the labels and the log-probabilities log softmax(z), which the
caller computes once and stably, and a thin class around it.
"""

from __future__ import annotations

from typing import Any

from kexp.choice import NonNegative, ProperShare, choice
from kexp.lazy import keras
from kexp.losses.base import ClassificationLoss


def crossentropy(labels: Any, log_p: Any) -> Any:
    """−log p_y, shape (n,)."""
    return -_of_label(labels, log_p)


def label_smoothing(labels: Any, log_p: Any, smoothing: Any) -> Any:
    """(1 − ε)(−log p_y) + ε · mean_k(−log p_k), shape (n,)."""
    uniform = -keras.ops.mean(log_p, axis=-1)
    return (1.0 - smoothing) * crossentropy(labels, log_p) + smoothing * uniform


def focal(labels: Any, log_p: Any, gamma: Any) -> Any:
    """(1 − p_y)^γ (−log p_y), shape (n,); 1 − p is kept above 1e-7 so that gradients are finite."""
    log_p_y = _of_label(labels, log_p)
    wrong = keras.ops.maximum(-keras.ops.expm1(log_p_y), 1e-7)
    return keras.ops.power(wrong, gamma) * -log_p_y


@choice
class CrossEntropy(ClassificationLoss):
    """Softmax cross-entropy, L = −log softmax(z)_y, in nats.

    The negative log-likelihood of a categorical distribution; equal to the yardstick `nll`.
    """

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """−log p_y."""
        return crossentropy(labels, log_p)


@choice
class LabelSmoothing(ClassificationLoss):
    """Cross-entropy against softened labels: (1 − ε) on the label, ε spread over all K classes.

    L = (1 − ε)(−log p_y) + (ε/K) Σ_k −log p_k. Smoothing 0 ≤ ε < 1; ε = 0 is cross-entropy.
    Szegedy et al. 2016, section 7.
    """

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

    gamma: NonNegative = 2.0

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """(1 − p_y)^γ (−log p_y)."""
        return focal(labels, log_p, self.gamma)


def _of_label(labels: Any, log_p: Any) -> Any:
    """log p_y of each sample, shape (n,)."""
    hot = keras.ops.one_hot(labels, log_p.shape[-1], dtype=log_p.dtype)
    return keras.ops.sum(hot * log_p, axis=-1)
