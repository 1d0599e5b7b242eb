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


def differences(recorded: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """One line per key whose value differs: `training.epochs: recorded 3, now 5`."""
    left, right = flatten(recorded), flatten(wanted)
    keys = [key for key in right if left.get(key) != right[key]]
    keys += [key for key in left if key not in right and key not in ("schema", "identity")]
    return [f"{key}: recorded {_shown(left, key)}, now {_shown(right, key)}" for key in keys]


def _shown(flat: dict[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "(absent)"
