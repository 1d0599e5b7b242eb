"""fit + penalty: by hand, of kernels only, with numbers that are variables."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kexp.dropouts import Standard
from kexp.losses import CrossEntropy, Huber, Quadratic
from kexp.models import DnCNN, seed_weights
from kexp.norms import Batch
from kexp.objective import Objective, with_variables
from kexp.objective import norms as norms_of
from kexp.regularizers import L1, L2, ElasticNet, Zero
from kexp.streams import Streams
from kexp.training import checkpoint
from tests import references
from tests.mathematics.backend import array, tensor

WEIGHTS = np.array([[1.0], [-0.8], [0.4], [0.2], [0.2]], np.float32)


def linear():
    """ŷ = x·θ + 0.3 with θ = (1, −0.8, 0.4, 0.2, 0.2)."""
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="dense")(inputs))
    model.get_layer("dense").kernel.assign(WEIGHTS)
    model.get_layer("dense").bias.assign([0.3])
    return model


def number(scalar) -> float:
    return float(array(scalar))


def test_worked_example():
    """λ Σθ² = 0.02·(1 + 0.64 + 0.16 + 0.04 + 0.04) = 0.0376; ½ (1.3 − 1)² = 0.045."""
    objective = Objective(linear(), Quadratic(), L2(strength=0.02))
    y, y_hat = tensor([[1.0]]), objective.model(tensor(np.ones((1, 5))))
    assert number(objective.penalty()) == pytest.approx(0.0376, rel=1e-6)
    assert number(objective.fit(y, y_hat)) == pytest.approx(0.045, rel=1e-5)
    assert number(objective(y, y_hat)) == pytest.approx(0.0826, rel=1e-5)


def test_fit_is_the_mean_over_samples_and_holds_no_penalty():
    objective = Objective(linear(), CrossEntropy(), L1(strength=10.0))
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 2, 1, 0], np.int32)
    fit = number(objective.fit(tensor(labels, "int32"), tensor(logits)))
    assert fit == pytest.approx(references.crossentropy(logits, labels).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("regularizer", "reference"),
    [
        (Zero(), lambda k: 0.0),
        (L1(strength=0.1), lambda k: references.l1(k, 0.1)),
        (L2(strength=0.1), lambda k: references.l2(k, 0.1)),
        (ElasticNet(strength=0.1, mixing=0.3), lambda k: references.elastic_net(k, 0.1, 0.3)),
    ],
    ids=["zero", "l1", "l2", "elastic_net"],
)
def test_penalty_is_of_kernels_only(regularizer, reference):
    model = DnCNN(depth=4, width=8).build((None, None, 1), 1, Standard(rate=0.3), Batch())
    seed_weights(model, Streams(0))
    model.get_layer("conv_4").kernel.assign(np.full((3, 3, 8, 1), 0.1))
    objective = Objective(model, Quadratic(), regularizer)
    assert [k.path for k in objective.kernels] == [f"conv_{i}/kernel" for i in (1, 2, 3, 4)]
    expected = sum(reference(array(k)) for k in objective.kernels)
    assert number(objective.penalty()) == pytest.approx(expected, rel=1e-5)
    for variable in model.variables:
        if variable.name in ("bias", "gamma", "beta", "moving_mean", "moving_variance", "rate"):
            variable.assign(np.full(variable.shape, 0.5))
    assert number(objective.penalty()) == pytest.approx(expected, rel=1e-5)


def test_every_number_is_a_variable_and_assigning_it_counts():
    objective = Objective(linear(), Huber(delta=1.0), L2(strength=0.02))
    y, y_hat = tensor([[0.0]]), tensor([[3.0]])
    assert number(objective(y, y_hat)) == pytest.approx(2.5 + 0.0376, rel=1e-5)
    objective.regularizer_numbers["strength"].assign(0.2)
    assert number(objective.penalty()) == pytest.approx(0.376, rel=1e-5)
    objective.loss_numbers["delta"].assign(2.0)
    assert number(objective.fit(y, y_hat)) == pytest.approx(4.0, rel=1e-6)
    objective.regularizer_numbers["strength"].assign(0.0)
    assert number(objective(y, y_hat)) == pytest.approx(4.0, rel=1e-6)


def test_numbers_are_no_part_of_the_model_and_not_trained():
    model = linear()
    before = len(model.variables)
    objective = Objective(model, Huber(), ElasticNet())
    assert len(model.variables) == before
    variables = {**objective.loss_numbers, **objective.regularizer_numbers}
    assert sorted(variables) == ["delta", "mixing", "strength"]
    assert not any(v.trainable for v in variables.values())


def test_the_choice_itself_stays_as_it_was():
    huber = Huber(delta=0.5, elements="sum")
    twin, variables = with_variables(huber)
    variables["delta"].assign(9.0)
    assert huber == Huber(delta=0.5, elements="sum")
    assert twin.elements == "sum"
    assert with_variables(Zero())[1] == with_variables(Quadratic())[1] == {}


def test_a_choice_without_numbers_of_a_plain_class_is_taken_as_it_is():
    def squares(y, y_hat):
        return keras.ops.mean(keras.ops.square(y_hat - y), axis=-1)

    objective = Objective(linear(), squares, Zero())
    assert objective.loss_numbers == {}
    assert number(objective(tensor([[1.0]]), tensor([[3.0]]))) == pytest.approx(4.0)


def test_norms_are_those_of_all_kernels_together():
    model = DnCNN(depth=4, width=8).build((None, None, 1), 1, Standard(), Batch())
    seed_weights(model, Streams(4))
    objective = Objective(model, Quadratic(), Zero())
    first = array(objective.kernels[0]).copy()
    first.flat[:5] = [0.0, 1e-4, -9e-4, 1.1e-3, -2.0]
    objective.kernels[0].assign(first)
    every = np.concatenate([array(k).ravel() for k in objective.kernels]).astype(float)
    norms = norms_of(checkpoint.values(objective.kernels))
    assert norms["l1"] == pytest.approx(np.linalg.norm(every, 1), rel=1e-5)
    assert norms["l2"] == pytest.approx(np.linalg.norm(every), rel=1e-5)
    assert norms["near_zero"] == np.mean(np.abs(every) < 1e-3) >= 3 / every.size
