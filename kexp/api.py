"""The Python face of kexp: the same as the commands, for notebooks and scripts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from kexp.config.allowed import add_module_path
from kexp.config.build import build, data_folder, instantiate, resolved
from kexp.config.compose import Composer
from kexp.config.overrides import parse
from kexp.config.places import user_dir
from kexp.errors import DataMissing
from kexp.experiment import Experiment
from kexp.progress import Reporter
from kexp.runner import run as run_experiment
from kexp.store import RunFolder
from kexp.sweeps import Sweep, sweep


class Session:
    """Composes experiments from overrides and runs them.

    `config_dir` is the user's own config directory, `modules` are modules of theirs that configs
    may name, `reporter` says what happens.
    """

    def __init__(
        self,
        config_dir: str | os.PathLike | None = None,
        modules: Sequence[str] = (),
        reporter: Reporter | None = None,
    ):
        self.config_dir = user_dir(config_dir)
        self.modules = tuple(modules)
        self.reporter = reporter or Reporter()
        self.composer = Composer(self.config_dir)
        self._missing: set[str] = set()
        self._fetched: set[tuple[str, str]] = set()
        if self.modules:
            add_module_path(self.config_dir)

    def experiment(self, overrides: Sequence[str]) -> Experiment:
        """The checked experiment that some overrides describe. Raises `ConfigError`."""
        config, label = self.composer.config(overrides), self.composer.label(overrides)
        options = self.composer.base(self.composer.parsed(overrides)).choices
        return build(config, label, self.modules, self.config_dir, options, overrides)

    def run(self, overrides: Sequence[str], force: bool = False) -> dict[str, Any]:
        """One run, on the fallback data where the data set cannot be had; its summary."""
        experiment, _ = self.settled(self.experiment(overrides), overrides)
        return self.train(experiment, force)

    def train(self, experiment: Experiment, force: bool = False) -> dict[str, Any]:
        """Train an experiment; its summary."""
        return run_experiment(experiment, self.reporter, force)

    def settled(
        self, experiment: Experiment, overrides: Sequence[str]
    ) -> tuple[Experiment, list[str]]:
        """The experiment and its overrides, on the fallback of its data set where that is missing.

        A run that has begun never changes its data: `DataMissing` where they are gone.
        """
        state = RunFolder(experiment.folder).state().get("state")
        if state == "finished":
            return experiment, list(overrides)
        name, fallback = experiment.options["data"], getattr(experiment.data, "fallback", None)
        if name not in self._missing:
            try:
                self._fetch(experiment)
                return experiment, list(overrides)
            except DataMissing:
                if fallback is None or state is not None:
                    raise
            self._missing.add(name)
            self.reporter.say(
                f"{name} can be neither found nor downloaded: going on with {fallback}, which is "
                f"embedded (see `kexp data where {name}`; data.fallback=null turns this off)"
            )
        kept = [o for o in overrides if parse(o).key_or_group not in ("data", "data.fallback")]
        settled = [f"data={fallback}", *kept]
        return self.experiment(settled), settled

    def sweep(self, overrides: Sequence[str], **how: Any) -> Sweep:
        """Every combination of the values given, or a search; see `kexp.sweeps.sweep`."""
        return sweep(self, overrides, **how)

    def data(self, action: str, name: str, overrides: Sequence[str]) -> None:
        """Say where the data set `name` is (`where`), or fetch it first (`fetch`)."""
        values = resolved(self.composer.config([f"data={name}", *overrides]))
        data = instantiate("data", values["data"], self.modules)
        folder = data_folder(values["paths"]["data"])
        if action == "fetch":
            data.fetch(folder)
        self.reporter.say(data.where(folder))

    def _fetch(self, experiment: Experiment) -> None:
        """Have the data at hand; data that many runs share are looked for once."""
        key = (repr(experiment.data), str(experiment.data_folder))
        if key not in self._fetched:
            experiment.data.fetch(experiment.data_folder)
            self._fetched.add(key)
