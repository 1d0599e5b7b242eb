"""From a composed config to checked choices: types, ranges, and what fits what."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from kexp.analysis.quantities import parsed, unmeasured
from kexp.config.allowed import SOURCES, add_module_path, allowed_class, check_modules
from kexp.config.fitting import fits, fitting, option_class, option_of, targets
from kexp.config.messages import of_faults
from kexp.config.places import expanded
from kexp.config.study import Study, study_of
from kexp.config.wording import corrected, listed, shown
from kexp.errors import ConfigError, without_secrets
from kexp.experiment import Experiment
from kexp.robustness import Robustness
from kexp.store import identity, run_name
from kexp.store.differences import flatten
from kexp.store.names import check_name

__all__ = ["SOURCES", "add_module_path", "build", "data_folder", "instantiate", "resolved"]


def build(
    config: DictConfig,
    label: str,
    modules: Sequence[str] = (),
    config_dir: Path | None = None,
    options: dict[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Experiment:
    """Every choice of a run as a checked object. Raises `ConfigError`; imports no TensorFlow.

    `modules` are the user's own modules, named on the command line, that may be instantiated;
    `config_dir` is their config directory; `options` names the option chosen in each group;
    `overrides` are those that the config was composed of.
    """
    check_modules(modules)
    try:
        return _built(config, label, modules, config_dir, options or {}, overrides)
    except ConfigError as error:
        told = without_secrets(str(error), OmegaConf.to_yaml(config, resolve=False))
        raise ConfigError(told) from (error if told == str(error) else None)


def _built(
    config: DictConfig,
    label: str,
    modules: Sequence[str],
    config_dir: Path | None,
    options: dict[str, str],
    overrides: Sequence[str],
) -> Experiment:
    _check_variables(OmegaConf.to_yaml(config, resolve=False))
    values = resolved(config)
    _check_top(values)
    study = study_of(values["study"])
    made = _objects(values, modules)
    _check_fit(made, values, modules, config_dir, study)
    canonical = {**values, **{key: _canonical(made[key], values[key]) for key in made}}
    digest, recorded = identity(canonical), _recorded(config)
    return Experiment(
        seed=values["seed"],
        folder=_folder(config, values, run_name(label, digest)),
        data_folder=data_folder(values["paths"]["data"]),
        config=_unresolved(recorded),
        config_text=OmegaConf.to_yaml(recorded, resolve=False),
        identity=digest,
        arm=identity({key: value for key, value in canonical.items() if key != "seed"}),
        options={g: o for g, o in options.items() if g != "track"},
        label=label,
        command=_command(overrides, modules),
        **made,
    )


def _check_variables(text: str) -> None:
    """Refuse environment variables whose names are made up: their values could not be hidden."""
    if found := re.search(r"\$\{\s*oc\.env\s*:[^}]*\$\{[^}]*\}", text):
        raise ConfigError(
            f"{found[0]}…: the name of an environment variable must be written out, as in "
            "${oc.env:NAME}"
        )


def instantiate(key: str, value: Any, modules: Sequence[str] = ()) -> Any:
    """The object that a section of the config describes, from an allowed class only."""
    if not _is_section(value):
        raise ConfigError(f"{key} must be a section with a _target_, got {shown(value)}")
    cls = allowed_class(key, str(value["_target_"]), modules)
    parameters = {
        name: instantiate(f"{key}.{name}", part, modules) if _is_section(part) else part
        for name, part in value.items()
        if name != "_target_"
    }
    missing = [f"{key}.{name}" for name, part in parameters.items() if part == "???"]
    if missing:
        given = " ".join(f"{name}=…" for name in missing)
        raise ConfigError(f"{' and '.join(missing)} must be given: add {given}")
    try:
        return cls(**parameters)
    except ValidationError as error:
        raise ConfigError(of_faults(key, cls, parameters, error)) from None
    except Exception as error:
        raise ConfigError(
            f"{key}: {cls.__name__} cannot be made of {shown(parameters)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def data_folder(configured: str | None) -> Path:
    """The data directory: `paths.data`, else KEXP_DATA_DIR, else the user's cache."""
    _check_path("paths.data", configured, optional=True)
    if configured:
        return expanded("paths.data", configured)
    chosen = os.environ.get("KEXP_DATA_DIR")
    return (
        expanded("KEXP_DATA_DIR", chosen) if chosen else Path(platformdirs.user_cache_dir("kexp"))
    )


