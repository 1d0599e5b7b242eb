"""What to write instead of a key or an option that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from kexp.config.fitting import fitting, option_class
from kexp.config.options import needs, parameters
from kexp.config.overrides import raw_value
from kexp.config.wording import ABBREVIATIONS, corrected, nearest

USUAL = ("standard", "l2", "huber")
"""Options that are meant more often than others with the same parameters."""


@dataclass(frozen=True)
class Adviser:
    """Knows every option of every group, and names the ones that may have been meant."""

    groups: dict[str, list[str]]
    user: Path | None

    def no_override(self, word: str, before: Sequence[str], known: Iterable[str]) -> str:
        """For a word without an equals sign, after the overrides `before`."""
        owners = [group for group, options in self.groups.items() if word in options]
        hint = ", without spaces around ="
        if word in self.groups:
            hint = f": {word}=…, one of {', '.join(self.groups[word])}"
        elif owners:
            hint = f": {' or '.join(f'{group}={word}' for group in owners)}"
        elif near := nearest(word, known):
            hint = f": {' or '.join(f'{key}=…' for key in near)}"
        key, equals, value = before[-1].partition("=") if before else ("", "", "")
        if equals and key not in self.groups and word.strip(" =") and word.isprintable():
            quoted = corrected(key, f"{value} {word}")
            hint += f". If it belongs to {before[-1]}, quote both together: {quoted}"
        return f"{word!r} is no override; write key=value{hint}"

    def unknown_option(self, override: Override, task: str | None) -> str:
        """For an option that its group does not have; `task` is the task chosen, if it exists."""
        group, typed, value = override.key_or_group, raw_value(override), override.value()
        options = self.fitting(group, task)
        near = nearest(typed, self.groups[group])
        ordered = [*(o for o in near if o in options), *(o for o in options if o not in near)]
        scope = f"with task={task} " if options != self.groups[group] else ""
        named = isinstance(value, (int, float, type(None)))
        fault = "an option is chosen by its name" if named else "no such option"
        return (
            f"{group}={typed}: {fault}; {scope}{group} is one of {', '.join(ordered)}"
            f"{self._meant(group, typed, value, near, options)}"
        )

    def section(self, override: Override, known: Iterable[str]) -> str:
        """For a section that was given a value."""
        key, typed = override.key_or_group, raw_value(override)
        group = key.replace(".", "/")
        if typed in self.groups.get(group, ()):
            return f"{key} is a section; write {group}={typed}"
        inside = [k for k in known if k.startswith(f"{key}.") and not k.endswith("._target_")]
        ways = [f"set one of its keys: {', '.join(inside)}"] if inside else []
        if group in self.groups:
            ways.insert(0, f"write {group}=…, one of {', '.join(self.groups[group])}")
        return f"{key} is a section; {', or '.join(ways)}"

    def unknown_key(self, override: Override, known: Iterable[str], choices: dict[str, str]) -> str:
        """For a key that the config does not have; `choices` are the options chosen in it."""
        key, typed = override.key_or_group, raw_value(override)
        visible = [
            name for name in known if not name.endswith("_target_") and name[:12] != "study.factor"
        ]
        if key.split(".")[0].split("/")[0] == "hydra":
            return (
                f"{key}: Hydra's own settings are not taken here: launchers and sweepers belong to "
                "kexp sweep; where results go is set by paths.results, study.name and name"
            )
        if key.replace(".", "/") in self.groups:
            return self.elsewhere(f"{key}={typed}", key.replace(".", "/"))
        group = self._owner(key)
        if group and group not in choices:
            return self.elsewhere(f"{key}={typed}", group)
        if group:
            return self._unknown_parameter(key, typed, group, visible, choices)
        inner = key.rpartition(".")[0]
        if inner in visible:
            return f"{inner} is a value without keys of its own; set it whole: {inner}=…"
        near = nearest(key, [*visible, *self.groups])
        if near:
            return f"there is no key {key!r} in the config; did you mean {' or '.join(near)}?"
        return f"there is no key {key!r} in the config; {self._anywhere(key)}"

    def elsewhere(self, typed: str, group: str) -> str:
        """For a group that only some options of another group have, such as `task/noise`."""
        parent = group.split("/")[0]
        options = [o for o in self.groups[parent] if group in needs(o, parent, self.user)]
        chosen = " or ".join(f"{parent}={option}" for option in options)
        if not options:
            return f"{typed}: no option of {parent} has {group} among its defaults"
        return f"{typed}: {group} belongs to {chosen}; add {chosen}"

    def fitting(self, group: str, task: str | None) -> list[str]:
        """The options of a group that fit a task, all where the task is not known."""
        kind = self._kind(task)
        return fitting(group, kind, self.user) if kind else self.groups[group]

    def _kind(self, task: str | None) -> str | None:
        cls = option_class("task", task, self.user) if task in self.groups["task"] else None
        return getattr(cls, "target", None)

    def _meant(
        self, group: str, typed: str, value: Any, near: list[str], options: list[str]
    ) -> str:
        """What may have been meant by an option that does not exist, as a sentence."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self._setting(group, typed, options)
        if value in (None, False) or typed.lower() in ("no", "off", "nil"):
            return f". Did you mean {group}=none?" if "none" in options else ""
        fitting_near = [o for o in near if o in options]
        if fitting_near:
            return f". Did you mean {group}={fitting_near[0]}?"
        owners = [g for g, known in self.groups.items() if typed in known]
        if owners:
            return f". {typed} is an option of {owners[0]}: {owners[0]}={typed}"
        return f". {near[0]} is not for this kind of task" if near else ""

    def _setting(self, group: str, typed: str, options: list[str]) -> str:
        """The option and the key that a number may have been meant for."""
        section = group.replace("/", ".")
        for option in self._simplest(group, options):
            for name, value in parameters(group, option, self.user).items():
                if isinstance(value, float):
                    return f". Did you mean {group}={option} {section}.{name}={typed}?"
        return ""

    def _simplest(self, group: str, options: Iterable[str]) -> list[str]:
        """Options in the order of their number of parameters, none first; then the usual ones."""
        return sorted(
            sorted(options), key=lambda o: (len(parameters(group, o, self.user)), o not in USUAL)
        )

    def _owner(self, key: str) -> str | None:
        """The group in whose section a dotted key lies."""
        parts = key.split(".")
        for end in range(len(parts) - 1, 0, -1):
            group = "/".join(parts[:end])
            if group in self.groups:
                return group
        return None

    def _unknown_parameter(
        self, key: str, typed: str, group: str, visible: list[str], choices: dict[str, str]
    ) -> str:
        section = group.replace("/", ".")
        name, chosen = key[len(section) + 1 :], f"{group}={choices[group]}"
        inside = [k for k in visible if k.startswith(f"{section}.")]
        near = [f"{section}.{k}" for k in nearest(name, [k[len(section) + 1 :] for k in inside])]
        others = [o for o in self.groups[group] if name in parameters(group, o, self.user)]
        if others:
            fit = [o for o in others if o in self.fitting(group, choices.get("task"))]
            best = self._simplest(group, fit or others)[0]
            unfit = "" if fit else f" (with another task than {choices.get('task')})"
            verb = "have" if others[1:] else "has"
            return (
                f"{chosen} has no key {key}; {_and(others)} {verb} it: "
                f"{group}={best} {key}={typed}{unfit}"
            )
        if near:
            return f"{chosen} has no key {key!r}; did you mean {' or '.join(near)}?"
        keys = f"its keys are {', '.join(inside)}" if inside else "it has no keys"
        return f"{chosen} has no key {key!r}; {keys}"

    def _anywhere(self, key: str) -> str:
        """Where any option of any group has a parameter of this name."""
        name = ABBREVIATIONS.get(key, key)
        for group, options in self.groups.items():
            having = [o for o in options if name in parameters(group, o, self.user)]
            if having:
                section, best = group.replace("/", "."), self._simplest(group, having)[0]
                return f"did you mean {section}.{name}, which {group}={best} has?"
        return "`kexp list` shows what there is"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
