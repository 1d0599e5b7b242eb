"""What the compiled program of a run depends on: every choice without its numbers.

Learning rate, λ, dropout rate and the shape and scale of a loss are variables of a program, and
the seed only fills them; so runs that differ in nothing else can be trained by the same program,
one after the other or many at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from kexp.choice import numbers

if TYPE_CHECKING:
    from kexp.experiment import Experiment

NUMBER = "number"
"""Stands for a value that is data of the program."""


def program(e: Experiment) -> tuple | None:
    """A key that two runs share if one program can train both on inputs of one shape.

    None where that cannot be told: a choice is no dataclass, or holds what cannot be compared.
    """
    parts = (
        structure(e.backend),
        e.training.precision,
        (type(e.task), e.task.target),
        structure(e.model),
        structure(e.loss, numbers(e.loss)),
        structure(e.regularizer, numbers(e.regularizer)),
        structure(e.dropout, ("rate",) if rate_is_data(e) else ()),
        structure(e.norm),
        structure(e.optimizer, ("learning_rate",) if _of_kexp(e.optimizer) else ()),
    )
    return None if None in parts or not is_hashable(parts) else parts


def rate_is_data(e: Experiment) -> bool:
    """Whether the rate of every random layer is `dropout.rate`, as in kexp's own choices."""
    return hasattr(e.dropout, "rate") and all(map(_of_kexp, (e.dropout, e.model)))


def is_kexps(e: Experiment) -> bool:
    """Whether all that is compiled is kexp's own code."""
    return all(
        map(_of_kexp, (e.task, e.model, e.loss, e.regularizer, e.dropout, e.norm, e.optimizer))
    )


def _of_kexp(made: Any) -> bool:
    return type(made).__module__.split(".")[0] == "kexp"


def structure(made: Any, free: Collection[str] = ()) -> tuple | None:
    """The class of a choice and its fields, with those named in `free` left open."""
    if not dataclasses.is_dataclass(made):
        return None
    fields = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
    return (
        type(made),
        *((name, NUMBER if name in free else _plain(value)) for name, value in fields.items()),
    )


def is_hashable(parts: tuple) -> bool:
    """Whether a key can be looked up: an array in it cannot."""
    try:
        hash(parts)
    except TypeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """A value that can be compared and hashed, as far as it is known how."""
    if dataclasses.is_dataclass(value):
        return structure(value)
    if isinstance(value, dict):
        return tuple((key, _plain(item)) for key, item in value.items())
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
