"""A trial where its run is trained: every epoch is reported, and the run stopped if it lags."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexp.analysis.quantities import Quantity
from kexp.errors import Pruned
from kexp.progress import Passing, Reporter
from kexp.store import RunFolder
from kexp.store.reading import read_history
from kexp.sweeps.search.aims import value_after
from kexp.sweeps.search.methods import Search, pruner_of, why_pruned


@dataclass(frozen=True)
class Trial:
    """Where to report: trial `number` of an Optuna study; runs have at most `epochs` epochs."""

    storage: str
    study: str
    number: int
    aim: Quantity
    settings: Search
    epochs: int

    def watching(self, reporter: Reporter, folder: Path) -> Reporter:
        """A reporter around another that may raise `Pruned` after an epoch."""
        return Watching(reporter, self, RunFolder(folder))


class Watching(Passing):
    """Passes everything on, reports every epoch to the search, and stops the run if it says so."""

    def __init__(self, reporter: Reporter, trial: Trial, folder: RunFolder):
        super().__init__(reporter)
        self._trial, self._folder = trial, folder
        self._monitor = "fit"
        self._history: list[dict[str, Any]] = []
        self._open = contextlib.ExitStack()
        self._at: tuple[Any, int, Any] | None = None
        self._given_up = False

    @contextlib.contextmanager
    def running(self, epochs: int, yardstick: str) -> Iterator[None]:
        """Remember what the best epoch is chosen by; the storage is let go of afterwards."""
        self._monitor = yardstick
        with self._open, self._reporter.running(epochs, yardstick):
            yield

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Report the epoch. Raises `Pruned` where the run need not go on."""
        self._reporter.epoch(record, epochs)
        if self._given_up:
            return
        self._remember(record)
        try:
            stop = self._judged()
        except Exception as error:
            self._given_up = True
            first = str(error).strip().split("\n")[0]
            print(f"the search cannot be reached, this run goes on without pruning: {first}")
            return
        if stop and record["epoch"] < epochs:
            aim = self._trial.aim
            value = aim.show(value_after(aim, self._history, self._monitor))
            raise Pruned(
                f"stopped by {self._trial.settings.pruner} after epoch {record['epoch']} of "
                f"{epochs}: {aim.title} {value} was {why_pruned(self._trial.settings)}"
            )

    def _remember(self, record: dict[str, Any]) -> None:
        """Keep the history; epochs before this process are read from the record."""
        if not self._history:
            earlier, _ = read_history(self._folder.history)
            self._history = [r for r in earlier if r["epoch"] < record["epoch"]]
        self._history.append(record)

    def _judged(self) -> bool:
        """Report the epochs that are not reported yet; whether the run should stop."""
        from kexp.sweeps.search.storage import patiently

        study, number, storage = self._study()
        reported = patiently(lambda: storage.get_trial(number)).intermediate_values
        for done in range(1, len(self._history) + 1):
            epoch = self._history[done - 1]["epoch"]
            if epoch in reported:
                continue
            value = value_after(self._trial.aim, self._history[:done], self._monitor)
            if value is not None:
                report = (number, epoch, value)
                patiently(lambda r=report: storage.set_trial_intermediate_value(*r))
        return patiently(lambda: study.pruner.prune(study, storage.get_trial(number)))

    def _study(self) -> tuple[Any, int, Any]:
        """The study, Optuna's number of the trial in its storage, and the storage."""
        if self._at is None:
            import optuna

            from kexp.sweeps.search.storage import opened

            t = self._trial
            storage: Any = self._open.enter_context(opened(t.storage, new=False))
            pruner = pruner_of(t.settings, t.epochs)
            study = optuna.load_study(study_name=t.study, storage=storage, pruner=pruner)
            of_study = storage.get_study_id_from_name(t.study)
            at = storage.get_trial_id_from_study_id_trial_number(of_study, t.number)
            self._at = study, at, storage
        return self._at
