"""Stopping where a signal asks for it: at the next step of a training, elsewhere at once."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kexp.errors import Interrupted

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
"""A keyboard, the system, and the warnings that clusters send before they end a job."""

CAUGHT = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], None]]:
    """A function to call between steps, which raises `Interrupted` after a first signal.

    A second signal acts as if nobody had caught it.
    """
    caught: list[int] = []
    before = _present(CAUGHT)

    def check() -> None:
        if caught:
            raise Interrupted(caught[0])

    def first(signum: int, _frame: Any) -> None:
        caught.append(signum)
        for number, handler in before.items():
            signal.signal(number, handler)
        with contextlib.suppress(OSError):  # the reader has gone, as `tee` does at Ctrl-C
            print("kexp: stopping at the next step; once more stops at once", file=sys.stderr)

    with _handled(dict.fromkeys(CAUGHT, first)):
        yield check


@contextlib.contextmanager
def stopping_at_once() -> Iterator[list[int]]:
    """Inside, every signal to stop is a `KeyboardInterrupt` where nothing else catches it.

    Gives a list with the number of each, so that it can be told which it was.
    """
    caught: list[int] = []

    def stop(signum: int, _frame: Any) -> None:
        caught.append(signum)
        raise KeyboardInterrupt

    with _handled({n: stop for n in CAUGHT if signal.getsignal(n) == signal.SIG_DFL}):
        yield caught


@contextlib.contextmanager
def _handled(handlers: dict[int, Callable]) -> Iterator[None]:
    """Inside, signals have these handlers.

    Outside the main thread, where Python allows no handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        handlers = {}
    before = _present(handlers)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _present(numbers: Iterable[int]) -> dict[int, Any]:
    """The present handlers of these signals."""
    return {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers}
