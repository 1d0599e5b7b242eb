"""Where the config files are, and what options each group has."""

from __future__ import annotations

import difflib
import os
from functools import lru_cache
from pathlib import Path

from kexp.errors import ConfigError

PACKAGE = Path(__file__).parents[1]


def conf_dir() -> Path:
    """kexp's own config directory: inside an installed package, beside it in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def user_dir(path: str | os.PathLike | None) -> Path | None:
    """The user's own config directory, checked. Raises `ConfigError`."""
    if path is None:
        return None
    if not os.fspath(path):
        raise ConfigError("--config-dir is empty; name a directory, or leave it out")
    folder = expanded("--config-dir", path).resolve()
    if not os.path.exists(folder):  # also where the name is too long to be one
        raise ConfigError(f"--config-dir {path}: there is no such directory ({folder})")
    if not folder.is_dir():
        raise ConfigError(
            f"--config-dir {path}: a directory is needed, got a file ({folder}); it holds one "
            "folder per group, such as loss/wing.yaml"
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError(f"--config-dir {path}: the directory cannot be read ({folder})")
    return folder


def expanded(key: str, path: str | os.PathLike) -> Path:
    """`path` with `~` replaced by the home directory. Raises `ConfigError`."""
    if "\0" in os.fspath(path):
        raise ConfigError(f"{key} holds a zero byte: {os.fspath(path)!r}")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise ConfigError(f"{key}={path}: there is no home directory of {user!r} here") from None


def groups(user: Path | None = None) -> dict[str, list[str]]:
    """Every config group and its options, sorted; `task/noise` is a group inside another."""
    found = {group: set(options) for group, options in _own_options().items()}
    if user is not None:
        _refuse_strange(user, list(found))
        for group, options in _options(user).items():
            if group.split("/")[0] not in found:
                continue
            for option in sorted(options & found.get(group, set())):
                raise ConfigError(
                    f"{user / group / option}.yaml: kexp has an option {group}={option} of its "
                    "own; give the file another name, so that the option means one thing"
                )
            found.setdefault(group, set()).update(options)
    return {group: sorted(found[group]) for group in sorted(found)}


def user_files(user: Path) -> list[tuple[str, Path]]:
    """The group and the path of each option file in the user's config directory."""
    own = _own_options()
    return [
        (group, user / group / f"{option}.yaml")
        for group, options in sorted(_options(user).items())
        if group.split("/")[0] in own
        for option in sorted(options)
    ]


def option_file(group: str, option: str, user: Path | None = None) -> Path:
    """The YAML file of an option, kexp's or the user's."""
    for root in filter(None, (conf_dir(), user)):
        file = root / group / f"{option}.yaml"
        if file.is_file():
            return file
    raise ConfigError(f"{group}={option}: there is no such option")


@lru_cache(maxsize=1)
def _own_options() -> dict[str, set[str]]:
    return _options(conf_dir())


def _options(root: Path) -> dict[str, set[str]]:
    """The YAML files one and two folders below `root`, by folder."""
    found: dict[str, set[str]] = {}
    try:
        for pattern in ("*/*.yaml", "*/*/*.yaml"):
            for file in root.glob(pattern):
                if file.is_file() and not file.name.startswith("."):
                    group = file.parent.relative_to(root).as_posix()
                    found.setdefault(group, set()).add(file.stem)
    except OSError as error:
        raise ConfigError(f"{root} cannot be read: {error}") from None
    return found


def _refuse_strange(user: Path, known: list[str]) -> None:
    """Refuse what looks like an option of the user's, but would never be found."""
    for file in user.glob("*/*.yml"):
        if file.parent.name in known:
            raise ConfigError(f"{file}: an option file ends in .yaml; rename it {file.stem}.yaml")
    for folder in sorted({file.parent.name for file in user.glob("*/*.yaml")} - set(known)):
        near = difflib.get_close_matches(folder.lower(), known, n=1, cutoff=0.75)
        if near:
            raise ConfigError(
                f"{user / folder}: there is no group {folder!r}; did you mean {near[0]}?"
            )
