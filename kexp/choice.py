"""What a config option is built from: a frozen dataclass that checks its own parameters.

A *choice* is one option of a config group (a loss, a regularizer, a data set …). Its fields
are the keys of its YAML file, its types and ranges are checked when it is made, and it imports
neither Keras nor TensorFlow until it is used, so that a config fault is found at once.

    >>> @choice
    ... class Huber:
    ...     delta: Positive = 1.0
    >>> Huber(delta=2)
    Huber(delta=2.0)
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as _dataclass
from typing_extensions import dataclass_transform

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ProperShare = Annotated[float, Field(ge=0, lt=1)]
Between = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]

T = TypeVar("T")

_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def choice(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose parameters are checked for type and range.

    Raises `pydantic.ValidationError` (a `ValueError`) with the rule and the value.
    """
    return _dataclass(cls, frozen=True, kw_only=True, config=_CONFIG)


def numbers(obj: Any) -> dict[str, float]:
    """The fields of a choice that are plain floats: what a sweep can vary without new code."""
    if not dataclasses.is_dataclass(obj):
        return {}
    values = {f.name: getattr(obj, f.name) for f in dataclasses.fields(obj)}
    return {name: value for name, value in values.items() if type(value) is float}


def summary(obj: Any) -> str:
    """First line of the docstring of a class or object."""
    return (obj.__doc__ or "").strip().split("\n")[0]
