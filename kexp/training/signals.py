"""Stopping at a step boundary when a signal asks for it; at once when it asks again."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from kexp.errors import Interrupted

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
"""A keyboard, the system, and the warnings that clusters send before they end a job."""

CAUGHT = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], None]]:
    """A function to call between steps, which raises `Interrupted` after a first signal.

    A second signal acts as if nobody had caught it. Outside the main thread, where Python
    allows no handlers, the function does nothing.
    """
    caught: list[int] = []

    def check() -> None:
        if caught:
            raise Interrupted(caught[0])

    if threading.current_thread() is not threading.main_thread():
        yield check
        return

    def first(signum: int, _frame: Any) -> None:
        caught.append(signum)
        for number, handler in before.items():
            signal.signal(number, handler)
        print("kexp: stopping at the next step; once more stops at once", file=sys.stderr)

    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in CAUGHT}
    for number in CAUGHT:
        signal.signal(number, first)
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
