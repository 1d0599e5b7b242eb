"""Load, compare and show: numbers against a computation by hand, and tables that people read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kexp.analysis.curves import draw_png, terminal_plot
from kexp.cli import main
from kexp.measures import YARDSTICKS


def make_run(folder: Path, name: str, seed: int, validation: float, **choices: Any) -> None:
    """A record as a run would leave it, of one epoch."""
    run = folder / "study" / name
    run.mkdir(parents=True)
    values = {"nll": validation, "fit": validation}
    epoch = {
        "epoch": 1,
        "probe": {"nll": 0.1, "fit": 0.1},
        "validation": values,
        "gap": {"nll": validation - 0.1, "fit": validation - 0.1},
    }
    config = {
        "seed": seed,
        "task": {"_target_": "kexp.tasks.MnistConvnet"},
        "data": {"_target_": choices.pop("data", "kexp.data.Digits")},
        "dropout": {"_target_": "kexp.dropouts.Standard", **choices},
        "paths": {"results": str(folder)},
    }
    summary = {
        "config": config,
        "seed": seed,
        "monitor": "nll",
        "last": epoch,
        "best": epoch,
        "test": {"last": values, "best": values},
        "verdict": "fine",
        "parameters": 10,
        "epochs": 1,
        "throughput": {
            "training_seconds": 1.0,
            "examples_per_second": 1.0,
            "measuring_seconds": 1.0,
        },
    }
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "status.json").write_text(json.dumps({"state": "finished"}))
    (run / "history.jsonl").write_text(json.dumps(epoch) + "\n")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two rates with three seeds each."""
    for rate, shift in ((0.2, 0.0), (0.5, 0.3)):
        for seed, value in enumerate((0.30, 0.34, 0.41)):
            make_run(tmp_path, f"rate={rate},seed={seed}", seed, value + shift, rate=rate)
    return tmp_path


def test_data_sets_are_never_mixed(study: Path, capsys: pytest.CaptureFixture) -> None:
    make_run(study, "mnist", 0, 0.01, data="kexp.data.Mnist")
    assert main(["compare", str(study)]) == 0
    out = capsys.readouterr().out
    assert "MnistConvnet on Digits" in out and "MnistConvnet on Mnist" in out


def test_copies_of_a_run_are_no_further_seeds(study: Path, capsys: pytest.CaptureFixture) -> None:
    for run in study.glob("study/*"):
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps({**summary, "identity": run.name}))
    shutil.copytree(study / "study", study / "copy")
    assert main(["compare", str(study)]) == 0
    out = capsys.readouterr().out
    assert "counted once" in out and " 3 " in out and " 6 " not in out


def test_what_is_not_a_number_does_not_stop_the_table(study: Path) -> None:
    run = study / "study" / "rate=0.2,seed=0"
    summary = json.loads((run / "summary.json").read_text())
    summary["last"]["validation"]["nll"] = None
    (run / "summary.json").write_text(json.dumps(summary))
    assert main(["compare", str(study), "--each"]) == 0
    assert main(["compare", str(study), "--metric", "objective"]) == 2


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_no_runs(place: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["compare", str(tmp_path / place)]) == 2
    assert str(tmp_path / place) in capsys.readouterr().err


def test_show_and_its_picture(study: Path, capsys: pytest.CaptureFixture) -> None:
    run, png = study / "study" / "rate=0.2,seed=0", study / "curves.png"
    assert main(["show", str(run), "--png", str(png)]) == 0
    out = capsys.readouterr().out
    assert "verdict: fine" in out and "NLL over epochs" in out and "dropout.rate" in out
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 5_000
    assert main(["show", str(study)]) == 2
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_curves_can_be_drawn(suffix: str, tmp_path: Path) -> None:
    values = [1.0, 0.5, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    epochs = [
        {"epoch": i, "probe": {"nll": v / 2}, "validation": {"nll": v}, "gap": {"nll": v / 2}}
        for i, v in enumerate(values, start=1)
    ]
    file = tmp_path / f"curves.{suffix}"
    draw_png(epochs, YARDSTICKS["nll"], "a title", file)
    assert file.stat().st_size > 5_000
    text = terminal_plot(epochs, YARDSTICKS["nll"], 60)
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 60
