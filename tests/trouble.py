"""A loss of a user's that gets its process into trouble, as configs of tests may name it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

from kexp.choice import choice
from kexp.losses.base import ClassificationLoss
from kexp.losses.classification import CrossEntropy


@choice
class Trouble(ClassificationLoss):
    """Cross-entropy, or trouble of the kind that is named."""

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
        return CrossEntropy()(y, y_hat)


def config_dir(folder: Path) -> list[str]:
    """The options of a command that make `loss=trouble` known."""
    (folder / "mine" / "loss").mkdir(parents=True)
    (folder / "mine" / "loss" / "trouble.yaml").write_text(
        "_target_: tests.trouble.Trouble\nkind: none\n"
    )
    return ["--config-dir", str(folder / "mine"), "--module", "tests.trouble"]
