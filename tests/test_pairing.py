"""Runs with the same seed share what they have in common, whatever else differs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

import kexp
from kexp.data import Digits
from kexp.streams import Streams
from kexp.tasks import Denoise, MnistConvnet
from tests.conftest import history, the_run, tiny
from tests.runs import assert_same, command


@pytest.mark.parametrize("other", ["dropout=none", "norm=batch", "loss=focal", "regularizer=l2"])
def test_start_is_shared(other: str, folder: Path) -> None:
    """With a learning rate too small to move, weights shared by name measure the same norms."""
    still = ("optimizer=sgd", "optimizer.learning_rate=1e-30", "training.epochs=1")
    first = kexp.run(*tiny("mnist_convnet", folder, *still), quiet=True)
    second = kexp.run(*tiny("mnist_convnet", folder, *still, other), quiet=True)
    assert first["last"]["norms"] == second["last"]["norms"]
    third = kexp.run(*tiny("mnist_convnet", folder, *still, "seed=1"), quiet=True)
    assert first["last"]["norms"] != third["last"]["norms"]


def test_order_is_a_function_of_seed_and_epoch(folder: Path) -> None:
    data = Digits(side=12, train_size=64)
    train = data.split(data.load(folder), Streams(0)).train
    orders = [MnistConvnet().epoch(train, Streams(0), epoch).order for epoch in (1, 2, 1)]
    assert (orders[0] == orders[2]).all() and (orders[0] != orders[1]).any()
    assert sorted(orders[0]) == list(range(64))


def test_noise_is_fresh_in_training_and_fixed_in_measuring(tiny_images: Path) -> None:
    from kexp.data import Archive

    data = Archive(train="tiny.npz", validation_size=2, test_size=2)
    splits = data.split(data.load(tiny_images), Streams(0))
    task = Denoise(patch=16, patches_per_epoch=8)
    first, second = (task.epoch(splits.train, Streams(0), epoch) for epoch in (1, 2))
    assert np.abs(first.x - first.y).std() == pytest.approx(25 / 255, rel=0.6)
    assert not np.array_equal(first.x - first.y, second.x - second.y)
    once, again = (task.batches(splits.validation, Streams(0), "validation") for _ in range(2))
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a.x, b.x)


RANDOM = {
    "mnist_convnet": ("norm=batch", "regularizer=l1", "data.label_noise=0.2"),
    "denoise": ("loss=adaptive", "norm=decorrelated", "dropout=spatial", "data.outliers=0.1"),
    "deblur_sr": ("loss=adaptive", "norm=batch", "dropout=spatial", "data.outliers=0.1"),
    "colorize": ("loss=tukey", "norm=batch", "dropout=standard", "data.outliers=0.1"),
    "binary": ("dropout=dropconnect", "norm=batch", "training.mc_passes=3"),
    "depth": ("data.outliers=0.1", "dropout=spatial", "norm=batch", "training.mc_passes=2"),
    "ridge": ("data.outliers=0.1", "loss=huber", "optimizer=sgd"),
    "eigenspace": ("data.outliers=0.1", "loss=adaptive", "dropout=standard", "norm=batch"),
}


@pytest.mark.parametrize(
    "task",
    [
        "mnist_convnet",
        "denoise",
        *(
            pytest.param(t, marks=pytest.mark.slow)
            for t in ("deblur_sr", "colorize", "binary", "depth", "ridge", "eigenspace")
        ),
    ],
)
def test_f37_same_seed_twice_is_identical(task: str, folder: Path) -> None:
    """History, weights and test, with all that is drawn at random."""
    summaries = []
    for name in ("a", "b"):
        options = (*RANDOM[task], f"paths.results={folder / name}")
        summaries.append(kexp.run(*tiny(task, folder, *options), quiet=True))
    one, two = (the_run(folder / name) for name in ("a", "b"))
    assert_same(one, two)
    assert len(history(one)) == 2
    for section in ("test", "mc_dropout"):
        assert summaries[0].get(section) == summaries[1].get(section)


@pytest.mark.slow
def test_f37_whatever_process_trains_it(folder: Path) -> None:
    """Alone in a process, or in a sweep's worker that has trained and kept other data before."""
    options = ("norm=batch", "backend.threads=1", "training.epochs=3")
    subprocess.run(
        command(*tiny("mnist_convnet", folder, f"paths.results={folder / 'a'}", *options)),
        check=True,
    )
    runs = ("data.side=16,12", "hydra.launcher.n_jobs=1", f"paths.results={folder / 'b'}")
    assert kexp.sweep(*tiny("mnist_convnet", folder, *options, *runs), quiet=True).finished == 2
    alone = the_run(folder / "a")
    assert_same(alone, next((folder / "b").rglob(alone.name)))
