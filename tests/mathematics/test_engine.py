"""Engines: the steps they take, against steps worked out in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kexp import layers, norms
from kexp.dropouts import Standard
from kexp.losses import CrossEntropy, Huber, Quadratic
from kexp.models import Convnet, seed_weights
from kexp.objective import Objective
from kexp.optimizers import SGD, Adam, AdamW
from kexp.regularizers import L2, Zero
from kexp.streams import Streams
from kexp.tasks import Batch, EpochData
from kexp.training.engine import as_input, make_engine
from tests import references
from tests.mathematics.backend import TENSORFLOW, array, central_difference, tensor, whole

RNG = np.random.default_rng(2)
X = RNG.normal(size=(12, 3)).astype(np.float32)
Y = (X @ [[1.0], [-2.0], [0.5]] + RNG.normal(0, 0.1, (12, 1))).astype(np.float32)
EVERY = np.arange(12)
START = np.array([[0.5], [0.2], [-0.3]], np.float32)
PLAIN = SGD(learning_rate=0.1, momentum=0.0)


def linear(loss=None, regularizer=None, optimizer=PLAIN):
    """An engine that fits ŷ = x·θ + b, loaded with X and Y."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="dense")(inputs))
    model.get_layer("dense").kernel.assign(START)
    engine = make_engine(
        Objective(model, loss or Quadratic(), regularizer or Zero()), optimizer.build()
    )
    engine.load(EpochData(X, Y, EVERY))
    return engine


def weights(engine) -> np.ndarray:
    """θ and b as one vector."""
    return np.concatenate([array(v).ravel() for v in engine.model().trainable_variables])


def taken(engine, order, rates) -> np.ndarray:
    """Take all of the steps, in however many portions; their objectives."""
    objectives = np.zeros(0)
    while (done := len(objectives)) < len(order):
        objectives = np.append(objectives, engine.steps(order[done:], rates[done:]))
    return objectives


def predicted(engine, x, y) -> np.ndarray:
    """The output in inference mode."""
    ((prediction, _),) = engine.measure([Batch(x, y)])
    return prediction


def objective_at(theta, picked, rho, strength):
    """(1/N) Σ ρ(x·θ + b − y) + λ Σθ² in float64."""
    residual = X[picked].astype(float) @ theta[:3] + theta[3] - Y[picked, 0]
    return rho(residual).mean() + references.l2(theta[:3], strength)


def descend(theta, order, rates, rho, strength):
    """Plain gradient steps in NumPy; the objectives before each, and the end."""
    objectives = []
    for picked, rate in zip(order, rates, strict=True):

        def here(at, picked=picked):
            return objective_at(at, picked, rho, strength)

        objectives.append(here(theta))
        theta = theta - rate * central_difference(here, theta)
    return objectives, theta


@pytest.mark.parametrize(
    ("loss", "rho"),
    [(Quadratic(), references.quadratic), (Huber(delta=0.5), lambda r: references.huber(r, 0.5))],
    ids=["quadratic", "huber"],
)
def test_each_step_is_a_gradient_step_at_its_own_rate(loss, rho):
    """Objectives are those before each step; a rate of 0 leaves the weights where they are."""
    order = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [3, 3, 0, 7]], np.int32)
    rates = np.array([0.1, 0.0, 0.3, 0.02], np.float32)
    engine = linear(loss, L2(strength=0.05))
    start = weights(engine).astype(float)
    expected, end = descend(start, order, rates, rho, 0.05)
    np.testing.assert_allclose(taken(engine, order, rates), expected, rtol=1e-5)
    np.testing.assert_allclose(weights(engine), end, rtol=1e-5, atol=1e-6)


def test_portions_of_steps_are_the_same_as_all_at_once():
    order = RNG.permutation(12).astype(np.int32).reshape(6, 2)
    rates = np.linspace(0.3, 0.05, 6).astype(np.float32)
    whole, parts = linear(optimizer=Adam()), linear(optimizer=Adam())
    objectives = taken(whole, order, rates)
    pieces = [taken(parts, order[a:b], rates[a:b]) for a, b in ((0, 1), (1, 4), (4, 6))]
    np.testing.assert_allclose(np.concatenate(pieces), objectives, rtol=1e-6)
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=1e-6)


