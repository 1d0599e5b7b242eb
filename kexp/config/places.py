"""Where the config files are, and what options each group has."""

from __future__ import annotations

import os
from pathlib import Path

from kexp.errors import ConfigError

PACKAGE = Path(__file__).parents[1]


def conf_dir() -> Path:
    """kexp's own config directory: inside an installed package, beside it in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def user_dir(path: str | os.PathLike | None) -> Path | None:
    """The user's own config directory, checked."""
    if path is None:
        return None
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {path}: there is no such directory ({folder})")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError(f"--config-dir {path}: the directory cannot be read ({folder})")
    return folder


def groups(user: Path | None = None) -> dict[str, list[str]]:
    """Every config group and its options, sorted; `task/noise` is a group inside another."""
    found: dict[str, set[str]] = {}
    for root in filter(None, (conf_dir(), user)):
        for file in root.rglob("*.yaml"):
            group = file.parent.relative_to(root).as_posix()
            if group != ".":
                found.setdefault(group, set()).add(file.stem)
    return {group: sorted(found[group]) for group in sorted(found)}


def option_file(group: str, option: str, user: Path | None = None) -> Path:
    """The YAML file of an option; the user's own comes before kexp's."""
    for root in filter(None, (user, conf_dir())):
        file = root / group / f"{option}.yaml"
        if file.is_file():
            return file
    raise ConfigError(f"{group}={option}: there is no such option")
