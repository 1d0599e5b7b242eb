"""One training over several devices: every batch is shared out among them, each with all weights.

TensorFlow mirrors the variables of what is made inside (`DistributedEngine` takes the steps), JAX
shards the batch and compiles the same step as for one device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from kexp.progress import Reporter


@dataclass(frozen=True)
class Placed:
    """A model choice whose model is built on all devices: `build` enters their scope for `stack`.

    It is entered no earlier, as Keras forgets it where it clears its session for a new model.
    """

    model: Any
    distribution: str
    reporter: Reporter
    stack: contextlib.ExitStack

    def build(self, *arguments: Any) -> Any:
        """The model, in the scope that it is to be trained in."""
        self.stack.enter_context(distributed(self.distribution, self.reporter))
        return self.model.build(*arguments)


@contextlib.contextmanager
def distributed(distribution: str, reporter: Reporter) -> Iterator[None]:
    """Inside, a model and its engine are made for all devices that the backend sees.

    With `distribution="none"`, or on one device, everything is as without it.
    """
    names = devices() if distribution == "data_parallel" else []
    if names:
        reporter.say(
            f"training on {len(names)} devices: {', '.join(names)}"
            if len(names) > 1
            else f"training.distribution={distribution}: there is one device only, {names[0]}"
        )
    with _scope(names) if len(names) > 1 else contextlib.nullcontext():
        yield


def devices() -> list[str]:
    """The GPUs that the backend sees, or else its CPU devices."""
    if keras.backend.backend() == "jax":
        return keras.distribution.list_devices()
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name.removeprefix("/device:").lower() for device in found]


def _scope(names: list[str]) -> Any:
    if keras.backend.backend() == "jax":
        return _DataParallel(devices=names).scope()
    import tensorflow as tf

    on_cpu = names[0].startswith("cpu")
    reduction = tf.distribute.ReductionToOneDevice() if on_cpu else None
    return tf.distribute.MirroredStrategy(names, cross_device_ops=reduction).scope()


class _DataParallel(keras.distribution.DataParallel):
    """Every device has a part of a batch; the whole of one that does not divide evenly."""

    def get_data_layout(self, data_shape: tuple) -> keras.distribution.TensorLayout:
        """How an array with the batch along its first axis lies on the devices."""
        if data_shape[0] % self.num_model_replicas:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return super().get_data_layout(data_shape)
