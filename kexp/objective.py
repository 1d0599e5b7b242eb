"""θ̂ = argmin (1/N) Σ L(y, ŷ) + λR(θ): fit and penalty of one model, kept apart."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from kexp.choice import numbers
from kexp.losses import Loss
from kexp.losses.base import defines_of_known


class Objective:
    """fit + penalty of a model.

    Every number of the loss and the regularizer (λ, δ, …) becomes a non-trainable variable, so
    that a compiled program serves all its values. What the loss itself learns (`learned`) is
    trained along with the model's variables. Where targets are `partial`, NaN in them is unknown.
    """

    def __init__(self, model: keras.Model, loss: Any, regularizer: Any, partial: bool = False):
        self.model = model
        self.partial = partial
        self.loss, self.loss_numbers = with_variables(loss)
        self.regularizer, self.regularizer_numbers = with_variables(regularizer)
        self.learned = _learned(self.loss, model.output_shape[-1])
        self.kernels = [v for v in model.trainable_variables if v.name.endswith("kernel")]
        applies = getattr(regularizer, "applies_to", lambda kernel: True)
        self.regularized = [kernel for kernel in self.kernels if applies(kernel)]

    def __call__(self, y: Any, y_hat: Any) -> Any:
        """fit + penalty of a batch, a scalar."""
        return self.fit(y, y_hat) + self.penalty()

    @property
    def trainable(self) -> list[Any]:
        """The variables over which the minimum is taken."""
        return [*self.model.trainable_variables, *self.learned]

    @property
    def state(self) -> list[Any]:
        """All variables that training changes: those of the model, and what the loss learns."""
        return [*self.model.variables, *self.learned]

    def constrain(self, learning_rate: Any) -> None:
        """Have the optimizer apply the regularizer's rule to kernels after each of its steps."""
        rule = getattr(self.regularizer, "after_step", lambda kernel, rate: None)
        for kernel in self.regularized:
            if rule(keras.ops.convert_to_tensor(kernel), learning_rate) is not None:
                kernel.constraint = partial(rule, learning_rate=learning_rate)

    def begin(self, loss: Any, regularizer: Any) -> None:
        """Set the numbers to those of another loss and regularizer of the same kinds."""
        for variables, made in (
            (self.loss_numbers, loss),
            (self.regularizer_numbers, regularizer),
        ):
            for name, value in numbers(made).items():
                variables[name].assign(value)
        initial = loss.learned(self.model.output_shape[-1]) if self.learned else {}
        for variable in self.learned:
            variable.assign(initial[variable.name])

    def output(self, x: Any, training: bool) -> Any:
        """ŷ of a batch of inputs, in full precision whatever the layers compute in."""
        return keras.ops.cast(self.model(x, training=training), keras.config.floatx())

    def fit(self, y: Any, y_hat: Any) -> Any:
        """Mean of L over the samples, without the penalty: a scalar."""
        return keras.ops.mean(self.losses(y, y_hat))

    def losses(self, y: Any, y_hat: Any) -> Any:
        """L of each sample, shape (n,): of its known elements, where targets are partial.

        A loss that does not define that is only used where all are known (`Task.check_loss`).
        """
        if self.partial and defines_of_known(self.loss):
            return self.loss.of_known(y, y_hat)
        return self.loss(y, y_hat)

    def penalty(self) -> Any:
        """λR(θ), the sum over the kernels that are regularized: a scalar."""
        return sum((self.regularizer(kernel) for kernel in self.regularized), start=0.0)

    def shown(self) -> dict[str, Any]:
        """What the loss has learned so far, by name."""
        return self.loss.shown() if isinstance(self.loss, Loss) else {}


def norms(kernels: Sequence[np.ndarray]) -> dict[str, float]:
    """Of all kernels together: Σ|θ|, √Σθ², and the share of weights with |θ| < 1e-3."""
    every = np.abs(np.concatenate([k.ravel() for k in kernels])) if kernels else np.zeros(0)
    return {
        "l1": float(every.sum(dtype=np.float64)),
        "l2": float(np.sqrt(np.square(every).sum(dtype=np.float64))),
        "near_zero": float(np.mean(every < 1e-3)) if every.size else 0.0,
    }


def with_variables(choice: Any) -> tuple[Any, dict[str, keras.Variable]]:
    """A copy of a choice whose numbers are non-trainable variables, and those variables."""
    variables = {
        name: keras.Variable(value, trainable=False, dtype=keras.config.floatx(), name=name)
        for name, value in numbers(choice).items()
    }
    twin = copy.copy(choice)
    for name, variable in variables.items():
        object.__setattr__(twin, name, variable)
    return twin, variables


def _learned(loss: Any, channels: int) -> list[keras.Variable]:
    """Trainable variables of what a loss learns, set as its attributes."""
    initial = loss.learned(channels) if isinstance(loss, Loss) else {}
    dtype = keras.config.floatx()
    variables = [keras.Variable(value, dtype=dtype, name=k) for k, value in initial.items()]
    for variable in variables:
        object.__setattr__(loss, variable.name, variable)
    return variables
