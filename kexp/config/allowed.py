"""Which classes a config may name: kexp's own for that key, and those of modules the user names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from kexp.errors import ConfigError

KINDS = {
    "task": "kexp.tasks.Task",
    "data": "kexp.data.DataSet",
    "model": "kexp.models.Model",
    "loss": "kexp.losses.Loss",
    "regularizer": "kexp.regularizers.Regularizer",
    "dropout": "kexp.dropouts.DropoutChoice",
    "norm": "kexp.norms.NormChoice",
    "optimizer": "kexp.optimizers.Optimizer",
    "schedule": "kexp.schedules.Schedule",
    "training": "kexp.training.settings.Training",
    "robustness": "kexp.robustness.Robustness",
    "backend": "kexp.backends.Backend",
    "track": "kexp.tracking.Tracker",
    "task.noise": "kexp.noise.Noise",
}
"""What the object of each section is; by name, so that only what is needed is imported."""

SOURCES = {key: kind.rpartition(".")[0] for key, kind in KINDS.items()}
"""The module of kexp's that the class of each section comes from: `kexp.losses`, …"""


def kind_of(key: str) -> type:
    """The base class of what stands in a section."""
    module, _, name = KINDS[key].rpartition(".")
    return getattr(importlib.import_module(module), name)


def allowed_class(key: str, target: str, modules: Sequence[str] = ()) -> Any:
    """The class named by `_target_`, where it is one of kexp's for this key or of `modules`.

    Nothing is imported, and nothing called, before its name is found to be allowed.
    """
    module_name, _, class_name = target.rpartition(".")
    if key not in KINDS:
        raise ConfigError(f"{key} takes a value, not a section with a _target_, got {target!r}")
    if module_name != SOURCES[key] and module_name not in modules:
        raise ConfigError(_not_allowed(key, target, module_name))
    module = _imported(key, target, module_name)
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        state = "is no class" if hasattr(module, class_name) else "is not there"
        place = getattr(module, "__file__", None) or module_name
        raise ConfigError(f"{key}._target_={target}: {class_name} {state} in {place}")
    _check_kind(key, target, cls)
    return cls


def check_modules(modules: Sequence[str]) -> None:
    """Refuse names that cannot be modules of the user's."""
    for name in modules:
        if name.endswith(".py"):
            raise ConfigError(f"--module {name}: name the module, not the file: {name[:-3]}")
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
            raise ConfigError(f"--module {name}: not the name of a Python module, such as wing")
        if name.split(".")[0] in sys.stdlib_module_names:
            raise ConfigError(
                f"--module {name}: this is a module of Python itself, which has nothing to train "
                "with; a module of yours needs another name"
            )


def add_module_path(config_dir: Path | None) -> None:
    """Let the user's modules be found in their config directory and the current one."""
    for folder in filter(None, (Path.cwd(), config_dir)):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _not_allowed(key: str, target: str, module: str) -> str:
    text = f"{key}._target_={target} is not allowed: kexp takes classes of {SOURCES[key]} there"
    if not module:
        return f"{text}; write module and class, such as wing.Wing"
    if module.split(".")[0] in {*sys.stdlib_module_names, "kexp"}:
        return text
    text = f"{text}, and of modules of your own"
    if _is_installed(module):
        return f"{text} that you name with --module"
    return f"{text}; if you trust the code of {module}, add --module {module}"


def _is_installed(name: str) -> bool:
    """Whether a module comes from an installed package; nothing is imported to find out."""
    try:
        spec = importlib.util.find_spec(name.split(".")[0])
    except (ImportError, ValueError):
        return False
    return spec is not None and "site-packages" in Path(spec.origin or "").parts


def _imported(key: str, target: str, name: str) -> ModuleType:
    start = f"{key}._target_={target}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{start}: there is no module {error.name}; looked for in the current directory, "
                "--config-dir and the installed packages"
            ) from error
        raise ConfigError(f"{start}: {name} needs the module {error.name}, not found") from error
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = (
            "" if isinstance(error, SyntaxError) else f" ({frame.filename}, line {frame.lineno})"
        )
        raise ConfigError(
            f"{start}: the module {name} cannot be imported: {type(error).__name__}: {error}{place}"
        ) from error


def _check_kind(key: str, target: str, cls: type) -> None:
    """Refuse a class that is no choice of the kind that the section needs."""
    kind = kind_of(key)
    if issubclass(cls, kind):
        lacking = [name for name in promises(kind) if not hasattr(cls, name)]
    else:
        lacking = [name for name in promises(kind) if not _has(cls, name)]
    if lacking:
        raise ConfigError(
            f"{key}._target_={target}: {cls.__name__} is no {key.replace('.', ' ')}, it lacks "
            f"{', '.join(lacking)}; derive it from {kind.__module__}.{kind.__name__}, or give it "
            "what that has"
        )


def promises(kind: type) -> list[str]:
    """The attributes and methods that every object of a kind has to bring itself.

    Of losses and regularizers those are few, so that a plain class of a user's will do.
    """
    if kind.__name__ in ("Loss", "Regularizer"):
        return [*(["targets"] if kind.__name__ == "Loss" else []), "__call__"]
    names = [*inspect.get_annotations(kind), *vars(kind)]
    return list(dict.fromkeys(n for n in names if not n.startswith("_") or n == "__call__"))


def _has(cls: type, name: str) -> bool:
    """Whether a class or one of its bases defines `name` (any class has a `__call__` of `type`)."""
    return any(name in vars(base) for base in cls.__mro__[:-1])
