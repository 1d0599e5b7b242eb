"""Penalties λR(θ) with strength λ, and what else holds kernels small, on kernels only.

"Kernels only" means the weights of dense and convolution layers: never biases, never the scale
and offset of a normalisation layer. R is a sum over all kernels, not a mean, and has no
factor ½. `kernels` says whether it is of all kernels or of one kind of layer only.

A filter is all weights into one output: a kernel's last axis counts its filters.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from kexp.choice import NonNegative, Positive, Share, choice
from kexp.lazy import keras
from kexp.losses.base import norm


@choice
class Regularizer:
    """What keeps kernels small: a penalty λR(θ), a rule for after each step, or both.

    `kernels` is the kind of layer whose kernels it is applied to: `"all"`, `"convolution"` or
    `"dense"`.
    """

    formula: ClassVar[str] = ""
    """The penalty, or the rule, in TeX."""

    kernels: Literal["all", "convolution", "dense"] = "all"

    def applies_to(self, kernel: Any) -> bool:
        """Whether it is for this kernel: a dense kernel has rank 2, that of a convolution more."""
        kind = "dense" if len(kernel.shape) == 2 else "convolution"
        return self.kernels in ("all", kind)

    def __call__(self, kernel: Any) -> Any:
        """λR of one kernel, a scalar; 0 where nothing is penalised."""
        return keras.ops.zeros((), dtype=kernel.dtype)

    def after_step(self, kernel: Any, learning_rate: Any) -> Any:
        """What a kernel becomes after each step of the optimizer; None leaves it as it is."""
        return None


@choice
class Zero(Regularizer):
    """No penalty: R(θ) = 0."""

    formula: ClassVar[str] = "0"

    kernels: ClassVar[str] = "all"  # pyright: ignore[reportIncompatibleVariableOverride]
    """No field, and so no parameter."""


@choice
class L1(Regularizer):
    """Lasso penalty, λ Σ|θ|: drives single weights to zero. Strength λ ≥ 0. Tibshirani 1996."""

    formula: ClassVar[str] = r"\lambda \sum |\theta|"

    strength: NonNegative = 1e-5

    def __call__(self, kernel: Any) -> Any:
        """λ Σ|θ|."""
        return self.strength * _lasso(kernel)


@choice
class L2(Regularizer):
    """Ridge penalty, λ Σθ² (no ½): shrinks all weights. λ ≥ 0. Hoerl and Kennard 1970."""

    formula: ClassVar[str] = r"\lambda \sum \theta^2"

    strength: NonNegative = 1e-4

    def __call__(self, kernel: Any) -> Any:
        """λ Σθ²."""
        return self.strength * _ridge(kernel)


@choice
class ElasticNet(Regularizer):
    """Elastic net, λ (m Σ|θ| + (1 − m) Σθ²), a mixture of the lasso and the ridge penalty.

    Strength λ ≥ 0; mixing 0 ≤ m ≤ 1: m = 1 is `L1`, m = 0 is `L2`. Zou and Hastie 2005 (there
    is no ½ on the square here, unlike in scikit-learn).
    """

    formula: ClassVar[str] = (
        r"\lambda \left(m \sum |\theta| + (1 - m) \sum \theta^2\right),\quad 0 \leq m \leq 1"
    )

    strength: NonNegative = 1e-4
    mixing: Share = 0.5

    def __call__(self, kernel: Any) -> Any:
        """λ (m Σ|θ| + (1 − m) Σθ²)."""
        return self.strength * (self.mixing * _lasso(kernel) + (1.0 - self.mixing) * _ridge(kernel))


@choice
class GroupLasso(Regularizer):
    """Group lasso, λ Σ_g √n_g ‖θ_g‖₂: drives whole filters to zero.

    A group g is a filter, with n_g weights: all into one unit of a dense layer, or one filter
    of a convolution. Strength λ ≥ 0. With one weight per filter it is `L1`. Yuan and Lin 2006;
    Wen et al. 2016 for networks.
    """

    formula: ClassVar[str] = r"\lambda \sum_g \sqrt{n_g}\, \Vert \theta_g \Vert_2"

    strength: NonNegative = 1e-5

    def __call__(self, kernel: Any) -> Any:
        """λ Σ_g √n_g ‖θ_g‖₂."""
        root = math.sqrt(math.prod(kernel.shape[:-1]))
        return self.strength * (root * keras.ops.sum(_filter_norms(kernel)))


@choice
class Orthogonal(Regularizer):
    """Soft orthogonality, λ ‖G − I‖_F²: filters of length 1 at right angles to each other.

    G is WᵀW, or WWᵀ where that is smaller, of a kernel as a matrix W of (inputs, outputs):
    with more outputs than inputs it is the inputs' rows that can be orthogonal. Strength λ ≥ 0.
    It is not 0 at θ = 0. A kernel's largest singular value σ counts as (σ² − 1)², which is
    beyond float32 from σ ≈ 1e9 on. Bansal et al. 2018; with |G − I| for its square, Brock et
    al. 2017.
    """

    formula: ClassVar[str] = r"\lambda\, \Vert W^T W - I \Vert_F^2"

    strength: NonNegative = 1e-4

    def __call__(self, kernel: Any) -> Any:
        """λ ‖G − I‖_F²."""
        gram = _gram(_tall(kernel))
        identity = keras.ops.eye(gram.shape[0], dtype=gram.dtype)
        return self.strength * _ridge(gram - identity)


@choice
class SpectralNorm(Regularizer):
    """Spectral norm, λ σ_max(W)² of each kernel (no ½): bounds what a layer amplifies.

    σ_max is the largest singular value of a kernel as a matrix W of (inputs, outputs), exact
    rather than by power iteration. λ ≥ 0. Never above `L2`, and equal to it at rank 1; at a tie
    of singular values the slope is that of one of them. Yoshida and Miyato 2017.
    """

    formula: ClassVar[str] = r"\lambda\, \sigma_\mathrm{max}(W)^2"

    strength: NonNegative = 1e-3

    def __call__(self, kernel: Any) -> Any:
        """λ ‖Wv‖², v the leading singular vector.

        As v maximises ‖Wv‖² among unit vectors, the slope with v held fixed is the whole slope.
        """
        tall = _tall(kernel)
        return self.strength * _ridge(keras.ops.matmul(tall, _leading(tall)))


@choice
class WeightDecay(Regularizer):
    """Decoupled weight decay, θ ← (1 − ηλ) θ after each step; the penalty is 0.

    η is the learning rate of the step, which a schedule changes; λ ≥ 0. With plain gradient
    descent it acts as `L2` of strength ½ λ (to first order in η); with Adam and the like it
    does not, since they divide a penalty's gradient by its own size. Loshchilov and Hutter 2019;
    here the step is taken first, then the decay.
    """

    formula: ClassVar[str] = r"\theta \leftarrow (1 - \eta \lambda)\, \theta"

    strength: NonNegative = 1e-2

    def after_step(self, kernel: Any, learning_rate: Any) -> Any:
        """(1 − ηλ) θ."""
        return keras.ops.multiply(kernel, 1.0 - learning_rate * self.strength)


@choice
class MaxNorm(Regularizer):
    """Max-norm: after each step filters longer than c are cut back to ‖θ_g‖₂ = c; no penalty.

    A filter g is all weights into one unit of a dense layer, or one filter of a convolution.
    Limit c > 0. Shorter filters stay as they are. Srivastava et al. 2014, section 5.1 (their
    best c were 3 to 4).
    """

    formula: ClassVar[str] = (
        r"\theta_g \leftarrow \theta_g\, \min\left(1,\ c\, /\, \Vert \theta_g \Vert_2\right)"
    )

    limit: Positive = 3.0

    def after_step(self, kernel: Any, learning_rate: Any) -> Any:
        """θ_g min(1, c/‖θ_g‖₂)."""
        ops = keras.ops
        kernel, limit = ops.convert_to_tensor(kernel), ops.convert_to_tensor(self.limit)
        norms = _filter_norms(kernel)
        cut = kernel * (limit / ops.maximum(norms, limit))
        return ops.where(norms > limit, cut, kernel)


def _lasso(kernel: Any) -> Any:
    """Σ|θ|, with slope 0 at θ = 0 on every backend (JAX's own |θ| has slope 1 there)."""
    return keras.ops.sum(kernel * keras.ops.stop_gradient(keras.ops.sign(kernel)))


def _ridge(kernel: Any) -> Any:
    """Σθ²."""
    return keras.ops.sum(keras.ops.square(kernel))


def _filter_norms(kernel: Any) -> Any:
    """‖θ_g‖₂ of each filter, shape (filters,), with slope 0 at 0 and no overflow."""
    return norm(keras.ops.moveaxis(kernel, -1, 0))


def _tall(kernel: Any) -> Any:
    """A kernel as a matrix (inputs, outputs), turned where that has more columns than rows."""
    matrix = keras.ops.reshape(kernel, (-1, kernel.shape[-1]))
    return matrix if matrix.shape[0] >= matrix.shape[1] else keras.ops.transpose(matrix)


def _gram(matrix: Any) -> Any:
    """MᵀM."""
    return keras.ops.matmul(keras.ops.transpose(matrix), matrix)


def _leading(matrix: Any) -> Any:
    """Right singular vector of the largest singular value, as a column, without a gradient."""
    ops = keras.ops
    matrix = ops.stop_gradient(matrix)
    size = ops.max(ops.abs(matrix))
    gram = _gram(matrix / ops.where(size > 0, size, 1.0))
    gram = ops.where(ops.isfinite(gram), gram, 0.0)  # else eigh fails, and hides where NaN arose
    return ops.eigh(gram)[1][:, -1:]
