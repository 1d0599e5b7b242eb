"""Names of run folders, and the identity hash that says which runs are the same run."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any

from kexp.errors import ConfigError

SCHEMA = 1
"""Version of the record's files. A newer one is refused, an older one is read."""

OUTSIDE_IDENTITY = ("name", "study", "paths", "track")
KEYS_OUTSIDE_IDENTITY = ("data.mapped",)
LONGEST_LABEL = 80

SECTIONS_ADDED_LATER = {"robustness": {"_target_": "kexp.robustness.NoRobustness"}}
ADDED_LATER = {
    "training.distribution": "none",
    "training.precision": "float32",
    "backend.jit": None,
}
"""Sections, and keys younger than their section, with what means what was done before there were
these."""


def identity(config: dict[str, Any]) -> str:
    """Hash (16 hex digits) of everything in the config that changes the numbers of a run.

    Names, paths and whether data are mapped are left out; so two runs with the same identity are
    the same run. So is what was `ADDED_LATER` at its first value: a run keeps its identity as kexp
    learns more.
    """
    relevant = {k: v for k, v in config.items() if k not in OUTSIDE_IDENTITY}
    for key in (*KEYS_OUTSIDE_IDENTITY, *ADDED_LATER):
        group, name = key.split(".")
        section = relevant.get(group)
        value = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and value == ADDED_LATER.get(key, value):
            relevant[group] = {k: v for k, v in section.items() if k != name}
    for group, first in SECTIONS_ADDED_LATER.items():
        if relevant.get(group) == first:
            del relevant[group]
    text = json.dumps({"schema": SCHEMA, **relevant}, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_name(label: str, identity_hash: str) -> str:
    """A folder name: a readable, shortened label and the start of the identity hash."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9.=_,+-]+", "-", plain).strip("-.")
    if len(slug) > LONGEST_LABEL:
        slug = slug[:LONGEST_LABEL].rstrip("-.,=")
        slug = slug.rpartition(",")[0] or slug
    return f"{slug}-{identity_hash[:8]}" if slug else identity_hash[:8]


def check_name(key: str, name: str) -> str:
    """`name` if it can be the name of one folder inside another; else a `ConfigError`."""
    if not re.fullmatch(r"[^\W.]([\w.=,+ -]*[\w=,+-])?", name) or len(name.encode()) > 200:
        raise ConfigError(
            f"{key} must be the name of one folder (letters, digits, . _ - = , + and space, "
            f"at most 200 bytes, not starting or ending with a dot), got {name!r}"
        )
    return name
