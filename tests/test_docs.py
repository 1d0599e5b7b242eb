"""The documentation is true: its commands do what they would, short of training."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from kexp.api import Session
from kexp.backends import Backend
from kexp.cli import main
from kexp.sweeps.launching import OWN

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_of(page: Path) -> list[list[str]]:
    """The kexp commands in the blocks of a page, lines joined at their backslashes."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [line[line.index("kexp") + 1 :] for line in words if "kexp" in line]


COMMANDS = [words for page in PAGES for words in commands_of(page)]
SWEEPS = [words for words in COMMANDS if words[0] == "sweep"]
RUNS = [words for words in COMMANDS if words[0] == "run" and "--config-dir" not in words]


EXTRAS = ("ray", "submitit", "optuna", "mlflow", "tensorboard")


def skip_without(*packages: str) -> None:
    """Skip where a package is missing. None is imported: submitit closes pytest's log."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.fixture
def nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Session, "_fetch", lambda *_: None)
    monkeypatch.setattr(Backend, "check", lambda _: None)  # other tests have started another
    monkeypatch.chdir(tmp_path)


def test_there_are_commands() -> None:
    assert len(SWEEPS) >= 12 and len(RUNS) >= 8


@pytest.mark.parametrize("words", SWEEPS, ids=" ".join)
def test_sweeps(words: list[str], nothing_is_fetched: None, capsys: pytest.CaptureFixture) -> None:
    """Launcher, sweeper and their settings are taken, and every run is composed."""
    needed = [name for name in EXTRAS if any(name in word for word in words)]
    skip_without(*needed)
    once = [word for word in words if word != "--dry-run"]
    assert main([*once, "--dry-run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_runs(words: list[str], nothing_is_fetched: None) -> None:
    if any("track=" in word for word in words):
        skip_without("tensorboard", "mlflow")
    Session().experiment([word for word in words[1:] if "=" in word])


@pytest.mark.parametrize("launcher", OWN)
def test_settings_in_tables_exist(
    launcher: str, nothing_is_fetched: None, capsys: pytest.CaptureFixture
) -> None:
    """What the tables of docs/sweeps.md name is known, and nothing is left out."""
    sections = (ROOT / "docs" / "sweeps.md").read_text().split("\n## ")
    (section,) = [s for s in sections if "| setting |" in s and f"hydra/launcher={launcher}`" in s]
    settings = {field.name: field.default for field in dataclasses.fields(OWN[launcher])}
    assert set(re.findall(r"`hydra\.launcher\.(\w+)`", section)) == settings.keys()
    for name, default in settings.items():
        setting = f"hydra.launcher.{name}={'null' if default is None else default}"
        words = ["sweep", "task=ridge", f"hydra/launcher={launcher}", setting, "--dry-run"]
        assert main(words) == 0, capsys.readouterr().err