def resolved(config: DictConfig) -> dict[str, Any]:
    """The config as plain data with interpolations resolved. Raises `ConfigError`."""
    try:
        return json.loads(json.dumps(OmegaConf.to_container(config, resolve=True)))
    except OmegaConfBaseException as error:
        key, reason = error.full_key or "the config", str(error).split("\n")[0]
        raise ConfigError(f"{key} cannot be resolved: {reason}") from None
    except RecursionError:
        raise ConfigError("the config cannot be resolved: a value refers to itself") from None
    except TypeError as error:
        raise ConfigError(
            f"the config holds a value that YAML and JSON do not share: {error}"
        ) from None


def _objects(values: dict[str, Any], modules: Sequence[str]) -> dict[str, Any]:
    """The object of each section; the faults of all sections are told together."""
    made: dict[str, Any] = {"backend": instantiate("backend", values["backend"], modules)}
    if modules:
        # A module of the user's may import Keras at its top, which fixes the backend.
        os.environ["KERAS_BACKEND"] = made["backend"].name
    faults = []
    for key in SOURCES:
        if "." not in key and key not in made:
            try:
                made[key] = instantiate(key, values[key], modules)
            except ConfigError as error:
                faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return made


def _check_top(values: dict[str, Any]) -> None:
    """Refuse sections that are missing or unknown, and a seed or a path of the wrong kind."""
    known = {key.split(".")[0] for key in SOURCES} | {"seed", "name", "paths", "study"}
    for key in sorted(values.keys() ^ known):
        state = "unknown to kexp" if key in values else "missing"
        raise ConfigError(f"the section {key!r} of the config is {state}")
    seed = values["seed"]
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise ConfigError(f"seed must be a whole number from 0 to 2³¹ − 1, got {shown(seed)}")
    paths = values["paths"]
    if not isinstance(paths, dict) or not {"results", "data"} <= paths.keys():
        raise ConfigError("paths must be a section with data and results")
    for key in paths:
        if key not in ("results", "data"):
            raise ConfigError(f"there is no key paths.{key}; paths has results and data")
    _check_path("paths.results", paths["results"], optional=False)


def _check_path(key: str, path: Any, optional: bool) -> None:
    if path is None and optional:
        return
    if not isinstance(path, str) or not path.strip():
        quoted = f"; quote it twice: {corrected(key, shown(path))}" if path else ""
        raise ConfigError(f"{key} must be the path of a folder, got {shown(path)}{quoted}")
    for place in (expanded(key, path), *expanded(key, path).parents):
        try:
            if place.is_dir():
                return
            if place.exists():
                raise ConfigError(f"{key}={path} cannot be a folder: {place} is a file")
        except OSError:
            return


def _check_fit(
    made: dict[str, Any],
    values: dict[str, Any],
    modules: Sequence[str],
    user: Path | None,
    study: Study,
) -> None:
    """Refuse choices that do not fit each other, before any data is loaded."""
    task, training = made["task"], made["training"]
    made["backend"].check()
    made["track"].check()
    for group in ("loss", "model", "data"):
        if not fits(made[group], task.target):
            raise ConfigError(_unfit(group, made, values, modules, user))
    for size, why in (("validation", "no telling overfitting"), ("test", "nothing to report")):
        if getattr(made["data"], f"{size}_size") == 0:
            raise ConfigError(
                f"data.{size}_size must be > 0, got 0: without a {size} split there is {why}"
            )
    if made["data"].inputs not in made["model"].inputs:
        raise ConfigError(_unfit_inputs(made, values, modules, user))
    try:
        task.check(made["data"], made["loss"])
        task.check_model(made["model"])
        made["model"].check(made["norm"])
    except ValueError as error:
        raise ConfigError(str(error)) from None
    _check_study(study, task.yardsticks, made["robustness"])
    if training.distribution != "none" and made["backend"].name == "torch":
        raise ConfigError(
            f"training.distribution={training.distribution} is for backend=tensorflow and "
            "backend=jax, got backend=torch"
        )
    monitors = ("fit", *task.yardsticks)
    if training.monitor is not None and training.monitor not in monitors:
        raise ConfigError(
            f"training.monitor must be one of {', '.join(monitors)} or null, "
            f"got {training.monitor!r}"
        )


def _check_study(study: Study, yardsticks: Sequence[str], robustness: Robustness) -> None:
    """Refuse yardsticks that the task has not, and robustness that is not measured."""
    named = {"study.yardstick": study.yardstick} if study.yardstick else {}
    for key in study.quantities:
        part, name = parsed(key) or ("", "")
        if name:
            named[f"study.quantities: {key}"] = name
        if unmeasured(part, robustness.strengths()):
            raise ConfigError(
                f"study.quantities: {key} needs the robustness of runs at that strength; set "
                "robustness=curves"
            )
    for where, name in named.items():
        if name not in ("fit", *yardsticks):
            known = ", ".join(("fit", *yardsticks))
            raise ConfigError(f"{where}: this task is measured by {known}, got {name}")


