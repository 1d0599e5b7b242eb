"""Adam's update of a variable as one operation of TensorFlow, where Keras's takes some forty.

A small network's step is mostly such operations. The formula is that of Keras: m and v move
towards g and g², then θ ← θ − η √(1 − β₂ᵗ)/(1 − β₁ᵗ) m/(√v + ε).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def fuse(optimizer: keras.optimizers.Optimizer) -> None:
    """Have an optimizer take such steps if it is Adam or AdamW as kexp makes them."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        fuse(optimizer.inner_optimizer)
    elif type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW):
        if not optimizer.amsgrad:
            optimizer._backend_update_step = functools.partial(_update, optimizer)


def _update(adam: Any, slopes: Sequence[Any], variables: Sequence[Any], learning_rate: Any) -> None:
    step = tf.cast(adam.iterations + 1, tf.float32)
    rest = {
        "beta1_power": tf.pow(adam.beta_1, step),
        "beta2_power": tf.pow(adam.beta_2, step),
        "lr": tf.convert_to_tensor(learning_rate),
        "beta1": adam.beta_1,
        "beta2": adam.beta_2,
        "epsilon": adam.epsilon,
    }
    for slope, variable in zip(slopes, variables, strict=True):
        place = adam._get_variable_index(variable)
        moments = (group[place].value.handle for group in (adam._momentums, adam._velocities))
        var, (m, v) = variable.value.handle, moments
        tf.raw_ops.ResourceApplyAdam(var=var, m=m, v=v, grad=slope, **rest)
