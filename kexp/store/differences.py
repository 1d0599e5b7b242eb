"""Configs as flat dicts of dotted keys, and what differs between two of them."""

from __future__ import annotations

from typing import Any


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differing(
    recorded: dict[str, Any], wanted: dict[str, Any], absent: Any = None
) -> list[tuple[str, Any, Any]]:
    """Every key whose value differs, with both values; `absent` is for a key that one lacks."""
    left, right = flatten(recorded), flatten(wanted)
    keys = [key for key in right if left.get(key) != right[key]]
    keys += [key for key in left if key not in right]
    return [
        (key, left.get(key, absent), right.get(key, absent))
        for key in keys
        if key not in ("schema", "identity")
    ]


def differences(recorded: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """One line per key whose value differs: `training.epochs: recorded 3, now 5`."""
    missing = object()
    return [
        f"{key}: recorded {_shown(left, missing)}, now {_shown(right, missing)}"
        for key, left, right in differing(recorded, wanted, missing)
    ]


def _shown(value: Any, missing: object) -> str:
    return "(absent)" if value is missing else repr(value)
