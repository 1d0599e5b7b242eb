"""From a composed config to checked choices: types, ranges, and what fits what."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from kexp.config.messages import of_problem
from kexp.errors import ConfigError
from kexp.experiment import Experiment
from kexp.store import identity, run_name
from kexp.store.names import check_name

SOURCES = {
    "task": "kexp.tasks",
    "data": "kexp.data",
    "model": "kexp.models",
    "loss": "kexp.losses",
    "regularizer": "kexp.regularizers",
    "dropout": "kexp.dropouts",
    "norm": "kexp.norms",
    "optimizer": "kexp.optimizers",
    "schedule": "kexp.schedules",
    "training": "kexp.training.settings",
    "backend": "kexp.backends",
    "task.noise": "kexp.noise",
}
"""Where the class of each group's options may come from, beside modules that the user names."""


def build(config: DictConfig, label: str, modules: Sequence[str] = ()) -> Experiment:
    """Every choice of a run as a checked object. Raises `ConfigError`; imports no TensorFlow.

    `modules` are the user's own modules, named on the command line, that may be instantiated.
    """
    values = resolved(config)
    _check_top(values)
    made = {key: instantiate(key, values[key], modules) for key in SOURCES if "." not in key}
    _check_fit(made)
    digest = identity(values)
    study = values["study"]["name"] or _option_name(values["task"]["_target_"])
    study = check_name("study.name", str(study))
    name = values["name"]
    name = check_name("name", str(name)) if name is not None else run_name(label, digest)
    return Experiment(
        seed=values["seed"],
        folder=Path(values["paths"]["results"]).expanduser() / study / name,
        data_folder=data_folder(values["paths"]["data"]),
        config=OmegaConf.to_container(config, resolve=False),  # pyright: ignore
        config_text=OmegaConf.to_yaml(config, resolve=False),
        identity=digest,
        label=label,
        **made,
    )


def instantiate(key: str, value: Any, modules: Sequence[str] = ()) -> Any:
    """The object that a section of the config describes, from an allowed class only."""
    if not isinstance(value, dict) or "_target_" not in value:
        raise ConfigError(f"{key} must be a section with a _target_, got {value!r}")
    cls = allowed_class(key, str(value["_target_"]), modules)
    parameters = {
        name: instantiate(f"{key}.{name}", part, modules) if _is_section(part) else part
        for name, part in value.items()
        if name != "_target_"
    }
    for name, part in parameters.items():
        if part == "???":
            raise ConfigError(f"{key}.{name} must be given: {key}.{name}=…")
    try:
        return cls(**parameters)
    except ValidationError as error:
        raise ConfigError("\n".join(of_problem(key, p, cls) for p in error.errors())) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error


def allowed_class(key: str, target: str, modules: Sequence[str]) -> Any:
    """The class named by `_target_`, where it is one of kexp's for this key or of `modules`."""
    module_name, _, class_name = target.rpartition(".")
    own = SOURCES.get(key, "kexp.none")
    if module_name != own and module_name not in modules:
        raise ConfigError(
            f"{key}._target_={target} is not allowed: kexp makes objects of {own}, and of modules "
            f"of yours that you name with --module {module_name or 'MODULE'}"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{key}._target_={target}: the module {module_name} cannot be imported ({error}); "
            "it is looked for in --config-dir, the current directory and the installed packages"
        ) from error
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        raise ConfigError(f"{key}._target_={target}: {module_name} has no class {class_name}")
    return cls


def data_folder(configured: str | None) -> Path:
    """The data directory: `paths.data`, else KEXP_DATA_DIR, else the user's cache."""
    chosen = configured or os.environ.get("KEXP_DATA_DIR")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("kexp"))


def add_module_path(config_dir: Path | None) -> None:
    """Let the user's modules be found in their config directory and the current one."""
    for folder in filter(None, (Path.cwd(), config_dir)):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def resolved(config: DictConfig) -> dict[str, Any]:
    """The config as plain data with interpolations resolved. Raises `ConfigError`."""
    try:
        values = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'the config'} cannot be resolved: {error}") from None
    return json.loads(json.dumps(values))


def _check_top(values: dict[str, Any]) -> None:
    """Refuse sections that are missing or unknown, and a seed or a path of the wrong kind."""
    known = {key.split(".")[0] for key in SOURCES} | {"seed", "name", "paths", "study"}
    for key in values.keys() ^ known:
        state = "unknown" if key in values else "missing"
        raise ConfigError(f"the section {key!r} of the config is {state}")
    seed = values["seed"]
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise ConfigError(f"seed must be a whole number from 0 to 2³¹ − 1, got {seed!r}")
    for key, kinds in (("results", str), ("data", (str, type(None)))):
        if not isinstance(values["paths"][key], kinds):
            raise ConfigError(f"paths.{key} must be a path, got {values['paths'][key]!r}")


def _check_fit(made: dict[str, Any]) -> None:
    """Refuse choices that do not fit each other, before any data is loaded."""
    task, training = made["task"], made["training"]
    try:
        made["backend"].check()
        task.check(made["data"], made["loss"])
        made["model"].check(made["norm"])
    except (ValueError, AttributeError) as error:
        raise ConfigError(str(error)) from None
    monitors = ("fit", *task.yardsticks)
    if training.monitor is not None and training.monitor not in monitors:
        raise ConfigError(
            f"training.monitor must be one of {', '.join(monitors)} or null, "
            f"got {training.monitor!r}"
        )


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _option_name(target: str) -> str:
    """`kexp.tasks.MnistConvnet` as `mnist_convnet`."""
    name = target.rpartition(".")[2]
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).strip("_")
