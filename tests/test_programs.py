"""Runs of one process whose programs are the same: compiled once, and as they are alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kexp
from kexp.api import Session
from kexp.data import keeping
from kexp.program import program
from kexp.training import programs
from kexp.training.convolution import as_products
from tests.conftest import tiny

LOSSES = ("loss=generalized_crossentropy", "dropout=standard", "regularizer=l2")
NUMBERS = (
    ("seed=1",),
    ("optimizer.learning_rate=0.01",),
    ("regularizer.strength=0.003", "seed=2"),
    ("dropout.rate=0.2", "data.label_noise=0.3"),
    ("loss.q=0.4", "schedule=cosine", "seed=3"),
)
"""What may differ between runs of one program: a run for each."""


def history(summary_of: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (summary_of / "history.jsonl").read_text().splitlines()]


def kept() -> list[programs.Program]:
    return list(programs._kept.values())


def runs(folder: Path, name: str, number: int) -> list[str]:
    chosen = (*LOSSES, *NUMBERS[number], f"name={name}{number}")
    return tiny("mnist_convnet", folder, *chosen)


def test_runs_that_differ_in_numbers_use_one_program_and_are_what_they_are_alone(
    folder: Path,
) -> None:
    """Bit for bit: history, checkpoint and the saved network, with its rate."""
    for number in range(len(NUMBERS)):
        kexp.run(*runs(folder, "kept", number), quiet=True)
    (one,) = kept()
    assert one.engine.traces == 1
    for number in range(len(NUMBERS)):
        programs.forget()
        kexp.run(*runs(folder, "alone", number), quiet=True)
        left, right = (
            folder / "results/mnist_convnet" / f"{name}{number}" for name in ("kept", "alone")
        )
        assert history(left) == history(right)
        with (
            np.load(left / "checkpoint/state.npz") as a,
            np.load(right / "checkpoint/state.npz") as b,
        ):
            assert a.files == b.files and all(np.array_equal(a[n], b[n]) for n in a.files)
        models = [kexp.load_model(run) for run in (left, right)]
        assert models[0].get_config() == models[1].get_config()
        for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
            assert np.array_equal(a, b)


def test_what_a_loss_learns_starts_anew(folder: Path) -> None:
    for number, name in enumerate(("first", "second", "first again")):
        scale = ("loss.scale=2.0",) if name == "second" else ()
        options = ("loss=adaptive", *scale, f"name=learned{number}")
        kexp.run(*tiny("ridge", folder, *options), quiet=True)
    first, second, again = (history(folder / f"results/ridge/learned{i}") for i in range(3))
    assert first == again != second
    assert len(kept()) == 1


@pytest.mark.parametrize(
    "other",
    [
        ("model.filters=[8,4]",),
        ("norm=batch",),
        ("regularizer=l1",),
        ("optimizer.beta_1=0.8",),
        ("loss=focal",),
        ("training.precision=mixed_bfloat16",),
        ("data.side=16",),
    ],
    ids=lambda other: other[0],
)
def test_other_programs_are_others(other: tuple[str, ...], folder: Path) -> None:
    session = Session()
    plain = session.experiment(tiny("mnist_convnet", folder))
    different = session.experiment(tiny("mnist_convnet", folder, *other))
    shapes = [((e.data.side, e.data.side, 1), 10) for e in (plain, different)]
    assert programs._key(plain, shapes[0]) != programs._key(different, shapes[1])


@pytest.mark.parametrize("numbers", NUMBERS, ids=" ".join)
def test_numbers_and_seeds_make_no_other_program(numbers: tuple[str, ...], folder: Path) -> None:
    session = Session()
    plain = session.experiment(tiny("mnist_convnet", folder, *LOSSES))
    assert program(session.experiment(tiny("mnist_convnet", folder, *LOSSES, *numbers))) == program(
        plain
    )


def test_the_program_of_a_run_that_failed_is_not_kept(folder: Path) -> None:
    from kexp.errors import Diverged

    with pytest.raises(Diverged):
        kexp.run(*tiny("ridge", folder, "optimizer.learning_rate=1e30"), quiet=True)
    assert kept() == []


def test_only_so_many_are_kept_the_latest(folder: Path) -> None:
    for units in range(1, programs.MOST_KEPT + 3):
        options = ("model=mlp", f"model.hidden=[{units}]", "training.epochs=1")
        kexp.run(*tiny("ridge", folder, *options), quiet=True)
    widths = [p.objective.model.layers[1].units for p in kept()]
    assert widths == list(range(3, programs.MOST_KEPT + 3))


OWN = """
from kexp.choice import choice
from kexp.losses import Quadratic
FACTOR = 1.0
@choice
class Own(Quadratic):
    def rho(self, residual):
        return FACTOR * super().rho(residual)
