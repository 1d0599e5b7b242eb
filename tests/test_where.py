"""--where: which runs meet which conditions, and what is said of conditions that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexp.analysis.where import filtered
from kexp.cli import main
from kexp.errors import ConfigError
from kexp.store import Record
from tests.records import write_study
from tests.studies import record

RECORDS = [
    record({"dropout": "none"}, 0, {"gap": 0.1, "error": 0.2}),
    record({"dropout": "standard", "dropout.rate": 0.5}, 1, {"gap": 0.2, "error": 0.1}),
    record({"dropout": "standard", "dropout.rate": 0.2}, 2, {"gap": 0.3}),
    record({"dropout": "spatial", "data.train_size": 500}, 3, {"gap": None}, state="failed"),
    Record(Path("results/other/broken")),
]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("dropout=none", [0]),
        ("dropout = none", [0]),
        ("dropout=none,spatial", [0, 3]),
        ("dropout!=none", [1, 2, 3, 4]),
        ("dropout!=none,standard", [3, 4]),
        ("dropout.rate=0.50", [1]),
        ("dropout.rate<0.5", [2, 3]),
        ("dropout.rate<=5e-1", [1, 2, 3]),
        ("dropout.rate!=0.5", [0, 2, 3, 4]),
        ("dropout=standard(0.5)", [1]),
        ("dropout=standard(0.5),none", [0, 1]),
        ("dropout!=standard(0.5)", [0, 2, 3, 4]),
        ("optimizer.learning_rate=1e-3", [0, 1, 2, 3]),
        ("data.train_size=null", [0, 1, 2]),
        ("data.train_size<=1000", [3]),
        ("task=mnist_convnet", [0, 1, 2, 3]),
        ("data=digits", [0, 1, 2, 3]),
        ("seed>=2", [2, 3]),
        ("seed==1", [1]),
        ("seed=1,3", [1, 3]),
        ("study=other", [4]),
        ("run=broken", [4]),
        ("state=failed", [3]),
        ("state!=failed", [0, 1, 2, 4]),
        ("label=dropout=none", [0]),
        ("gap>0.15", [1, 2]),
        ("gap.nll<0.15", [0]),
        ("test.error<0.15", [1]),
    ],
)
def test_conditions(condition: str, kept: list[int]) -> None:
    assert filtered(RECORDS, [condition]) == [RECORDS[i] for i in kept]


def test_all_conditions_hold() -> None:
    assert filtered(RECORDS, ["dropout=standard", "seed<2"]) == [RECORDS[1]]
    assert filtered(RECORDS, []) == RECORDS


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("dropout", "write key=value"),
        ("=none", "write key=value"),
        ("dropout=", "write key=value"),
        ("", "write key=value"),
        ("seed<two", "< wants one number, got two"),
        ("seed<1,2", "< wants one number, got 1,2"),
        ("seed<nan", "wants one number"),
        ("droput=none", "no run has droput; nearest are dropout"),
        ("gap.psnr<1", "no run has gap.psnr; nearest"),
        ("xyzzy=1", "no run has xyzzy; there are "),
    ],
)
def test_what_is_no_condition(condition: str, said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        filtered(RECORDS, [condition])
    assert said in str(refusal.value) and f"--where {condition}" in str(refusal.value)


def test_where_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_study(tmp_path)
    assert main(["effects", str(tmp_path), "--where", "droput=none"]) == 2
    assert "nearest are dropout" in capsys.readouterr().err
