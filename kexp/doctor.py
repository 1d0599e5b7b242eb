"""What would work on this machine: Python, backends and their devices, data, versions."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kexp import __version__, environment
from kexp.backends import Backend, Jax, TensorFlow, Torch
from kexp.config.build import data_folder
from kexp.config.places import conf_dir
from kexp.data import DataSet, Digits, Mnist, Photos
from kexp.errors import KexpError

ASK = """
import json
from kexp.backends import {0}
backend = {0}()
backend.start()
print(json.dumps(backend.gpus()))
"""


def report() -> str:
    """The findings, a line each."""
    lines = [
        f"kexp {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"CPUs usable: {environment.usable_cpus()}",
        *_precisions(),
        f"config: {conf_dir()}",
        *(_backend(kind) for kind in (TensorFlow, Jax, Torch)),
        *(_data(data) for data in (Mnist(), Digits(), Photos())),
        f"versions: {', '.join(f'{n} {v}' for n, v in environment.versions().items())}",
    ]
    return "\n".join(lines)


def _precisions() -> Iterator[str]:
    """Which lower precisions the CPU computes in, where that can be told."""
    features = environment.cpu_features()
    for precision, fast in environment.FAST_ON.items() if features is not None else ():
        found = ", ".join(sorted(features & fast)) if features else ""
        told = (
            f"the CPU has {found}" if found else "slow on this CPU, which has no such instructions"
        )
        yield f"training.precision={precision}: {told}"


def _backend(kind: type[Backend]) -> str:
    """Whether a backend starts, asked in a process of its own, and the GPUs that it sees."""
    if importlib.util.find_spec(kind.package) is None:
        return f"backend={kind.name}: not installed (pip install 'kexp[{kind.extra}]')"
    command = [sys.executable, "-c", ASK.format(kind.__name__)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        gpus = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        last = getattr(error, "stderr", None) or str(error)
        return f"backend={kind.name}: does not start: {last.strip().splitlines()[-1]}"
    return f"backend={kind.name}: works, on {', '.join(gpus) if gpus else 'the CPU (no GPU seen)'}"


def _data(data: DataSet) -> str:
    name = type(data).__name__.lower()
    folder: Path = data_folder(None)
    try:
        return f"data={name}: {data.where(folder)}"
    except KexpError as error:
        return f"data={name}: {error}"
