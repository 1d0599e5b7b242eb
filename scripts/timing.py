"""What the benchmarks share: a timed process, the data at hand, and the machine in words."""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kexp.environment import usable_cpus, versions

SCRIPTS = Path(__file__).parent
DATA = Path(os.environ.get("KEXP_DATA_DIR", "."))
MNIST = DATA / "mnist.npz"
BSD = DATA / "train400.npz"


def timed(command: list[str]) -> tuple[float, str]:
    """Wall seconds of a process, and what it printed. Ends the benchmark where it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings())
    if done.returncode:
        sys.exit(f"{' '.join(command[:5])} … failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started, done.stdout


def surroundings(**more: str) -> dict[str, str]:
    """The environment of a process that finds `bare`, and TensorFlow quiet."""
    paths = [str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    here = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(paths)}
    return {**os.environ, **here, **more}


def bare(script: str, task: str, *options: str) -> tuple[float, dict[str, Any]]:
    """Wall seconds of a bare script (`keras_fit`, `torch_loop`), and what it measured.

    It trains on MNIST or BSD where they are in KEXP_DATA_DIR, else on embedded data.
    """
    file, source = (BSD, DATA) if task == "denoise" else (MNIST, MNIST)
    data = ["--data", str(source)] if file.is_file() else []
    wall, said = timed([sys.executable, "-m", f"bare.{script}", task, *data, *options])
    return wall, json.loads(said.splitlines()[-1])


def data_option(task: str) -> str:
    """The data that `bare` takes for a task, as an override of kexp."""
    if task == "denoise":
        return "data=bsd" if BSD.is_file() else "data=photos"
    return "data=mnist" if MNIST.is_file() else "data=digits"


def installed(package: str) -> bool:
    """Whether it can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def machine() -> dict[str, Any]:
    """Where and when figures were measured, for the JSON beside them."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cpus": usable_cpus(),
        "python": platform.python_version(),
        "packages": versions(),
    }


def processor() -> str:
    """Its name, and which of the instructions that matter for networks it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = told.get("flags", "").split()
    known = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    name = told.get("model name", platform.machine()).strip()
    return f"{name} ({', '.join(known)})" if known else name
