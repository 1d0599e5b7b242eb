"""What a run ran on: versions, device, threads, revision of the code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from kexp import __version__

PACKAGES = (
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "numpy",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "hydra-core",
    "pydantic",
)


def describe(device: str, threads: int, data: dict[str, Any]) -> dict[str, Any]:
    """The environment of a run, as it goes into environment.json.

    `threads` is the number of threads of one operation that is really in use.
    """
    return {
        "kexp": __version__,
        "python": platform.python_version(),
        "packages": versions(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "cpus_usable": usable_cpus(),
        "device": device,
        "threads": threads,
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "git_revision": {
            "kexp": git_revision(Path(__file__).parent),
            "working_directory": git_revision(Path.cwd()),
        },
        "data": data,
    }


def versions() -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def usable_cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


FAST_ON = {
    "mixed_bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "mixed_float16": {"avx512_fp16", "amx_fp16", "fphp"},
}
"""For each precision, the CPU features of x86 and ARM that it is computed with."""


def cpu_features(described: Path = Path("/proc/cpuinfo")) -> set[str] | None:
    """What Linux says that the CPU can do, as `avx512_bf16`; None on other systems."""
    try:
        lines = described.read_text().splitlines()
    except OSError:
        return None
    return {
        feature
        for line in lines
        if line.lower().startswith(("flags", "features"))
        for feature in line.partition(":")[2].split()
    }


def slow_precision(precision: str) -> bool:
    """Whether this CPU is known to have no instructions for a precision."""
    features = cpu_features()
    return precision in FAST_ON and features is not None and not features & FAST_ON[precision]


def git_revision(folder: Path) -> str | None:
    """The commit checked out at `folder`, with `+changes` if the tree differs; None if no git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        return revision + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def allow_files(count: int) -> int:
    """Let this process have so many files open; how many of them the system allows it."""
    try:
        import resource
    except ImportError:
        return count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return count if soft == resource.RLIM_INFINITY else min(soft, count)


def peak_memory_mib() -> float | None:
    """The largest resident size that this process has had, in MiB, where the system tells."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if platform.system() == "Darwin" else 2**10), 1)
