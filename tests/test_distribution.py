"""One training over several devices gives what one device gives. The devices are virtual CPUs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexp
from kexp.backends import Jax, TensorFlow, Torch
from kexp.errors import ConfigError
from kexp.store import RunFolder, identity
from tests.conftest import history, read, tiny

ROOT = Path(__file__).parents[1]
SGD = ("optimizer=sgd", "optimizer.learning_rate=0.01")
ADAMW = ("optimizer=adamw", "optimizer.epsilon=1e-3")
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "l2": ("mnist_convnet", (*SGD, "regularizer=l2", "schedule=cosine", "dropout=none")),
    "batch": ("mnist_convnet", (*SGD, "norm=batch", "dropout=none", "training.batch_size=15")),
}
"""The task and choices of each run. Of 64 examples, batches of 15 leave 4, batches of 21 leave 1,
and two devices get 8 and 7 or 11 and 10 of a full one."""

MORE: dict[str, tuple[str, tuple[str, ...]]] = {
    "one left over": (
        "mnist_convnet",
        (*ADAMW, "regularizer=weight_decay", "dropout=none", "training.batch_size=21"),
    ),
    "decorrelated": (
        "mnist_convnet",
        (*SGD, "norm=decorrelated", "norm.group_size=4", "norm.epsilon=0.01", "dropout=none"),
    ),
    "denoise": (
        "denoise",
        (*ADAMW, "loss=adaptive", "norm=batch", "regularizer=l2", "training.batch_size=7"),
    ),
    "max_norm": (
        "denoise",
        (*SGD, "regularizer=max_norm", "regularizer.limit=0.5", "dropout=none"),
    ),
}
DROPOUT: dict[str, tuple[str, tuple[str, ...]]] = {
    "dropout": ("mnist_convnet", (*SGD, "training.batch_size=15", "norm=batch")),
}

RUNS = """
import json, sys
import kexp
for overrides in json.loads(sys.argv[1]):
    kexp.run(*overrides, quiet=True)
"""
TOLERANCE = 2e-5
"""Of values of the size of 1. Sums over a batch are taken in another order, so each of the 8 to 10
steps rounds differently by about 1e-7, and later steps build on it; whitening and the Adam of some
cases multiply that by up to 100. A wrong weight of one example would show at 1e-2."""


def process(code: str, devices: int, *arguments: str, **env: str) -> subprocess.Popen:
    """Python in a process whose CPU counts as so many devices."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "KEXP_CPU_DEVICES": str(devices), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(started: subprocess.Popen) -> str:
    """What a process printed; it must not have failed."""
    printed, _ = started.communicate(timeout=900)
    assert started.returncode == 0, printed[-6000:]
    return printed


def trained(
    folder: Path, backend: str, cases: dict[str, tuple[str, tuple[str, ...]]]
) -> dict[int, dict[str, Path]]:
    """The run of every case on one and on two devices."""
    started, runs = [], {}
    for devices in (1, 2):
        runs[devices] = {name: folder / f"{devices}" / name for name in cases}
        overrides = []
        for name, (task, choices) in cases.items():
            places = (f"name={name}", f"study.name={devices}", f"paths.results={folder}")
            how = (f"backend={backend}", "training.distribution=data_parallel")
            overrides.append(tiny(task, folder, *choices, *places, *how))
        started.append(process(RUNS, devices, json.dumps(overrides)))
    outcomes = [(each, each.communicate(timeout=900)[0]) for each in started]
    for each, printed in outcomes:
        assert each.returncode == 0, printed[-6000:]
    return runs


def state(run: Path) -> dict[str, np.ndarray]:
    """The checkpoint of a run."""
    found = RunFolder(run).load_checkpoint()
    assert found is not None
    return found


def assert_close(run: Path, other: Path, tolerance: float = TOLERANCE) -> None:
    """Two runs have the same losses and weights but for rounding."""
    pairs = list(zip(history(run), history(other), strict=True))
    assert pairs
    for left, right in pairs:
        assert left["training"] == pytest.approx(right["training"], rel=tolerance, abs=tolerance)
        for split in ("probe", "validation"):
            for name in ("fit", "objective"):
                assert left[split][name] == pytest.approx(
                    right[split][name], rel=tolerance, abs=tolerance
                )
    left, right = state(run), state(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], rtol=10 * tolerance, atol=tolerance)


