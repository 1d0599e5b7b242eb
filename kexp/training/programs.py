"""Networks with their compiled steps, kept from run to run of a process.

Numbers and seeds are values of variables. So a run whose program was compiled for an earlier one
sets these and starts at once, where a new network would be traced and compiled again.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import keras

from kexp.data import keeping
from kexp.errors import ConfigError
from kexp.models import fresh_model, seed_weights
from kexp.objective import Objective
from kexp.program import is_kexps, program, rate_is_data
from kexp.streams import Streams
from kexp.training import checkpoint
from kexp.training.engine import Engine, built, make_engine

MOST_KEPT = 4
"""Programs kept in a process; that of a small network takes some 10 MiB, and of a group before
another takes its place, the values of all its runs."""

_kept: OrderedDict[Any, Program] = OrderedDict()


class Program:
    """A network with its objective and optimizer, and an engine that has compiled their steps."""

    def __init__(self, e: Any, shapes: tuple, streams: Streams, model: Any, make: Callable):
        network = fresh_model(model, shapes, e.dropout, e.norm, streams, e.training.precision)
        self.objective = Objective(network, e.loss, e.regularizer, e.task.partial)
        self.optimizer = optimizer_of(e)
        self.engine: Any = make(self.objective, self.optimizer, e.backend.compiles(network))
        self._start = [checkpoint.values(group) for group in self._groups]

    @property
    def _groups(self) -> list[list[Any]]:
        return [self.objective.state, self.optimizer.variables]

    def begin(self, e: Any, streams: Streams) -> None:
        """Set every variable to where a run starts: its numbers, and its seed's weights."""
        for group, start in zip(self._groups, self._start, strict=True):
            checkpoint.assign(group, start)
        self.optimizer.learning_rate.assign(optimizer_of(e).learning_rate)
        self.objective.begin(e.loss, e.regularizer)
        network = self.objective.model
        for layer in network._flatten_layers(include_self=False) if rate_is_data(e) else ():
            if hasattr(layer, "set_rate"):
                layer.set_rate(e.dropout.rate)
        seed_weights(network, streams)


@contextlib.contextmanager
def equipped(e: Any, shapes: tuple, streams: Streams, model: Any) -> Iterator[Engine]:
    """The engine of a run, where it starts; `model` builds its network if there is none yet.

    The program is kept for the next run if this one has not failed.
    """
    key = _key(e, shapes)
    made = _kept.pop(key, None) if key else None
    if made is None:
        made = Program(e, shapes, streams, model, make_engine)
    made.begin(e, streams)
    made.engine.begin()
    yield made.engine
    made.engine.release()
    if key:
        _keep(key, made)


class Group:
    """The program of several runs, which gives each of them its seat."""

    def __init__(self, seats: int):
        self._seats = iter(range(seats))
        self._count = seats
        self._made: Program | None = None
        self._key: Any = None

    @contextlib.contextmanager
    def equipped(self, e: Any, shapes: tuple, streams: Streams, model: Any) -> Iterator[Engine]:
        """A seat for a run, where it starts. Raises `ConfigError` for a run of another program."""
        key = (program(e), shapes)
        if self._made is None:
            self._key = key
            kept = _kept.pop((key, self._count), None)
            forget()  # whose memory on the device is needed
            self._made = kept or Program(e, shapes, streams, model, self._engine)
        if key != self._key:
            raise ConfigError("this run has another program than the runs it was to train with")
        self._made.begin(e, streams)
        seat = self._made.engine.seats[next(self._seats)]
        seat.begin()
        yield seat

    def keep(self) -> None:
        """Keep the program for the next group of as many runs."""
        if self._made is not None:
            self._made.engine.release()
            _keep((self._key, self._count), self._made)

    def _engine(self, objective: Objective, optimizer: Any, _jit: bool) -> Any:
        from kexp.training.vector_engine import VectorEngine

        built(objective, optimizer)
        return VectorEngine(objective, optimizer, self._count)


def optimizer_of(e: Any) -> Any:
    """The Keras optimizer of a run; float16 needs its objective scaled up."""
    optimizer = e.optimizer.build()
    half = e.training.precision == "mixed_float16"
    return keras.optimizers.LossScaleOptimizer(optimizer) if half else optimizer


def held_bytes() -> int:
    """What programs kept hold on the device, which is let go for another group."""
    engines = [made.engine for made in _kept.values()]
    return sum(getattr(engine, "program", engine).state_bytes for engine in engines)


def forget() -> None:
    """Let go of all programs kept."""
    _kept.clear()


def _keep(key: Any, made: Program) -> None:
    _kept[key] = made
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)


def _key(e: Any, shapes: tuple) -> tuple | None:
    """What a run must share with an earlier one to use its program; None where it cannot.

    The user's own code may have changed since, but in a worker of a sweep.
    """
    known = program(e)
    if known is None or e.training.distribution != "none" or not (keeping.KEEP or is_kexps(e)):
        return None
    return known, shapes
