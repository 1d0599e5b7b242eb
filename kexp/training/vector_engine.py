"""JAX: many runs as one program, whose every value has one more axis, of runs.

A step of one run is a pure function of its values: Keras's `StatelessScope` stands them in for the
variables of the network, the objective and the optimizer. `jax.vmap` makes it a step of all
runs, and one loop on the device takes many steps. A single run is a program of one.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kexp.objective import Objective
from kexp.tasks import Batch, EpochData
from kexp.training import checkpoint
from kexp.training.convolution import as_products
from kexp.training.engine import Portions, as_input, dropout_at_inference, random_layers
from kexp.training.updates import apply


class VectorEngine:
    """A program for `replicas` runs that differ in numbers and seeds only; each has a seat.

    `products`: whether convolutions are computed as products of matrices (see
    `kexp.training.convolution`); by default where that is known to be faster.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: keras.optimizers.Optimizer,
        replicas: int = 1,
        products: bool | None = None,
    ):
        self.objective = objective
        self.optimizer = optimizer
        self.replicas = replicas
        self.products = _faster_as_products(replicas) if products is None else products
        self.traces = 0
        numbers = [*objective.loss_numbers.values(), *objective.regularizer_numbers.values()]
        self.variables = [*objective.state, *optimizer.variables, *numbers]
        self.place = {id(variable): i for i, variable in enumerate(self.variables)}
        self._trained = self.places(objective.trainable)
        self._streams = self.places([s.state for _, s in random_layers(objective.model)])
        self._values = Stacked([checkpoint.values([v])[0] for v in self.variables], replicas)
        self._portions = Portions()
        self._longest: dict[int, int] = {}
        self._data: list[EpochData | None] = [None] * replicas
        self._x, self._y, self._rows = Shared(), Shared(), Shared()
        self._advance = jax.jit(self._many_steps, donate_argnums=0)
        self._infer = jax.jit(self._inference)
        self._draw = jax.jit(self._drawing)
        self._slopes = jax.jit(self._slopes_of, static_argnums=4)
        self._penalty = jax.jit(jax.vmap(self._penalty_of))
        self._penalties: np.ndarray | None = None
        self.seats = [Seat(self, number) for number in range(replicas)]

    @property
    def state_bytes(self) -> int:
        """What the values of all runs take on the device."""
        return sum(4 * self.replicas * math.prod(v.shape) for v in self.variables)

    def places(self, variables: Sequence[Any]) -> list[int]:
        """Where the values of some variables are among all."""
        return [self.place[id(variable)] for variable in variables]

    def read(self, seat: int, places: Sequence[int]) -> list[np.ndarray]:
        """Values of one run, copied."""
        return [self._values.read(place, seat) for place in places]

    def write(self, seat: int, places: Sequence[int], values: Sequence[np.ndarray]) -> None:
        """Set values of one run."""
        self._penalties = None
        for place, value in zip(places, values, strict=True):
            self._values.write(place, seat, value)

    def load(self, seat: int, data: EpochData) -> None:
        """What a run trains on from now on; it is sent to the device with the next steps."""
        self._data[seat] = data

    def release(self) -> None:
        """Let go of all arrays."""
        self._portions = Portions()
        self._data = [None] * self.replicas
        self._x, self._y, self._rows = Shared(), Shared(), Shared()

    def steps(self, wanted: dict[int, tuple[np.ndarray, np.ndarray]]) -> dict[int, np.ndarray]:
        """Take steps of some seats; `wanted` has (order, rates), of one batch size, of each.

        Gives the objectives of as many steps of each as were taken, the same number.
        """
        started = time.perf_counter()
        least = min(len(rates) for _, rates in wanted.values())
        count = self._portions.of(least)
        size = next(iter(wanted.values()))[0].shape[1]
        self._longest[size] = longest = max(self._longest.get(size, 0), least)
        orders = np.zeros((longest, self.replicas, size), np.int32)
        rates = np.zeros((longest, self.replicas), np.float32)
        active = np.zeros(self.replicas, bool)
        for seat, (order, rate) in wanted.items():
            orders[:count, seat], rates[:count, seat] = order[:count], rate[:count]
            active[seat] = True
        data = self._on_device()
        self._values.device, objectives = self._advance(
            self._values.pushed(), data, orders, rates, active, count
        )
        self._values.changed()
        self._penalties = None
        found = np.asarray(objectives)
        self._portions.took(count, time.perf_counter() - started)
        return {seat: found[:count, seat] for seat in wanted}

    def measure(self, seat: int, batches: Sequence[Batch]) -> list[tuple[Any, Any]]:
        """Prediction and loss of each example of one run, batch by batch, still on the device."""
        values = self._values.pushed()
        return [self._infer(values, seat, np.asarray(batch.x), batch.y) for batch in batches]

    def sample(self, seat: int, x: np.ndarray) -> Any:
        """One run's prediction with dropout left on; its streams move on."""
        values = self._values.pushed()
        output, states = self._draw(values, seat, np.asarray(x))
        for place, state in zip(self._streams, states, strict=True):
            values[place] = state
        self._values.changed()
        return output

    def slopes(self, seat: int, x: np.ndarray, y: np.ndarray, loss: Any) -> Any:
        """The slope of a loss over the inputs of one run, still on the device."""
        return self._slopes(self._values.pushed(), seat, x, y, loss)

    def penalty(self, seat: int) -> float:
        """λR(θ) of one run."""
        if self._penalties is None:
            self._penalties = np.asarray(self._penalty(self._values.pushed()))
        return float(self._penalties[seat])

    def scope(self, values: Sequence[Any]) -> Any:
        """Inside, the variables have these values."""
        return keras.StatelessScope(state_mapping=list(zip(self.variables, values, strict=True)))

    def _on_device(self) -> tuple:
        """(arrays, which of them each seat has) of inputs, targets and rows."""
        some = next(data for data in self._data if data is not None)
        filled = [data or some for data in self._data]
        rows = [_rows_of(data) for data in filled]
        return (
            self._x.put([data.x for data in filled]),
            self._y.put([data.y for data in filled]),
            self._rows.put(rows),
        )

    def _many_steps(
        self, values: Any, data: Any, orders: Any, rates: Any, active: Any, count: Any
    ) -> Any:
        """`count` steps of all seats; those that are not active stay as they are."""
        self.traces += 1
        inputs, targets, rows = data

        def one(of: Any, order: Any, rate: Any, x: Any, y: Any, row: Any) -> Any:
            picked = (x, rows[0][row][order])
            return self._step(of, inputs[0][picked], targets[0][y, order], rate)

        def body(i: Any, state: Any) -> Any:
            now, objectives = state
            now, found = jax.vmap(one)(now, orders[i], rates[i], inputs[1], targets[1], rows[1])
            return now, objectives.at[i].set(found)

        with as_products(self.objective.model, self.products):
            after, objectives = jax.lax.fori_loop(0, count, body, (values, jnp.zeros(rates.shape)))
        kept = [
            jnp.where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
            for new, old in zip(after, values, strict=True)
        ]
        return kept, objectives

    def _step(self, values: list[Any], x: Any, y: Any, rate: Any) -> tuple[list[Any], Any]:
        """Values after one step of one run, and its objective before."""
        values = list(values)
        (place,) = self.places([self.optimizer.learning_rate])
        values[place] = jnp.asarray(rate, values[place].dtype)

        def objective(trained: list[Any]) -> tuple[Any, Any]:
            at = _replaced(values, self._trained, trained)
            with self.scope(at) as scope:
                value = self.objective(y, self.objective.output(as_input(x), training=True))
                scaled = self.optimizer.scale_loss(value)
                now = [scope.get_current_value(variable) for variable in self.variables]
            return scaled, (value, now)

        trained = [values[i] for i in self._trained]
        (_, (value, now)), slopes = jax.value_and_grad(objective, has_aux=True)(trained)
        return apply(self, _replaced(now, self._trained, trained), slopes), value

    def _inference(self, values: Any, seat: Any, x: Any, y: Any) -> Any:
        with self.scope([value[seat] for value in values]):
            prediction = self.objective.output(as_input(x), training=False)
            return prediction, self.objective.losses(y, prediction)

    def _slopes_of(self, values: Any, seat: Any, x: Any, y: Any, loss: Any) -> Any:
        with self.scope([value[seat] for value in values]):

            def total(x: Any) -> Any:
                return jnp.sum(loss(y, self.objective.output(as_input(x), training=False)))

            return jax.grad(total)(x)

    def _drawing(self, values: Any, seat: Any, x: Any) -> Any:
        """Prediction with dropout, and the states of all runs' streams after it."""
        own, model = [value[seat] for value in values], self.objective.model
        with self.scope(own) as scope, dropout_at_inference(model):
            output = self.objective.output(as_input(x), training=False)
            now = [scope.get_current_value(self.variables[place]) for place in self._streams]
        before = [values[place] for place in self._streams]
        return output, [all.at[seat].set(one) for all, one in zip(before, now, strict=True)]

    def _penalty_of(self, values: Any) -> Any:
        with self.scope(values):
            return jnp.asarray(self.objective.penalty(), keras.config.floatx())


