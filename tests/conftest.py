"""Shared by all tests: no network, no writing outside a test's folder, tiny runs."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as kexp does where it imports TensorFlow

HERE = "hydra/launcher=basic"
"""Has a sweep train in the process of the test."""

TINY_CLASSIFIER = (
    "task=mnist_convnet",
    "data=digits",
    "data.side=12",
    "data.train_size=64",
    "data.validation_size=40",
    "data.test_size=40",
    "model.filters=[8,8]",
    "training.batch_size=16",
    "training.epochs=2",
)
TINY_DENOISER = (
    "task=denoise",
    "data=archive",
    "data.train=tiny.npz",
    "data.validation_size=2",
    "data.test_size=2",
    "task.patch=16",
    "task.patches_per_epoch=32",
    "model.depth=3",
    "model.width=8",
    "training.batch_size=8",
    "training.epochs=2",
)
TINY_DEBLURRER = (
    *("task=deblur_sr" if o == "task=denoise" else o for o in TINY_DENOISER),
    "task.patch=12",
    "task.scale=2",
    "task.blur=0.5",
)
TINY_COLOURISER = (
    "task=colorize",
    "data.train_size=4",
    "data.validation_size=2",
    "data.test_size=2",
    "task.patch=16",
    "task.patches_per_epoch=32",
    "model.levels=1",
    "model.width=4",
    "training.batch_size=8",
    "training.epochs=2",
)
TINY_DEPTH = (
    "task=depth",
    "data.examples=20",
    "data.side=16",
    "model.levels=1",
    "model.width=8",
    "training.batch_size=4",
    "training.epochs=2",
)
TINY = {
    "depth": TINY_DEPTH,
    "mnist_convnet": TINY_CLASSIFIER,
    "denoise": TINY_DENOISER,
    "deblur_sr": TINY_DEBLURRER,
    "colorize": TINY_COLOURISER,
    "binary": ("task=binary", "training.epochs=2"),
    "ridge": ("task=ridge", "training.epochs=2"),
    "eigenspace": (
        "task=eigenspace",
        "data.side=12",
        "data.train_size=64",
        "data.validation_size=40",
        "data.test_size=40",
        "task.recognised=20",
        "model.components=8",
        "training.epochs=2",
    ),
}


@pytest.fixture(autouse=True)
def no_programs_kept() -> None:
    """What is compiled for one test is not used by another, which may have changed the code."""
    if "kexp.training.programs" in sys.modules:
        sys.modules["kexp.training.programs"].forget()


ROWS = re.compile(r"test((?:_f\d\d)+)_")
"""A test that holds a row of docs/faults.md, or several, says so in its name."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test by the rows in its name, and have its report carry them."""
    for item in items:
        found = ROWS.match(item.name)
        for row in map(int, re.findall(r"\d\d", found[1]) if found else ()):
            item.add_marker(pytest.mark.fault(row=row))
            item.user_properties.append(("fault", row))


def tiny(task: str, folder: Path, *overrides: str) -> list[str]:
    """Overrides of a run of a second or two; later ones take the place of earlier ones."""
    base = TINY[task]
    places = [f"paths.results={folder / 'results'}", f"paths.data={folder / 'data'}"]
    chosen = {text.partition("=")[0]: text for text in (*base, *places, *overrides)}
    return list(chosen.values())


def the_run(folder: Path) -> Path:
    """The only run below `folder`."""
    (status,) = folder.rglob("status.json")
    return status.parent


def read(run: Path, name: str) -> dict[str, Any]:
    """A JSON file of a run; strict, so that NaN would be an error."""
    return json.loads((run / name).read_text(), parse_constant=_no_constant)


def history(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run."""
    lines = (run / "history.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=_no_constant) for line in lines]


def _no_constant(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


@pytest.fixture
def no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """statsmodels collects garbage at every correction, which takes long beside TensorFlow."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with `tiny.npz`: eight 32×32 cuts of a real photograph."""
    import numpy as np
    from skimage import data

    folder = tmp_path_factory.mktemp("images")
    camera = data.camera()
    cuts = [camera[i : i + 32, 2 * i : 2 * i + 32] for i in range(60, 220, 20)]
    np.savez(folder / "tiny.npz", x=np.stack(cuts))
    return folder


@pytest.fixture
def folder(tmp_path: Path, tiny_images: Path) -> Path:
    """A test's folder, with `data/tiny.npz` in it."""
    (tmp_path / "data").symlink_to(tiny_images)
    return tmp_path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `LONG`, never interrupted."""
    import kexp
    from tests.runs import LONG

    folder = tmp_path_factory.mktemp("undisturbed")
    kexp.run(*tiny("mnist_convnet", folder, *LONG), quiet=True)
    return the_run(folder)
