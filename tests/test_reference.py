"""The reference page is up to date and complete; the picture of the losses is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser

from kexp import losses
from kexp.cli import main
from kexp.config.fitting import option_class
from kexp.config.places import groups
from kexp.reference import GROUPS, PICTURE, curves, page, robust_losses

DOCS = Path(__file__).parents[1] / "docs"
OPTIONS = [(group, option) for group in GROUPS for option in groups()[group]]
R = np.linspace(-5, 5, 100)


def test_the_page_is_up_to_date() -> None:
    made = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert made == page(), "run scripts/reference.py"
    assert (DOCS / PICTURE).is_file() and PICTURE in made


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_choice_is_on_the_page_with_formula_and_source(group: str, option: str) -> None:
    cls = option_class(group, option)
    assert f"### `{group}={option}`" in page()
    if option == "none":
        return
    assert re.search(r"\b(1[789]|20)\d\d\b", cls.__doc__), "no source"
    MathTextParser("path").parse(f"${cls.formula}$")
    assert cls.formula


def test_every_elementwise_loss_is_in_the_picture() -> None:
    drawn = {type(loss) for kind in robust_losses().values() for loss in kind.values()}
    offered = {option_class("loss", option) for option in groups()["loss"]}
    elementwise = {cls for cls in offered if hasattr(cls, "rho")}
    assert elementwise - drawn == {losses.Adaptive}, "which is the general loss with a learned α"


def test_influence_and_weight() -> None:
    _, influence, weight = curves(losses.Quadratic(), R)
    np.testing.assert_allclose(influence, R, atol=1e-6)
    np.testing.assert_allclose(weight, 1, atol=1e-5)
    _, influence, weight = curves(losses.Huber(delta=1.5), R)
    np.testing.assert_allclose(influence, np.clip(R, -1.5, 1.5), atol=1e-5)
    _, influence, weight = curves(losses.Tukey(scale=2.0), R)
    assert np.all(weight[np.abs(R) > 2.1] == 0)
    np.testing.assert_allclose(weight, np.maximum(1 - (R / 2) ** 2, 0) ** 2, atol=1e-5)
    _, _, weight = curves(losses.Cauchy(scale=2.0), R)
    np.testing.assert_allclose(weight, 1 / (1 + (R / 2) ** 2), atol=1e-5)


@pytest.mark.parametrize(("name", "start"), [("x.png", b"\x89PNG"), ("x.SVG", b"<?xml")])
def test_the_picture_is_drawn(
    name: str, start: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "losses", "--plot", str(tmp_path / name)]) == 0
    assert "loss=…" in capsys.readouterr().out
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start) and len(content) > 30_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "losses", "--plot", "x.txt"], "must end in one of .png, .svg, .pdf"),
        (["list", "tasks", "--plot", "x.png"], "--plot draws losses"),
    ],
)
def test_a_picture_of_anything_else_is_refused(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())
