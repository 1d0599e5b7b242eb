"""Batch normalisation that also decorrelates: ZCA whitening of groups of channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def inverse_root(matrices: Any, floor: float) -> Any:
    """M^(−1/2) of symmetric matrices (…, g, g) whose eigenvalues are at least `floor` > 0.

    With M = U diag(λ) Uᵀ it is U diag(λ^(−1/2)) Uᵀ. Its gradient is the exact one of Daleckii and
    Krein, U (K ∘ (Uᵀ G U)) Uᵀ with K_ij = −1/(√λ_i √λ_j (√λ_i + √λ_j)) and G the symmetrised
    gradient with respect to the result. It divides by no difference of eigenvalues, as the
    gradient of the eigenvectors does, so equal ones do no harm. Eigenvalues that rounding has
    put below `floor` count as `floor`. A matrix that is not finite gives NaN.
    """

    @ops.custom_gradient
    def root(matrices: Any) -> tuple[Any, Any]:
        eigenvalues, vectors = ops.eigh(matrices)
        roots = ops.sqrt(ops.maximum(eigenvalues, floor))
        transposed = ops.swapaxes(vectors, -1, -2)

        def gradient(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:  # torch passes the arguments of `root` before it
                (upstream,) = args
            row, column = roots[..., :, None], roots[..., None, :]
            symmetric = (upstream + ops.swapaxes(upstream, -1, -2)) / 2
            inner = transposed @ symmetric @ vectors
            return -vectors @ (inner / (row * column * (row + column))) @ transposed

        return (vectors / roots[..., None, :]) @ transposed, gradient

    # TensorFlow's eigh raises an error where a matrix is not finite.
    finite = ops.all(ops.isfinite(matrices), axis=(-2, -1), keepdims=True)
    identity = ops.eye(matrices.shape[-1], dtype=matrices.dtype)
    return ops.where(finite, root(ops.where(finite, matrices, identity)), math.nan)


@keras.saving.register_keras_serializable(package="kexp")
class DecorrelatedBatchNormalization(keras.layers.Layer):
    """Batch normalisation by ZCA whitening within groups of neighbouring channels.

    y = γ W (x − μ) + β with W = Σ^(−1/2), Σ = (X − μ)ᵀ(X − μ)/m + εI, for each group of
    `group_size` channels; X are the m rows of a batch: its samples, or their positions. Input
    (n, …, channels) of any batch and image size. At inference μ and Σ − εI are moving averages,
    from 0 and I, with moving ← momentum · moving + (1 − momentum) · batch, as those of batch
    normalisation are. Huang et al. average W instead. Then a single batch without variance in some
    direction, as the last one of an epoch with fewer rows than channels in a group, puts its
    1/√ε into the average, and the network is another one at inference than in training.

    `group_size` ≥ 1 divides the number of channels, 0 ≤ `momentum` < 1, `epsilon` > 0, in units
    of x². `group_size` 1 is batch normalisation. With fewer than `group_size` + 1 rows Σ − εI is
    singular, and the directions without variance come out as 0. Where the layer is frozen
    (`trainable=False`) it uses the running statistics, as Keras's `BatchNormalization` does.

    Computed in float32 whatever the compute dtype (in float64 if that is it). Measured in float32
    on the CPU, for groups of 4 to 16 and ε → 0, with κ the ratio of the largest to the least
    eigenvalue of Σ: the output's covariance is within 2e-7 κ of I (TensorFlow: 4e-8 κ), so within
    1e-3 up to κ = 1e3 and within 1e-2 up to 1e4. Eigenvalues below about 1e-6 of the largest are
    not resolved: where Σ − εI has such, ε must be above 1e-6 of the largest, or rounding noise is
    scaled up by as much as 1/√ε.

    Source: Huang, Yang, Lang and Deng 2018, Decorrelated Batch Normalization.
    """

    total: Callable[[Any], Any] | None = None
    """Adds a tensor up over the devices that share a batch; set while a call is compiled."""

    def __init__(
        self, group_size: int = 16, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if group_size != int(group_size) or group_size < 1:
            raise ValueError(f"group_size must be a whole number >= 1, got group_size={group_size}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got momentum={momentum}")
        if not 0 < epsilon < math.inf:
            raise ValueError(f"epsilon must be > 0 and finite, got epsilon={epsilon}")
        self.group_size = int(group_size)
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)

    def build(self, input_shape: tuple) -> None:
        """Make γ, β and the running mean and covariances."""
        channels = input_shape[-1]
        if channels is None or channels % self.group_size:
            raise ValueError(
                f"group_size must divide the number of channels, got group_size={self.group_size} "
                f"and channels={channels}"
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: channels})
        groups, size = channels // self.group_size, self.group_size

        def identities(shape: tuple, dtype: Any = None) -> Any:
            return ops.broadcast_to(ops.eye(size, dtype=dtype), shape)

        self.gamma = self.add_weight((channels,), "ones", autocast=False, name="gamma")
        self.beta = self.add_weight((channels,), "zeros", autocast=False, name="beta")
        self.moving_mean = self.add_weight(
            (channels,), "zeros", trainable=False, autocast=False, name="moving_mean"
        )
        self.moving_covariance = self.add_weight(
            (groups, size, size),
            identities,
            trainable=False,
            autocast=False,
            name="moving_covariance",
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The input, whitened by its own statistics if `training`, else by the running ones."""
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        x = ops.cast(inputs, dtype)
        if training and self.trainable:
            mean, covariance = self._statistics(x)
            self._move(self.moving_mean, mean)
            self._move(self.moving_covariance, covariance)
        else:
            mean = ops.cast(self.moving_mean, dtype)
            covariance = ops.cast(self.moving_covariance, dtype)
        ridge = self.epsilon * ops.eye(self.group_size, dtype=dtype)
        whitening = inverse_root(covariance + ridge, self.epsilon)
        white = ops.einsum("ngi,gij->ngj", self._rows(x - mean), whitening)
        gamma, beta = ops.cast(self.gamma, dtype), ops.cast(self.beta, dtype)
        return ops.cast(gamma * ops.reshape(white, ops.shape(inputs)) + beta, self.compute_dtype)

    def _statistics(self, x: Any) -> tuple[Any, Any]:
        """Mean (channels,) and covariances (groups, g, g) of a batch."""
        axes = tuple(range(len(x.shape) - 1))
        count = ops.cast(ops.shape(self._rows(x))[0], x.dtype)
        if self.total is None:
            mean = ops.mean(x, axis=axes)
        else:
            count = self.total(count)
            mean = self.total(ops.sum(x, axis=axes)) / count
        rows = self._rows(x - mean)
        products = ops.einsum("ngi,ngj->gij", rows, rows)
        return mean, (products if self.total is None else self.total(products)) / count

    def _rows(self, x: Any) -> Any:
        """(n, …, channels) as (rows, groups, g)."""
        return ops.reshape(x, (-1, x.shape[-1] // self.group_size, self.group_size))

    def _move(self, moving: Any, batch: Any) -> None:
        old = ops.cast(moving, batch.dtype)
        moving.assign(self.momentum * old + (1 - self.momentum) * batch)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The layer's parameters, beside Keras's own settings."""
        own = {name: getattr(self, name) for name in ("group_size", "momentum", "epsilon")}
        return {**super().get_config(), **own, "moving": "covariance"}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DecorrelatedBatchNormalization:
        """The layer. Raises `ValueError` for one whose moving averages are whitening matrices."""
        config = dict(config)
        if config.pop("moving", None) != "covariance":
            raise ValueError(
                "the model has a decorrelated batch normalisation that was saved by an earlier "
                "kexp, which averaged whitening matrices instead of covariances: train it again"
            )
        return super().from_config(config)