class Seat:
    """One run of a program: an engine like any other, whose values are a slice."""

    def __init__(self, program: VectorEngine, number: int):
        self.program, self.number = program, number
        self.objective, self.replicas = program.objective, program.replicas

    @property
    def traces(self) -> int:
        """How often the steps of the program have been compiled."""
        return self.program.traces

    @property
    def learning_rate(self) -> float:
        """The optimizer's learning rate at this moment."""
        (rate,) = self._read([self.program.optimizer.learning_rate])
        return float(rate)

    def begin(self) -> None:
        """Take up the values of Keras's variables."""
        every = range(len(self.program.variables))
        self.program.write(self.number, every, checkpoint.values(self.program.variables))

    def load(self, data: EpochData) -> None:
        """Put the arrays of an epoch on the device."""
        self.program.load(self.number, data)

    def release(self) -> None:
        """Let go of the arrays of the last epoch."""
        self.program.release()

    def steps(self, order: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Take some of the steps, of this run alone."""
        return self.program.steps({self.number: (order, rates)})[self.number]

    def measure(self, batches: Sequence[Batch]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Prediction and loss of each example, batch by batch."""
        found = self.program.measure(self.number, batches)
        return [(np.asarray(prediction), np.asarray(losses)) for prediction, losses in found]

    def sample(self, x: np.ndarray, passes: int) -> list[np.ndarray]:
        """The model's output in inference mode, but with dropout."""
        return [np.asarray(self.program.sample(self.number, x)) for _ in range(passes)]

    def slopes(self, x: np.ndarray, y: np.ndarray, loss: Any) -> np.ndarray:
        """The slope of a loss over the inputs, in inference mode."""
        return np.asarray(self.program.slopes(self.number, x, y, loss))

    def penalty(self) -> float:
        """λR(θ) of the present weights."""
        return self.program.penalty(self.number)

    def kernels(self) -> list[np.ndarray]:
        """The present kernels, copied."""
        return self._read(self.objective.kernels)

    def shown(self) -> dict[str, Any]:
        """What the loss has learned so far, by name."""
        with self.program.scope(self._read(self.program.variables)):
            return self.objective.shown()

    def values(self) -> dict[str, list[np.ndarray]]:
        """The variables of the model and of the optimizer, copied."""
        return {name: self._read(group) for name, group in self._groups().items()}

    def assign(self, **groups: Sequence[np.ndarray]) -> None:
        """Set groups of `values`. Raises `StoreError` where they do not fit."""
        for name, saved in groups.items():
            variables = self._groups()[name]
            checkpoint.check_fit(variables, saved)
            self.program.write(self.number, self.program.places(variables), saved)

    def set_streams(self, seed_of: Callable[[str], int]) -> None:
        """Point every random layer to the stream of a seed."""
        for name, stream in random_layers(self.objective.model):
            seed = np.array([seed_of(name), 0])
            self.program.write(self.number, self.program.places([stream.state]), [seed])

    def model(self) -> keras.Model:
        """The network with the weights of this run."""
        network = self.objective.model
        checkpoint.assign(network.variables, self._read(network.variables))
        for layer in network._flatten_layers(include_self=False):
            if hasattr(layer, "set_rate"):
                layer.set_rate(float(keras.ops.convert_to_numpy(layer.rate)))
        return network

    def _groups(self) -> dict[str, list[Any]]:
        return {"model": self.objective.state, "optimizer": self.program.optimizer.variables}

    def _read(self, variables: Sequence[Any]) -> list[np.ndarray]:
        return self.program.read(self.number, self.program.places(variables))


class Stacked:
    """Values with an axis of runs in front, on the device and, where they are asked for, here."""

    def __init__(self, values: Sequence[np.ndarray], replicas: int):
        self.device: list[Any] = [None] * len(values)
        self._host: list[Any] = [np.stack([value] * replicas) for value in values]
        self._written = set(range(len(values)))

    def read(self, place: int, seat: int) -> np.ndarray:
        """A value of one run, copied."""
        return np.array(self._here(place)[seat])

    def write(self, place: int, seat: int, value: np.ndarray) -> None:
        """Set a value of one run."""
        array = self._here(place)
        if place not in self._written:
            self._host[place] = array = np.array(array)
            self._written.add(place)
        array[seat] = value

    def pushed(self) -> list[Any]:
        """All values on the device."""
        for place in self._written:
            self.device[place] = jnp.array(self._host[place])
        self._written.clear()
        return self.device

    def changed(self) -> None:
        """Values on the device are others now than here."""
        self._host = [None] * len(self.device)

    def _here(self, place: int) -> np.ndarray:
        if self._host[place] is None:
            self._host[place] = np.asarray(self.device[place])
        return self._host[place]


class Shared:
    """Arrays on the device, each once, however many runs have it."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []
        self._device: Any = None

    def put(self, arrays: Sequence[np.ndarray]) -> tuple[Any, np.ndarray]:
        """The different arrays stacked on the device, and which of them each run has."""
        different = list({id(array): array for array in arrays}.values())
        number = {id(array): i for i, array in enumerate(different)}
        if [id(a) for a in different] != [id(a) for a in self._arrays]:
            self._arrays, self._device = different, None
            self._device = jnp.asarray(np.stack(different))
        return self._device, np.array([number[id(array)] for array in arrays], np.int32)


def _rows_of(data: EpochData) -> np.ndarray:
    return _all_rows(len(data.y)) if data.rows is None else data.rows


@functools.lru_cache(maxsize=4)
def _all_rows(count: int) -> np.ndarray:
    """The same array for all runs, so that it is on the device once."""
    return np.arange(count, dtype=np.int32)


def _replaced(values: Sequence[Any], places: Sequence[int], new: Sequence[Any]) -> list[Any]:
    """The values with others at some places."""
    values = list(values)
    for place, value in zip(places, new, strict=True):
        values[place] = value
    return values


def _faster_as_products(replicas: int) -> bool:
    """On a CPU always; on a GPU for many runs, whose convolutions would be grouped."""
    return replicas > 1 or jax.default_backend() == "cpu"
