"""What there is to choose from: every option of every group with its one-line meaning."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import yaml

from kexp.choice import summary
from kexp.config.build import SOURCES
from kexp.config.places import groups, option_file, user_dir
from kexp.errors import ConfigError

PLURALS = {"loss": "losses", "data": "data", "backend": "backends", "training": "training"}


def listing(what: str | None = None, config_dir: str | os.PathLike | None = None) -> str:
    """The options of one group, by its name or plural, or of all groups. Raises `ConfigError`."""
    user = user_dir(config_dir)
    found = groups(user)
    chosen = [group for group in found if what in (None, group, _plural(group))]
    if not chosen:
        names = ", ".join(_plural(group) for group in found)
        raise ConfigError(f"kexp list {what}: there is no such group; there are {names}")
    return "\n".join(_group(group, found[group], user) for group in chosen)


def _group(group: str, options: list[str], user: Path | None) -> str:
    lines = [f"{_plural(group)}  (on the command line: {group}=…)"]
    for option in options:
        config = yaml.safe_load(option_file(group, option, user).read_text(encoding="utf-8")) or {}
        meaning, parameters = _described(config, group)
        lines.append(f"  {option:<16} {meaning}")
        if parameters:
            lines.append(f"  {'':<16} {parameters}")
    return "\n".join(lines) + "\n"


def _described(config: dict[str, Any], group: str) -> tuple[str, str]:
    """The first line of the docstring of an option's class, and its parameters."""
    key = group.replace("/", ".")
    section = config.get(group, config)
    target = str(section.get("_target_", ""))
    shown = {k: v for k, v in section.items() if k != "_target_" and not isinstance(v, dict)}
    parameters = ", ".join(f"{k}={'null' if v is None else v}" for k, v in shown.items())
    module, _, name = target.rpartition(".")
    if module != SOURCES.get(key):
        return target, parameters
    return summary(getattr(importlib.import_module(module), name)), parameters


def _plural(group: str) -> str:
    return PLURALS.get(group, "studies" if group == "study" else f"{group}s")
