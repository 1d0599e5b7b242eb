"""A loss of a user's that gets its process into trouble, as configs of tests may name it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from kexp.choice import choice
from kexp.losses.base import ClassificationLoss
from kexp.losses.classification import CrossEntropy

SLEEP_SECONDS = 40.0
HOARD_MIB = 64
HOARD: list[bytes] = []

OUTCOMES = {
    "raise": ("failed", "RuntimeError: what now?"),
    "exit": ("failed", "something in the run called sys.exit(3)"),
    "leave": ("failed", "its process ended with exit code 3"),
    "kill": ("failed", "its process was ended by SIGKILL"),
    "segfault": ("failed", "its process was ended by SIGSEGV"),
    "memory": ("oom", "out of memory"),
    "diverge": ("diverged", "the objective became nan in epoch 1, step 1"),
    "sleep": ("timeout", "stopped after the time limit"),
}
"""State and reason of a run with each kind of trouble; with `sleep`, under a shorter limit."""


@choice
class Trouble(ClassificationLoss):
    """Cross-entropy, or trouble of the kind that is named; of any other kind there is none."""

    kind: str = "none"

    def __call__(self, y: Any, y_hat: Any) -> Any:
        match self.kind:
            case "raise":
                raise RuntimeError("what now?")
            case "exit":
                sys.exit(3)
            case "leave":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                ctypes.string_at(0)
            case "memory":
                raise MemoryError
            case "diverge":
                return CrossEntropy()(y, y_hat) * float("nan")
            case "sleep":
                time.sleep(SLEEP_SECONDS)
            case "hoard":
                HOARD.append(bytes([1]) * HOARD_MIB * 2**20)
        return CrossEntropy()(y, y_hat)


def config_dir(folder: Path) -> list[str]:
    """The options of a command that make `loss=trouble` known."""
    (folder / "mine" / "loss").mkdir(parents=True)
    (folder / "mine" / "loss" / "trouble.yaml").write_text(
        "_target_: tests.trouble.Trouble\nkind: none\n"
    )
    return ["--config-dir", str(folder / "mine"), "--module", "tests.trouble"]
