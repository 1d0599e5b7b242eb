"""The README is true: its commands are accepted, and its example of an own loss works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kexp.cli import commands
from kexp.config.build import build
from kexp.config.compose import Composer
from kexp.sweeps import expand
from tests.conftest import TINY_DENOISER

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
LINES = [
    shlex.split(line, comments=True)
    for language, block in BLOCKS
    if language in ("sh", "console")
    for line in block.splitlines()
    if line.removeprefix("$ ").startswith("kexp ")
]
COMMANDS = [line[2:] if line[0] == "$" else line[1:] for line in LINES]
COMPOSED = [words for words in COMMANDS if words[0] in ("run", "sweep")]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 8 and len(COMPOSED) >= 4


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_exists(words: list[str]) -> None:
    assert words[0] in commands.commands
    context = commands.commands[words[0]].make_context(words[0], list(words[1:]))
    context.close()


@pytest.mark.parametrize("words", COMPOSED, ids=" ".join)
def test_overrides_build(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composer, overrides = own(words, tmp_path, monkeypatch)
    for job in expand(composer, overrides, None):
        build(composer.config(job), composer.label(job), ("wing",), composer.config_dir)


def own(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Composer, list[str]]:
    """A composer and overrides; the user's own directory is made of the README's blocks."""
    overrides = [word for word in words[1:] if "=" in word]
    if "--config-dir" not in words:
        return Composer(), overrides
    monkeypatch.syspath_prepend(str(write_own_loss(tmp_path)))
    return Composer(tmp_path / "mine"), overrides


def write_own_loss(folder: Path) -> Path:
    """The README's own loss, as files in `folder`/mine."""
    (folder / "mine" / "loss").mkdir(parents=True)
    (yaml,) = (block for language, block in BLOCKS if language == "yaml")
    (python,) = (block for _, block in BLOCKS if "class Wing" in block)
    (folder / "mine" / "loss" / "wing.yaml").write_text(yaml)
    (folder / "mine" / "wing.py").write_text(python)
    return folder / "mine"


def test_own_loss_trains(folder: Path) -> None:
    (words,) = (words for words in COMPOSED if "--config-dir" in words)
    write_own_loss(folder)
    overrides = [o for o in TINY_DENOISER if not o.startswith("task=")]
    places = [f"paths.results={folder / 'results'}", f"paths.data={folder / 'data'}"]
    command = [sys.executable, "-m", "kexp", *words, *overrides, *places]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout


def test_python_example_is_valid() -> None:
    for language, block in BLOCKS:
        if language == "python":
            compile(block, "README.md", "exec")
