"""pydantic's findings in kexp's words: the key, what is allowed, the value received."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import ValidationError

from kexp.config.wording import corrected, shown

BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
WORDS[type(None)] = "null"


def of_faults(section: str, cls: type, values: dict[str, Any], error: ValidationError) -> str:
    """A line for each parameter of the section `section` that `cls` did not take."""
    lines = {}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        lines.setdefault(name, _of_problem(section, cls, name, values.get(name), problem))
    return "\n".join(lines.values())


def _of_problem(section: str, cls: type, name: str, value: Any, problem: Any) -> str:
    key, kind = f"{section}.{name}", problem["type"]
    if not name:
        return f"{section}: {problem['msg'].removeprefix('Value error, ')}"
    fields = getattr(cls, "__pydantic_fields__", {})
    if kind in ("unexpected_keyword_argument", "extra_forbidden") or name not in fields:
        names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
        near = difflib.get_close_matches(name, names, n=2) or names
        takes = f"it takes {', '.join(near)}" if near else "it takes no parameters"
        return f"{section}: {cls.__name__} has no parameter {name}; {takes}"
    field = fields[name]
    words = allowed(field.annotation, field.metadata)
    if kind.startswith("missing"):
        return f"{key} must be given, {words}: {key}=…"
    if kind == "value_error":
        return f"{key}: {problem['msg'].removeprefix('Value error, ')}, got {shown(value)}"
    if kind == "finite_number":
        words = words.replace("a number", "a finite number")
    return f"{key} must be {words}, got {shown(value)}{_hint(key, value, words)}"


def allowed(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The values that an annotation allows in words, as `a whole number ≥ 1 or null`."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return allowed(inner[0], [*inner[1:], *metadata])
    if origin in (Union, types.UnionType):
        return " or ".join(allowed(part) for part in inner)
    if origin is Literal:
        return f"{'one of ' if inner[1:] else ''}{', '.join(map(str, inner))}"
    bounds = _bounds(metadata)
    if origin is list:
        return f"a list{_length(metadata)}, each item {allowed(inner[0])}"
    if annotation in WORDS:
        return f"{WORDS[annotation]}{f' {bounds}' if bounds else ''}"
    name = getattr(annotation, "__name__", str(annotation))
    return f"a section whose _target_ is a {name}"


def _bounds(metadata: Sequence[Any]) -> str:
    """The range that constraints describe, such as `≥ 0 and < 1`; of two, the tighter."""
    found: dict[str, float] = {}
    for constraint in _constraints(metadata):
        for bound in BOUNDS:
            if getattr(constraint, bound, None) is not None:
                found[bound] = getattr(constraint, bound)
    if "gt" in found and found.get("ge", found["gt"]) <= found["gt"]:
        found.pop("ge", None)
    if "lt" in found and found.get("le", found["lt"]) >= found["lt"]:
        found.pop("le", None)
    return " and ".join(f"{BOUNDS[b]} {found[b]:g}" for b in ("gt", "ge", "lt", "le") if b in found)


def _length(metadata: Sequence[Any]) -> str:
    least = [getattr(c, "min_length", None) for c in _constraints(metadata)]
    return f" of at least {max(filter(None, least))}" if any(least) else ""


def _constraints(metadata: Sequence[Any]) -> list[Any]:
    return [c for item in metadata for c in (getattr(item, "metadata", None) or [item])]


def _hint(key: str, value: Any, words: str) -> str:
    """The next step, where the value shows what was meant."""
    if isinstance(value, float) and value.is_integer() and words.startswith("a whole number"):
        return f"; write {key}={int(value)}"
    if isinstance(value, (int, float)) and words.startswith("a text"):
        return f"; quote it twice: {corrected(key, shown(value))}"
    if isinstance(value, str) and "number" in words:
        return _meant_number(key, value.strip(), words)
    if words.startswith("true") and str(value).lower() in ("yes", "on", "1", "no", "off", "0"):
        meant = str(value).lower() in ("yes", "on", "1")
        return f"; write {key}={shown(meant)}"
    if words.startswith("a list") and not isinstance(value, (list, dict)):
        return f"; write '{key}=[{value}]'"
    return ""


def _meant_number(key: str, text: str, words: str) -> str:
    if text.lower() in ("none", "nil") and words.endswith("null"):
        return f"; write {key}=null"
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            return f"; write {key}={share:g}" if "a number" in words else ""
        return f"; write it without quotes: {key}={float(text):g}"
    except ValueError:
        return ""
