"""Courses driven in step: what each is sent, and what becomes of each when one of them fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kexp.errors import Diverged, Interrupted, OutOfMemory
from kexp.recording import ending
from kexp.runner import _is_fault
from kexp.training.course import Steps, driven
from kexp.training.together import driven_together


class Program:
    """Takes at most two steps at once; the objective of each is its rate. Notes who took them."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.fails: Callable[[], None] = lambda: None

    def steps(self, wanted: dict[int, tuple[np.ndarray, np.ndarray]]) -> dict[int, np.ndarray]:
        self.fails()
        self.rounds.append(list(wanted))
        count = min(2, *(len(rates) for _, rates in wanted.values()), 2)
        return {seat: rates[:count] for seat, (_, rates) in wanted.items()}


class Wish:
    """What is answered by a course of its own."""

    def __init__(self, answer: Callable[[], Any]):
        self.answer = answer


def course(program: Program, number: int, steps: int, ends: list[Any], answer: Any = None) -> Any:
    """Takes steps at rates of its own, then wishes for something else; what ends it is noted."""
    seat: Any = SimpleNamespace(program=program, number=number)
    found = np.zeros(0)
    try:
        while (done := len(found)) < steps:
            rates = 100 * number + np.arange(done, steps)
            found = np.append(found, (yield Steps(seat, np.zeros((steps - done, 4), int), rates)))
        answered = yield Wish(answer or (lambda: f"measured {number}"))
    except BaseException as error:
        ends.append((number, ending(error)[0]))
        raise
    ends.append((number, "finished"))
    return found.tolist(), answered


def test_each_is_sent_its_own() -> None:
    """Those with fewer steps wait, so that all measure at the end of the longest."""
    program, ends = Program(), []
    courses = [course(program, k, steps, ends) for k, steps in enumerate((5, 2, 4))]
    expected = [
        ([100 * k + i for i in range(steps)], f"measured {k}") for k, steps in enumerate((5, 2, 4))
    ]
    assert driven_together(courses) == expected
    assert program.rounds == [[0, 1, 2], [0, 2], [0]]
    assert driven(course(Program(), 1, 0, [])) == ([], "measured 1")


FAULTS = [Diverged("NaN"), Interrupted(15), ValueError("bad"), SystemExit(3)]


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_the_fault_of_one_is_its_own(error: BaseException) -> None:
    def fault() -> Any:
        raise error

    ends: list[Any] = []
    program = Program()
    courses = [course(program, k, 2, ends, fault if k == 1 else None) for k in range(3)]
    first, second, third = driven_together(courses)
    assert first[1] == "measured 0" and third[1] == "measured 2"
    assert type(second) is type(error) and str(second) == str(error)
    assert dict(ends) == {0: "finished", 1: ending(error)[0], 2: "finished"}


def test_the_fault_of_the_program_is_that_of_all() -> None:
    """Each with the frames of its own course, however many there are."""
    program, ends = Program(), []

    def exhausted() -> None:
        if program.rounds:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory allocating 3 bytes")

    program.fails = exhausted
    found = driven_together([course(program, k, 3, ends) for k in range(50)])
    assert dict(ends) == dict.fromkeys(range(50), "oom")
    lengths = [len(traceback.format_tb(error.__traceback__)) for error in found]
    assert max(lengths) == min(lengths) < 12


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_f68_a_signal_that_stops_at_once_ends_all(error: BaseException) -> None:
    """It is raised, and the record of every course says that it was interrupted."""

    def stop() -> Any:
        raise error

    program, ends = Program(), []
    courses = [course(program, k, 2, ends, stop if k == 1 else None) for k in range(4)]
    with pytest.raises(type(error)):
        driven_together(courses)
    assert dict(ends) == {0: "finished", **dict.fromkeys((1, 2, 3), "interrupted")}


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        ({"verdict": "fine"}, False),
        (Diverged("NaN"), False),
        (Interrupted(2), False),
        (OutOfMemory("none left"), True),
        (ValueError("bad"), True),
        (SystemExit(1), True),
    ],
    ids=repr,
)
def test_the_program_of_a_fault_is_not_kept(end: Any, fault: bool) -> None:
    assert _is_fault(end) is fault


def test_memory_that_runs_out_on_any_backend() -> None:
    exhausted = type("XlaRuntimeError", (RuntimeError,), {})("RESOURCE_EXHAUSTED: 3 bytes")
    of_torch = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
    for error in (exhausted, of_torch, MemoryError()):
        assert ending(error)[0] == "oom"
