"""Words of messages: values as they are typed, quoting, and the nearest of what there is."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

ABBREVIATIONS = {
    "lr": "learning_rate",
    "lambda": "strength",
    "wd": "weight_decay",
    "bs": "batch_size",
    "dataset": "data",
}


def shown(value: Any) -> str:
    """A value as YAML and the command line write it, shortened if it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def plural(count: int, noun: str) -> str:
    """`1 run` or `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def nearest(word: str, words: Iterable[str]) -> list[str]:
    """The words most like `word`, best first; a dotted word's last part counts too."""
    every = list(words)
    lowered = {w.lower(): w for w in every}
    head, dot, tail = word.lower().rpartition(".")
    wanted = head + dot + ABBREVIATIONS.get(tail, tail)
    found = difflib.get_close_matches(wanted, lowered, n=3, cutoff=0.7)
    tails = {w.rsplit(".", 1)[-1]: w for w in lowered}
    last = difflib.get_close_matches(ABBREVIATIONS.get(tail, tail), tails, n=2, cutoff=0.75)
    holding = [w for w in lowered if len(wanted) > 2 and wanted in w.split("_")]
    return list(dict.fromkeys(lowered[w] for w in [*found, *(tails[t] for t in last), *holding]))


def literal(text: str) -> str:
    """`text` in the quotes of Hydra's grammar, whatever it holds."""
    escaped = re.sub(r'(\\*)"', r"\1\1\\" + '"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def corrected(key: str, value: str) -> str:
    """The override that sets `key` to the text `value`, quoted for Hydra and for the shell."""
    if value.count("'") % 2 or value.count('"') % 2:
        value = value.strip("'\"") if value[:1] in ("'", '"') else value
    if value.count("${") > value.count("}"):
        value = value.replace("${", "\\${")
    return shlex.quote(f"{key}={literal(value)}")
