"""A few cases of every property; `scripts/fuzz.py` tries many."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("bounds time and memory by what Linux has", allow_module_level=True)

from tests.fuzz.properties import PROPERTIES  # noqa: E402

SLOW = ("a_report_is_written", "storages_of_a_search")
CASES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in PROPERTIES
]


@pytest.mark.parametrize("name", CASES)
def test_whatever_comes_in(name: str, tmp_path: Path) -> None:
    PROPERTIES[name].test(tmp_path)
