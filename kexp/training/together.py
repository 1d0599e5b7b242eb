"""Many courses in step, as the runs of one program."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kexp.training.course import Course, Steps


def driven_together(courses: Sequence[Course[Any]]) -> list[Any]:
    """Run courses whose engines are seats of one program; what each returned, or its exception.

    Steps that several wish for are taken together. A course that is ahead waits until the others
    have had their steps, so that all of them measure at the same time.
    """
    return _Drive(courses).to_the_end()


class _Drive:
    def __init__(self, courses: Sequence[Course[Any]]):
        self.courses = dict(enumerate(courses))
        self.wishes: dict[int, Any] = {}
        self.ends: dict[int, Any] = {}

    def to_the_end(self) -> list[Any]:
        try:
            for number, course in self.courses.items():
                self._move(number, course.__next__)
            while self.wishes:
                self._round()
        except BaseException as error:  # a signal that stops at once: every record says so
            for number in self.courses.keys() - self.ends.keys():
                with contextlib.suppress(BaseException):
                    self.courses[number].throw(_again(error))
            raise
        return [self.ends[number] for number in range(len(self.courses))]

    def _round(self) -> None:
        steps = {k: wish for k, wish in self.wishes.items() if isinstance(wish, Steps)}
        if not steps:
            for number, wish in list(self.wishes.items()):
                self._answer([number], lambda wish=wish: [wish.answer()])
            return
        size = next(iter(steps.values())).order.shape[1]
        same = {k: wish for k, wish in steps.items() if wish.order.shape[1] == size}
        self._answer(list(same), lambda: _taken(list(same.values())))

    def _answer(self, numbers: Sequence[int], ask: Callable[[], list[Any]]) -> None:
        """Send courses what they wished for; what goes wrong is raised in all of them."""
        try:
            answers = ask()
        except (Exception, SystemExit) as error:
            for number in numbers:
                self._move(number, self.courses[number].throw, _again(error))
            return
        for number, answer in zip(numbers, answers, strict=True):
            self._move(number, self.courses[number].send, answer)

    def _move(self, number: int, go_on: Callable[..., Any], *sent: Any) -> None:
        """Have a course go on to its next wish, or to its end."""
        self.wishes.pop(number, None)
        try:
            self.wishes[number] = go_on(*sent)
        except StopIteration as end:
            self.ends[number] = end.value
        except (Exception, SystemExit) as error:
            self.ends[number] = error


def _again(error: BaseException) -> BaseException:
    """The exception as it is now: raised in several courses, it would gather all their frames."""
    twin = copy.copy(error)
    twin.__cause__, twin.__traceback__ = error.__cause__, error.__traceback__
    return twin


def _taken(wishes: Sequence[Steps]) -> list[np.ndarray]:
    """Steps of several seats at once."""
    seats: list[Any] = [wish.engine for wish in wishes]
    wanted = {
        seat.number: (wish.order, wish.rates) for seat, wish in zip(seats, wishes, strict=True)
    }
    objectives = seats[0].program.steps(wanted)
    return [objectives[seat.number] for seat in seats]