def test_batches_of_another_size_are_taken():
    engine = linear()
    for size in (4, 3, 1):
        objective = taken(
            engine, np.arange(size, dtype=np.int32)[None], np.array([0.0], np.float32)
        )
        theta = weights(engine).astype(float)
        expected = objective_at(theta, np.arange(size), references.quadratic, 0)
        assert objective == pytest.approx([expected], rel=1e-5)


def test_other_arrays_can_be_loaded():
    engine = linear()
    order, rates = np.array([[0, 1]], np.int32), np.zeros(1, np.float32)
    before = taken(engine, order, rates)
    engine.load(EpochData(X[2:], Y[2:], EVERY))
    assert taken(engine, order, rates) == pytest.approx(taken(linear(), order + 2, rates))
    engine.load(EpochData(X, Y, EVERY))
    assert taken(engine, order, rates) == pytest.approx(before)


def test_the_objective_falls_to_the_solution_of_ridge_regression():
    engine = linear(regularizer=L2(strength=0.1))
    order = np.tile(np.arange(12, dtype=np.int32), (200, 1))
    objectives = taken(engine, order, np.full(200, 0.2, np.float32))
    assert np.all(np.diff(objectives) <= 1e-6)
    design = np.hstack([X, np.ones((12, 1))]).astype(float)
    ridge = np.diag([0.2, 0.2, 0.2, 0.0])  # λ Σθ² has slope 2λθ, and none in the bias
    solution = np.linalg.solve(design.T @ design / 12 + ridge, design.T @ Y[:, 0] / 12)
    np.testing.assert_allclose(weights(engine), solution, atol=1e-4)


def test_a_number_assigned_between_steps_counts_in_the_next():
    engine = linear(Huber(delta=0.5), L2(strength=0.05))
    order, rates = np.arange(12, dtype=np.int32)[None], np.zeros(1, np.float32)
    theta = weights(engine).astype(float)
    for delta, strength in ((0.5, 0.05), (0.1, 0.05), (0.1, 2.0)):
        engine.objective.loss_numbers["delta"].assign(delta)
        engine.objective.regularizer_numbers["strength"].assign(strength)
        engine.begin()
        rho = lambda r, delta=delta: references.huber(r, delta)  # noqa: E731
        expected = objective_at(theta, np.arange(12), rho, strength)
        assert taken(engine, order, rates) == pytest.approx([expected], rel=1e-5)


def noisy(rate: float):
    """An engine on a network with nothing but dropout before a sum, on inputs of 1."""
    inputs = keras.Input((400,))
    x = layers.Dropout(rate, name="dropout")(inputs)
    sums = keras.layers.Dense(1, kernel_initializer="ones", name="dense")(x)
    engine = make_engine(Objective(keras.Model(inputs, sums), Quadratic(), Zero()), PLAIN.build())
    ones, sums = np.ones((8, 400), np.float32), np.full((8, 1), 400, np.float32)
    engine.load(EpochData(ones, sums, EVERY))
    return engine


def test_dropout_is_on_in_steps_and_its_rate_can_be_assigned_between_them():
    engine = noisy(0.5)
    order, rates = np.arange(8, dtype=np.int32)[None], np.zeros(1, np.float32)
    first, second = taken(engine, order, rates), taken(engine, order, rates)
    assert 0 < first != second > 0
    for _ in range(2):
        engine.set_streams(lambda layer: {"dropout": 7}[layer])
        third = taken(engine, order, rates)
        engine.set_streams(lambda layer: {"dropout": 7}[layer])
        assert taken(engine, order, rates) == third
    engine.objective.model.get_layer("dropout").rate.assign(0.0)
    engine.begin()
    assert taken(engine, order, rates) == 0


def test_predictions_are_in_inference_mode():
    engine = noisy(0.5)
    ones = np.ones((5, 400), np.float32)
    assert np.array_equal(predicted(engine, ones, ones[:, :1]), np.full((5, 1), 400, np.float32))