def both(
    folder: Path, backend: str, cases: dict[str, tuple[str, tuple[str, ...]]], images: Path
) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    (folder / "data").exists() or (folder / "data").symlink_to(images)
    runs = trained(folder, backend, cases)
    for name in cases:
        one, two = runs[1][name], runs[2][name]
        assert "there is one device only, cpu:0" in (one / "log.txt").read_text()
        assert "training on 2 devices: cpu:0, cpu:1" in (two / "log.txt").read_text()
        assert_close(one, two)
        if backend == "tensorflow":
            assert_model_loads(two)


def assert_model_loads(run: Path) -> None:
    """model.keras is that of one device, with the best weights."""
    import keras

    import kexp.layers  # noqa: F401  (registers the layers)

    model = keras.saving.load_model(run / "model.keras", safe_mode=True)
    best = [value for name, value in state(run).items() if name.startswith("best/")]
    of_layers = zip(model.variables, best, strict=False)  # then comes what a loss has learned
    for variable, value in of_layers:
        if "seed" not in variable.name:
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    for layer in model.layers:
        assert not getattr(layer, "synchronized", False)


def test_two_devices_train_as_one(tmp_path: Path, tiny_images: Path) -> None:
    both(tmp_path, "tensorflow", CASES, tiny_images)


@pytest.mark.slow
def test_two_devices_train_as_one_whatever_the_choices(tmp_path: Path, tiny_images: Path) -> None:
    both(tmp_path, "tensorflow", MORE, tiny_images)


@pytest.mark.slow
def test_two_devices_train_as_one_on_jax(tmp_path: Path, tiny_images: Path) -> None:
    """With dropout too: JAX draws one mask for the whole batch, wherever its parts are."""
    both(tmp_path, "jax", CASES | DROPOUT | {"denoise": MORE["denoise"]}, tiny_images)


MASKS = """
import json
import numpy as np
from kexp.backends import TensorFlow
TensorFlow().start()
import keras, tensorflow as tf
from kexp.layers import Dropout
from kexp.training import distributed_engine, distribution
from kexp.progress import Reporter

with distribution.distributed("data_parallel", Reporter()):
    x = keras.Input((1000,))
    model = keras.Model(x, Dropout(0.25)(x))
    strategy = tf.distribute.get_strategy()
generator = model.layers[-1].seed_generator

def call():
    return strategy.run(lambda: model(tf.ones((8, 1000)), training=True))

with distributed_engine._as_replicas(model):
    compiled = tf.function(call).get_concrete_function()
assert generator.replica is None
generator.state.assign([7, 0])
first = strategy.experimental_local_results(compiled())
second = strategy.experimental_local_results(compiled())
states = [v.numpy().tolist() for v in generator.state.value.values]
generator.state.assign([7, 0])
alone = model(np.ones((8, 1000)), training=True)
print(json.dumps({
    "masks": [(np.array(m) > 0).tolist() for m in (*first, *second)],
    "values": sorted({float(v) for m in first for v in np.unique(m)}),
    "states": states,
    "alone": (np.array(alone) > 0).tolist(),
}))
"""


@pytest.mark.slow
def test_dropout_differs_between_replicas() -> None:
    """Another mask on each device and at each call, of the right rate; the first as on one."""
    told = json.loads(ended(process(MASKS, 2)).strip().splitlines()[-1])
    masks = np.array(told["masks"])
    assert np.abs(masks.mean(axis=(1, 2)) - 0.75).max() < 0.02  # 4 standard deviations: 0.019
    for i in range(4):
        for j in range(i):
            kept_by_both = np.mean(masks[i] & masks[j])
            assert abs(kept_by_both - 0.75**2) < 0.025
    assert told["values"] == pytest.approx([0, 1 / 0.75])
    assert told["states"] == [[7, 2], [7, 2]]
    np.testing.assert_array_equal(masks[0], told["alone"])


