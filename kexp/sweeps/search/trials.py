"""The trials of a search in Optuna's storage: which comes next, and what became of each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kexp.sweeps.search.claims import is_dead
from kexp.sweeps.search.space import Space
from kexp.sweeps.search.storage import patiently

LONGEST_REASON = 1000


@dataclass
class Trials:
    """Asks Optuna for trials, up to `target` in all, and takes up those that were left.

    Processes that share the folder of `lock` ask one at a time; `folders` gives the run folders
    of a configuration.
    """

    study: Study
    storage: BaseStorage
    space: Space
    target: int
    grid: bool
    seed: int
    owner: dict[str, Any]
    lock: Path
    folders: Callable[[dict[str, Any]], Sequence[Path]]
    retry_failed: bool = False
    own: set[int] = field(default_factory=set)

    def next(self) -> FrozenTrial | None:
        """Another trial to evaluate, now this process's; None where there is none to be had."""
        with FileLock(self.lock):
            left = self._abandoned()
            if left is not None:
                return self._claimed(left.number)
            if not self._wants_more():
                return None
            distributions = self.space.distributions()
            trial = self._claimed(patiently(lambda: self.study.ask(distributions)).number)
            return None if self._is_surplus(trial) else trial

    def enqueue_failed(self) -> int:
        """Have every failed trial tried once more; how many there are."""
        with FileLock(self.lock):
            failed = self.failed()
            for trial in failed:
                again = {"retry_of": trial.number}
                self.study.enqueue_trial(trial.params, user_attrs=again)
            return len(failed)

    def all(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states, all if none is named, without those that do not count."""
        trials = patiently(lambda: self.study.get_trials(deepcopy=False))
        return [t for t in trials if not is_void(t) and (not states or t.state in states)]

    def latest(self) -> list[FrozenTrial]:
        """The trials without those that were tried again."""
        trials = self.all()
        again = {t.user_attrs.get("retry_of") for t in trials}
        return [t for t in trials if t.number not in again]

    def failed(self) -> list[FrozenTrial]:
        """The trials that failed and were not tried again."""
        return [t for t in self.latest() if t.state == TrialState.FAIL]

    def counted(self) -> int:
        """How many trials there are; one that is tried again counts once."""
        return sum("retry_of" not in t.user_attrs for t in self.all())

    def note(self, number: int, **attributes: Any) -> None:
        """Write down something about a trial that is not finished."""
        at = self._at(number)
        for name, value in attributes.items():
            patiently(lambda n=name, v=value: self.storage.set_trial_user_attr(at, n, v))

    def tell(self, number: int, outcome: TrialState | list[float], reason: str = "") -> None:
        """Say what became of a trial: its values, or its state and the reason."""
        self.own.discard(number)
        if isinstance(outcome, list):
            told = {"values": outcome}
        else:
            told = {"state": outcome}
            self.note(number, reason=reason[:LONGEST_REASON])
        patiently(lambda: self.study.tell(number, **told, skip_if_finished=True))

    def _abandoned(self) -> FrozenTrial | None:
        """A trial whose process has died."""
        for trial in self.all(TrialState.RUNNING):
            if trial.number in self.own:
                continue
            if len(trial.params) < len(self.space.dimensions):
                self._void(trial)
            elif self._is_dead(trial):
                return trial
        return None

    def _is_dead(self, trial: FrozenTrial) -> bool:
        folders = self.folders(trial.params)
        if is_dead(trial.user_attrs.get("owner"), folders, self.lock):
            return True
        unseen = not any(folder.exists() for folder in folders)
        elsewhere = trial.user_attrs["owner"].get("host") != self.owner["host"]
        return self.retry_failed and elsewhere and unseen

    def _void(self, trial: FrozenTrial) -> None:
        """Put away what was left of a trial that was never quite asked for."""
        if is_dead(trial.user_attrs.get("owner"), (), self.lock):
            self.note(trial.number, void=True)
            self.tell(trial.number, TrialState.FAIL, "its process ended while it was asked for")

    def _wants_more(self) -> bool:
        """Whether there is another to ask for; of a grid, the next combination is made so."""
        if self.all(TrialState.WAITING):
            return True
        if not self.grid:
            return self.counted() < self.target
        visited = {tuple(self.space.overrides(t.params)) for t in self.all() if t.params}
        if len(visited) >= self.target:
            return False
        combinations = list(self.space.grid())
        random.Random(self.seed).shuffle(combinations)
        new = (c for c in combinations if tuple(self.space.overrides(c)) not in visited)
        for combination in itertools.islice(new, 1):
            self.study.enqueue_trial(combination)
            return True
        return False

    def _claimed(self, number: int) -> FrozenTrial:
        self.own.add(number)
        self.note(number, owner=self.owner)
        return self.storage.get_trial(self._at(number))

    def _is_surplus(self, trial: FrozenTrial) -> bool:
        """Whether a search that does not share the lock asked for the last trial before; told."""
        if self.grid or "retry_of" in trial.user_attrs:
            return False
        before = sum(t.number < trial.number and "retry_of" not in t.user_attrs for t in self.all())
        if before < self.target:
            return False
        self.note(trial.number, void=True)
        self.tell(trial.number, TrialState.FAIL, "others had asked for the last trial")
        return True

    def _at(self, number: int) -> int:
        """Optuna's number of a trial in its storage."""
        of_study = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(of_study, number)


def is_void(trial: FrozenTrial) -> bool:
    """Whether a trial does not count: nothing was to be trained for it."""
    return bool(trial.user_attrs.get("void"))


def label(trial: FrozenTrial) -> str:
    """A trial in words: its number and its values."""
    return " ".join([f"trial {trial.number}", *(f"{k}={v}" for k, v in trial.params.items())])
