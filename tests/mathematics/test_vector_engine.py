"""Many runs as one JAX program: each is the run that it is alone.

In float32 rounding grows from step to step, so they are compared after 20 steps; in float64, in a
process of its own (`python -m tests.mathematics.test_vector_engine`), after 50.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kexp.dropouts import DropConnect, NoDropout, Standard
from kexp.losses import CrossEntropy, General, Huber
from kexp.models import MLP, Convnet, DnCNN, seed_weights
from kexp.norms import Batch, Decorrelated, NoNorm
from kexp.objective import Objective
from kexp.optimizers import SGD, Adam
from kexp.regularizers import L1, L2, MaxNorm, WeightDecay, Zero
from kexp.streams import Streams
from kexp.tasks import Batch as Examples
from kexp.tasks import EpochData

REPLICAS = 4
RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (40, 10, 10, 1)).astype(np.uint8)
LABELS = RNG.integers(0, 3, 40).astype(np.int32)
NOISY = (IMAGES / 255 + RNG.normal(0, 0.1, IMAGES.shape)).astype(np.float32)
CLEAN = (IMAGES / 255).astype(np.float32)

CONVNET, NETWORK, DENOISER = (
    Convnet(filters=[4, 4], kernel_size=2),
    MLP(hidden=[8]),
    DnCNN(depth=3, width=4),
)
CASES = {
    "convnet": (CONVNET, CrossEntropy(), Zero(), NoDropout(), NoNorm(), Adam()),
    "convnet, batch norm": (CONVNET, CrossEntropy(), Zero(), NoDropout(), Batch(), SGD()),
    "convnet, dropout and L2": (CONVNET, CrossEntropy(), L2(), Standard(), NoNorm(), Adam()),
    "convnet, DropConnect": (CONVNET, CrossEntropy(), Zero(), DropConnect(), NoNorm(), Adam()),
    "convnet, L1": (CONVNET, CrossEntropy(), L1(), NoDropout(), NoNorm(), SGD()),
    "MLP, max-norm": (NETWORK, CrossEntropy(), MaxNorm(limit=0.5), Standard(), NoNorm(), Adam()),
    "MLP, weight decay": (NETWORK, CrossEntropy(), WeightDecay(), NoDropout(), NoNorm(), Adam()),
    "MLP, decorrelated": (
        *(NETWORK, CrossEntropy(), Zero(), NoDropout()),
        *(Decorrelated(group_size=4, epsilon=1e-2), SGD()),
    ),
    "denoiser, robust": (DENOISER, General(alpha=0.5), L2(), NoDropout(), NoNorm(), Adam()),
    "denoiser, Huber": (DENOISER, Huber(), Zero(), NoDropout(), Batch(), SGD()),
}
"""Every number of these is another for each run: learning rate, λ, rate, α, δ."""


def arrays(case: str, run: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, which all runs of a classification share, and targets, which they do not."""
    if case.startswith("denoiser"):
        return np.roll(NOISY, run, axis=0), np.roll(CLEAN, run, axis=0)
    return IMAGES, np.roll(LABELS, run)


def program(case: str, replicas: int):
    """An engine for so many runs."""
    from kexp.training.engine import built
    from kexp.training.vector_engine import VectorEngine

    model, loss, regularizer, dropout, norm, optimizer = CASES[case]
    shape, outputs = ((10, 10, 1), 1) if case.startswith("denoiser") else ((10, 10, 1), 3)
    network = model.build(shape, outputs, dropout, norm)
    objective, adam = Objective(network, loss, regularizer), optimizer.build()
    built(objective, adam)
    return VectorEngine(objective, adam, replicas)


def begin(engine, seat: int, case: str, run: int) -> None:
    """Seat a run: its numbers, its weights, its random streams and its data."""
    objective = engine.objective
    seed_weights(objective.model, Streams(run))
    for numbers in (objective.loss_numbers, objective.regularizer_numbers):
        for variable in numbers.values():
            variable.assign(variable * (1 + 0.3 * run) if run else variable)
    for layer in objective.model.layers:
        if hasattr(layer, "set_rate"):
            layer.set_rate(0.1 + 0.15 * run)
    engine.seats[seat].begin()
    for numbers in (objective.loss_numbers, objective.regularizer_numbers):
        for variable in numbers.values():
            variable.assign(variable / (1 + 0.3 * run) if run else variable)
    engine.seats[seat].set_streams(lambda layer: Streams(run).integer(layer))
    engine.seats[seat].load(EpochData(*arrays(case, run), np.arange(40)))


