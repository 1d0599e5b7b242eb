"""What every loss has in common: y and ŷ in, one value per sample out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from kexp.choice import choice
from kexp.lazy import keras


class Loss:
    """A loss L(y, ŷ). Subclasses say for which kinds of target they are and compute `__call__`."""

    targets: ClassVar[tuple[str, ...]]
    """Kinds of target (see `kexp.tasks.Task.target`) that the loss is for."""

    formula: ClassVar[str] = ""
    """The loss in TeX."""

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """The loss of each sample, shape (n,). The caller takes the mean."""
        raise TypeError(f"{type(self).__name__} must define __call__(y, y_hat)")

    def of_known(self, y: Any, y_hat: Any) -> Any:
        """The same, of those elements alone whose target is known: elsewhere y is NaN.

        A task with partly known targets (see `kexp.tasks.Task.partial`) asks for this one, where
        the loss defines it (see `defines_of_known`). A loss that does not is for targets that are
        all known.
        """
        raise TypeError(f"{type(self).__name__} must define of_known(y, y_hat)")

    def check_side(self, key: str, side: int) -> None:
        """Raise `ValueError` where images of `side` pixels (config key `key`) are too small."""

    def learned(self, channels: int) -> dict[str, np.ndarray]:
        """Initial values of what the loss itself learns in training, by name; mostly nothing.

        `channels` is the length of the last axis of a target. The loss finds the variables as
        attributes of these names when it is called.
        """
        return {}

    def shown(self) -> dict[str, Any]:
        """What is logged of it after each epoch: values with a meaning, by name."""
        return {}

    def settled(self, shown: dict[str, Any]) -> Loss:
        """The loss with what it learns held at what `shown` gave; itself if it learns nothing."""
        return self


def defines_of_known(loss: Any) -> bool:
    """Whether a loss, or a plain class's, says what it is of partly known targets.

    One whose `__call__` is that of a class further down than `of_known` does not: the `of_known` it
    inherits is that of another loss.
    """
    classes = type(loss).__mro__

    def depth(method: str) -> int:
        return next((i for i, cls in enumerate(classes) if method in vars(cls)), len(classes))

    found = depth("of_known")
    return found < len(classes) and classes[found] is not Loss and found <= depth("__call__")


@choice
class ClassificationLoss(Loss):
    """A loss on logits ŷ of shape (n, classes) and integer labels y of shape (n,).

    A single logit z per sample, shape (n, 1), stands for two classes with the logits (0, z), so
    that softmax gives ŷ = 1/(1 + exp(−z)) for class 1: every such loss serves binary tasks too.
    """

    targets: ClassVar[tuple[str, ...]] = ("classification", "binary")

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """Loss of each sample, shape (n,). Raises `ValueError` where the shapes do not fit."""
        if len(y_hat.shape) != 2 or len(y.shape) != 1 or not _agree(y.shape, y_hat.shape[:1]):
            raise ValueError(
                f"{type(self).__name__} needs labels of shape (n,) and logits of shape "
                f"(n, classes), got labels {tuple(y.shape)} and logits {tuple(y_hat.shape)}"
            )
        return self.of_logits(keras.ops.cast(y, "int32"), log_probabilities(y_hat))

    def of_logits(self, labels: Any, log_p: Any) -> Any:
        """Loss of each sample from log-probabilities of shape (n, classes)."""
        raise TypeError(f"{type(self).__name__} must define of_logits(labels, log_p)")


def log_probabilities(logits: Any) -> Any:
    """log softmax(z) of logits (n, classes); of one logit (n, 1) that of (0, z), shape (n, 2)."""
    if logits.shape[-1] != 1:
        return keras.ops.log_softmax(logits, axis=-1)
    log_sigmoid = keras.ops.log_sigmoid
    return keras.ops.concatenate([log_sigmoid(-logits), log_sigmoid(logits)], axis=-1)


@choice
class RegressionLoss(Loss):
    """A loss ρ(r) of the residual r = ŷ − y: of each element, or of a sample's norm ‖r‖.

    `elements="mean"` (default) averages ρ over the elements of a sample, so that samples of
    different size and λ of different tasks stay comparable; `elements="sum"` adds them up;
    `elements="norm"` takes ρ(‖ŷ − y‖) with the Euclidean norm over all elements of a sample, as
    M-estimation is taught: then a whole sample is the outlier, not one element.
    """

    targets: ClassVar[tuple[str, ...]] = (
        "regression",
        "image regression",
        "colour regression",
        "depth regression",
        "projection",
    )

    elements: Literal["mean", "sum", "norm"] = "mean"

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """Loss of each sample, shape (n,). Raises `ValueError` where the shapes differ."""
        check_same_shape(y, y_hat)
        residual = keras.ops.subtract(y_hat, y)
        if self.elements == "norm":
            return self.rho(norm(residual))
        rho = self.rho(residual)
        axes = tuple(range(1, len(y.shape)))
        reduce = keras.ops.mean if self.elements == "mean" else keras.ops.sum
        return reduce(rho, axis=axes) if axes else rho

    def of_known(self, y: Any, y_hat: Any) -> Any:
        """The same over the elements whose y is not NaN; 0 for a sample without any."""
        check_same_shape(y, y_hat)
        ops, known = keras.ops, is_known(y)
        residual = ops.where(known, ops.subtract(y_hat, ops.where(known, y, 0.0)), 0.0)
        if self.elements == "norm":
            return self.rho(norm(residual))
        axes = tuple(range(1, len(y.shape)))
        total = ops.sum(ops.where(known, self.rho(residual), 0.0), axis=axes)
        return total if self.elements == "sum" else total / counted(known, axes, total.dtype)

    def rho(self, residual: Any) -> Any:
        """ρ(r), elementwise, the shape of `residual`."""
        raise TypeError(f"{type(self).__name__} must define rho(residual)")

    def weight(self, residual: Any) -> Any:
        """w(r) = ρ′(r)/r, elementwise: what a residual counts for in reweighted least squares.

        Minimising Σρ(r) is minimising Σ w(r) r² with w held at the present residuals, again and
        again (Holland and Welsch 1977). At r = 0 it is the limit; where that is infinite, |r|
        counts as `LEAST_RESIDUAL` at least. A loss of one's own need not define it: this is ρ′(r)
        by the backend's automatic differentiation, in the precision of `residual`.
        """
        return weight_by_slope(self.rho, residual)


LEAST_RESIDUAL = 1e-4
"""Weights that grow without bound as r → 0 are those of this |r|, in units of the target."""


def weight_by_slope(rho: Any, residual: Any) -> Any:
    """ρ′(r)/r, with |r| at least `LEAST_RESIDUAL`."""
    ops = keras.ops
    one = ops.ones_like(residual)
    r = ops.where(residual < 0, -one, one) * ops.maximum(ops.abs(residual), LEAST_RESIDUAL)
    return _slope(rho, r) / r


def _slope(rho: Any, r: Any) -> Any:
    """ρ′(r), elementwise. Differences of ρ cancel in float32, where r is small."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(r)
            total = keras.ops.sum(rho(r))
        return tape.gradient(total, r)
    if backend == "jax":
        import jax

        return jax.grad(lambda r: keras.ops.sum(rho(r)))(r)
    import torch

    with torch.enable_grad():
        r = r.detach().requires_grad_()
        return torch.autograd.grad(rho(r).sum(), r)[0]


