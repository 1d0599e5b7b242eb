"""Which promises of docs/faults.md hold on this machine, as found by their tests.

    python scripts/faults.py [--slow] [--row N …] [-n PROCESSES]

Every test named after a row (`test_f38_…`) is run, long ones with `--slow` only. The table says of
each row whether it holds, and what could not be tried here and why. Exit code 1 if a row fails or
has no test.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from kexp.analysis.output import render

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "faults.md"
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \|$", re.MULTILINE)


def main() -> None:
    """Run the tests, print the table, and exit with 1 where a promise is not held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--slow", action="store_true", help="run the long tests too")
    parser.add_argument("--row", type=int, action="append", help="only this row; may be repeated")
    parser.add_argument("-n", default="auto", help="processes, 0 for none (default: auto)")
    options = parser.parse_args()
    promises = {row: text for row, text in promised().items() if row in (options.row or [row])}
    found = Outcomes()
    marked = " or ".join(f"fault(row={row})" for row in promises)
    chosen = f"({marked})" if options.slow else f"({marked}) and not slow"
    words = ["-q", "-m", chosen, "-n", options.n, "--rootdir", str(ROOT), str(ROOT / "tests")]
    pytest.main(words, plugins=[found])
    verdicts = {row: found.verdict(row) for row in promises}
    rows = [
        {"row": row, "what goes wrong": text[0], "what happens": text[1], "holds": verdicts[row]}
        for row, text in promises.items()
    ]
    print(render(list(rows[0]), rows, "table"))
    held = sum(verdict.startswith("yes") for verdict in verdicts.values())
    print(f"{held} of {len(rows)} rows hold, by {found.count()} tests")
    sys.exit(any(verdict.startswith("NO") for verdict in verdicts.values()))


def promised() -> dict[int, tuple[str, str]]:
    """What goes wrong and what happens then, by row."""
    text = PAGE.read_text(encoding="utf-8")
    return {int(row): (fault, then) for row, fault, then in ROW.findall(text)}


class Outcomes:
    """A plugin of pytest that keeps how the tests of each row ended."""

    def __init__(self) -> None:
        self.rows: dict[str, set[int]] = {}
        self.ended: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst outcome of a test's phases, its rows, and why it was skipped."""
        self.rows[report.nodeid] = {n for name, n in report.user_properties if name == "fault"}
        if report.when == "call" or report.outcome != "passed":
            self.ended[report.nodeid] = report.outcome
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")

    def verdict(self, row: int) -> str:
        """`yes`, `NO` with the tests that failed, or why it could not be tried."""
        by_outcome = self._by_outcome(row)
        if failed := by_outcome["failed"]:
            return f"NO: {', '.join(failed)}"
        why = "; ".join(dict.fromkeys(self.reasons[test] for test in by_outcome["skipped"]))
        if passed := by_outcome["passed"]:
            return f"yes ({_tests(len(passed))}{', skipped: ' + why if why else ''})"
        return f"skipped: {why}" if why else "NO: there is no test, or only long ones (--slow)"

    def count(self) -> int:
        """How many tests were run and not skipped."""
        return sum(outcome != "skipped" for outcome in self.ended.values())

    def _by_outcome(self, row: int) -> dict[str, list[str]]:
        tests = defaultdict(list)
        for test, outcome in self.ended.items():
            if row in self.rows[test]:
                tests[outcome].append(test)
        return tests


def _tests(count: int) -> str:
    return f"{count} test{'s' if count > 1 else ''}"


if __name__ == "__main__":
    main()
