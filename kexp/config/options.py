"""Reading option files, kexp's and the user's: plain data only, faults named by file and line."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from kexp.config.allowed import SOURCES
from kexp.config.places import option_file, user_files
from kexp.errors import ConfigError

LARGEST = 2**20
"""No option file is read beyond this many bytes."""

DEEPEST = 20
"""Sections are not read deeper than this."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_files(user: Path) -> None:
    """Read every option file of the user's, before Hydra does. Raises `ConfigError`."""
    for group, file in user_files(user):
        content = read(file)
        key = group.replace("/", ".")
        if key in SOURCES and "defaults" not in content and "_target_" not in _part(key, content):
            raise ConfigError(
                f"{file} has no _target_, the class that it sets up; add a line such as "
                "_target_: wing.Wing, for a class Wing in a module wing"
            )


def parameters(group: str, option: str, user: Path | None = None) -> dict[str, Any]:
    """What an option file sets, its `_target_` too, nested sections left out."""
    content = _part(group.replace("/", "."), read(option_file(group, option, user)))
    return {str(key): value for key, value in content.items() if not isinstance(value, dict)}


def needs(option: str, group: str, user: Path | None = None) -> set[str]:
    """The groups inside `group` that only this option has, such as `task/noise`."""
    defaults = read(option_file(group, option, user)).get("defaults") or []
    names = {str(key) for entry in defaults if isinstance(entry, dict) for key in entry}
    return {name.lstrip("/") for name in names if name.lstrip("/").startswith(f"{group}/")}


def first_comment(group: str, option: str, user: Path | None = None) -> str:
    """The first comment line of an option file."""
    lines = _text(option_file(group, option, user)).splitlines()
    comments = (line.lstrip("# ") for line in lines if line.startswith("# "))
    return next((line for line in comments if not line.startswith("@package")), "")


def read(file: Path) -> dict[str, Any]:
    """The content of a YAML file. Aliases are refused: with them a line can mean gigabytes."""
    return dict(_content(file, _text(file)))


@lru_cache(maxsize=256)
def _content(file: Path, text: str) -> dict[str, Any]:
    try:
        _refuse_bomb(file, text)
        content = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise ConfigError(yaml_fault(error, file)) from None
    except ValueError as error:
        raise ConfigError(f"{file} holds a value that cannot be read: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{file} must hold lines of the form key: value, got {_kind(content)}")
    return content


def yaml_fault(error: yaml.YAMLError, file: Path | None = None) -> str:
    """What is wrong with a YAML file, and in which line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return f"{file or 'a config file'} is not valid YAML: {str(error).splitlines()[0]}"
    problem = getattr(error, "problem", None) or error
    return f"{file or mark.name}, line {mark.line + 1} is not valid YAML: {problem}"


def _text(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigError(f"{file} is larger than 1 MiB; that is no option of kexp's")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from None


def _refuse_bomb(file: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(
                f"{file}, line {event.start_mark.line + 1}: YAML aliases (*{event.anchor}) are "
                "not read; write the value out"
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ConfigError(f"{file}, line {event.start_mark.line + 1}: nested too deeply")


def _part(key: str, content: dict[str, Any]) -> dict[str, Any]:
    """The section `key` of a file that sets several, as the files of tasks do; else all of it."""
    part = content.get(key, content)
    return part if isinstance(part, dict) else {}


def _kind(content: Any) -> str:
    return "nothing" if content is None else f"{str(content)[:60]!r}"
