"""What may stand in the place of something sound: values, texts, and damaged bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

MARK = "MARK7f3a"
"""Stands in foreign text, to be found again wherever it gets."""

TEXTS = (
    "",
    " ",
    "x",
    "None",
    "NaN",
    "1",
    "é λ 日本",
    f"<script>{MARK}</script>",
    f"</script><img src=x onerror={MARK}>",
    f'" onmouseover="{MARK}',
    f"javascript:{MARK}",
    f"]]>-->{MARK}",
    "\x1b[2J\x1b]0;x\x07\r\b",
    "\ud800",
    "\u202e",
    "\0",
    "=cmd()",
    "\\input{x}",
    r"$\frac{$",
    "$" * 9,
    "{x}",
    "%s",
    "${oc.env:HOME}",
    "../../x",
    "/etc/passwd",
    "kexp.losses.Huber",
    "os.system",
    "a,b=c",
    "\n\n",
    "9" * 400,
    "x" * 5000,
    "a" * 200 + "!",
)
NUMBERS = (0, -1, 1, 2, 7, 255, 2**31, 2**53 + 1, 2**63, 2**64, 2**1000, -(10**400), 10**4000)
FLOATS = (-0.0, 0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
NUMBERS += FLOATS
SCALARS = st.sampled_from([None, True, False, *NUMBERS, *TEXTS])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["nll", "_target_", "gap", "name", "a", *TEXTS]), inner)
    ),
    max_leaves=6,
)
DEEP = st.sampled_from([5, 19, 25, 60, 300])
EDITS = ("set", "set", "set", "delete", "rename", "nest", "repeat", "swap")


@st.composite
def mutated(draw: st.DrawFn, document: Any, most: int = 4) -> Any:
    """The document with a few of its parts changed."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(document))
        if not places:
            return draw(VALUES)
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        _edit(draw, holder, key, draw(st.sampled_from(EDITS)))
    return document


def _edit(draw: st.DrawFn, holder: Any, key: Any, edit: str) -> None:
    match edit:
        case "set":
            holder[key] = draw(VALUES)
        case "delete":
            del holder[key]
        case "rename" if isinstance(holder, dict):
            holder[draw(st.sampled_from(TEXTS))] = holder.pop(key)
        case "nest":
            for _ in range(draw(DEEP)):
                holder[key] = {"a": holder[key]}
        case "repeat":
            holder[key] = [holder[key]] * draw(st.sampled_from([0, 2, 50]))
        case "swap":
            other = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else [0]))
            holder[key], holder[other] = holder[other], holder[key]


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = document if isinstance(document, dict) else range(len(document))
    for key in list(keys) if isinstance(document, (dict, list)) else ():
        yield document, key
        if isinstance(document[key], (dict, list)):
            yield from _places(document[key])


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes with some flipped, cut, put in, taken out or doubled."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.sampled_from([1, 1, 2, 4, 16, 200])))
        match draw(st.sampled_from(["flip", "flip", "cut", "insert", "delete", "double"])):
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(max_size=12) | st.sampled_from(TOKENS))
            case "delete":
                del data[at:to]
            case "double":
                data[at:at] = data[at:to] * draw(st.sampled_from([1, 3, 100]))
    return bytes(data)


TOKENS = [b"\0", b"\xff\xfe", b'"', b"{", b"}", b"[" * 2000, b"NaN", b"-", b"1e999", b"\n", b"\r\n"]
TOKENS += [b'"epoch": 1,', b'"a": ', b"9" * 5000, b"&a ", b"*a", b"!!python/object:os.system "]


def encoded(document: Any) -> bytes:
    """As JSON, whatever is in it."""
    return json.dumps(document).encode()