"""


def test_code_of_the_users_own_may_change_between_runs_but_in_a_worker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "own_loss.py").write_text(OWN)
    (folder / "loss").mkdir()
    (folder / "loss/own.yaml").write_text("_target_: own_loss.Own\n")
    own = {"config_dir": folder, "modules": ["own_loss"], "quiet": True}
    kexp.run(*tiny("ridge", folder, "loss=own", "name=before"), **own)
    assert kept() == []
    import own_loss

    monkeypatch.setattr(own_loss, "FACTOR", 3.0)
    kexp.run(*tiny("ridge", folder, "loss=own", "name=after"), **own)
    before, after = (history(folder / f"results/ridge/{name}") for name in ("before", "after"))
    assert after[0]["probe"]["fit"] > 1.5 * before[0]["probe"]["fit"]
    monkeypatch.setattr(keeping, "KEEP", True)
    kexp.run(*tiny("ridge", folder, "loss=own", "name=worker"), **own)
    assert len(kept()) == 1


class Standardised(keras.layers.Conv2D):
    """A convolution of the user's own."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel))


def test_only_plain_convolutions_are_computed_as_products() -> None:
    inputs = keras.Input((6, 6, 2))
    plain, own = keras.layers.Conv2D(3, 2), Standardised(3, 2)
    strided, pool = keras.layers.Conv2D(3, 2, strides=2), keras.layers.MaxPooling2D(2)
    for layer in (plain, own, strided, pool):
        model = keras.Model(inputs, layer(inputs))
        x = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype(np.float32)
        before = np.asarray(model(x))
        with as_products(model, True):
            replaced = {"convolution_op", "call"} & vars(layer).keys()
            np.testing.assert_allclose(np.asarray(model(x)), before, rtol=1e-5, atol=1e-5)
        assert bool(replaced) == (layer in (plain, pool))
        assert not {"convolution_op", "call"} & vars(layer).keys()


def test_what_cannot_be_compared_is_in_no_program(folder: Path) -> None:
    """An array in a choice of the user's own, say."""
    e = Session().experiment(tiny("ridge", folder))
    assert program(e) is not None

    @dataclasses.dataclass
    class Own:
        weights: np.ndarray

    assert program(dataclasses.replace(e, loss=Own(np.ones(3)))) is None
    assert program(dataclasses.replace(e, loss=lambda y, y_hat: y_hat)) is None


def test_a_learning_rate_is_a_number_of_kexps_own_optimizers_only(folder: Path) -> None:
    @dataclasses.dataclass
    class Own:
        learning_rate: float = 0.1

    e: Any = Session().experiment(tiny("ridge", folder))
    one, other = (dataclasses.replace(e, optimizer=Own(rate)) for rate in (0.1, 0.2))
    assert program(one) != program(other)


def test_data_that_differ_in_how_they_are_split_are_loaded_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kexp.data import Digits

    monkeypatch.setattr(keeping, "KEEP", True)
    monkeypatch.setattr(keeping, "_kept", {})
    whole = keeping.loaded(Digits(), folder)
    assert keeping.loaded(Digits(train_size=5, label_noise=0.2), folder) is whole
    assert keeping.loaded(Digits(side=10), folder) is not whole
