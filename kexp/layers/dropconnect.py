"""DropConnect: dense and convolution layers that drop weights, where dropout drops units.

Each weight of the kernel is 0 with probability `rate` in training, and the others are scaled by
1/(1 − rate); the bias is never dropped. There is one mask per call, so all samples of a batch
share it: Wan et al. 2013 draw one per sample, which needs a kernel per sample. At inference the
full kernel is used, their mean network; their Gaussian approximation of the inputs of each unit
(section 3.2) is not.
"""

from __future__ import annotations

from typing import Any

import keras

from kexp.layers.stochastic import Stochastic


class _DropConnect(Stochastic):
    """Drops weights of the kernel of the Keras layer that comes after it among the bases."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The Keras layer's output, with some weights dropped if `training`."""
        if not self._draws(training):
            return super().call(inputs)
        kernel: Any = keras.ops.convert_to_tensor(self.kernel)
        kept = keras.ops.cast(self._kept(kernel.shape), kernel.dtype)
        outputs = self._linear(inputs, keras.ops.multiply(kernel, kept))
        return outputs if self.activation is None else self.activation(outputs)

    def _linear(self, inputs: Any, kernel: Any) -> Any:
        raise TypeError(f"{type(self).__name__} must define _linear(inputs, kernel)")

    def save_own_variables(self, store: Any) -> None:
        """The rate after the kernel and bias, which are all that Keras would save."""
        super().save_own_variables(store)
        if self.built:
            store[str(len(store.keys()))] = self.rate

    def load_own_variables(self, store: Any) -> None:
        """Kernel, bias and rate."""
        super().load_own_variables(store)
        if self.built:
            self.rate.assign(store[str(len(store.keys()) - 1)])


@keras.saving.register_keras_serializable(package="kexp")
class DropConnectDense(_DropConnect, keras.layers.Dense):
    """`keras.layers.Dense`, each weight 0 with probability `rate` in training."""

    def _linear(self, inputs: Any, kernel: Any) -> Any:
        outputs = keras.ops.matmul(inputs, kernel)
        return outputs if self.bias is None else keras.ops.add(outputs, self.bias)


@keras.saving.register_keras_serializable(package="kexp")
class DropConnectConv2D(_DropConnect, keras.layers.Conv2D):
    """`keras.layers.Conv2D`, each weight 0 with probability `rate` in training."""

    def _linear(self, inputs: Any, kernel: Any) -> Any:
        outputs = self.convolution_op(inputs, kernel)
        if self.bias is None:
            return outputs
        last = self.data_format == "channels_last"
        shape = (1, 1, 1, -1) if last else (1, -1, 1, 1)
        return keras.ops.add(outputs, keras.ops.reshape(self.bias, shape))
