"""What trains a run, as a course that others can be driven in step with.

A course is a generator: it yields what it wants of its engine (`Steps`, `Measure`, …) and
is sent the answer. So it can be driven alone, or together with courses whose engines are seats of
one program (`kexp.training.together`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kexp.tasks import Batch

if TYPE_CHECKING:
    from kexp.training.engine import Engine

T = TypeVar("T")


@dataclass(frozen=True)
class Steps:
    """A wish for steps, at least one of them; answered by the objectives of those taken.

    `order` (steps, batch) holds numbers of examples, `rates` (steps,) the learning rates. The
    objective of a step is that before it was taken.
    """

    engine: Engine
    order: np.ndarray
    rates: np.ndarray

    def answer(self) -> np.ndarray:
        """What the engine says."""
        return self.engine.steps(self.order, self.rates)


@dataclass(frozen=True)
class Measure:
    """A wish for predictions in inference mode; answered by (ŷ, loss of each example) a batch."""

    engine: Engine
    batches: Sequence[Batch]

    def answer(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """What the engine says."""
        return self.engine.measure(self.batches)


@dataclass(frozen=True)
class Sample:
    """A wish for predictions with dropout left on; answered by several of the same inputs."""

    engine: Engine
    x: np.ndarray
    passes: int

    def answer(self) -> list[np.ndarray]:
        """What the engine says."""
        return self.engine.sample(self.x, self.passes)


@dataclass(frozen=True)
class Slopes:
    """A wish for ∂ Σ L(yᵢ, ŷᵢ)/∂x in inference mode, of some loss; answered by an array like x.

    `x` are inputs as the network sees them, floating-point numbers.
    """

    engine: Engine
    x: np.ndarray
    y: np.ndarray
    loss: Any

    def answer(self) -> np.ndarray:
        """What the engine says."""
        return self.engine.slopes(self.x, self.y, self.loss)


Course = Generator[Any, Any, T]
"""What yields wishes to an engine, is sent their answers, and returns a T."""


def driven(course: Course[T]) -> T:
    """Run a course to its end; what goes wrong in its engine is raised inside it."""
    move: Callable[[], Any] = lambda: next(course)  # noqa: E731
    while True:
        try:
            wish = move()
        except StopIteration as end:
            return end.value
        try:
            answer = wish.answer()
        except BaseException as error:
            move = lambda error=error: course.throw(error)  # noqa: E731
        else:
            move = lambda answer=answer: course.send(answer)  # noqa: E731
