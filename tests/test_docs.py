"""The documentation is true: its commands do what they would, short of training, and it is whole.

A block of Python or YAML that opens with a comment naming a file, `# mine/loss/poly.yaml`, is that
file (Hydra's own `# @package` may stand before it): the commands of its page find it there.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import kexp
from kexp.api import Session
from kexp.backends import Backend
from kexp.cli import commands, main
from kexp.sweeps.launching import OWN
from tests.conftest import the_run

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """Language and text of the fenced blocks of a page."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", TEXTS[page], flags=re.DOTALL | re.MULTILINE)


def commands_of(page: Path) -> list[list[str]]:
    """The kexp commands in the blocks of a page, lines joined at their backslashes."""
    blocks = [text for language, text in blocks_of(page) if language in ("sh", "console")]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [line[line.index("kexp") + 1 :] for line in words if "kexp" in line]


def files_of(page: Path) -> dict[str, str]:
    """The files that a page shows, by their paths."""
    first = re.compile(r"(?:# @package \w+\n)?# (mine/[\w/.]+)\n")
    named = ((first.match(text), text) for _, text in blocks_of(page))
    return {match[1]: text for match, text in named if match}


def placed(page: Path, folder: Path) -> Path:
    """`folder`, with the files that a page shows in it."""
    for name, text in files_of(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def cases(*names: str) -> Iterator[Any]:
    """Page and words of the commands of some names, the README's own files left to its tests."""
    seen = set()
    for page in PAGES:
        for words in commands_of(page):
            own = "--config-dir" in words and page.name == "README.md"
            once = tuple(word for word in words if word != "--dry-run")
            if words[0] in names and not own and once not in seen:
                seen.add(once)
                yield pytest.param(page, words, id=" ".join(words))


SWEEPS, RUNS = [*cases("sweep")], [*cases("run")]
EXTRAS = ("ray", "submitit", "optuna", "mlflow", "tensorboard")
EXTENDING = DOCS / "extending.md"
# The first command with each module of docs/extending.md.
OWN_RUNS = {
    c.values[1][c.values[1].index("--module") + 1]: c
    for c in RUNS[::-1]
    if c.values[0] == EXTENDING
}


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


@pytest.fixture
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of a page's are forgotten after the test, and their folder with them."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "." not in name and str(getattr(sys.modules[name], "__file__", "")).find("/mine/") > 0:
            del sys.modules[name]


def test_there_are_commands() -> None:
    assert len(SWEEPS) >= 12 and len(RUNS) >= 8 and len(OWN_RUNS) >= 5


@pytest.mark.parametrize(("page", "words"), SWEEPS)
def test_sweeps(
    page: Path,
    words: list[str],
    nothing_is_fetched: None,
    own_modules: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    """Launcher, sweeper and their settings are taken, and every run is composed."""
    needed = [name for name in EXTRAS if any(name in word for word in words)]
    skip_without(*needed)
    placed(page, tmp_path)
    few = [re.sub(r"^seed=range.*", "seed=0,1", w) for w in words if w != "--dry-run"]
    if any(word.startswith(("study=terms", "study=reproduce_")) for word in words):
        few.append("study.seeds=1")
    assert main([*few, "--dry-run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("page", "words"), RUNS)
def test_runs(
    page: Path, words: list[str], nothing_is_fetched: None, own_modules: None, tmp_path: Path
) -> None:
    if any("track=" in word for word in words):
        skip_without("tensorboard", "mlflow")
    overrides, where = arguments(placed(page, tmp_path), words)
    Session(**where).experiment(overrides)


def arguments(folder: Path, words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The overrides of a command, and its config directory and modules."""
    context = commands.commands[words[0]].make_context(
        words[0], words[1:], click.Context(commands, **commands.context_settings)
    )
    given = context.params
    where = folder / given["config_dir"] if given["config_dir"] else None
    return list(given["overrides"]), {"config_dir": where, "modules": given["modules"]}


@pytest.mark.slow
@pytest.mark.parametrize(("page", "words"), [*OWN_RUNS.values()])
def test_own_classes_train(page: Path, words: list[str], tmp_path: Path, own_modules: None) -> None:
    """What docs/extending.md shows is trained for an epoch, and measured."""
    overrides, where = arguments(placed(page, tmp_path), words)
    small = {"training.epochs=1", "data.validation_size=20", "data.test_size=20"}
    small |= {word for word in overrides if "data.train_size" in word} or {"data.train_size=40"}
    if "task=inpaint" in overrides:
        small |= {"data=digits", "model.levels=1", "task.patch=16", "task.patches_per_epoch=16"}
    overrides = [*dict.fromkeys([*overrides, *sorted(small), f"paths.results={tmp_path / 'r'}"])]
    summary = kexp.run(*overrides, quiet=True, **where)
    assert summary["epochs"] == 1 and the_run(tmp_path / "r")


@pytest.mark.parametrize(("page", "words"), [*cases(*commands.commands)])
def test_command_line_is_understood(page: Path, words: list[str]) -> None:
    parent = click.Context(commands, **commands.context_settings)
    commands.commands[words[0]].make_context(words[0], list(words[1:]), parent).close()


@pytest.mark.parametrize(("page", "words"), [*cases("list", "data")])
def test_questions_are_answered(
    page: Path,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(placed(page, tmp_path))
    if "mnist" in words:
        pytest.skip("MNIST need not be on this machine")
    assert main(words) == 0, capsys.readouterr().err
    assert len(capsys.readouterr().out) > 20


WITH_PYTHON = [p for p in PAGES if any(language == "python" for language, _ in blocks_of(p))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_blocks_work(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_is_fetched: None
) -> None:
    """Executed on the committed example; what would train is composed."""
    named = files_of(page).values()
    blocks = [text for language, text in blocks_of(page) if language == "python"]
    for name in ("quickstart", "example"):
        shutil.copytree(ROOT / "results" / "example", tmp_path / "results" / name)
    sweep = kexp.sweep
    monkeypatch.setattr(kexp, "run", lambda *words, **_: Session().experiment(words).config)
    monkeypatch.setattr(kexp, "sweep", lambda *words, **how: sweep(*words, **how, dry_run=True))
    for text in blocks:
        code = compile(text, page.name, "exec")
        if text not in named and "kexp." in text and "class " not in text:
            exec(code, {})


def slugs(page: Path) -> set[str]:
    """The anchors of a page, as GitHub and the site make them of its headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Pages, anchors, images and files are there; a page of the site links within the site."""
    text = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert DOCS not in page.parents or file.is_relative_to(DOCS), target
        assert not anchor or anchor in slugs(file), f"{page.name} links to {target}"


def test_figures_come_from_commands_of_the_pages() -> None:
    """Each command of scripts/figures.py stands on a page, and each figure too."""
    spec = importlib.util.spec_from_file_location("figures", ROOT / "scripts" / "figures.py")
    assert spec and spec.loader
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    given = [sorted(words) for page in PAGES for words in commands_of(page)]
    for command in (command for of_page in figures.COMMANDS.values() for command in of_page):
        assert sorted(shlex.split(command)) in given, command
    for name in figures.FIGURES:
        assert any(f"images/{name}.png)" in text for text in TEXTS.values()), name


def test_images_are_small_and_used() -> None:
    for image in (DOCS / "images").iterdir():
        assert any(image.name in text for text in TEXTS.values()), image.name
        assert image.stat().st_size <= 150 * 1024 or image.name == "losses.png", image.name


@pytest.mark.parametrize("launcher", OWN)
def test_settings_in_tables_exist(
    launcher: str, nothing_is_fetched: None, capsys: pytest.CaptureFixture
) -> None:
    """What the tables of docs/sweeps.md name is known, and nothing is left out."""
    sections = (DOCS / "sweeps.md").read_text().split("\n## ")
    (section,) = [s for s in sections if "| setting |" in s and f"hydra/launcher={launcher}`" in s]
    settings = {field.name: field.default for field in dataclasses.fields(OWN[launcher])}
    assert set(re.findall(r"`hydra\.launcher\.(\w+)`", section)) == settings.keys()
    for name, default in settings.items():
        setting = f"hydra.launcher.{name}={'null' if default is None else default}"
        words = ["sweep", "task=ridge", f"hydra/launcher={launcher}", setting, "--dry-run"]
        assert main(words) == 0, capsys.readouterr().err


def test_site_builds_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    """Without a warning; no page, style or script of it loads anything from elsewhere."""
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install 'kexp[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = [*tmp_path.rglob("*.html")]
    loaded = re.compile(r"<(?:script|img|iframe|source)[^>]+src=\"?(https?:)?//|@import|url\(http")
    linked = re.compile(r"<link[^>]+rel=\"?(?:stylesheet|preconnect|icon)[^>]+href=\"?https?://")
    assert len(pages) > 20
    for page in pages:
        text = page.read_text("utf-8")
        assert not loaded.search(text) and not linked.search(text), page
