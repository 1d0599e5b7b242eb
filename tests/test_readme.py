"""The README is true: its commands are accepted, and its example of an own loss works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kexp.cli import commands, main
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
COMPOSED = [
    words
    for words in COMMANDS
    if words[0] in ("run", "sweep") and not any(word.startswith("hydra") for word in words)
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 8 and len(COMPOSED) >= 4


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_exists(words: list[str]) -> None:
    assert words[0] in commands.commands
    parent = click.Context(commands, **commands.context_settings)
    context = commands.commands[words[0]].make_context(words[0], list(words[1:]), parent)
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


OF_RUNS = [words for words in COMMANDS if words[0] in ("compare", "effects", "report")]


@pytest.mark.parametrize("words", OF_RUNS, ids=" ".join)
def test_commands_about_runs_work_on_the_example(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Where the README has other results, the committed example stands in for them."""
    shutil.copytree(ROOT / "results" / "example", tmp_path / "results" / "quickstart")
    shutil.copytree(ROOT / "results" / "example", tmp_path / "results" / "example")
    monkeypatch.chdir(tmp_path)
    places = {"results": "results/example"}
    there = [places.get(w, w).replace("norm=none", "regularizer=none") for w in words]
    assert main(there) == 0
    said = capsys.readouterr()
    assert len(said.out) > 20 and "problem" not in said.out + said.err


def test_effects_shown_are_those_of_the_example(capsys: pytest.CaptureFixture) -> None:
    (block,) = (block for _, block in BLOCKS if "$ kexp effects" in block)
    (line,) = (line for line in block.splitlines() if line.startswith("$ kexp effects"))
    assert main(["effects", str(ROOT / "results" / "example"), *shlex.split(line)[4:]]) == 0
    shown = [li for li in block.splitlines() if li and not li.startswith("$") and li != "…"]
    said = capsys.readouterr().out.splitlines()
    assert len(shown) > 5 and all(line in said for line in shown)


def test_example_holds_no_weights_and_no_place() -> None:
    """Small, without weights, and nothing of the machine that made it."""
    files = [file for file in (ROOT / "results" / "example").rglob("*") if file.is_file()]
    names = {"config.yaml", "history.jsonl", "summary.json", "examples.npz", "status.json"}
    assert {file.name for file in files} == names
    assert sum(file.stat().st_size for file in files) < 2_000_000
    for file in files:
        if file.suffix != ".npz":
            assert not re.search(r"/(home|root|tmp|work|Users)\b", file.read_text()), file


def test_python_example_is_valid() -> None:
    for language, block in BLOCKS:
        if language == "python":
            compile(block, "README.md", "exec")
