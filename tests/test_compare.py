"""kexp compare: groups, columns and numbers against a computation by hand, and its options."""

from __future__ import annotations

import csv
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from kexp.analysis.comparable import comparable
from kexp.analysis.compare import Comparison, comparison
from kexp.analysis.load import read_records
from kexp.analysis.quantities import Quantity
from kexp.analysis.spread import Spread, interval, shown, student
from kexp.cli import main
from kexp.measures import YARDSTICKS
from tests.records import change, write_run, write_study

NLL = YARDSTICKS["nll"]
GAP = Quantity("gap", NLL)


def compared(results: Path, **options: Any) -> Comparison:
    """The only table of some results."""
    (runs,) = comparable(read_records([results]))
    return comparison(runs, **options)


def told(capsys: pytest.CaptureFixture, *arguments: str | Path) -> str:
    """What the command prints."""
    assert main(["compare", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def rows(capsys: pytest.CaptureFixture, *arguments: str | Path) -> list[dict[str, Any]]:
    """What the command prints as JSON."""
    return json.loads(told(capsys, *arguments, "--format", "json"))


def refused(capsys: pytest.CaptureFixture, *arguments: str | Path) -> str:
    """The message of a command that is refused as wrongly used."""
    assert main(["compare", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_numbers_are_those_of_a_computation_by_hand(tmp_path: Path) -> None:
    values = (0.30, 0.34, 0.41)
    write_study(tmp_path, value=lambda option, seed: values[seed] + (option == "none"))
    table = compared(tmp_path)
    assert table.columns == ("dropout",)
    assert [line.common["dropout"] for line in table.lines] == ["standard", "none"]
    of = table.lines[0].values[GAP]
    low, high = stats.t.interval(0.95, 2, statistics.mean(values), stats.sem(values))
    assert of.n == 3 and of.mean == pytest.approx(statistics.mean(values))
    assert of.sd == pytest.approx(statistics.stdev(values))
    assert (of.low, of.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30, 101, 1000, 9999])
def test_quantile_is_that_of_student(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-10)


def test_deviations_have_two_digits() -> None:
    assert shown(GAP, Spread(3, 0.26618, 0.01314, 0.2, 0.3)) == "0.266 ± 0.013"
    error = Quantity("test", YARDSTICKS["error"])
    assert shown(error, Spread(3, 0.03712, 0.00312, 0.02, 0.05)) == "3.71 ± 0.31 %"
    assert interval(error, Spread(3, 0.03, 0.003, 0.0212, 0.0498)) == "[2.1, 5.0]"
    assert shown(GAP, Spread(1, 0.5)) == "0.5" and interval(GAP, Spread(1, 0.5)) == "–"
    assert shown(GAP, Spread(0)) == "–" and shown(GAP, Spread(2, 0.5, 0.0, 0.5, 0.5)).count("0.5")


def test_each_run_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = rows(capsys, write_study(tmp_path), "--each")
    assert len(found) == 6 and {row["n"] for row in found} == {1}
    assert [row["seed"] for row in found] == [0, 1, 2, 0, 1, 2]
    assert found[0]["run"] == "none,seed=0" and found[0]["gap"] == 4.0
    assert "gap_sd" not in found[0]


def test_error_is_told_beside_another_yardstick(tmp_path: Path) -> None:
    write_study(tmp_path)
    titles = [quantity.title for quantity in compared(tmp_path).quantities]
    assert titles[-2:] == ["test NLL", "test error"]
    titles = [quantity.title for quantity in compared(tmp_path, metric="error").quantities]
    assert titles.count("test error") == 1


def test_by_averages_over_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for number, (dropout, loss) in enumerate([("none", "a"), ("none", "b"), ("standard", "a")]):
        write_run(tmp_path, {"dropout": dropout, "loss": loss}, 0, {"gap": float(number)})
    found = {row["dropout"]: row for row in rows(capsys, tmp_path, "--by", "dropout")}
    assert found["none"]["n"] == 2 and found["none"]["gap_mean"] == 0.5
    assert found["standard"]["n"] == 1 and "loss" not in found["standard"]
    text = told(capsys, tmp_path, "--by", "dropout")
    assert "over seeds, of means over loss; N counts runs" in text
    assert len(rows(capsys, tmp_path, "--by", "dropout,loss")) == 3
    assert len(rows(capsys, tmp_path, "--by", "dropout", "--by", "loss")) == 3
    assert [row["study"] for row in rows(capsys, tmp_path, "--by", "study")] == ["study"]
    assert "no run has droput; nearest are dropout, " in refused(capsys, tmp_path, "--by", "droput")


def test_by_state_counts_unfinished_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_study(tmp_path)
    write_run(tmp_path, {"dropout": "spatial"}, 0, state="diverged")
    found = {row["state"]: row["n"] for row in rows(capsys, tmp_path, "--by", "state")}
    assert found == {"finished": 6, "diverged": 1}


def test_default_order_is_best_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_study(tmp_path)
    write_run(tmp_path, {"dropout": "spatial"}, 0, {"validation": None})
    found = rows(capsys, tmp_path)
    assert [row["dropout"] for row in found] == ["none", "standard", "spatial"]
    assert found[-1]["validation_mean"] is None and found[-1]["n"] == 1


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("dropout.rate", [0.5, 2, 10, None]),
        ("-dropout.rate", [10, 2, 0.5, None]),
        ("gap", [10, 2, 0.5, None]),
        ("-gap_mean", [None, 0.5, 2, 10]),
        ("nll gap", [10, 2, 0.5, None]),
        ("gap.nll", [10, 2, 0.5, None]),
    ],
)
def test_sorting(
    column: str, order: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for gap, rate in enumerate([10, 2, 0.5]):
        write_run(tmp_path, {"dropout": "standard", "dropout.rate": rate}, 0, {"gap": gap})
    write_run(tmp_path, {"dropout": "none"}, 0, {"gap": 7.0})
    found = rows(capsys, tmp_path, "--sort", column)
    assert [row["dropout.rate"] for row in found] == order
    assert rows(capsys, tmp_path, "--sort", column, "--top", "2") == found[:2]


def test_unknown_columns_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_study(tmp_path)
    err = refused(capsys, tmp_path, "--sort", "gpa")
    assert "--sort gpa: there is no such column; nearest is gap" in err
    assert "--metric psnr: these runs have nll, error" in refused(
        capsys, tmp_path, "--metric", "psnr"
    )


def test_data_of_one_name_and_other_content_are_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for number in range(4):
        data = {"name": "folder", "sha256": f"{number % 2}" * 64}
        write_run(tmp_path, {"dropout": "none"}, number, data=data, identity=str(number))
    tables = {row["table"]: row["n"] for row in rows(capsys, tmp_path)}
    assert tables == {
        "mnist_convnet on digits (data 1 of 2)": 2,
        "mnist_convnet on digits (data 2 of 2)": 2,
    }
    out = told(capsys, tmp_path)
    assert "(data 1 of 2)" in out and "(data 2 of 2)" in out


def test_formats_tell_the_same(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_study(tmp_path)
    write_run(tmp_path, {"dropout": "spatial"}, 0, state="failed")
    assert main(["compare", str(tmp_path), "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert "left out" in err and "failed" in err
    read = list(csv.DictReader(out.splitlines()))
    for exact, row in zip(rows(capsys, tmp_path), read, strict=True):
        assert float(row["gap_mean"]) == exact["gap_mean"] and float(row["gap_low"]) < 5.0 * 2
        assert int(row["n"]) == exact["n"] == 3 and row["dropout"] == exact["dropout"]
    assert "left out" in told(capsys, tmp_path)
    for form in ("md", "latex"):
        assert "4.10" in told(capsys, tmp_path, "--format", form)


def test_by_takes_seeds_for_its_sample(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Two losses and three seeds are three independent means, not six runs."""
    for seed, value in enumerate((1.0, 2.0, 6.0)):
        for loss, shift in (("a", 0.0), ("b", 1.0)):
            write_run(tmp_path, {"dropout": "none", "loss": loss}, seed, {"gap": value + shift})
    (row,) = rows(capsys, tmp_path, "--by", "dropout")
    assert (row["n"], row["gap_n"], row["gap_mean"]) == (6, 3, 3.5)
    assert row["gap_sd"] == pytest.approx(statistics.stdev([1.5, 2.5, 6.5]))


def test_nothing_finished(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_run(tmp_path, {"dropout": "none"}, 0, state="running")
    assert "no finished runs" in told(capsys, tmp_path)
    assert rows(capsys, tmp_path) == []
    assert main(["compare", str(tmp_path), "--where", "seed=7"]) == 2


def test_where_comes_before_columns(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_study(tmp_path)
    (row,) = rows(capsys, tmp_path, "--where", "dropout=none", "--where", "seed<2")
    assert row["n"] == 2 and "dropout" not in row


def test_diff_of_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = write_run(tmp_path, {"dropout": "standard"}, 0, {"gap": 0.25})
    other = write_run(tmp_path, {"dropout": "spatial"}, 1, {"gap": 0.125})
    found = {row["key"]: row for row in rows(capsys, other, one, "--diff")}
    assert (found["seed"]["first"], found["seed"]["second"]) == (1, 0)
    assert (found["dropout.rate"]["first"], found["dropout.rate"]["second"]) == (0.2, 0.5)
    assert (found["gap.nll"]["first"], found["gap.nll"]["second"]) == (0.125, 0.25)
    assert "optimizer.learning_rate" not in found
    assert f"first: {one}" in told(capsys, one, other, "--diff").replace("\n", " ")
    found = {row["key"] for row in rows(capsys, one, other, "--diff", "--metric", "error")}
    assert "gap.error" in found and "gap.nll" not in found
    assert "same data" not in told(capsys, one, other, "--diff")
    change(one / "summary.json", data={"name": "digits", "sha256": "1"})
    out = " ".join(told(capsys, one, other, "--diff").split())
    assert "they were not measured on the same data" in out


def test_diff_wants_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_study(tmp_path)
    assert "has 6: name two run folders" in refused(capsys, tmp_path, "--diff")
    assert "--diff goes with" in refused(capsys, tmp_path, "--diff", "--each")
    assert "--each goes with" in refused(capsys, tmp_path, "--each", "--by", "seed")


def test_run_without_a_yardstick_costs_the_others_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = write_study(tmp_path) / "study" / "none,seed=0"
    odd = {part: {"nll": 1.0} for part in ("probe", "validation", "gap")}
    change(run / "summary.json", last=odd)
    found = rows(capsys, tmp_path)
    assert {row["n"] for row in found} == {3} and found[0]["test_error_n"] == 3
    assert all(math.isfinite(row["test_error_mean"]) for row in found)


def test_f75_compare_imports_nothing_heavy(tmp_path: Path) -> None:
    """A thousand runs in a second leave no time for pandas; see scripts/bench_analysis.py."""
    write_study(tmp_path)
    code = (
        "import sys\nfrom kexp.cli import main\n"
        "for form in ('table', 'csv', 'json', 'md', 'latex'):\n"
        f"    assert main(['compare', {str(tmp_path)!r}, '--format', form]) == 0\n"
        "heavy = ('pandas', 'scipy.stats', 'statsmodels', 'matplotlib', 'keras', 'rich')\n"
        "assert not [name for name in heavy if name in sys.modules], heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
