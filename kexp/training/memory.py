"""How much of a device's memory a run of a vectorised program takes, by a formula.

    bytes of a run = 2 S + T + 4.8 B Σ (n_l + p_l) + D

S are the bytes of all its values (weights, statistics, what the optimizer keeps; once before and
once after a portion of steps), T those of the slopes, B the batch size, n_l the numbers that layer
l puts out for an example and p_l the numbers in the shifted images of a convolution as a product
(kernel rows × columns × channels × positions), and D the bytes of data that it does not share with
other runs. The number before B is 4 bytes and a fifth more: what XLA allots is 0.7 to 1 times the
formula (see `tests/mathematics/test_memory.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import psutil

from kexp.models import fresh_model
from kexp.objective import Objective
from kexp.streams import Streams
from kexp.tasks import EpochData
from kexp.training.convolution import is_plain_convolution
from kexp.training.engine import built
from kexp.training.programs import held_bytes, optimizer_of

SHARE = 0.8
"""Of the free memory so much is used: the rest is for fragments and for measuring."""


def fitting(e: Any, shapes: tuple, data: EpochData) -> tuple[int, str]:
    """How many runs like `e` the device holds at once, at least 1; and why, in words."""
    network = fresh_model(e.model, shapes, e.dropout, e.norm, Streams(e.seed))
    objective = Objective(network, e.loss, e.regularizer, e.task.partial)
    optimizer = optimizer_of(e)
    built(objective, optimizer)
    shared, own = _data_bytes(data)
    batch = (min(e.training.batch_size, len(data.order)), *data.x.shape[1:])
    variables = [*objective.state, *optimizer.variables]
    each = bytes_of_run(network, variables, objective.trainable, batch) + own
    free = free_bytes() + held_bytes()
    count = max(1, int((SHARE * free - shared) / each))
    return count, f"{each / 2**20:,.0f} MiB each, {free / 2**30:.1f} GiB free"


def bytes_of_run(
    network: keras.Model, variables: Sequence[Any], trained: Sequence[Any], batch: Sequence[int]
) -> int:
    """The formula without data, for batches of shape (B, …)."""
    state, slopes = (sum(4 * math.prod(v.shape) for v in group) for group in (variables, trained))
    return 2 * state + slopes + int(4.8 * batch[0] * _numbers(network, batch))


def _data_bytes(data: EpochData) -> tuple[int, int]:
    """Bytes of the data that runs share, and of those that each has of its own."""
    inputs, targets = data.x.nbytes, data.y.nbytes
    return (inputs, targets + data.rows.nbytes) if data.rows is not None else (0, inputs + targets)


def free_bytes() -> int:
    """The memory that is free on the device in use."""
    import jax

    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return int(psutil.virtual_memory().available)
    stats = device.memory_stats() or {}
    return int(stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0))


def _numbers(network: keras.Model, batch: Sequence[int]) -> int:
    """Σ (n_l + p_l) of one example."""
    shapes = _output_shapes(network, batch)
    total = 0
    for layer in network.layers:
        *positions, channels = shapes[layer.name][1:]
        total += math.prod(positions) * channels
        if is_plain_convolution(layer):
            rows, columns, inputs, _ = layer.kernel.shape
            total += math.prod(positions) * rows * columns * inputs
    return total


def _output_shapes(network: keras.Model, batch: Sequence[int]) -> dict[str, tuple]:
    """The shape that each layer puts out for a batch of this shape."""
    outputs = {la.name: la.output for la in network.layers}
    whole = keras.Model(network.inputs, outputs)
    found = whole.compute_output_spec(keras.KerasTensor(tuple(batch), "float32"))
    return {name: tuple(spec.shape) for name, spec in found.items()}