def test_images_of_bytes_are_scaled_and_a_convnet_learns_them():
    images = RNG.integers(0, 256, (16, 10, 10, 1)).astype(np.uint8)
    labels = np.arange(16, dtype=np.int32) % 2
    images[labels == 1, :5] //= 4
    model = Convnet(filters=[4]).build((10, 10, 1), 2, Standard(rate=0.2), norms.Batch())
    seed_weights(model, Streams(0))
    engine = make_engine(Objective(model, CrossEntropy(), L2()), Adam().build())
    engine.load(EpochData(images, labels, EVERY))
    before = predicted(engine, images, labels)
    expected = array(whole(model)(tensor(images / 255)))
    np.testing.assert_allclose(before, expected, rtol=1e-4, atol=1e-5)
    order = np.array([RNG.permutation(16) for _ in range(40)], np.int32)
    taken(engine, order, np.full(40, 0.01, np.float32))
    norm = engine.model().get_layer("norm_1")
    assert np.any(array(norm.moving_mean) != 0), "moving statistics move with the steps"
    after = predicted(engine, images, labels)
    loss = references.crossentropy(after, labels).mean()
    assert loss < 0.5 * references.crossentropy(before, labels).mean()
    assert np.array_equal(after, predicted(engine, images, labels)), "predictions change nothing"


def test_input_of_bytes_is_scaled_and_other_input_is_not():
    assert array(as_input(np.array([0, 51, 255], np.uint8))) == pytest.approx([0, 0.2, 1])
    assert array(as_input(np.array([0.0, 51.0]))) == pytest.approx([0, 51])


def test_weight_decay_of_adamw_is_of_kernels_only():
    """Without a slope Adam stands still, so that only decay moves: θ ← θ − rate · decay · θ."""
    inputs = keras.Input((3,))
    x = keras.layers.Dense(2, name="dense")(inputs)
    x = keras.layers.LayerNormalization(name="norm")(x)
    model = keras.Model(inputs, keras.layers.Dense(1, name="last", kernel_initializer="zeros")(x))
    model.get_layer("dense").kernel.assign(np.ones((3, 2)))
    model.get_layer("dense").bias.assign([1.0, 1.0])
    engine = make_engine(
        Objective(model, Quadratic(), Zero()), AdamW(learning_rate=0.1, weight_decay=0.5).build()
    )
    engine.load(EpochData(np.zeros((2, 3), np.float32), np.zeros((2, 1), np.float32), EVERY))
    taken(engine, np.array([[0, 1]], np.int32), np.array([0.1], np.float32))
    dense, norm = (engine.model().get_layer(name) for name in ("dense", "norm"))
    np.testing.assert_allclose(array(dense.kernel), 0.95, rtol=1e-6)
    for kept in (dense.bias, norm.gamma):
        assert np.array_equal(array(kept), np.ones(2))


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_with_momentum_is_its_recursion(momentum, nesterov):
    """v ← μ v − rate · slope; θ ← θ + v, or θ + μ v − rate · slope after Nesterov."""
    engine = linear(optimizer=SGD(learning_rate=0.1, momentum=momentum, nesterov=nesterov))
    order = np.arange(12, dtype=np.int32).reshape(3, 4)
    theta, velocity = weights(engine).astype(float), np.zeros(4)
    for picked in order:
        slope = central_difference(
            lambda at, picked=picked: objective_at(at, picked, references.quadratic, 0), theta
        )
        velocity = momentum * velocity - 0.1 * slope
        theta = theta + (momentum * velocity - 0.1 * slope if nesterov else velocity)
    taken(engine, order, np.full(3, 0.1, np.float32))
    np.testing.assert_allclose(weights(engine), theta, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not TENSORFLOW, reason="other backends are compiled of themselves")
def test_steps_compiled_by_xla_are_the_same():
    order = np.arange(12, dtype=np.int32).reshape(3, 4)
    found = []
    for jit in (False, True):
        made = linear(Huber(delta=0.5), L2(strength=0.05), Adam())
        engine = make_engine(made.objective, Adam(learning_rate=0.1).build(), jit)
        engine.load(EpochData(X, Y, EVERY))
        found.append((taken(engine, order, np.full(3, 0.1, np.float32)), weights(engine)))
    for one, another in zip(*found, strict=True):
        np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-6)


