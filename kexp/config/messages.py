"""pydantic's findings in kexp's words: the key, what is allowed, the value received."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

EXPECTED = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list",
    "none_required": "null",
}
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def of_problem(section: str, problem: Any, cls: type) -> str:
    """One line about one of pydantic's findings in the section `section`, made of a `cls`."""
    where = [str(part) for part in problem["loc"]]
    names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    key = ".".join([section, *(part for part in where[:1] if part in names or part)])
    kind, got = problem["type"], problem["input"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        near = difflib.get_close_matches(where[0], names, n=2) or names
        allowed = f"; it takes {', '.join(near)}" if names else "; it takes no parameters"
        return f"{cls.__name__} has no parameter {key}{allowed}"
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key} must be given"
    if kind == "literal_error":
        return f"{key} must be {problem['ctx']['expected']}, got {got!r}"
    bounds = _range(cls, where[0]) if where else ""
    expected = EXPECTED.get(kind)
    if expected:
        return f"{key} must be {expected}{f' {bounds}' if bounds else ''}, got {got!r}"
    if bounds:
        return f"{key} must be {bounds}, got {got!r}"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}" + (
        f", got {got!r}" if where else ""
    )


def _range(cls: type, name: str) -> str:
    """The allowed range of a parameter in words, such as `≥ 0 and < 1`."""
    field = getattr(cls, "__pydantic_fields__", {}).get(name)
    found: dict[str, float] = {}
    for constraint in field.metadata if field else ():
        for bound in BOUNDS:
            if getattr(constraint, bound, None) is not None:
                found[bound] = getattr(constraint, bound)
    return " and ".join(f"{BOUNDS[b]} {v:g}" for b, v in found.items())
