"""Reading takes time in proportion to what is read, however much that is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kexp.analysis.load import read_records
from kexp.api import Session
from kexp.cli import main
from kexp.errors import ConfigError
from kexp.store import find_runs, read_run
from kexp.store.reading import LARGEST, read_history
from kexp.sweeps.board import last_epoch
from tests.records import change, write_run, write_study


def seconds(do: Callable[[], Any]) -> float:
    """How much CPU it takes."""
    began = time.process_time()
    do()
    return time.process_time() - began


@pytest.mark.slow
def test_f63_a_history_of_a_million_lines(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_bytes(b"".join(b'{"epoch": %d}\n' % i for i in range(1, 1_000_001)))
    assert seconds(lambda: len(read_history(file)[0]) == 1_000_000) < 20
    assert seconds(lambda: last_epoch(file)) < 0.1


@pytest.mark.slow
def test_f63_a_log_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    results = write_study(tmp_path)
    for run in (results / "study").iterdir():
        with open(run / "log.txt", "wb") as log:
            os.truncate(log.fileno(), 2**30)
    for words in (["compare"], ["show"], ["effects"]):
        place = results / "study" / "none,seed=0" if words == ["show"] else results
        assert seconds(lambda w=words, p=place: main([*w, str(p)])) < 20


@pytest.mark.slow
def test_f63_files_as_large_as_are_read(tmp_path: Path) -> None:
    """Keys doubled a million times, and one text that fills the file; a byte more is refused."""
    run = write_run(tmp_path, {"dropout": "none"}, 0)
    entry = b'"key": [1, 2, 3], '
    doubled = b"{" + entry * (LARGEST // len(entry) - 1) + b'"last": {}}'
    for content in (doubled, b'{"label": "' + b"x" * (LARGEST - 20) + b'"}'):
        (run / "summary.json").write_bytes(content)
        assert seconds(lambda: read_run(run)) < 20
    (run / "summary.json").write_bytes(b" " * (LARGEST + 1))
    assert "not a JSON object" in " ".join(read_run(run).problems)


@pytest.mark.slow
def test_f75_ten_thousand_runs_are_found(tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / "study" / f"run-{number}").mkdir(parents=True)
        (tmp_path / "study" / f"run-{number}" / "status.json").touch()
    assert seconds(lambda: len(find_runs([tmp_path])) == 10_000) < 10
    assert seconds(lambda: read_records([tmp_path])) < 20


@pytest.mark.slow
def test_f01_the_nearest_of_many_names(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A key that no run has, where one run has ten thousand of 100 characters."""
    results = write_study(tmp_path)
    run = results / "study" / "none,seed=0"
    config = json.loads((run / "summary.json").read_text())["config"]
    config["data"] |= {f"{'side' * 24}{number}": number for number in range(10_000)}
    change(run / "summary.json", config=config)
    for words in (["--by", "sid" * 30], ["--where", f"{'sid' * 30}=1"], ["--sort", "sid" * 30]):
        assert seconds(lambda w=words: main(["compare", str(results), *w])) < 20
        assert "sid" in capsys.readouterr().err


@pytest.mark.parametrize("digits", [5_000, 9_000, 50_000])
def test_f03_a_number_of_thousands_of_digits(digits: int) -> None:
    """Which Python refuses to read."""
    for key in ("seed", "optimizer.learning_rate", "data.train_size"):
        with pytest.raises(ConfigError, match="must be|more than 10,000"):
            Session().experiment([f"{key}={'1' * digits}"])


@pytest.mark.parametrize("piece", ["a", "[", "'", "(", "${", "a,", "a.", "\\", "a/", "{a:", "é"])
def test_f73_long_overrides(piece: str) -> None:
    """The grammar takes seconds over more; and the answer stays readable."""
    for text in (f"data.path={piece * 20_000}", f"{piece * 20_000}=1"):
        with pytest.raises(ConfigError) as caught:
            Session().experiment([text])
        assert len(str(caught.value)) < 500
