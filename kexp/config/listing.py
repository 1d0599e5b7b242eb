"""What there is to choose from: every option of every group with its one-line meaning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kexp.choice import summary
from kexp.config.fitting import option_class
from kexp.config.options import first_comment, parameters
from kexp.config.places import groups, user_dir
from kexp.config.wording import nearest, shown
from kexp.errors import ConfigError

PLURALS = {"loss": "losses", "study": "studies"}
PLURALS |= {name: name for name in ("data", "training", "robustness")}


def listing(what: str | None = None, config_dir: str | os.PathLike | None = None) -> str:
    """The options of one group, by its name or plural, or of all groups. Raises `ConfigError`."""
    user = user_dir(config_dir)
    found = groups(user)
    chosen = [g for g in found if what in (None, g, g.split("/")[-1], _plural(g))]
    if not chosen:
        raise ConfigError(f"kexp list {what}: there is no such group; {_instead(str(what), found)}")
    return "\n".join(_group(group, found[group], user) for group in chosen)


def _instead(what: str, found: dict[str, list[str]]) -> str:
    names = [_plural(group) for group in found]
    near = nearest(what, names)
    owners = [_plural(group) for group, options in found.items() if what in options]
    if near:
        return f"did you mean {' or '.join(near)}? There are {', '.join(names)}"
    if owners:
        return f"{what} is one of the {' and of the '.join(owners)}: kexp list {owners[0]}"
    return f"there are {', '.join(names)}"


def _group(group: str, options: list[str], user: Path | None) -> str:
    lines = [f"{_plural(group)}  (on the command line: {group}=…)"]
    width = max(16, *map(len, options))
    for option in options:
        meaning, keys = _described(group, option, user)
        lines.append(f"  {option:<{width}} {meaning}")
        if keys:
            lines.append(f"  {'':<{width}} {keys}")
    return "\n".join(lines) + "\n"


def _described(group: str, option: str, user: Path | None) -> tuple[str, str]:
    """What an option means, in a line, and its parameters."""
    values = parameters(group, option, user)
    target = values.pop("_target_", "")
    values.pop("defaults", None)
    keys = ", ".join(f"{key}={_written(value)}" for key, value in values.items())
    cls = option_class(group, option, user)
    return (summary(cls) if cls else str(target) or first_comment(group, option, user)), keys


def _written(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _plural(group: str) -> str:
    name = group.split("/")[-1]
    return PLURALS.get(name, f"{name}s")
