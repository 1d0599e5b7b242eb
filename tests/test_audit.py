"""The check for known vulnerabilities tells what it found, and when it found nothing out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SOUND = {"name": "numpy", "version": "2.4.0", "vulns": []}
FAULTY = {
    "name": "keras",
    "version": "3.8.0",
    "vulns": [{"id": "CVE-2025-1550", "fix_versions": ["3.9.0"]}],
}
UNKNOWN = {"name": "torch", "skip_reason": "not found"}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/audit.py as a module, called without options."""
    path = Path(__file__).parents[1] / "scripts" / "audit.py"
    spec = importlib.util.spec_from_file_location("audit", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["audit.py"])
    return module


def answering(monkeypatch: pytest.MonkeyPatch, *packages: dict[str, Any]) -> None:
    """Have pip-audit say this, or nothing at all."""
    said = json.dumps({"dependencies": packages}) if packages else "ConnectionError"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=said))


@pytest.mark.parametrize(
    ("packages", "code", "told"),
    [
        ([SOUND, UNKNOWN], 0, "1 packages checked with osv: 0 vulnerabilities"),
        ([SOUND, FAULTY], 1, "keras 3.8.0: CVE-2025-1550, mended in 3.9.0"),
        ([UNKNOWN], 0, "nothing was checked"),
        ([], 0, "nothing was checked"),
    ],
)
def test_what_is_known_is_told(
    packages: list[dict[str, Any]],
    code: int,
    told: str,
    audit: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    answering(monkeypatch, *packages)
    with pytest.raises(SystemExit) as exit:
        audit.main()
    assert int(exit.value.code or 0) == code and told in capsys.readouterr().out


def test_nothing_checked_may_be_a_failure(audit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["audit.py", "--must"])
    with pytest.raises(SystemExit) as exit:
        audit.main()
    assert exit.value.code
