"""What every loss has in common: y and ŷ in, one value per sample out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from kexp.choice import choice
from kexp.lazy import keras


class Loss:
    """A loss L(y, ŷ). Subclasses say for which kind of target they are and compute `__call__`."""

    target: ClassVar[str]
    """`"classification"` or `"regression"`."""

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """The loss of each sample, shape (n,). The caller takes the mean."""
        raise TypeError(f"{type(self).__name__} must define __call__(y, y_hat)")


@choice
class ClassificationLoss(Loss):
    """A loss on logits ŷ of shape (n, classes) and integer labels y of shape (n,)."""

    target: ClassVar[str] = "classification"

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """Loss of each sample, shape (n,). Raises `ValueError` where the shapes do not fit."""
        if len(y_hat.shape) != 2 or len(y.shape) != 1 or not _agree(y.shape, y_hat.shape[:1]):
            raise ValueError(
                f"{type(self).__name__} needs labels of shape (n,) and logits of shape "
                f"(n, classes), got labels {tuple(y.shape)} and logits {tuple(y_hat.shape)}"
            )
        return self.of_logits(keras.ops.cast(y, "int32"), keras.ops.log_softmax(y_hat, axis=-1))

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """Loss of each sample from log-probabilities of shape (n, classes)."""
        raise TypeError(f"{type(self).__name__} must define of_logits(labels, log_p)")


@choice
class RegressionLoss(Loss):
    """A loss ρ(r) of each element of the residual r = ŷ − y, reduced over a sample's elements.

    `elements="mean"` (default) averages ρ over the elements of a sample, so that samples of
    different size and λ of different tasks stay comparable; `elements="sum"` adds them up.
    """

    target: ClassVar[str] = "regression"

    elements: Literal["mean", "sum"] = "mean"

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """Loss of each sample, shape (n,). Raises `ValueError` where the shapes differ."""
        if not _agree(y.shape, y_hat.shape):
            raise ValueError(
                f"target and prediction must have the same shape, got target {tuple(y.shape)} "
                f"and prediction {tuple(y_hat.shape)}; kexp never broadcasts one to the other"
            )
        rho = self.rho(keras.ops.subtract(y_hat, y))
        axes = tuple(range(1, len(y.shape)))
        reduce = keras.ops.mean if self.elements == "mean" else keras.ops.sum
        return reduce(rho, axis=axes) if axes else rho

    def rho(self, residual: Any) -> Any:
        """ρ(r), elementwise, the shape of `residual`."""
        raise TypeError(f"{type(self).__name__} must define rho(residual)")


def _agree(one: Any, other: Any) -> bool:
    """Whether two shapes are the same as far as they are known (None is unknown)."""
    return len(one) == len(other) and all(
        a == b for a, b in zip(one, other, strict=True) if a is not None and b is not None
    )
