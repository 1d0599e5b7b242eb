"""How this machine is shared out: runs at once, threads of each, one GPU or a share for each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

RUN_MIB = 1500
"""Memory that a process with TensorFlow and a small run takes."""


@dataclass(frozen=True)
class Share:
    """What one worker process may use: CPU threads, and a GPU or a share of its memory."""

    threads: int
    gpu: str | None = None
    gpu_share: float = 1.0


def shares(
    n_jobs: int | None, threads: int | None, jobs_per_gpu: int, gpus: list[str], runs: int
) -> list[Share]:
    """The share of each worker; as many as fit the machine, and no more than there are runs.

    With GPUs, `jobs_per_gpu` workers on each; without, one worker per core. `n_jobs` and `threads`
    (of each worker) are taken as they are where they are given.
    """
    count = n_jobs or (len(gpus) * jobs_per_gpu if gpus else _as_many_as_fit(threads))
    count = max(1, min(count, runs))
    threads = threads or max(1, cores() // count)
    if not gpus:
        return [Share(threads)] * count
    per_gpu = -(-count // len(gpus))
    return [Share(threads, gpus[i % len(gpus)], 1.0 / per_gpu) for i in range(count)]


def cores() -> int:
    """CPUs that this process may use, by its affinity and its control group's quota."""
    from joblib import cpu_count

    return cpu_count()


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    No framework is asked: it would take the GPUs for this process.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def resident_mib(pid: int | None = None) -> float:
    """Resident memory of a process (this one by default); 0 where it has gone."""
    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def processes_killed_for_memory() -> int | None:
    """How many processes the kernel has killed because memory ran out; None where unknown."""
    counts = [*_counts("/sys/fs/cgroup/memory.events"), *_counts("/proc/vmstat")]
    return sum(counts) if counts else None


def _counts(path: str) -> Iterator[int]:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            yield int(value)


def _as_many_as_fit(threads: int | None) -> int:
    memory = int(psutil.virtual_memory().available / 2**20 / RUN_MIB)
    return max(1, min(cores() // (threads or 1), memory))
