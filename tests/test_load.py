"""kexp.load: one row per run or per epoch, with the same types whatever is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

import kexp
from kexp.errors import StoreError
from tests.records import change, write_run, write_study


def test_a_row_per_run(tmp_path: Path) -> None:
    runs = kexp.load(write_study(tmp_path))
    assert len(runs) == 6 and runs.attrs["problems"] == []
    assert list(runs.columns[:6]) == ["run", "study", "path", "state", "reason", "seed"]
    assert set(runs["dropout"]) == {"none", "standard"} and set(runs["task"]) == {"mnist_convnet"}
    assert set(runs["config.dropout.rate"].dropna()) == {0.5}
    assert runs["last.gap.nll"].tolist() == [4.0, 4.1, 4.2, 8.0, 8.1, 8.2]
    assert runs.groupby("dropout")["test.last.nll"].mean()["none"] == pytest.approx(4.1)


def test_a_row_per_epoch(tmp_path: Path) -> None:
    runs, epochs = kexp.load(write_study(tmp_path)), kexp.load([tmp_path], epochs=True)
    assert len(epochs) == 12 and epochs["epoch"].tolist() == [1, 2] * 6
    last = epochs[epochs["epoch"] == 2]
    assert last["validation.nll"].tolist() == runs["last.validation.nll"].tolist()
    assert set(epochs["dropout"]) == {"none", "standard"} and set(epochs["seed"]) == {0, 1, 2}


def test_types_do_not_depend_on_what_is_missing(tmp_path: Path) -> None:
    whole = kexp.load(write_study(tmp_path / "a"))
    write_run(tmp_path / "b", {"dropout": "none"}, 0, {"gap": None, "validation": 1})
    (run,) = (tmp_path / "b").glob("study/*")
    partial = tmp_path / "b" / "study" / "started"
    partial.mkdir()
    (partial / "status.json").write_text('{"state": "running"}')
    some = kexp.load(tmp_path / "b")
    same = whole.dtypes.index.intersection(some.dtypes.index)
    assert len(same) > 20
    numeric = [c for c in same if pd.api.types.is_numeric_dtype(whole[c])]
    assert all(pd.api.types.is_numeric_dtype(some[c]) for c in numeric)
    measured = [c for c in same if c.startswith(("last.", "best.", "test.", "onset.", "cost."))]
    assert measured and {str(some[c].dtype) for c in measured} == {"float64"}
    assert str(some["seed"].dtype) == str(whole["seed"].dtype) == "Int64"


def test_partial_runs_have_epochs_and_options(tmp_path: Path) -> None:
    write_study(tmp_path)
    run = tmp_path / "study" / "none,seed=0"
    config = json.loads((run / "summary.json").read_text())["config"]
    (run / "summary.json").unlink()
    (run / "config.yaml").write_text(json.dumps({"schema": 1, **config}))
    change(run / "status.json", state="interrupted")
    (run / "history.jsonl").write_text((run / "history.jsonl").read_text() + '{"epoch": 3, "pro')
    with pytest.warns(UserWarning, match="line 3 is torn"):
        epochs = kexp.load(tmp_path, epochs=True)
    of_run = epochs[epochs["run"] == run.name]
    assert len(of_run) == 2 and set(of_run["state"]) == {"interrupted"}
    assert set(of_run["dropout"]) == {"none"} and set(of_run["seed"]) == {0}
    assert len(epochs.attrs["problems"]) == 1
    runs = kexp.load(tmp_path)
    assert len(runs) == 6 and runs["last.gap.nll"].notna().sum() == 5


def test_columns_that_collide_are_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "none"}, 0, state="finished", run="mine", path=7)
    summary = json.loads((run / "summary.json").read_text())
    change(run / "summary.json", options={**summary["options"], "study": "quickstart"})
    (row,) = kexp.load(tmp_path).to_dict("records")
    assert row["study"] == "study" and row["options.study"] == "quickstart"
    assert row["run"] == run.name and row["summary.run"] == "mine" and row["summary.path"] == 7
    (run / "history.jsonl").write_text('{"epoch": 1, "run": "x", "seed": 5}\n')
    (row,) = kexp.load(tmp_path, epochs=True).to_dict("records")
    assert row["run"] == run.name and row["history.run"] == "x" and row["history.seed"] == 5


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no runs"):
        kexp.load(tmp_path)
    with pytest.raises(StoreError, match="does not exist"):
        kexp.load(tmp_path / "nowhere")


def test_runs_without_epochs(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "none"}, 0)
    (run / "history.jsonl").unlink()
    assert len(kexp.load(tmp_path, epochs=True)) == 0


def test_loading_needs_no_framework(tmp_path: Path) -> None:
    write_study(tmp_path)
    code = (
        f"import kexp, sys\nkexp.load({str(tmp_path)!r}, epochs=True)\n"
        "assert not {'tensorflow', 'keras', 'jax', 'torch', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_problems_are_warnings(tmp_path: Path) -> None:
    run = write_study(tmp_path) / "study" / "none,seed=0"
    (run / "summary.json").write_text("{\x1b[31m")
    with pytest.warns(UserWarning, match="not a JSON object"):
        runs = kexp.load(tmp_path)
    assert len(runs) == 6 and str(run) in runs.attrs["problems"][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert kexp.load(tmp_path)["last.gap.nll"].dtype == "float64"
