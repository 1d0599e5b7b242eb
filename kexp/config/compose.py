"""Composing a config from groups and overrides with Hydra; faults are told in kexp's own words."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kexp.config import places
from kexp.errors import ConfigError
from kexp.store.differences import flatten


@dataclass(frozen=True)
class Composed:
    """A config and the option chosen in each of its groups."""

    config: DictConfig
    choices: dict[str, str]


class Composer:
    """Composes configs from kexp's and the user's config directories."""

    def __init__(self, config_dir: Path | None = None):
        self.config_dir = config_dir
        self.groups = places.groups(config_dir)
        self._composed: dict[tuple[str, ...], Composed] = {}

    def config(self, overrides: Sequence[str]) -> DictConfig:
        """The config that the overrides of one run describe. Raises `ConfigError`."""
        parsed = [parse(text) for text in overrides]
        for override in parsed:
            _refuse_sweep(override)
        base = self.base(parsed)
        config = base.config.copy()
        for override in parsed:
            if not self.is_group(override):
                self.check_key(override, base)
                OmegaConf.update(config, override.key_or_group, override.value(), merge=False)
        return config

    def is_group(self, override: Override) -> bool:
        """Whether an override chooses an option of a group, rather than a value."""
        return override.key_or_group in self.groups

    def label(self, overrides: Sequence[str]) -> str:
        """What differs from the task's defaults, as `loss=huber,seed=1`; `default` if nothing."""
        parsed = [parse(text) for text in overrides]
        task = [o for o in parsed if o.key_or_group == "task"]
        standard, base = self.base(task).choices, self.base(parsed)
        parts = [
            f"{group}={option}"
            for group, option in base.choices.items()
            if standard.get(group) != option and group not in ("task", "study")
        ]
        before, after = _plain(base.config), _plain(self.config(overrides))
        parts += [f"{k}={v}" for k, v in after.items() if before.get(k) != v and _in_label(k)]
        return ",".join(parts) or "default"

    def base(self, overrides: Sequence[Override]) -> Composed:
        """The config with the options of groups chosen and no value set, cached."""
        for override in overrides:
            self._check_option(override)
        lines = tuple(o.input_line for o in overrides if self.is_group(o))
        if lines not in self._composed:
            self._composed[lines] = self._compose(lines)
        return self._composed[lines]

    def check_key(self, override: Override, base: Composed) -> None:
        """Refuse a key that the config does not have, with the nearest ones named."""
        key = override.key_or_group
        known = _plain(base.config)
        if key in known:
            return
        sections = {".".join(k.split(".")[:i]) for k in known for i in range(1, k.count(".") + 1)}
        if key in sections:
            inside = ", ".join(k for k in known if k.startswith(f"{key}."))
            options = (
                f", or choose one of {_listed(self.groups[key])}" if key in self.groups else ""
            )
            raise ConfigError(f"{key} is a section; set one of its keys: {inside}{options}")
        near = _nearest(key, [*known, *self.groups])
        raise ConfigError(f"there is no key {key!r} in the config{_did_you_mean(near)}")

    def _check_option(self, override: Override) -> None:
        group = override.key_or_group
        if group not in self.groups:
            return
        option, options = override.value(), self.groups[group]
        if not isinstance(option, str) or option not in options:
            shown = override.input_line.split("=", 1)[1]
            near = _nearest(str(option), options)
            ordered = [*near, *(o for o in options if o not in near)]
            raise ConfigError(
                f"{group}={shown}: no such option; {group} is one of {_listed(ordered)}"
            )

    def _compose(self, lines: tuple[str, ...]) -> Composed:
        try:
            with hydra_initialised():
                config = compose(
                    "config", [*lines, *search_path(self.config_dir)], return_hydra_config=True
                )
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(f"the config cannot be composed: {error}") from error
        choices = {str(g): str(o) for g, o in config.hydra.runtime.choices.items()}
        choices = {g: o for g, o in choices.items() if not g.startswith("hydra")}
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return Composed(config, choices)


@contextmanager
def hydra_initialised() -> Iterator[None]:
    """Hydra on kexp's config directory; what was initialised before is restored after."""
    with initialize_config_dir(str(places.conf_dir()), version_base="1.3", job_name="kexp"):
        yield


def search_path(config_dir: Path | None) -> list[str]:
    """The Hydra override that adds the user's config directory."""
    return [f"hydra.searchpath=['file://{config_dir}']"] if config_dir else []


def parse(text: str) -> Override:
    """One override, read by Hydra's grammar; additions and deletions are refused."""
    key, equals, value = text.partition("=")
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        if not equals:
            raise ConfigError(f"{text!r} is no override; write key=value") from None
        quoted = value.strip("'\"").replace("'", "\\'")
        raise ConfigError(
            f"the value of {key} cannot be read: {value!r}. Quote it twice, once for the shell: "
            f"\"{key}='{quoted}'\""
        ) from None
    if override.is_delete():
        raise ConfigError(
            f"{text}: a key cannot be removed; for a choice use {key.strip('~')}=none"
        )
    if override.is_add() or override.is_force_add():
        raise ConfigError(
            f"{text}: keys cannot be added, so that a misspelled one is never taken; "
            f"write {text.lstrip('+')} if the config has that key"
        )
    return override


def _refuse_sweep(override: Override) -> None:
    if override.is_sweep_override():
        key, value = override.key_or_group, override.input_line.partition("=")[2]
        raise ConfigError(
            f"{override.input_line} asks for several values; that is a sweep: use kexp sweep. "
            f"If it is one value, quote it twice: \"{key}='{value}'\""
        )


def _plain(config: DictConfig) -> dict[str, Any]:
    return flatten(OmegaConf.to_container(config, resolve=False))  # pyright: ignore


def _in_label(key: str) -> bool:
    return not key.startswith(("paths.", "study.", "backend.threads")) and key != "name"


def _nearest(word: str, words: Sequence[str]) -> list[str]:
    """The words most like `word`, a dotted key's last part counting too."""
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.6)
    tails = {w.rsplit(".", 1)[-1]: w for w in words}
    last = difflib.get_close_matches(word.rsplit(".", 1)[-1], list(tails), n=2, cutoff=0.75)
    return list(dict.fromkeys([*near, *(tails[t] for t in last)]))


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(near)}?" if near else "; `kexp list` shows what there is"


def _listed(options: Sequence[str]) -> str:
    return ", ".join(options)
