"""The benchmarks: what they compute from what they measure; and that each runs, on tiny sizes."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script by its name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def ran(name: str, *words: str, folder: Path) -> dict[str, Any]:
    """A benchmark in a process of its own, on embedded data; its figures."""
    output = folder / "figures.json"
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *words, "-o", str(output)]
    environment = {**os.environ, "KEXP_DATA_DIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


@pytest.mark.parametrize(
    ("model", "parameters", "operations"),
    [
        ("convnet", 34_826, 6 * (194_688 + 2_230_272 + 16_000) - 2 * 194_688),
        ("mlp", 101_770, 6 * (100_352 + 1_280) - 2 * 100_352),
        ("denoise", 37_601, 6 * (460_800 + 58_982_400 + 460_800) - 2 * 460_800),
    ],
)
def test_operations_are_those_of_the_layers(
    model: str, parameters: int, operations: int, script: Any
) -> None:
    gpu = script("bench_gpu")
    layers = gpu.PRODUCTS[model]
    assert sum(inner * columns + columns for _, inner, columns in layers) == parameters
    assert gpu.flops(model) == operations


@pytest.mark.parametrize(
    ("device", "arithmetic", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "tf32", 494),
        ("NVIDIA H100 PCIe", "tf32", 378),
        ("NVIDIA H200", "bfloat16", 989),
        ("NVIDIA A100-SXM4-80GB", "float32", 19.5),
        ("NVIDIA A10G", "float32", 31.5),
        ("NVIDIA L40S", "bfloat16", 362),
        ("Tesla V100-SXM2-16GB", "tf32", None),
        ("AMD EPYC", "float32", None),
    ],
)
def test_peak_is_that_of_the_device(
    device: str, arithmetic: str, tflops: float | None, script: Any
) -> None:
    assert script("bench_gpu").peak_tflops(device, arithmetic) == tflops


def test_rows_hold_ratios_within_a_round_and_failures(script: Any) -> None:
    gpu = script("bench_gpu")
    fit, torch, kexp, large = (
        gpu.Part("mlp", way, count)
        for way, count in (("fit jax", 1), ("torch", 1), ("kexp", 64), ("kexp", 256))
    )
    told = {"device": "NVIDIA H200", "platform": "gpu", "memory_mib": 100.0}

    def at(speed: float) -> dict[str, Any]:
        return {"images_per_second": speed, "microseconds_per_step": 1e6 / speed, **told}

    failed = {"failed": "out of memory"}
    rounds = [
        {fit: at(100.0), torch: failed, kexp: at(1000.0), large: failed},
        {fit: at(50.0), torch: failed, kexp: at(1000.0), large: failed},
        {fit: at(10.0), torch: failed, kexp: at(1000.0), large: failed},
    ]
    options = argparse.Namespace(peak_tflops=1e-3, arithmetic="tf32", fit=["jax"])
    row = gpu.summed_up(kexp, rounds, options)
    assert row["times_fit"] == 20  # of 10, 20 and 100
    assert row["times_torch"] is None
    assert row["share_of_peak"] == pytest.approx(1000 * gpu.flops("mlp") / 1e9)
    table = gpu.table([row, gpu.summed_up(large, rounds, options)])
    assert "| mlp | kexp | 64 | 1,000 | 1,000 | 20.00 | – |" in table
    assert "| mlp | kexp | 256 | out of memory |" in table


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ("jaxlib.XlaRuntimeError: RESOURCE_EXHAUSTED: 3 GiB", 1, "out of memory"),
        ("Traceback\n  File\nImportError: no torch\n", 1, "ImportError: no torch"),
        ("", -9, "ended with -9"),
    ],
)
def test_a_failure_is_told_in_a_line(said: str, code: int, told: str, script: Any) -> None:
    assert script("bench_gpu").reason(said, code) == told


def test_exponent_is_that_of_a_power_law(script: Any) -> None:
    scaling = script("bench_scaling")
    assert scaling.exponent({n: 3 * n**1.5 for n in (1, 2, 4, 8)}) == pytest.approx(1.5)
    assert scaling.table(scaling.AXES["runs"], {1: 2.0, 2: 4.0}).endswith("| 2 | 4 | 1.00 |")


def test_scaling_is_measured_told_and_drawn(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    scaling = script("bench_scaling")
    taken = iter([1.0, 8.0, 3.0, 16.0, 2.0, 4.0])  # every size before any again
    axis = scaling.Axis("images", (100, 400), lambda size: next(taken))
    monkeypatch.setitem(scaling.AXES, "images", axis)
    picture, figures = tmp_path / "scaling.svg", tmp_path / "scaling.json"
    words = ["--axes", "images", "--plot", str(picture), "-o", str(figures)]
    monkeypatch.setattr(sys, "argv", ["bench_scaling.py", *words])
    scaling.main()
    assert "| s per epoch | 2 | 8 | 1.00 |" in capsys.readouterr().out
    assert json.loads(figures.read_text())["exponents"] == {"images": pytest.approx(1.0)}
    assert picture.read_text().rstrip().endswith("</svg>")


def test_speed_leaves_the_first_epoch_out(script: Any) -> None:
    run = script("bench_run")
    assert run.speed(100, [50.0, 1.0, 2.0, 4.0]) == 50
    assert run.speed(100, [5.0]) == 20
    assert all(int(run.with_validation(n) * 0.9) == n for n in range(1, 60_000))


def test_sweeps_are_compared_within_a_repeat(script: Any) -> None:
    options = argparse.Namespace(runs=2, epochs=3, train_size=100)
    walls = {"fit": [10.0, 20.0, 30.0], "local": [5.0, 20.0, 6.0]}
    told = script("bench_sweep").summed_up("local", walls, options)
    assert told == {"s": 6.0, "images/s": 100.0, "x fit": 2.0, "x local": 1.0}


@pytest.mark.slow
def test_single_run(tmp_path: Path) -> None:
    found = ran("bench_run", "--task", "mlp", "--epochs", "2", "--repeats", "1", folder=tmp_path)
    sides = found["mlp"]["sides"]
    assert sides["bare Keras"]["wall_ratio"] == 1
    assert sides["kexp float32"]["images_per_second"] > 0


@pytest.mark.slow
def test_sweep(tmp_path: Path) -> None:
    words = ("--model", "mlp", "--runs", "2", "--train-size", "200", "--epochs", "1")
    found = ran("bench_sweep", *words, "--ways", "local", "--warm", "2", folder=tmp_path)
    assert found["ways"]["local"]["images/s"] > 0
    assert len(found["warm_seconds"]) == 1 and found["warm_seconds"][0] > 0


@pytest.mark.slow
def test_many_replicas(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    words = ("--models", "mlp", "--replicas", "2", "--fit", "--steps", "2", "--batch", "8")
    rows = ran("bench_gpu", *words, folder=tmp_path)["rows"]
    kexp = next(row for row in rows if row["way"] == "kexp")
    assert kexp["replicas"] == 2 and kexp["images_per_second"] > 0


@pytest.mark.slow
def test_an_epoch_is_timed(tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script("bench_scaling"), "data_option", lambda task: "data=digits")
    assert 0 < script("bench_scaling").of_images(128) < 60
