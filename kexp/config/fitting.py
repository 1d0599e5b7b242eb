"""Which options of a group fit a task, by what their classes say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kexp.config.allowed import allowed_class
from kexp.config.options import parameters
from kexp.config.places import groups
from kexp.errors import ConfigError


def option_class(
    group: str, option: str, user: Path | None = None, modules: Sequence[str] = ()
) -> Any:
    """The class that an option sets up; None where it is not (yet) allowed to be imported."""
    target = str(parameters(group, option, user).get("_target_", ""))
    try:
        return allowed_class(group.replace("/", "."), target, modules)
    except ConfigError:
        return None


def option_of(group: str, section: dict[str, Any], user: Path | None = None) -> str | None:
    """The option of a group that a section was made from: the one most like it."""
    likeness = {}
    for option in groups(user).get(group, ()):
        values = parameters(group, option, user)
        if values.get("_target_") == section.get("_target_"):
            likeness[option] = sum(section.get(key) == value for key, value in values.items())
    return max(likeness, key=lambda option: likeness[option], default=None)


def fits(cls: Any, kind: str) -> bool:
    """Whether a class serves a task whose kind of target is `kind`; most serve any."""
    return kind in (targets(cls) or (kind,))


def targets(cls: Any) -> tuple[str, ...]:
    """The kinds of target that a class or object says it is for; a plain class may name one."""
    named = getattr(cls, "targets", ())
    return (named,) if isinstance(named, str) else tuple(named)


def fitting(
    group: str, kind: str, user: Path | None = None, modules: Sequence[str] | None = None
) -> list[str]:
    """The options of a group that fit tasks with targets of a kind.

    The user's own are among them where their module is one of `modules`, or that is None.
    """
    found = []
    for option in groups(user).get(group, ()):
        cls = option_class(group, option, user, modules or ())
        if fits(cls, kind) if cls else modules is None:
            found.append(option)
    return found
