"""Penalties λR(θ) with strength λ, on kernels only.

"Kernels only" means the weights of dense and convolution layers: never biases, never the scale
and offset of a normalisation layer. R is a sum over all kernels' elements, not a mean, and has
no factor ½.
"""

from __future__ import annotations

from typing import Any

from kexp.choice import NonNegative, Share, choice
from kexp.lazy import keras


class Regularizer:
    """A penalty λR(θ) as a sum over kernels."""

    def __call__(self, kernel: Any) -> Any:
        """λR of one kernel, a scalar."""
        raise TypeError(f"{type(self).__name__} must define __call__(kernel)")


@choice
class Zero(Regularizer):
    """No penalty: R(θ) = 0."""

    def __call__(self, kernel: Any) -> Any:
        """0."""
        return keras.ops.zeros((), dtype=kernel.dtype)


@choice
class L1(Regularizer):
    """Lasso penalty, λ Σ|θ|: drives single weights to zero. Strength λ ≥ 0. Tibshirani 1996."""

    strength: NonNegative = 1e-5

    def __call__(self, kernel: Any) -> Any:
        """λ Σ|θ|."""
        return self.strength * _lasso(kernel)


@choice
class L2(Regularizer):
    """Ridge penalty, λ Σθ² (no ½): shrinks all weights. λ ≥ 0. Hoerl and Kennard 1970."""

    strength: NonNegative = 1e-4

    def __call__(self, kernel: Any) -> Any:
        """λ Σθ²."""
        return self.strength * keras.ops.sum(keras.ops.square(kernel))


@choice
class ElasticNet(Regularizer):
    """Elastic net, λ (m Σ|θ| + (1 − m) Σθ²), a mixture of the lasso and the ridge penalty.

    Strength λ ≥ 0; mixing 0 ≤ m ≤ 1: m = 1 is `L1`, m = 0 is `L2`. Zou and Hastie 2005 (there
    is no ½ on the square here, unlike in scikit-learn).
    """

    strength: NonNegative = 1e-4
    mixing: Share = 0.5

    def __call__(self, kernel: Any) -> Any:
        """λ (m Σ|θ| + (1 − m) Σθ²)."""
        ridge = keras.ops.sum(keras.ops.square(kernel))
        return self.strength * (self.mixing * _lasso(kernel) + (1.0 - self.mixing) * ridge)


def _lasso(kernel: Any) -> Any:
    """Σ|θ|, with slope 0 at θ = 0 on every backend (JAX's own |θ| has slope 1 there)."""
    return keras.ops.sum(kernel * keras.ops.stop_gradient(keras.ops.sign(kernel)))
