"""The training loop: steps, measurement, record and checkpoint of every epoch, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from kexp import measures
from kexp.data import Splits
from kexp.errors import Diverged, Interrupted, StoreError
from kexp.progress import Reporter
from kexp.schedules import Schedule
from kexp.store import RunFolder
from kexp.streams import Streams
from kexp.tasks import Task
from kexp.training import checkpoint
from kexp.training.course import Course, Steps
from kexp.training.engine import Engine
from kexp.training.measuring import Meter
from kexp.training.settings import Training

NONE_TAKEN = np.zeros(0, np.float32)
"""The objectives of an epoch's steps before the first of them."""


class Loop:
    """Trains one model epoch by epoch, from where the checkpoint left off."""

    def __init__(
        self,
        task: Task,
        splits: Splits,
        engine: Engine,
        training: Training,
        schedule: Schedule,
        streams: Streams,
        folder: RunFolder,
        reporter: Reporter,
    ):
        self.task, self.splits, self.engine = task, splits, engine
        self.training, self.schedule, self.streams = training, schedule, streams
        self.folder, self.reporter = folder, reporter
        self.meter = Meter(task, splits, streams)
        self.monitor = training.monitor or task.yardsticks[0]
        self.base_rate = engine.learning_rate
        self.epoch_seconds: list[float] = []
        self.measuring_seconds = 0.0
        self.examples_per_epoch = 0
        self._taken = NONE_TAKEN
        self.mc_dropout: dict[str, Any] | None = None
        self.kernels: list[np.ndarray] = []
        self.diagnosis: dict[str, Any] = {}
        self.exhibits: dict[str, np.ndarray] = {}
        self.baselines: dict[str, dict[str, float]] = {}
        self.history: list[dict[str, Any]] = []
        self.best: list[np.ndarray] = engine.values()["model"]

    def course(self, check: Callable[[], None]) -> Course[None]:
        """Train until the last epoch or until patience is at its end."""
        self.restore()
        while len(self.history) < self.training.epochs and not self.out_of_patience():
            epoch = len(self.history) + 1
            trained = yield from self.train_epoch(epoch, check)
            yield from self.keep(epoch, trained)

    def restore(self) -> None:
        """Take up the last checkpoint, if there is one, and drop history that is beyond it."""
        saved = self.folder.load_checkpoint()
        epoch, groups = checkpoint.unpack(saved) if saved else (0, {})
        self.history, problem = self.folder.rewind(epoch)
        if problem:
            self.reporter.say(problem)
        if saved is None:
            return
        if len(self.history) != epoch:
            raise StoreError(
                f"{self.folder.history} has {len(self.history)} epochs, the checkpoint {epoch}; "
                "start the run afresh with --force"
            )
        self.engine.assign(model=groups["model"], optimizer=groups["optimizer"])
        self.best = groups["best"]
        (self._taken,) = groups.get("objectives", [NONE_TAKEN])
        if not self._taken.size:
            self.reporter.say(f"going on after epoch {epoch}")

    def train_epoch(self, epoch: int, check: Callable[[], None]) -> Course[dict[str, float]]:
        """Take the steps of an epoch that are not yet taken.

        Returns the mean objective over all its steps and the last learning rate.
        """
        data = self.task.epoch(self.splits.train, self.streams, epoch)
        size = min(self.training.batch_size, len(data.order))
        steps = -(-len(data.order) // size)
        rates = self.rates(epoch, steps)
        self._say_begin(epoch, size, steps)
        self.engine.load(data)
        whole, started = not self._taken.size, time.perf_counter()
        if whole:
            self._set_streams(epoch)
        while (done := self._taken.size) < steps:
            wanted = max(1, len(data.order) // size - done)  # full batches, or the smaller last one
            order = data.order[done * size : (done + wanted) * size].reshape(wanted, -1)
            objectives = yield Steps(self.engine, order, rates[done : done + wanted])
            _check_finite(objectives, epoch, done)
            self._taken = np.concatenate([self._taken, objectives])
            self.reporter.steps(epoch, self._taken.size, steps)
            self._heed(check, epoch)
        if whole:
            self.epoch_seconds.append(time.perf_counter() - started)
        self.examples_per_epoch = len(data.order)
        taken, self._taken = self._taken, NONE_TAKEN
        return {
            "objective": float(taken.mean(dtype=np.float64)),
            "learning_rate": float(rates[-1]),
        }

    def keep(self, epoch: int, trained: dict[str, float]) -> Course[None]:
        """Measure an epoch, write its record, then the checkpoint that holds it."""
        started = time.perf_counter()
        measured = yield from self._measured(epoch)
        record = {
            "epoch": epoch,
            "learning_rate": trained["learning_rate"],
            "training": {"objective": trained["objective"]},
            **measured,
        }
        self.history.append(record)
        if self.best_epoch() == epoch:
            self.best = self.engine.values()["model"]
        self.folder.append(record)
        self._save(epoch)
        self.folder.beat()
        self.measuring_seconds += time.perf_counter() - started
        self.reporter.epoch(record, self.training.epochs)

    def _measured(self, epoch: int) -> Course[dict[str, Any]]:
        try:
            return (yield from self.meter.epoch(self.engine))
        except Diverged as error:
            raise Diverged(f"{error} after epoch {epoch}") from None

    def test(self) -> Course[dict[str, dict[str, float]]]:
        """The test split with the last and with the best weights; leaves the best in the engine."""
        found = yield from self.meter.diagnosed(self.engine)
        last, self.diagnosis, self.exhibits, self.baselines = found
        self.mc_dropout = yield from self._mc_dropout()
        self.kernels = self.engine.kernels()
        if self.best_epoch() == len(self.history):
            return {"last": last, "best": last}
        self.engine.assign(model=self.best)
        best = yield from self.meter.test(self.engine)
        return {"last": last, "best": best}

    def _mc_dropout(self) -> Course[dict[str, Any] | None]:
        """Every split with dropout left on, for the last weights; None if not asked for."""
        if not self.training.mc_passes:
            return None
        self._set_streams(len(self.history) + 1)
        measured = yield from self.meter.sampled(self.engine, self.training.mc_passes)
        return {"passes": self.training.mc_passes, **measured}

    def curve(self, name: str, split: str = "validation") -> list[float]:
        """One value per epoch of a yardstick on a split."""
        return [record[split][name] for record in self.history]

    def best_epoch(self) -> int:
        """The epoch with the best validation value of the monitored yardstick."""
        better = measures.YARDSTICKS[self.monitor].higher_is_better
        return measures.best_epoch(self.curve(self.monitor), better)

    def out_of_patience(self) -> bool:
        """Whether `patience` epochs have passed since the best one."""
        patience = self.training.patience
        return bool(patience and self.history and len(self.history) - self.best_epoch() >= patience)

    def rates(self, epoch: int, steps: int) -> np.ndarray:
        """The learning rate of each step of an epoch, shape (steps,)."""
        at = (epoch - 1) * steps + np.arange(steps)
        return self.base_rate * self.schedule.factor(at / (self.training.epochs * steps))

    def _set_streams(self, epoch: int) -> None:
        """Point every random layer to its own stream of this epoch."""
        self.engine.set_streams(lambda layer: self.streams.integer(f"layer/{layer}", epoch))

    def _say_begin(self, epoch: int, size: int, steps: int) -> None:
        """Say what of an epoch's steps is out of the ordinary."""
        wanted = self.training.batch_size
        if size < wanted and epoch == 1:
            self.reporter.say(
                f"training.batch_size={wanted} is more than the {size} examples "
                "of an epoch: every epoch is one step over all of them"
            )
        if self._taken.size:
            self.reporter.say(
                f"going on after epoch {epoch - 1}, step {self._taken.size} of {steps}"
            )

    def _heed(self, check: Callable[[], None], epoch: int) -> None:
        """Save the steps of an epoch taken so far where a signal asks to stop, and stop."""
        try:
            check()
        except Interrupted:
            self._save(epoch - 1)
            raise

    def _save(self, epoch: int) -> None:
        """Write the checkpoint: the last full epoch's number, and the state of this moment."""
        groups = {**self.engine.values(), "best": self.best}
        if self._taken.size:
            groups["objectives"] = [self._taken]
        self.folder.save_checkpoint(checkpoint.pack(epoch, groups))


def _check_finite(objectives: np.ndarray, epoch: int, done: int) -> None:
    """Raise `Diverged` where an objective is not finite; `done` steps were taken before them."""
    bad = np.flatnonzero(~np.isfinite(objectives))
    if bad.size:
        raise Diverged(
            f"the objective became {objectives[bad[0]]} in epoch {epoch}, step "
            f"{done + int(bad[0]) + 1}; a smaller optimizer.learning_rate may help"
        )
