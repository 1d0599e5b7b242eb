"""Choosing Keras's backend and device, before Keras is imported."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from kexp.choice import Count, choice
from kexp.errors import ConfigError

_default_threads: int | None = None
_memory_share = 1.0

CPU_DEVICES = "KEXP_CPU_DEVICES"
"""Environment variable: as how many devices the CPU counts, to try out distributed training."""


def set_default_threads(n: int | None) -> None:
    """Threads of one operation in this process where `backend.threads` is null; None lifts it.

    To be called before the backend starts. No part of a run's identity; JAX takes no notice.
    """
    global _default_threads
    _default_threads = n


def use_gpu(number: int | str | None, share: float = 1.0) -> None:
    """Restrict this process to one GPU, and to a share of its memory (0 < share ≤ 1).

    `number` is as CUDA_VISIBLE_DEVICES has it, in the order of nvidia-smi; None leaves the choice
    as it is. To be called before TensorFlow, JAX or PyTorch is imported.
    """
    global _memory_share
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got share={share}")
    if number is not None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if share < 1:
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{share:.3f}"
    _memory_share = share


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

    @contextlib.contextmanager
    def letting_go(self) -> Iterator[None]:
        """Around a run: at its end, what the backend would keep of it for good is let go."""
        yield

    def compiles(self, network: Any) -> bool:
        """Whether the engine of TensorFlow is to have the steps of a `keras.Model` compiled."""
        return False

    def threads_in_use(self) -> int:
        """The number of threads of one operation, once the backend has started."""
        from kexp.environment import usable_cpus

        return usable_cpus()


@choice
class TensorFlow(Backend):
    """Keras on TensorFlow: whole epochs as one graph. The default.

    oneDNN's kernels are switched on, unless TF_ENABLE_ONEDNN_OPTS says otherwise: TensorFlow uses
    them of itself only on some processors, and without them convolutions take up to twice as long.
    `jit` has each step compiled by XLA (null: on a GPU, where all layers support it; on a CPU its
    convolutions are several times slower).
    """

    name: ClassVar[str] = "tensorflow"
    package: ClassVar[str] = "tensorflow"
    extra: ClassVar[str] = "gpu"

    jit: bool | None = None

    def restrict(self) -> None:
        """Choose kernels, hide GPUs or let their memory grow, and set the number of threads."""
        if "tensorflow" not in sys.modules:
            os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        import tensorflow as tf

        threading, threads = tf.config.threading, self.threads or _default_threads or 0
        try:
            if (count := _cpu_devices()) > 1:
                (cpu,) = tf.config.list_physical_devices("CPU")
                parts = [tf.config.LogicalDeviceConfiguration()] * count
                tf.config.set_logical_device_configuration(cpu, parts)
            for gpu in tf.config.get_visible_devices("GPU"):
                if self.device == "cpu":
                    tf.config.set_visible_devices([], "GPU")
                elif _memory_share < 1:
                    limit = tf.config.LogicalDeviceConfiguration(memory_limit=_share_in_mib())
                    tf.config.set_logical_device_configuration(gpu, [limit])
                else:
                    tf.config.experimental.set_memory_growth(gpu, True)
            if threads != threading.get_intra_op_parallelism_threads():
                threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError as error:
            raise ConfigError(
                f"backend.device={self.device} and backend.threads={threads or 'null'} cannot "
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

    @contextlib.contextmanager
    def letting_go(self) -> Iterator[None]:
        """Take the run's custom gradients out of TensorFlow's registry, where each stays for good.

        Every training step of Keras's optimizers registers one, which holds the whole graph (some
        MiB; tensorflow/tensorflow#97697). Once it is compiled, a graph needs them no more. Those of
        the user's own functions stay: such a function may be differentiated again.
        """
        from tensorflow.python.framework import ops

        registry = getattr(ops.gradient_registry, "_registry", {})
        before = set(registry)
        try:
            yield
        finally:
            for name in registry.keys() - before:
                if name.startswith("CustomGradient-") and _of_the_run(registry[name]["type"]):
                    del registry[name]

    def compiles(self, network: Any) -> bool:
        """Whether the steps of a `keras.Model` are compiled by XLA."""
        if self.jit is not None:
            return self.jit
        on_gpu = self.device != "cpu" and bool(self.gpus())
        return on_gpu and all(layer.supports_jit for layer in network._flatten_layers())

    def threads_in_use(self) -> int:
        """What was set, else what TensorFlow takes of itself."""
        import tensorflow as tf

        chosen = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
        return (
            tf.config.threading.get_intra_op_parallelism_threads()
            or (int(chosen) if chosen.isdigit() else 0)
            or super().threads_in_use()
        )


@choice
class Jax(Backend):
    """Keras on JAX: portions of an epoch, of one run or of many, as one program."""

    name: ClassVar[str] = "jax"
    package: ClassVar[str] = "jax"
    extra: ClassVar[str] = "jax"

    def restrict(self) -> None:
        """Keep JAX on the CPU if asked to."""
        if self.threads:
            raise ConfigError("backend.threads cannot be set for JAX, which takes all cores")
        if self.device == "cpu":
            os.environ["JAX_PLATFORMS"] = "cpu"
        if (count := _cpu_devices()) > 1:
            flag = f"--xla_force_host_platform_device_count={count}"
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()

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
        elif _memory_share < 1:
            for number in range(torch.cuda.device_count()):
                torch.cuda.set_per_process_memory_fraction(_memory_share, number)
        if threads := self.threads or _default_threads:
            torch.set_num_threads(threads)

    def gpus(self) -> list[str]:
        """PyTorch's CUDA devices."""
        import torch

        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]

    def threads_in_use(self) -> int:
        """PyTorch's own count."""
        import torch

        return torch.get_num_threads()


def _cpu_devices() -> int:
    """What KEXP_CPU_DEVICES says, 1 where it is not set. Raises `ConfigError`."""
    given = os.environ.get(CPU_DEVICES, "1")
    if not given.isdigit() or not int(given):
        raise ConfigError(f"{CPU_DEVICES} must be a whole number ≥ 1, got {given!r}")
    return int(given)


def _share_in_mib() -> int:
    """The memory that this process may have of its GPU, in MiB. Raises `ConfigError`."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = ["nvidia-smi", f"--id={gpu}", "--query-gpu=memory.total"]
    try:
        done = subprocess.run(
            [*query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return int(_memory_share * int(done.stdout.split()[0]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise ConfigError(
            f"the memory of GPU {gpu} cannot be shared out, as nvidia-smi does not tell how much "
            f"it is ({error}); run one training per GPU"
        ) from error


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


def _of_the_run(gradient: Any) -> bool:
    """Whether a registered gradient was defined by TensorFlow, Keras or kexp, for a run's graph."""
    within = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
    defined = within and inspect.getclosurevars(within).nonlocals.get("grad_fn")
    return getattr(defined, "__module__", "").split(".")[0] in ("tensorflow", "keras", "kexp")