def check_same_shape(y: Any, y_hat: Any) -> None:
    """Raise `ValueError` where target and prediction have different shapes."""
    if not _agree(y.shape, y_hat.shape):
        raise ValueError(
            f"target and prediction must have the same shape, got target {tuple(y.shape)} "
            f"and prediction {tuple(y_hat.shape)}; kexp never broadcasts one to the other"
        )


def is_known(y: Any) -> Any:
    """Which elements of a target are not NaN, the shape of `y`."""
    return keras.ops.logical_not(keras.ops.isnan(y))


def counted(known: Any, axes: tuple[int, ...], dtype: Any, keepdims: bool = False) -> Any:
    """How many elements are known, a number ≥ 1 to divide by."""
    ops = keras.ops
    return ops.maximum(ops.sum(ops.cast(known, dtype), axis=axes, keepdims=keepdims), 1.0)


def norm(residual: Any) -> Any:
    """‖r‖ of each sample, shape (n,), with gradient 0 where r = 0 and no overflow."""
    ops = keras.ops
    axes = tuple(range(1, len(residual.shape)))
    size = ops.max(ops.abs(residual), axis=axes, keepdims=True) if axes else ops.abs(residual)
    size = ops.stop_gradient(ops.where(size > 0, size, 1.0))
    squares = ops.square(residual / size)
    total = ops.sum(squares, axis=axes) if axes else squares
    positive = total != 0  # and NaN stays NaN
    root = ops.sqrt(ops.where(positive, total, 1.0))
    return ops.where(positive, root * ops.reshape(size, ops.shape(root)), 0.0)


def _agree(one: Any, other: Any) -> bool:
    """Whether two shapes are the same as far as they are known (None is unknown)."""
    return len(one) == len(other) and all(
        a == b for a, b in zip(one, other, strict=True) if a is not None and b is not None
    )
