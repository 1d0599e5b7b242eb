"""Computing in bfloat16 and float16: what stays in full precision, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kexp
from kexp import doctor, environment
from kexp.api import Session
from tests.conftest import read, the_run, tiny

LOW = ("mixed_bfloat16", "mixed_float16")
CHOICES = ("norm=batch", "dropout=standard", "regularizer=l2")
INTEL = "processor : 0\nflags\t\t: fpu avx512f avx512_bf16 amx_fp16\n"
ARM = "Features\t: fp asimd fphp bf16\n"


def state(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "checkpoint" / "state.npz", allow_pickle=False) as saved:
        return dict(saved)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("task", ["mnist_convnet", pytest.param("denoise", marks=pytest.mark.slow)])
def test_it_trains_with_weights_in_float32(task: str, precision: str, folder: Path) -> None:
    """Nearly to the same end as in float32, but not the same."""
    full = kexp.run(*tiny(task, folder, *CHOICES, "name=full"), quiet=True)
    chosen = (*CHOICES, f"training.precision={precision}", "name=low")
    low = kexp.run(*tiny(task, folder, *chosen), quiet=True)
    run = folder / "results" / task / "low"
    fits = [summary["last"]["validation"]["fit"] for summary in (low, full)]
    assert fits[0] == pytest.approx(fits[1], rel=0.05) and fits[0] != fits[1]
    saved = state(run)
    weights = [a for n, a in saved.items() if n.startswith("model") and a.dtype.kind == "f"]
    assert {a.dtype for a in weights} == {np.dtype(np.float32)}
    assert f"in {precision}" in (run / "log.txt").read_text()
    model = kexp.load_model(run)
    assert model.layers[-1].dtype_policy.name == "float32"
    assert precision in {layer.dtype_policy.name for layer in model.layers}


def test_float16_scales_the_objective_up(folder: Path) -> None:
    """Keras's scale of 2^15 and its counter are in the checkpoint, so that a resume has them."""
    kexp.run(*tiny("mnist_convnet", folder, "training.precision=mixed_float16"), quiet=True)
    kept = [a for n, a in state(the_run(folder)).items() if n.startswith("optimizer")]
    assert any(a.shape == () and a == 2.0**15 for a in kept)


def test_precision_is_part_of_a_run(folder: Path) -> None:
    for number, precision in enumerate(("float32", *LOW)):
        overrides = tiny(
            "mnist_convnet", folder, f"training.precision={precision}", "training.epochs=1"
        )
        assert kexp.run(*overrides, quiet=True)["epochs"] == 1
        assert len(list(folder.rglob("summary.json"))) == number + 1


@pytest.mark.parametrize(
    ("text", "slow"),
    [(INTEL, {"mixed_float16": False, "mixed_bfloat16": False}), (ARM, dict.fromkeys(LOW, False))],
)
def test_what_linux_says_of_a_cpu(text: str, slow: dict[str, bool], tmp_path: Path) -> None:
    described = tmp_path / "cpuinfo"
    described.write_text(text)
    features = environment.cpu_features(described)
    assert features is not None
    assert {p: not features & environment.FAST_ON[p] for p in LOW} == slow
    assert environment.cpu_features(tmp_path / "none") is None


@pytest.mark.parametrize("features", [{"avx2"}, {"avx2", "avx512_bf16", "avx512_fp16"}, None])
def test_a_cpu_without_instructions_for_it_is_told(
    features: set[str] | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "cpu_features", lambda: features)
    few = ("training.precision=mixed_bfloat16", "training.epochs=1")
    kexp.run(*tiny("mnist_convnet", folder, *few), quiet=True)
    told = "this CPU, which has no instructions for it" in (the_run(folder) / "log.txt").read_text()
    assert told == (features == {"avx2"})
    lines = list(doctor._precisions())
    words = {None: [], 1: ["slow on this CPU"] * 2, 3: ["has avx512_bf16", "has avx512_fp16"]}
    assert len(lines) == len(words[features and len(features)])
    for line, word in zip(lines, words[features and len(features)], strict=True):
        assert word in line


def test_another_precision_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from kexp.cli import main

    assert main(["run", "training.precision=float64"]) == 2
    assert "training.precision" in capsys.readouterr().err


def test_the_environment_of_a_run_is_where_it_was(folder: Path) -> None:
    """The policy of a run does not stay with the process."""
    import keras

    kexp.run(*tiny("mnist_convnet", folder, "training.precision=mixed_bfloat16"), quiet=True)
    assert keras.config.dtype_policy().name == "float32"
    assert read(the_run(folder), "status.json")["state"] == "finished"


@pytest.mark.parametrize(
    ("overrides", "identity"),
    [(["data=digits"], "9a29b9fdb8fee7c5"), (["task=ridge"], "950e42adbf97b73a")],
)
def test_runs_from_before_there_was_a_precision_are_still_found(
    overrides: list[str], identity: str
) -> None:
    assert Session().experiment(overrides).identity == identity
