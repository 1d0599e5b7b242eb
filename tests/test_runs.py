"""Whole runs: every choice trains, and the record says what happened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kexp
from kexp.config import places
from kexp.config.fitting import fitting
from tests.conftest import HERE, history, read, the_run, tiny

GROUPS = places.groups()
KINDS = {
    "mnist_convnet": "classification",
    "denoise": "image regression",
    "binary": "binary",
    "ridge": "regression",
    "eigenspace": "projection",
}
GROUPS_OF = {
    "mnist_convnet": ("regularizer", "dropout", "norm", "optimizer", "schedule"),
    "denoise": ("task/noise", "regularizer", "dropout", "norm", "optimizer", "schedule"),
    "binary": ("regularizer", "dropout", "norm"),
    "ridge": ("regularizer", "dropout"),
    "eigenspace": ("dropout", "norm"),
}


def covering(task: str) -> list[tuple[str, ...]]:
    """As few runs as hold every option of every group that the task offers."""
    options = {g: [o for o in GROUPS[g] if (task, o) not in REFUSED] for g in GROUPS_OF[task]}
    runs = max(len(names) for names in options.values())
    return [
        tuple(f"{group}={names[i % len(names)]}" for group, names in options.items())
        for i in range(runs)
    ]


REFUSED = {("binary", "instance"), ("eigenspace", "instance")}
CHOICES = [(task, choices) for task in KINDS for choices in covering(task)]
CHOICES += [
    (t, (f"loss={loss}",))
    for t, kind in KINDS.items()
    for loss in fitting("loss", kind)
    if t != "eigenspace"  # whose losses tests/test_eigenspace.py tries
]
CHOICES += [("ridge", ("data=polynomial",)), ("ridge", ("model=mlp",))]
CHOICES += [("binary", ("data=digits", "data.side=8", "model=linear"))]
NEEDED = {
    "loss=ms_ssim": "task.patch=24",
    "norm=group": "norm.groups=4",
    "norm=decorrelated": "norm.group_size=4",
}
NO_PENALTY = ("none", "weight_decay", "max_norm")


def test_every_loss_is_tried() -> None:
    assert set(GROUPS["loss"]) == {o for kind in KINDS.values() for o in fitting("loss", kind)}


@pytest.mark.parametrize(("task", "choices"), CHOICES, ids=repr)
def test_every_choice_trains(task: str, choices: tuple[str, ...], folder: Path) -> None:
    needed = [NEEDED[choice] for choice in choices if choice in NEEDED]
    summary = kexp.run(*tiny(task, folder, *choices, *needed, "training.epochs=1"), quiet=True)
    run = the_run(folder)
    assert read(run, "status.json")["state"] == "finished"
    for split in ("probe", "validation"):
        values = summary["last"][split]
        assert all(np.isfinite(value) for value in values.values())
        assert values["objective"] == pytest.approx(values["fit"] + summary["last"]["penalty"])
    chosen = dict(choice.split("=") for choice in choices)
    regularizer = chosen.get("regularizer", "l2" if task == "ridge" else "none")
    assert (summary["last"]["penalty"] > 0) == (regularizer not in NO_PENALTY)


@pytest.mark.parametrize("task", [*KINDS, "deblur_sr", "colorize", "depth"])
def test_record_is_complete(task: str, folder: Path) -> None:
    summary = kexp.run(*tiny(task, folder), quiet=True)
    run = the_run(folder)
    names = {file.name for file in run.iterdir() if not file.name.startswith(".")}
    assert names == {
        "config.yaml",
        "status.json",
        "history.jsonl",
        "summary.json",
        "environment.json",
        "checkpoint",
        "model.keras",
        "examples.npz",
        "log.txt",
    }
    assert read(run, "summary.json")["verdict"] == summary["verdict"]
    assert summary["command"][:3] == ["kexp", "run", f"task={task}"]
    assert not any(word.startswith("paths.") for word in summary["command"])
    assert set(summary["choices"]) == {"loss", "regularizer", "dropout", "norm"}
    assert summary["choices"]["loss"]["meaning"] and summary["choices"]["loss"]["formula"]
    environment = read(run, "environment.json")
    assert environment["data"]["sha256"] and environment["packages"]["keras"]
    epochs = history(run)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    for epoch in epochs:
        for name, gap in epoch["gap"].items():
            sign = -1 if name in ("psnr", "ssim", "delta1") else 1
            difference = epoch["validation"][name] - epoch["probe"][name]
            assert gap == pytest.approx(sign * difference)


def test_classification_is_diagnosed(folder: Path) -> None:
    """Confusion, reliability and the worst mistakes agree with the yardsticks on the test split."""
    summary = kexp.run(*tiny("mnist_convnet", folder), quiet=True)
    told, test = summary["diagnosis"], summary["test"]["last"]
    confusion = np.array(told["confusion"])
    assert confusion.sum() == summary["sizes"]["test"] == sum(told["reliability"]["count"])
    assert 1 - np.trace(confusion) / confusion.sum() == pytest.approx(test["error"])
    excess = np.subtract(told["reliability"]["correct"], told["reliability"]["confidence"])
    assert np.abs(excess).sum() / confusion.sum() == pytest.approx(test["ece"])
    with np.load(the_run(folder) / "examples.npz", allow_pickle=False) as shown:
        assert shown["inputs"].dtype == np.uint8 and shown["inputs"].shape[1:] == (12, 12, 1)
        assert (shown["label"] != shown["predicted"]).all()
        assert (np.diff(shown["confidence"]) <= 0).all() and len(shown["confidence"]) == 18


@pytest.mark.parametrize("outliers", [0.0, 0.2])
def test_denoised_examples_are_kept(outliers: float, folder: Path) -> None:
    """Noisy, denoised and clean pictures; clean also where the targets have outliers."""
    summary = kexp.run(*tiny("denoise", folder, f"data.outliers={outliers}"), quiet=True)
    with np.load(the_run(folder) / "examples.npz", allow_pickle=False) as shown:
        images = {name: shown[name] / 255 for name in ("inputs", "outputs", "targets")}
    mse = np.square(images["outputs"] - images["targets"]).mean()
    assert mse == pytest.approx(summary["test"]["last"]["mse"], rel=0.1)  # they are clipped
    assert np.square(images["inputs"] - images["targets"]).mean() > 0.005


def test_best_weights_are_kept(folder: Path) -> None:
    """model.keras holds the weights of the best epoch, and loads in Keras's safe mode."""
    import keras

    import kexp.layers  # noqa: F401  (registers the layers)
    from kexp.data import Digits
    from kexp.streams import Streams
    from kexp.yardsticks import nll

    rates = ("optimizer.learning_rate=0.02", "training.epochs=40", "dropout.rate=0.1")
    summary = kexp.run(*tiny("mnist_convnet", folder, *rates), quiet=True)
    model = keras.saving.load_model(the_run(folder) / "model.keras", safe_mode=True)
    data = Digits(side=12, train_size=64, validation_size=40, test_size=40)
    test = data.split(data.load(folder), Streams(0)).test
    measured = nll(model.predict(np.asarray(test.inputs) / 255, verbose=0), test.labels).mean()
    assert measured == pytest.approx(summary["test"]["best"]["nll"], rel=1e-4)
    assert summary["best_epoch"] < 40, "the example must have a best epoch before the last"