def _unfit_inputs(
    made: dict[str, Any], values: dict[str, Any], modules: Sequence[str], user: Path | None
) -> str:
    """Why a model does not take the inputs of a data set, and which ones do."""
    model, data = (option_of(key, values[key], user) for key in ("model", "data"))
    inputs, kind = made["data"].inputs, made["task"].target
    others = []
    for option in fitting("model", kind, user, modules):
        cls = option_class("model", option, user, modules)
        if cls and inputs in cls.inputs:
            others.append(option)
    return (
        f"model={model or type(made['model']).__name__} takes "
        f"{' or '.join(made['model'].inputs)}, but data={data or type(made['data']).__name__} has "
        f"{inputs}; model can be {', '.join(others)}"
    )


def _unfit(
    group: str,
    made: dict[str, Any],
    values: dict[str, Any],
    modules: Sequence[str],
    user: Path | None,
) -> str:
    """Why an option does not fit the task, and which ones do."""
    chosen = {
        key: f"{key}={option_of(key, values[key], user) or type(made[key]).__name__}"
        for key in (group, "task")
    }
    kind = made["task"].target
    others = fitting(group, kind, user, modules)
    if group == "data" and kind in ("classification", "binary"):
        why = f"has no labels, which {chosen['task']} needs ({kind})"
    else:
        why = f"is for {listed(targets(made[group]))}, but {chosen['task']} is {kind}"
    return f"{chosen[group]} {why}; {group} can be {', '.join(others)}, or choose another task"


def _folder(config: DictConfig, values: dict[str, Any], standard: str) -> Path:
    """The folder of the run: inside paths.results, whatever the names are."""
    _refuse_secret_names(config)
    study = values["study"]["name"] or _option_name(values["task"]["_target_"])
    study = check_name("study.name", str(study))
    name = values["name"]
    name = check_name("name", str(name)) if name is not None else standard
    results = expanded("paths.results", values["paths"]["results"])
    folder = results / study / name
    try:
        if folder.resolve().is_relative_to(results.resolve()):
            return folder
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"the folder {folder} cannot be used: {error}") from None
    raise ConfigError(
        f"{folder} is a link that leads out of {results}; remove the link, or choose another "
        "place with paths.results"
    )


def _command(overrides: Sequence[str], modules: Sequence[str]) -> tuple[str, ...]:
    """The words of the command that trains this run again, wherever its results go."""
    kept = [o for o in overrides if not o.startswith(("paths.", "track=", "track."))]
    return ("kexp", "run", *kept, *(word for name in modules for word in ("--module", name)))


def _refuse_secret_names(config: DictConfig) -> None:
    """Refuse a name that holds an environment variable, as names are written to disk."""
    texts = {key: str(value) for key, value in flatten(_unresolved(config)).items()}
    secret = {key for key, text in texts.items() if "oc.env" in text}
    for _ in texts:
        more = {
            k for k, t in texts.items() if "${" in t and any(s.split(".")[-1] in t for s in secret)
        }
        if more <= secret:
            break
        secret |= more
    for key in ("name", "study.name"):
        if key in secret:
            raise ConfigError(
                f"{key}={texts[key]}: an environment variable may hold a secret, and names are "
                "written to disk; write the name out"
            )


def _canonical(made: Any, given: Any) -> Any:
    """What a section means, the same however its numbers are written: `1` and `1.0`, say."""
    if not dataclasses.is_dataclass(made) or isinstance(made, type):
        return made + 0.0 if isinstance(made, float) else given if _is_section(given) else made
    section = given if isinstance(given, dict) else {}
    standard = f"{type(made).__module__}.{type(made).__name__}"
    fields = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
    return {
        "_target_": section.get("_target_", standard),
        **{name: _canonical(value, section.get(name)) for name, value in fields.items()},
    }


def _recorded(config: DictConfig) -> DictConfig:
    """The config as a record keeps it: without what the run is sent to as well."""
    kept = config.copy()
    del kept["track"]
    return kept


def _unresolved(config: DictConfig) -> dict[str, Any]:
    """The config as JSON can hold it: an infinite number stands as text, `"-inf"`."""
    return _spelled(OmegaConf.to_container(config, resolve=False))


def _spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spelled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_spelled(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _option_name(target: str) -> str:
    """`kexp.tasks.MnistConvnet` as `mnist_convnet`."""
    name = target.rpartition(".")[2]
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).strip("_")