def trained(case: str, runs: list[int], count: int) -> list[dict]:
    """Values, predictions, losses and penalty of runs of one program after some steps."""
    engine = program(case, len(runs))
    wanted = {}
    for seat, run in enumerate(runs):
        begin(engine, seat, case, run)
        order = np.random.default_rng(run).integers(0, 40, (count, 8)).astype(np.int32)
        wanted[seat] = (order, np.full(count, 0.004 * (1 + run), np.float32))
    done = 0
    while done < count:
        rest = {seat: (order[done:], rates[done:]) for seat, (order, rates) in wanted.items()}
        done += len(engine.steps(rest)[0])
    return [state(engine.seats[seat], *arrays(case, run)) for seat, run in enumerate(runs)]


def state(seat, x: np.ndarray, y: np.ndarray) -> dict:
    ((prediction, losses),) = seat.measure([Examples(x, y)])
    return {**seat.values(), "seen": [prediction, losses, np.array(seat.penalty())]}


def difference(one: dict, other: dict) -> float:
    """The largest difference of any value, of those below 1 absolutely, else relatively."""
    worst = 0.0
    for name, group in one.items():
        for a, b in zip(group, other[name], strict=True):
            scale = np.maximum(1, np.abs(b.astype(float)))
            gap = np.abs(a.astype(float) - b.astype(float)) / scale
            worst = max(worst, float(gap.max(initial=0)))
    return worst


def differences(case: str, count: int) -> list[float]:
    """How far each run of a program of several is from the run alone."""
    together = trained(case, list(range(REPLICAS)), count)
    alone = [trained(case, [run], count)[0] for run in range(REPLICAS)]
    assert difference(alone[0], alone[1]) > 1e-3, "the runs differ from each other"
    return [difference(a, b) for a, b in zip(together, alone, strict=True)]


IN_FLOAT64 = {
    "KERAS_BACKEND": "jax",
    "JAX_ENABLE_X64": "1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles in half the time
}
on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="it is for JAX")


@on_jax
@pytest.mark.parametrize("case", CASES)
def test_each_run_is_what_it_is_alone(case: str) -> None:
    assert max(differences(case, 20)) < 1e-4


@on_jax
def test_a_run_that_takes_no_steps_stays_as_it_is() -> None:
    case = "convnet, batch norm"
    engine = program(case, 2)
    for seat in (0, 1):
        begin(engine, seat, case, seat)
    still, moved = (engine.seats[seat].values() for seat in (0, 1))
    engine.steps({1: (np.zeros((1, 8), np.int32), np.full(1, 0.1, np.float32))})
    assert difference(engine.seats[0].values(), still) == 0
    assert difference(engine.seats[1].values(), moved) > 1e-3


@on_jax
def test_a_run_that_diverges_does_not_touch_the_others() -> None:
    case = "convnet, dropout and L2"
    engine = program(case, 2)
    for seat in (0, 1):
        begin(engine, seat, case, seat)
    order = np.tile(np.arange(8, dtype=np.int32), (10, 1))
    rates = {0: np.full(10, 1e30, np.float32), 1: np.full(10, 1e-3, np.float32)}
    found: dict[int, list] = {0: [], 1: []}
    while (done := len(found[0])) < 10:
        taken = engine.steps({k: (order[done:], rates[k][done:]) for k in (0, 1)})
        for seat in (0, 1):
            found[seat] += taken[seat].tolist()
    assert not np.isfinite(found[0]).all() and np.isfinite(found[1]).all()
    alone = program(case, 1)
    begin(alone, 0, case, 1)
    while alone.seats[0].values()["optimizer"][0] < 10:
        done = int(alone.seats[0].values()["optimizer"][0])
        alone.seats[0].steps(order[done:], rates[1][done:])
    assert difference(engine.seats[1].values(), alone.seats[0].values()) < 1e-4


@on_jax
def test_numbers_and_seeds_need_no_other_program() -> None:
    case = "convnet, dropout and L2"
    engine = program(case, 1)
    for run in range(5):
        begin(engine, 0, case, run)
        for _ in range(3):
            engine.seats[0].steps(np.zeros((4, 8), np.int32), np.full(4, 0.1 / (1 + run)))
    assert engine.traces == 1


@pytest.mark.slow
def test_in_float64_they_are_the_same_to_1e_12_after_50_steps() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mathematics.test_vector_engine"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **IN_FLOAT64},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) >= 7
    assert max(map(max, found.values())) < 1e-12


def main() -> None:
    """Print how far the runs are from those alone in float64, for the cases without batch norm."""
    keras.config.set_floatx("float64")
    cases = [c for c, parts in CASES.items() if isinstance(parts[4], NoNorm)]
    print(json.dumps({case: differences(case, 50) for case in cases}))


if __name__ == "__main__":
    main()
