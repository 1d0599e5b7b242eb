"""The memory of a run by the formula, beside what XLA allots to the program."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest

from kexp.dropouts import NoDropout, Standard
from kexp.losses import CrossEntropy, Quadratic
from kexp.models import MLP, Convnet, DnCNN
from kexp.norms import Batch, NoNorm
from kexp.objective import Objective
from kexp.optimizers import Adam
from kexp.regularizers import L2
from kexp.tasks import EpochData

optimized = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS", "0") == "0"
on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax" or not optimized, reason="it is for JAX with all optimizations"
)

CASES = {
    "convnet": (Convnet(), (28, 28, 1), 10, NoNorm(), 128),
    "convnet, batch norm": (Convnet(), (28, 28, 1), 10, Batch(), 128),
    "MLP": (MLP(), (28, 28, 1), 10, NoNorm(), 128),
    "denoiser": (DnCNN(), (None, None, 1), 1, NoNorm(), 16),
}


def program(case: str, replicas: int):
    """An engine for so many runs, with one batch of data of each loaded."""
    from kexp.training.engine import built
    from kexp.training.vector_engine import VectorEngine

    model, shape, outputs, norm, size = CASES[case]
    classes = outputs > 1
    network = model.build(shape, outputs, Standard() if classes else NoDropout(), norm)
    loss = CrossEntropy() if classes else Quadratic()
    objective, adam = Objective(network, loss, L2()), Adam().build()
    built(objective, adam)
    engine = VectorEngine(objective, adam, replicas)
    x = np.zeros((size, *(side or 40 for side in shape)), np.uint8 if classes else np.float32)
    y = np.zeros(size, np.int32) if classes else x
    for seat in range(replicas):
        engine.load(seat, EpochData(x, y, np.arange(size)))
    return engine, x.shape


def allotted(engine, size: int) -> int:
    """Bytes that XLA allots to the steps of a program, arguments and results included."""
    count = engine.replicas
    wanted = (np.zeros((1, count, size), np.int32), np.zeros((1, count), np.float32))
    arguments = (engine._values.pushed(), engine._on_device(), *wanted, np.ones(count, bool), 1)
    found = engine._advance.lower(*arguments).compile().memory_analysis()
    total = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    return total - found.alias_size_in_bytes


@on_jax
@pytest.mark.parametrize("case", CASES)
def test_a_run_takes_what_the_formula_says(case: str) -> None:
    """With each further run; the first brings along what all share."""
    from kexp.training.memory import bytes_of_run

    (two, batch), (five, _) = program(case, 2), program(case, 5)
    each = (allotted(five, batch[0]) - allotted(two, batch[0])) / 3
    network, objective = two.objective.model, two.objective
    formula = bytes_of_run(network, two.variables, objective.trainable, batch)
    assert 0.7 < each / formula < 1.0
