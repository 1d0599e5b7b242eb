"""One update by a Keras optimizer as a pure function of the values of all variables."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import keras


def apply(program: Any, values: list[Any], slopes: list[Any]) -> list[Any]:
    """The values after the optimizer's update, and the rules of kernels after it.

    Keras's own `stateless_apply` would not let a rule see the value of a number of kexp's.
    """
    if isinstance(program.optimizer, keras.optimizers.LossScaleOptimizer):
        return _scaled(program, values, slopes)
    return _updated(program, program.optimizer, values, slopes)


def _updated(program: Any, optimizer: Any, values: list[Any], slopes: list[Any]) -> list[Any]:
    with program.scope(values) as scope:
        optimizer.apply(slopes, program.objective.trainable)
        return [scope.get_current_value(variable) for variable in program.variables]


def _scaled(program: Any, values: list[Any], slopes: list[Any]) -> list[Any]:
    """The rule of `LossScaleOptimizer`: skip what overflows, halve the scale then, else let it
    grow after a while."""
    outer = program.optimizer
    counter, factor = program.places([outer.step_counter, outer.dynamic_scale])
    count, scale = values[counter], values[factor]
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(slope)) for slope in slopes]))
    slopes = [slope / scale for slope in slopes]
    updated = _updated(program, outer.inner_optimizer, values, slopes)
    found = [jnp.where(finite, new, old) for new, old in zip(updated, values, strict=True)]
    due = count == outer.dynamic_growth_steps - 1
    found[counter] = jnp.where(finite & ~due, count + 1, 0)
    found[factor] = jnp.where(finite, jnp.where(due, 2 * scale, scale), 0.5 * scale)
    return found
