"""Choosing Keras's backend and device, before Keras is imported."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import ClassVar, Literal

from kexp.choice import Count, choice
from kexp.errors import ConfigError


@choice
class Backend:
    """A Keras backend as a config choice.

    `device`: `auto` takes a GPU where there is one, `gpu` insists on one, `cpu` uses none.
    `threads` is the number of threads of one operation (null: the backend's default); results
    are the same bit for bit only for the same number.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str]

    device: Literal["auto", "cpu", "gpu"] = "auto"
    threads: Count | None = None

    def check(self) -> None:
        """Raise `ConfigError` where the backend is not installed, or another one is in use."""
        if importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"backend={self.name} needs the package {self.package}: "
                f"pip install 'kexp[{self.extra}]'"
            )
        keras = sys.modules.get("keras")
        if keras is not None and "keras.src.backend" in sys.modules:
            loaded = keras.backend.backend()
            if loaded != self.name:
                raise ConfigError(
                    f"backend={self.name} was asked for, but Keras is already running on {loaded} "
                    "in this process, and cannot change; start a new one"
                )

    def start(self) -> str:
        """Import Keras on this backend and return the device in use, as `cpu` or `gpu: name`."""
        self.check()
        os.environ["KERAS_BACKEND"] = self.name
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _native_messages_held():
            self.restrict()
            import keras

            keras.config.set_floatx("float32")
            keras.config.set_image_data_format("channels_last")
            devices = self.gpus()
        if self.device == "gpu" and not devices:
            raise ConfigError(
                f"backend.device=gpu was asked for, but {self.name} sees no GPU here; "
                "`kexp doctor` says what it sees. Use backend.device=auto or cpu to go on without"
            )
        return f"gpu: {devices[0]}" if devices and self.device != "cpu" else "cpu"

    def restrict(self) -> None:
        """Apply `device` and `threads` before Keras is imported."""

    def gpus(self) -> list[str]:
        """Names of the GPUs that the backend sees."""
        return []


@choice
class TensorFlow(Backend):
    """Keras on TensorFlow: whole epochs as one graph. The default.

    oneDNN's kernels are switched on, unless TF_ENABLE_ONEDNN_OPTS says otherwise: TensorFlow uses
    them of itself only on some processors, and without them convolutions take up to twice as long.
    """

    name: ClassVar[str] = "tensorflow"
    package: ClassVar[str] = "tensorflow"
    extra: ClassVar[str] = "gpu"

    def restrict(self) -> None:
        """Choose kernels, hide GPUs or let their memory grow, and set the number of threads."""
        if "tensorflow" not in sys.modules:
            os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        import tensorflow as tf

        threading, threads = tf.config.threading, self.threads or 0
        try:
            for gpu in tf.config.get_visible_devices("GPU"):
                if self.device == "cpu":
                    tf.config.set_visible_devices([], "GPU")
                else:
                    tf.config.experimental.set_memory_growth(gpu, True)
            if threads != threading.get_intra_op_parallelism_threads():
                threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError as error:
            raise ConfigError(
                f"backend.device={self.device} and backend.threads={self.threads or 'null'} cannot "
                f"be set: TensorFlow has already started in this process with others ({error}); "
                "start a new one"
            ) from None

    def gpus(self) -> list[str]:
        """TensorFlow's physical GPUs."""
        import tensorflow as tf

        return [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.get_visible_devices("GPU")
        ]


@choice
class Jax(Backend):
    """Keras on JAX, one compiled step at a time."""

    name: ClassVar[str] = "jax"
    package: ClassVar[str] = "jax"
    extra: ClassVar[str] = "jax"

    def restrict(self) -> None:
        """Keep JAX on the CPU if asked to."""
        if self.threads:
            raise ConfigError("backend.threads cannot be set for JAX, which takes all cores")
        if self.device == "cpu":
            os.environ["JAX_PLATFORMS"] = "cpu"

    def gpus(self) -> list[str]:
        """JAX's devices that are no CPU."""
        import jax

        return [d.device_kind for d in jax.devices() if d.platform != "cpu"]


@choice
class Torch(Backend):
    """Keras on PyTorch, one step at a time."""

    name: ClassVar[str] = "torch"
    package: ClassVar[str] = "torch"
    extra: ClassVar[str] = "torch"

    def restrict(self) -> None:
        """Keep PyTorch on the CPU if asked to, and set the number of threads."""
        import torch

        if self.device == "cpu":
            os.environ["KERAS_TORCH_DEVICE"] = "cpu"
        if self.threads:
            torch.set_num_threads(self.threads)

    def gpus(self) -> list[str]:
        """PyTorch's CUDA devices."""
        import torch

        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


@contextlib.contextmanager
def _native_messages_held() -> Iterator[None]:
    """Hold back what libraries write to file descriptor 2; show it only if something fails.

    TensorFlow reports on missing CUDA drivers there, whatever log level is asked for.
    """
    try:
        real = os.dup(2)
    except OSError:  # there is no such descriptor, as in a program without a terminal
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
