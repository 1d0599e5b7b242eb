"""Composing a config from groups and overrides with Hydra; faults are told in kexp's own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kexp.config import places
from kexp.config.advice import Adviser
from kexp.config.options import check_files, yaml_fault
from kexp.config.overrides import parse, raw_value, refuse_sweep, refuse_twice
from kexp.config.wording import literal, shown
from kexp.errors import ConfigError
from kexp.store.differences import flatten

NAMES = ("name", "study.name")
"""Keys that are text however they look: `name=1.10` is no number."""


@dataclass(frozen=True)
class Composed:
    """A config and the option chosen in each of its groups."""

    config: DictConfig
    choices: dict[str, str]

    @cached_property
    def values(self) -> dict[str, Any]:
        """The config as a flat dict of dotted keys, interpolations unresolved."""
        return flatten(OmegaConf.to_container(self.config, resolve=False))  # pyright: ignore


COMPOSED: dict[tuple[str, ...], Composed] = {}
"""What was composed from kexp's own files in this process, by the options chosen."""


class Composer:
    """Composes configs from kexp's and the user's config directories."""

    def __init__(self, config_dir: Path | None = None):
        self.config_dir = config_dir
        self.groups = places.groups(config_dir)
        if config_dir:
            check_files(config_dir)
        self.adviser = Adviser(self.groups, config_dir)
        self._own = places.groups()
        self._composed: dict[tuple[str, ...], Composed] = {}

    def config(self, overrides: Sequence[str]) -> DictConfig:
        """The config that the overrides of one run describe. Raises `ConfigError`."""
        parsed = self.parsed(overrides)
        base = self.base(parsed)
        config = base.config.copy()
        for override in parsed:
            if not self.is_group(override):
                self.check_key(override, base)
                _set(config, override)
        return config

    def parsed(self, overrides: Sequence[str]) -> list[Override]:
        """The overrides of one run, each key once, none of them a sweep. Raises `ConfigError`."""
        parsed = self.read(overrides)
        for override in parsed:
            if override.is_sweep_override():
                default = self.base([]).values.get(override.key_or_group)
                refuse_sweep(override, default, self.is_group(override))
        return parsed

    def read(self, overrides: Sequence[str]) -> list[Override]:
        """The overrides of a run or a sweep, each key once. Raises `ConfigError`."""
        parsed = []
        for number, text in enumerate(overrides):
            if "=" not in text and text[:1] not in ("+", "~"):
                known = self.base([]).values
                raise ConfigError(self.adviser.no_override(text, overrides[:number], known))
            parsed.append(parse(text))
        refuse_twice(parsed)
        return parsed

    def options(self, group: str, overrides: Sequence[Override] = ()) -> list[str]:
        """The options of a group that fit the task that is chosen; none where it is no group."""
        return self.adviser.fitting(group, self._task(overrides)) if group in self.groups else []

    def is_group(self, override: Override) -> bool:
        """Whether an override chooses an option of a group, rather than a value."""
        return override.key_or_group in self.groups

    def label(self, overrides: Sequence[str]) -> str:
        """What differs from the task's defaults, as `loss=huber,seed=1`; `default` if nothing."""
        parsed = self.parsed(overrides)
        base = self.base(parsed)
        standard = self.base([parse(f"task={base.choices['task']}")]).choices
        parts = [
            f"{group}={option}"
            for group, option in base.choices.items()
            if standard.get(group) != option and group not in ("task", "study", "track")
        ]
        given = {o.key_or_group: _value(o) for o in parsed if not self.is_group(o)}
        parts += [
            f"{key}={_plain(given[key])}"
            for key, value in base.values.items()
            if key in given and given[key] != value and _in_label(key)
        ]
        return ",".join(parts) or "default"

    def base(self, overrides: Sequence[Override]) -> Composed:
        """The config with the options of groups chosen and no value set, cached."""
        chosen = {o.key_or_group: self._option(o, overrides) for o in overrides if self.is_group(o)}
        inner = {group: option for group, option in chosen.items() if "/" in group}
        outer = {group: option for group, option in chosen.items() if group not in inner}
        base = self._compose(outer)
        for group, option in inner.items():
            if group not in base.choices:
                raise ConfigError(self.adviser.elsewhere(f"{group}={option}", group))
        return self._compose(chosen) if inner else base

    def check_key(self, override: Override, base: Composed) -> None:
        """Refuse a key that the config does not have, with the nearest ones named."""
        key = override.key_or_group
        if key in base.values:
            return
        if any(k.startswith(f"{key}.") for k in base.values):
            raise ConfigError(self.adviser.section(override, base.values))
        raise ConfigError(self.adviser.unknown_key(override, base.values, base.choices))

    def _option(self, override: Override, overrides: Sequence[Override]) -> str:
        """The option that an override chooses. Raises `ConfigError` where there is none such."""
        group, value = override.key_or_group, override.value()
        option = value if isinstance(value, str) else raw_value(override)
        if option not in self.groups[group]:
            task = self._task(overrides) if group != "task" else None
            raise ConfigError(self.adviser.unknown_option(override, task))
        return option

    def _task(self, overrides: Sequence[Override]) -> str:
        """The task that is chosen, by itself or by a study."""
        chosen = [raw_value(o) for o in overrides if o.key_or_group == "task"]
        studies = [o for o in overrides if o.key_or_group == "study"]
        known = [o for o in studies if raw_value(o) in self.groups["study"]]
        return chosen[-1] if chosen else self.base(known).choices["task"]

    def _compose(self, chosen: dict[str, str]) -> Composed:
        """The config with these options; the user's directory is looked at only if it has one."""
        own = all(option in self._own.get(group, ()) for group, option in chosen.items())
        known, user = (COMPOSED, None) if own else (self._composed, self.config_dir)
        lines = tuple(f"{group}={literal(chosen[group])}" for group in sorted(chosen))
        if lines not in known:
            known[lines] = self._composed_of(lines, user)
        return known[lines]

    def _composed_of(self, lines: tuple[str, ...], user: Path | None) -> Composed:
        try:
            with hydra_initialised():
                config = compose("config", [*lines, *search_path(user)], return_hydra_config=True)
                choices = {str(g): str(o) for g, o in config.hydra.runtime.choices.items()}
        except yaml.YAMLError as error:
            raise ConfigError(yaml_fault(error)) from None
        except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
            reason = str(error).strip().split("\n")[0]
            where = f", with --config-dir {user}" if user else ""
            raise ConfigError(f"the config cannot be composed{where}: {reason}") from error
        choices = {group: option for group, option in choices.items() if group in self.groups}
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return Composed(config, choices)


