"""The table of faults is complete, and the script that runs it says what is true."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import pytest_collection_modifyitems

ROOT = Path(__file__).parents[1]
NAMES = re.compile(r"^ *def test((?:_f\d\d)+)_\w+", re.MULTILINE)


def script() -> Any:
    """scripts/faults.py as a module."""
    spec = importlib.util.spec_from_file_location("faults", ROOT / "scripts" / "faults.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_row_is_promised_and_tested_and_no_other() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    carried = {
        int(row)
        for source in sources
        for found in NAMES.finditer(source)
        for row in re.findall(r"\d\d", found[1])
    }
    assert list(script().promised()) == list(range(1, 76))
    assert carried == set(range(1, 76))


def report(row: int, outcome: str, name: str = "test_it", why: str = "") -> Any:
    """What pytest says of a test."""
    return SimpleNamespace(
        nodeid=f"tests/test_x.py::{name}",
        when="setup" if outcome == "skipped" else "call",
        outcome=outcome,
        skipped=outcome == "skipped",
        longrepr=("tests/test_x.py", 1, f"Skipped: {why}") if why else None,
        user_properties=[("fault", row)],
    )


@pytest.mark.parametrize(
    ("reports", "verdict"),
    [
        ([report(38, "passed")], "yes (1 test)"),
        ([report(38, "passed", "a"), report(38, "passed", "b")], "yes (2 tests)"),
        ([report(38, "passed", "a"), report(38, "failed", "b")], "NO: tests/test_x.py::b"),
        ([report(38, "skipped", why="no GPU")], "skipped: no GPU"),
        (
            [report(38, "passed", "a"), report(38, "skipped", "b", "no GPU")],
            "yes (1 test, skipped: no GPU)",
        ),
        ([report(3, "passed")], "NO: there is no test, or only long ones (--slow)"),
        ([], "NO: there is no test, or only long ones (--slow)"),
    ],
)
def test_verdicts(reports: list[Any], verdict: str) -> None:
    found = script().Outcomes()
    for one in reports:
        found.pytest_runtest_logreport(one)
    assert found.verdict(38) == verdict


def test_an_error_after_the_test_is_a_failure() -> None:
    found = script().Outcomes()
    found.pytest_runtest_logreport(report(38, "passed"))
    after = report(38, "failed")
    after.when = "teardown"
    found.pytest_runtest_logreport(after)
    assert found.verdict(38).startswith("NO")


def test_names_become_marks() -> None:
    """The script finds tests by the marks and properties that conftest.py gives them."""
    names = ("test_f05_f14_x", "test_f38_x[f12]", "test_failures", "test_x_f12_")
    items = [Item(name) for name in names]
    pytest_collection_modifyitems(items)  # pyright: ignore[reportArgumentType]
    assert [item.rows for item in items] == [[5, 14], [38], [], []]
    assert items[0].user_properties == [("fault", 5), ("fault", 14)]


class Item:
    """A test, as far as it is marked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: list[int] = []
        self.user_properties: list[tuple[str, int]] = []

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        assert mark.name == "fault"
        self.rows.append(mark.kwargs["row"])
