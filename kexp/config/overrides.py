"""Overrides as Hydra's grammar reads them; what it cannot read is told with the corrected text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from kexp.config.wording import corrected, literal, shown
from kexp.errors import ConfigError

KEY = re.compile(r"[A-Za-z_][\w-]*(?:[./]\w[\w-]*)*", re.ASCII)

LONGEST = 10_000
"""Characters of an override; Hydra's grammar takes seconds over more."""

MOST_QUOTED = 1000
"""Characters of a value that is written out again, corrected."""

GRAMMAR = frozenset("'\"()[]{},\\$")
"""Characters that mean something to Hydra. A value without them is the text that it is."""


def parse(text: str) -> Override:
    """One override, `key=value` or `group=option`. Raises `ConfigError` with the correction."""
    _refuse_unreadable(text)
    key, equals, value = text.partition("=")
    if text[:1] in ("+", "~"):
        raise ConfigError(_not_of_this_shape(text))
    if not equals:
        raise ConfigError(f"{text!r} is no override; write key=value")
    _check_key(text, key, value)
    plain = not GRAMMAR.intersection(value) and value.isprintable()
    for candidate in (text, *([f"{key}={literal(value)}"] if plain else [])):
        try:
            return _read(candidate)
        except (HydraException, ValueError):  # of Python, for a number of thousands of digits
            continue
    raise ConfigError(_unreadable(key, value))


def raw_value(override: Override) -> str:
    """The value as it was typed."""
    return (override.input_line or "").partition("=")[2].strip()


def refuse_twice(overrides: Sequence[Override]) -> None:
    """Raise `ConfigError` where a key is given more than once: nobody can tell which was meant."""
    given: dict[str, str] = {}
    for override in overrides:
        key, value = override.key_or_group, raw_value(override)
        if key in given:
            both = f"; to try both: kexp sweep {key}={given[key]},{value}"
            raise ConfigError(
                f"{key} is given twice, as {key}={given[key]} and {key}={value}; leave one out"
                f"{both if value != given[key] else ''}"
            )
        given[key] = value


def refuse_sweep(override: Override, default: Any, is_group: bool) -> None:
    """Raise `ConfigError` where several values are given; `default` is the key's own value."""
    if not override.is_sweep_override():
        return
    key, value = override.key_or_group, raw_value(override)
    sweep = override.value()
    meant = ""
    if isinstance(sweep, ChoiceSweep) and sweep.simple_form and not is_group:
        meant = _single(key, value, default)
    raise ConfigError(
        f"{key}={value} asks for several values; that is a sweep: use kexp sweep{meant}"
    )


def _single(key: str, value: str, default: Any) -> str:
    """What a value with a comma may have been, if no sweep was meant."""
    if isinstance(default, list):
        return f". If it is one list, put it in brackets: '{key}=[{value}]'"
    if isinstance(default, float) and re.fullmatch(r"\d+,\d+", value):
        return f". If it is one number, write it with a point: {key}={value.replace(',', '.')}"
    if re.fullmatch(r"\d{1,3}(,\d{3})+", value):
        return f". If it is one number, leave the commas out: {key}={value.replace(',', '')}"
    if isinstance(default, (str, type(None))) and not re.fullmatch(r"[\d., -]*", value):
        return f". If it is one text, quote it twice: {corrected(key, value)}"
    return ""


@lru_cache(maxsize=4096)
def _read(text: str) -> Override:
    return _parser().parse_override(text)


@lru_cache(maxsize=1)
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _refuse_unreadable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"the override {text!a} is not valid UTF-8") from None
    if len(text) > LONGEST:
        raise ConfigError(
            f"the override {text[:60]!r}… has {len(text):,} characters, more than {LONGEST:,}; an "
            "option file of your own, below --config-dir, can hold more"
        )
    if "\0" in text:
        raise ConfigError(f"the override {text!r} holds a zero byte")


def _not_of_this_shape(text: str) -> str:
    if text.startswith("~"):
        return (
            f"{text}: a key cannot be removed; leave it out for its default, or choose none where "
            "a group has that, as in dropout=none"
        )
    return (
        f"{text}: keys cannot be added, so that a misspelled one is never taken silently; if the "
        f"config has this key, write {text.lstrip('+')}"
    )


def _check_key(text: str, key: str, value: str) -> None:
    if KEY.fullmatch(key):
        return
    if key.strip() != key and key.strip():
        tidy = f"{key.strip()}={value.strip()}"
        raise ConfigError(f"{text!r}: write it without spaces around the key: {tidy}")
    if "@" in key:
        raise ConfigError(
            f"{text}: a group has one place in the config; write {key.partition('@')[0]}={value}"
        )
    raise ConfigError(
        f"{text!r}: {key!r} cannot be a key; keys are words joined by dots, as training.epochs=5"
    )


def _unreadable(key: str, value: str) -> str:
    found = f"the value of {key} cannot be read: {shown(value)}"
    if value[:1] in ("[", "{") and value.count("[") + value.count("{") != value.count(
        "]"
    ) + value.count("}"):
        return f"{found}: a bracket has no partner; a list is written '{key}=[1,2]'"
    if len(value) > MOST_QUOTED:
        return found
    if value.endswith(","):
        return f"{found}: leave out the comma at its end: {key}={value.rstrip(', ')}"
    if not value.isprintable():
        return f"{found}: it holds a line break or another character that is not printed"
    return (
        f"{found}. If it is one text, quote it twice, also for the shell: {corrected(key, value)}"
    )
