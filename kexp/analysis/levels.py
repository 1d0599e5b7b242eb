"""What a run chose, by key, and what to call the levels of what varies between runs."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from kexp.store import Record
from kexp.store.differences import flatten
from kexp.store.names import OUTSIDE_IDENTITY, SECTIONS_ADDED_LATER

FIRST_OPTIONS = dict.fromkeys(SECTIONS_ADDED_LATER, "none")
"""What runs chose in groups that there were not yet."""

NOT_CHOSEN = (*OUTSIDE_IDENTITY, "seed", "schema", "identity")


def choices(record: Record) -> dict[str, Any]:
    """What a run chose, by key: `dropout` is the option's name, `dropout.rate` its parameter."""
    flat = flatten(record.config)
    options = {**FIRST_OPTIONS, **(record.summary.get("options") or {})}
    named = {f"{group.replace('/', '.')}._target_": option for group, option in options.items()}
    flat |= {key: option for key, option in named.items() if key in flat}
    return {
        key.removesuffix("._target_"): value if _is_scalar(value) else _as_text(value)
        for key, value in flat.items()
        if key.split(".")[0] not in NOT_CHOSEN
    }


def labels(
    every: Sequence[dict[str, Any]],
    apart: Collection[str] = (),
    companions: Collection[str] = (),
) -> dict[str, list[str]]:
    """For each factor the label of every run's level.

    A parameter of an option belongs to the option's label, as in `standard(0.5)`, unless it varies
    with every option alike or is one of the keys `apart`, which are factors of their own.
    `companions` are keys that only go with levels of others, and are no factors.
    """
    keys = list(dict.fromkeys(key for chosen in every for key in chosen))
    missing = object()
    varying = [
        k
        for k in keys
        if k not in companions and len({plain(c.get(k, missing)) for c in every}) > 1
    ]
    sections = {key[:i] for key in keys for i, c in enumerate(key) if c == "."}.intersection(keys)
    options = [key for key in varying if key in sections]
    found: dict[str, list[str]] = {}
    for key in varying:
        owner = next((o for o in options if key.startswith(f"{o}.")), None)
        if key in sections:
            merged = [k for k in keys if k.startswith(f"{key}.") and k not in apart]
            merged = [k for k in merged if not _crossed(every, key, k)]
            found[key] = _option_labels(every, key, merged)
        elif owner is None or key in apart or _crossed(every, owner, key):
            found[key] = [plain(chosen.get(key, "–")) for chosen in every]
    return found


def _crossed(every: Sequence[dict[str, Any]], option: str, key: str) -> bool:
    """Whether a parameter takes the same two or more values with every option of its group."""
    values: dict[Any, set[str]] = defaultdict(set)
    for chosen in every:
        if key in chosen:
            values[chosen.get(option)].add(plain(chosen[key]))
        else:
            return False
    first, *others = values.values()
    return len(first) > 1 and all(other == first for other in others)


def _option_labels(every: Sequence[dict[str, Any]], key: str, parameters: list[str]) -> list[str]:
    """`standard(0.5)`: an option with its number, if it has one, or with what varies of it."""
    of_option: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for chosen in every:
        of_option[chosen.get(key)].append(chosen)
    shown: dict[Any, list[str]] = {}
    only: dict[Any, bool] = {}
    for option, group in of_option.items():
        present = [p for p in parameters if p in group[0]]
        numbers = [p for p in present if _is_number(group[0][p])]
        varying = [p for p in present if len({plain(c.get(p)) for c in group}) > 1]
        shown[option] = varying or (numbers if len(numbers) == 1 else [])
        only[option] = shown[option] == numbers
    labels = []
    for chosen in every:
        option = chosen.get(key)
        parts = [
            plain(chosen.get(p)) if only[option] else f"{p[len(key) + 1 :]}={plain(chosen.get(p))}"
            for p in shown[option]
        ]
        name = plain(option).rpartition(".")[2] if option is not None else "–"
        labels.append(f"{name}({', '.join(parts)})" if parts else name)
    return labels


def same(value: Any, text: str) -> bool:
    """Whether a recorded value is the one that a text on the command line means."""
    if plain(value) == text:
        return True
    try:
        return float(value) == float(text)
    except (TypeError, ValueError, OverflowError):
        return False


def plain(value: Any) -> str:
    """A value as the command line writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.12g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _as_text(value: Any) -> str:
    return json.dumps(value, default=str, skipkeys=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def natural(label: str) -> tuple[int, float, str]:
    """Sorts numbers as numbers, before texts; `null` as the largest, as in train_size=null."""
    try:
        return 0, float(label), label
    except ValueError:
        return (1, math.inf, label) if label == "null" else (2, 0.0, label)