def test_early_stopping(folder: Path) -> None:
    options = ("training.epochs=40", "training.patience=2", "optimizer.learning_rate=0.05")
    summary = kexp.run(*tiny("mnist_convnet", folder, *options), quiet=True)
    assert summary["epochs"] == summary["best_epoch"] + 2 < 40


def test_monitor_chooses_the_best_epoch(folder: Path) -> None:
    options = ("training.epochs=4", "training.monitor=error", "optimizer.learning_rate=0.02")
    summary = kexp.run(*tiny("mnist_convnet", folder, *options), quiet=True)
    errors = [epoch["validation"]["error"] for epoch in history(the_run(folder))]
    assert summary["best_epoch"] == int(np.argmin(errors)) + 1


def test_schedule_reaches_the_optimizer(folder: Path) -> None:
    kexp.run(*tiny("mnist_convnet", folder, "schedule=cosine", "training.epochs=3"), quiet=True)
    rates = [epoch["learning_rate"] for epoch in history(the_run(folder))]
    expected = [1e-3 * 0.5 * (1 + np.cos(np.pi * last / 12)) for last in (3, 7, 11)]
    assert rates == pytest.approx(expected)


def test_memorisation_is_logged(folder: Path) -> None:
    """Flipped labels are fitted in time; a clean run says nothing about them."""
    noisy = ("data.label_noise=0.3", "training.epochs=60", "dropout=none")
    options = (*noisy, "optimizer.learning_rate=0.005", "model.filters=[32]")
    kexp.run(*tiny("mnist_convnet", folder, *options), quiet=True)
    shares = [epoch["memorisation"] for epoch in history(the_run(folder))]
    assert shares[0] < 0.35 < 0.7 < shares[-1] <= 1


def test_outliers_are_logged(folder: Path) -> None:
    summary = kexp.run(*tiny("denoise", folder, "data.outliers=0.2"), quiet=True)
    assert 0 <= summary["last"]["memorisation"] <= 1
    clean = kexp.run(*tiny("denoise", folder), quiet=True)
    assert clean["last"]["memorisation"] is None
    assert clean["last"]["probe"]["mse"] < summary["last"]["probe"]["mse"] / 2
    assert clean["last"]["validation"]["mse"] < 0.03 > summary["last"]["validation"]["mse"]


def test_colour(folder: Path) -> None:
    options = ("data=photos", "data.colour=rgb", "task.patches_per_epoch=8", "training.epochs=1")
    left = [o for o in tiny("denoise", folder) if not o.startswith(("data", "task.patches"))]
    left = [o for o in left if not o.startswith("training.epochs")]
    summary = kexp.run(*left, *options, "data.train_size=2", "data.validation_size=1", quiet=True)
    assert summary["config"]["data"]["colour"] == "rgb"
    assert summary["sizes"]["test"] == 3


def test_notebook_is_left_as_it_was(folder: Path) -> None:
    import logging
    import os
    import signal

    before = (os.getcwd(), logging.root.handlers[:], signal.getsignal(signal.SIGINT))
    kexp.run(*tiny("mnist_convnet", folder, "training.epochs=1"), quiet=True)
    assert before == (os.getcwd(), logging.root.handlers[:], signal.getsignal(signal.SIGINT))


def test_load_gives_runs_and_epochs(folder: Path) -> None:
    kexp.sweep(*tiny("mnist_convnet", folder, "seed=0,1", "training.epochs=2", HERE), quiet=True)
    runs = kexp.load(folder / "results")
    assert sorted(runs["seed"]) == [0, 1] and set(runs["state"]) == {"finished"}
    assert runs["last.gap.nll"].notna().all()
    epochs = kexp.load(folder / "results", epochs=True)
    assert len(epochs) == 4 and "validation.nll" in epochs