STOPPED = """
import os, signal, sys
import kexp, kexp.training.loop as loop
import kexp.training.engine
kexp.training.engine.PORTION_SECONDS = 0.0
heed, taken = loop.Loop._heed, []
def stopped(self, *arguments):
    taken.append(1)
    if len(taken) == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    heed(self, *arguments)
loop.Loop._heed = stopped
try:
    kexp.run(*sys.argv[1:], quiet=True)
except kexp.errors.Interrupted as error:
    print(error)
"""


@pytest.mark.slow
def test_resume_on_the_same_number_of_devices_is_bit_for_bit(folder: Path) -> None:
    """Stopped in the middle of an epoch and resumed, with dropout and batch norm."""
    task, choices = DROPOUT["dropout"]
    how = ("training.distribution=data_parallel", "training.epochs=1")
    overrides = tiny(task, folder, *choices, *how)
    undisturbed, stopped = [*overrides, "name=undisturbed"], [*overrides, "name=stopped"]
    ended(process(RUNS, 2, json.dumps([undisturbed])))
    assert "stopped by SIGTERM" in ended(process(STOPPED, 2, *stopped))
    ended(process(RUNS, 2, json.dumps([stopped])))
    left, right = (folder / "results/mnist_convnet" / n for n in ("stopped", "undisturbed"))
    assert "going on after epoch 0, step 3 of 5" in (left / "log.txt").read_text()
    assert (left / "history.jsonl").read_bytes() == (right / "history.jsonl").read_bytes()
    for name, value in state(left).items():
        np.testing.assert_array_equal(value, state(right)[name])


@pytest.mark.slow
@pytest.mark.parametrize(("begun", "resumed"), [(2, 1), (1, 2)])
def test_resume_on_another_number_of_devices(begun: int, resumed: int, folder: Path) -> None:
    task, choices = CASES["batch"]
    how = ("training.distribution=data_parallel", "training.epochs=1")
    overrides = tiny(task, folder, *choices, *how)
    undisturbed, stopped = [*overrides, "name=undisturbed"], [*overrides, "name=stopped"]
    ended(process(RUNS, 1, json.dumps([undisturbed])))
    ended(process(STOPPED, begun, *stopped))
    ended(process(RUNS, resumed, json.dumps([stopped])))
    left, right = (folder / "results/mnist_convnet" / n for n in ("stopped", "undisturbed"))
    assert "going on after epoch 0, step 3 of 5" in (left / "log.txt").read_text()
    assert_close(left, right)


def test_one_device_trains_as_without_distribution(folder: Path) -> None:
    """The same bit for bit, another identity, and a line that says so."""
    overrides = tiny("mnist_convnet", folder, "training.epochs=1")
    kexp.run(*overrides, "name=without", quiet=True)
    kexp.run(*overrides, "name=with", "training.distribution=data_parallel", quiet=True)
    runs = [folder / "results/mnist_convnet" / name for name in ("without", "with")]
    assert (runs[0] / "history.jsonl").read_bytes() == (runs[1] / "history.jsonl").read_bytes()
    for name, value in state(runs[0]).items():
        np.testing.assert_array_equal(value, state(runs[1])[name])
    assert "there is one device only" in (runs[1] / "log.txt").read_text()
    assert "device only" not in (runs[0] / "log.txt").read_text()
    first, second = (read(run, "summary.json")["identity"] for run in runs)
    assert first != second


def test_identity_is_what_it_was_before_there_was_the_key() -> None:
    config: dict[str, Any] = {"seed": 0, "training": {"epochs": 1}}
    before = identity(config)
    config["training"]["distribution"] = "none"
    assert identity(config) == before
    config["training"]["distribution"] = "data_parallel"
    assert identity(config) != before


def test_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Torch, "check", lambda self: None)  # it need not be installed
    with pytest.raises(ConfigError, match="distribution=data_parallel is for backend=tensorflow"):
        kexp.run("backend=torch", "training.distribution=data_parallel", quiet=True)


@pytest.mark.parametrize("given", ["0", "-1", "two", ""])
@pytest.mark.parametrize("kind", [TensorFlow, Jax])
def test_number_of_cpu_devices(kind: type, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEXP_CPU_DEVICES", given)
    with pytest.raises(ConfigError, match="KEXP_CPU_DEVICES must be a whole number ≥ 1"):
        kind().restrict()