@contextmanager
def hydra_initialised() -> Iterator[None]:
    """Hydra on kexp's config directory; a program that uses Hydra itself has its own back after."""
    before, base = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(places.conf_dir()), version_base="1.3", job_name="kexp"):
            yield
    finally:
        GlobalHydra.instance().hydra = before
        VersionBase.instance().version_base = base


def search_path(config_dir: Path | None) -> list[str]:
    """The Hydra override that adds the user's config directory."""
    return [f"hydra.searchpath=[{literal(f'file://{config_dir}')}]"] if config_dir else []


def _set(config: DictConfig, override: Override) -> None:
    key = override.key_or_group
    try:
        OmegaConf.update(config, key, _value(override), merge=False)
    except OmegaConfBaseException:
        raise ConfigError(
            f"{key}={raw_value(override)}: an interpolation that cannot be read; a dollar sign "
            "that is meant as such stands as \\${"
        ) from None


def _value(override: Override) -> Any:
    value = override.value()
    as_typed = override.key_or_group in NAMES and not isinstance(value, (str, type(None)))
    return raw_value(override) if as_typed else value


def _plain(value: Any) -> str:
    """A value as it is written on the command line, the same however a number was typed."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return shown(value) if value is None or isinstance(value, bool) else str(value)


def _in_label(key: str) -> bool:
    others = ("paths.", "study.", "track.", "backend.threads", "data.mapped")
    return not key.startswith(others) and key != "name"
