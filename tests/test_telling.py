"""`kexp effects` as a person and as a program reads it, on the committed example study."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kexp
from kexp.cli import main

pytestmark = pytest.mark.usefixtures("no_collection")

EXAMPLE = Path(__file__).parents[1] / "results" / "example"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example study with two seeds more of one arm that diverged, beside it one with a cut."""
    place = tmp_path_factory.mktemp("results") / "example"
    shutil.copytree(EXAMPLE, place)
    run = next(place.glob("*seed=4*"))
    status = json.loads((run / "status.json").read_text())
    shutil.copytree(run, place / "lost")
    (place / "lost" / "summary.json").unlink()
    lost = {**status, "state": "diverged", "reason": "the objective became nan"}
    (place / "lost" / "status.json").write_text(json.dumps(lost))
    return place


def said(capsys: pytest.CaptureFixture, *arguments: str | Path) -> str:
    assert main(["effects", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_text_has_noise_before_effects_and_limits_at_the_end(
    example: Path, capsys: pytest.CaptureFixture
) -> None:
    out = said(capsys, example)
    order = ("4 configurations × 5 seeds, 20 runs", "Noise first", "\nEffects", "\nInteractions")
    places = [out.index(part) for part in (*order, "\nTrade-off", "\nWhat limits this")]
    assert places == sorted(places)
    assert "dropout=standard(0.5) against none: NLL gap −" in out and "narrower" in out
    assert "1 run diverged and is left out (lost)" in " ".join(out.split())
    assert f"left out: {example / 'lost'} (diverged: the objective became nan)" in out
    assert max(len(line) for line in out.splitlines() if line.startswith("  ")) <= 100


def test_formats_agree(example: Path, capsys: pytest.CaptureFixture) -> None:
    rows = list(csv.DictReader(io.StringIO(said(capsys, example, "--format", "csv"))))
    answer = json.loads(said(capsys, example, "--format", "json"))
    frame = kexp.effects(example)
    everything = answer[0]["effects"] + answer[0]["simple_effects"]
    assert len(rows) == len(everything) == len(frame) == 10
    for row, found, (_, line) in zip(rows, everything, frame.iterrows(), strict=True):
        assert row["quantity"] == found["quantity"] == line["quantity"]
        assert float(row["mean"]) == found["mean"] == line["mean"]
        assert len(found["differences"]) == int(row["seeds"]) == line["seeds"]
    assert answer[0]["noise"][0]["quantity"] == "gap.nll" and answer[0]["checks"]
    for form, mark in (("md", "|:---"), ("latex", r"\toprule")):
        assert mark in said(capsys, example, "--format", form)


def test_machine_formats_keep_standard_output_clean(
    example: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["effects", str(example), "--format", "json"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert "left out" in captured.err


def test_what_is_asked_is_what_is_told(example: Path, capsys: pytest.CaptureFixture) -> None:
    asked = kexp.effects(example, on=["gap", "test.error"], where=["regularizer=none"])
    assert list(asked["quantity"]) == ["gap.nll", "test.error"]
    assert set(asked["factor"]) == {"dropout"} and set(asked["pairs"]) == {5}
    turned = kexp.effects(example, on=["gap"], baseline=["dropout=standard"])
    found = turned[(turned["factor"] == "dropout") & (turned["within"] == "")].iloc[0]
    straight = kexp.effects(example, on=["gap"])
    other = straight[(straight["factor"] == "dropout") & (straight["within"] == "")].iloc[0]
    assert found["mean"] == pytest.approx(-other["mean"]) and found["level"] == "none"
    error = kexp.effects(example, metric="error")
    assert set(error["quantity"].str.partition(".")[2]) == {"error"}
    assert "Chosen on validation" in said(capsys, example, "--nuisance", "regularizer")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baseline", "dropout"], "--baseline dropout: write factor=level, as in dropout=none"),
        (["--baseline", "dropout=l2"], "there is no such level; dropout has none, standard(0.5)"),
        (["--nuisance", "norm"], "--nuisance norm: these runs do not differ in norm"),
        (["--on", "gab"], "--on gab: nothing that runs are compared on"),
        (["--metric", "psnr"], "--metric psnr: these runs have"),
        (["--where", "dropout"], "--where dropout: write key=value"),
        (["--where", "dropout=nnoe"], "no run meets it; dropout is none, standard"),
    ],
)
def test_faults_are_told(
    arguments: list[str], words: str, example: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["effects", str(example), *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and "Traceback" not in err


def test_one_run_has_no_effects(example: Path, capsys: pytest.CaptureFixture) -> None:
    out = said(capsys, next(example.glob("*seed=4*")))
    assert "1 configuration × 1 seed, 1 run\n" in out
    assert "nothing was varied" in out and "there is 1 seed: nothing is claimed" in out


def test_effects_load_no_framework(example: Path) -> None:
    code = (
        "import sys\nfrom kexp.cli import main\n"
        f"assert main(['effects', {str(example)!r}]) == 0\n"
        "assert not {'tensorflow', 'keras', 'jax', 'torch', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
