"""What happens in a worker process of kexp's own launchers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time

from kexp import recording
from kexp.backends import set_default_threads, use_gpu
from kexp.data import keeping
from kexp.sweeps.machine import Share
from kexp.sweeps.work import Outcome, Portion, Work, own_session

LAST_SECONDS = 20.0
"""How long a run may take to save and end once the sweep that asked for it has died."""


def start(share: Share) -> None:
    """Set the process up: its share of the machine, and an end with its parent's."""
    own_session()
    sys.stdout = sys.stderr = open(os.devnull, "w")
    recording.OWN_PROCESS = keeping.KEEP = True
    set_default_threads(share.threads)
    if share.gpu is not None:
        use_gpu(share.gpu, share.gpu_share)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def train(work: Work, portion: Portion) -> list[Outcome]:
    """Train one job of the work, or several as one program."""
    if portion.seats > 1:
        return work.train_together(portion)
    return [work.train(number) for number in portion.numbers]


def fitting(work: Work, number: int) -> tuple[int, str]:
    """How many runs like this job the device's memory holds at once, and why in words."""
    return work.fitting(number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_SECONDS)
    os._exit(1)
