"""θ̂ = argmin (1/N) Σ L(y, ŷ) + λR(θ): fit and penalty of one model, kept apart."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np

from kexp.choice import numbers


class Objective:
    """fit + penalty of a model.

    Every number of the loss and the regularizer (λ, δ, …) becomes a non-trainable variable, so
    that a compiled program serves all its values.
    """

    def __init__(self, model: keras.Model, loss: Any, regularizer: Any):
        self.model = model
        self.loss, self.loss_numbers = with_variables(loss)
        self.regularizer, self.regularizer_numbers = with_variables(regularizer)
        self.kernels = [v for v in model.trainable_variables if v.name.endswith("kernel")]

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """fit + penalty of a batch, a scalar."""
        return self.fit(y, y_hat) + self.penalty()

    def fit(self, y: Any, y_hat: Any) -> Any:
        """Mean of L over the samples, without the penalty: a scalar."""
        return keras.ops.mean(self.loss(y, y_hat))

    def penalty(self) -> Any:
        """λR(θ), the sum over all kernels: a scalar."""
        return sum((self.regularizer(kernel) for kernel in self.kernels), start=0.0)

    def norms(self) -> dict[str, float]:
        """Of all kernels together: Σ|θ|, √Σθ², and the share of weights with |θ| < 1e-3."""
        ops = keras.ops
        values = [ops.convert_to_numpy(ops.convert_to_tensor(k)).ravel() for k in self.kernels]
        every = np.abs(np.concatenate(values)) if values else np.zeros(0)
        return {
            "l1": float(every.sum(dtype=np.float64)),
            "l2": float(np.sqrt(np.square(every).sum(dtype=np.float64))),
            "near_zero": float(np.mean(every < 1e-3)) if every.size else 0.0,
        }


def with_variables(choice: Any) -> tuple[Any, dict[str, keras.Variable]]:
    """A copy of a choice whose numbers are non-trainable variables, and those variables."""
    variables = {
        name: keras.Variable(value, trainable=False, dtype="float32", name=name)
        for name, value in numbers(choice).items()
    }
    twin = copy.copy(choice)
    for name, variable in variables.items():
        object.__setattr__(twin, name, variable)
    return twin, variables