def test_steps_through_keras_itself_are_the_same():
    """The engine of other backends, and of several devices on JAX, on this one."""
    from kexp.training.step_engine import StepEngine

    order = np.arange(12, dtype=np.int32).reshape(6, 2)[::-1]
    rates = np.linspace(0.3, 0.05, 6).astype(np.float32)
    plain = linear(Huber(delta=0.5), L2(strength=0.05), Adam())
    found = [(taken(plain, order, rates), weights(plain), predicted(plain, X, Y))]
    other = linear(Huber(delta=0.5), L2(strength=0.05), Adam())
    engine = StepEngine(other.objective, other_optimizer := Adam().build())
    other_optimizer.build(other.objective.trainable)
    engine.load(EpochData(X[::-1].copy(), Y, EVERY, rows=EVERY[::-1].copy()))
    found.append((taken(engine, order, rates), weights(engine), predicted(engine, X, Y)))
    for one, another in zip(*found, strict=True):
        np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-5)
    assert engine.penalty() == pytest.approx(0.05 * np.square(weights(engine)[:3]).sum(), rel=1e-5)
    for sample in engine.sample(X, 2):
        np.testing.assert_array_equal(sample, predicted(engine, X, Y))


@pytest.mark.parametrize("optimizer", [Adam(beta_1=0.8, beta_2=0.95, epsilon=1e-3), AdamW()])
def test_adam_is_its_recursion(optimizer):
    """m, v ← means of g, g²; θ ← θ − η √(1 − β₂ᵗ)/(1 − β₁ᵗ) m/(√v + ε), after AdamW's decay."""
    engine = linear(optimizer=optimizer)
    order = np.arange(12, dtype=np.int32).reshape(3, 4)
    rates = np.array([0.1, 0.02, 0.3])
    theta, m, v = weights(engine).astype(float), np.zeros(4), np.zeros(4)
    beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
    for t, (picked, rate) in enumerate(zip(order, rates, strict=True), start=1):
        slope = central_difference(
            lambda at, picked=picked: objective_at(at, picked, references.quadratic, 0), theta
        )
        m = beta_1 * m + (1 - beta_1) * slope
        v = beta_2 * v + (1 - beta_2) * slope**2
        decay = getattr(optimizer, "weight_decay", 0.0) * np.array([1, 1, 1, 0])
        theta = theta * (1 - rate * decay)
        scale = np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        theta = theta - rate * scale * m / (np.sqrt(v) + optimizer.epsilon)
    taken(engine, order, rates.astype(np.float32))
    np.testing.assert_allclose(weights(engine), theta, rtol=1e-4, atol=1e-5)


# Slopes over the inputs


@pytest.mark.parametrize("loss", [CrossEntropy(), Quadratic()], ids=["cross-entropy", "quadratic"])
def test_slopes_over_inputs_are_those_of_finite_differences(loss):
    """In inference mode: no dropout, moving statistics; summed over the examples."""
    model = Convnet(filters=[3], kernel_size=2).build((6, 6, 1), 3, Standard(), norms.Batch())
    seed_weights(model, Streams(1))
    engine = make_engine(Objective(model, CrossEntropy(), Zero()), PLAIN.build())
    rng = np.random.default_rng(0)
    x = rng.random((2, 6, 6, 1)).astype(np.float32)
    y = np.array([0, 2], np.int32) if isinstance(loss, CrossEntropy) else rng.random((2, 3), "f4")
    slopes = engine.slopes(x, y, loss)
    assert slopes.shape == x.shape

    def total(at):
        output = predicted(engine, at.reshape(x.shape).astype(np.float32), np.zeros(2, np.int32))
        return float(np.sum(array(loss(tensor(y), tensor(output))), dtype=np.float64))

    for place in ((0, 2, 3, 0), (1, 4, 1, 0), (0, 0, 5, 0)):
        step = np.zeros_like(x)
        step[place] = 1e-2
        difference = (total(x + step) - total(x - step)) / 2e-2
        assert slopes[place] == pytest.approx(difference, rel=0.05, abs=2e-3)
