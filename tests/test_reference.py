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
from kexp.config.options import parameters
from kexp.config.places import groups
from kexp.reference import GROUPS, PICTURE, curves, page, robust_losses

DOCS = Path(__file__).parents[1] / "docs"
OPTIONS = [(group, option) for group in GROUPS for option in groups()[group]]
R = np.linspace(-6, 6, 100)


def entry(group: str, option: str) -> str:
    """What the page says of an option."""
    (start,) = re.finditer(rf"^### `{group}={option}`$", page(), re.MULTILINE)
    return re.split(r"^##", page()[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


# The page


def test_the_page_is_up_to_date() -> None:
    made = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert made == page(), "run scripts/reference.py"
    assert (DOCS / PICTURE).is_file() and made.count(f"({PICTURE})") == 1


def test_the_page_has_a_section_per_group_and_nothing_else() -> None:
    assert re.findall(r"^## (.*)$", page(), re.MULTILINE) == list(GROUPS.values())
    headings = re.findall(r"^### `(\w+)=(\w+)`$", page(), re.MULTILINE)
    assert headings == OPTIONS


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_what_the_page_says_of_an_option(group: str, option: str) -> None:
    cls, said = option_class(group, option), entry(group, option)
    assert f"Class `{cls.__name__}`" in said
    assert all(line.strip() in said for line in cls.__doc__.splitlines())
    assert cls.formula in said
    rows = re.findall(rf"^\| `{group}\.(\w+)` \| `(.+)` \| (.+) \|$", said, re.MULTILINE)
    assert {name for name, *_ in rows} == set(parameters(group, option)) - {"_target_"}


def test_values_are_written_as_they_are_typed() -> None:
    assert "| `dropout.places` | `[last]` | a list of at least 1, " in entry("dropout", "standard")
    assert "| `loss.delta` | `0.1` | a number > 0 |" in entry("loss", "huber")
    assert "| `loss.scales` | `2` | a whole number ≥ 1 and ≤ 5 |" in entry("loss", "ms_ssim")
    assert "|" not in entry("loss", "crossentropy")


@pytest.mark.parametrize(
    ("loss", "purpose"),
    [
        ("crossentropy", "for classification (tasks `mnist_convnet`)"),
        ("focal", "for classification and binary (tasks `binary`, `mnist_convnet`)"),
        ("ssim", "for image regression (tasks `deblur_sr`, `denoise`)"),
        (
            "huber",
            "for regression, image regression, colour regression, depth regression and projection "
            "(tasks `colorize`, `deblur_sr`, `denoise`, `depth`, `eigenspace`, `ridge`)",
        ),
    ],
)
def test_tasks_that_a_loss_is_for(loss: str, purpose: str) -> None:
    assert purpose in entry("loss", loss)


# Formulas and sources


@pytest.mark.parametrize(("group", "option"), [o for o in OPTIONS if o[1] != "none"])
def test_every_choice_has_a_formula_and_a_source(group: str, option: str) -> None:
    cls = option_class(group, option)
    assert cls.formula
    MathTextParser("path").parse(f"${cls.formula}$")
    assert re.search(r"\b(1[789]|20)\d\d\b", cls.__doc__), "no source"


def test_formulas_are_fenced() -> None:
    """Between dollar signs GitHub reads `\\,` as Markdown's escape, and shows a comma."""
    assert "$" not in page()
    assert page().count("```") == 2 * page().count("```math\n") > 0


# The curves


def test_every_elementwise_loss_is_in_the_picture() -> None:
    drawn = {type(loss) for kind in robust_losses().values() for loss in kind.values()}
    offered = {option_class("loss", option) for option in groups()["loss"]}
    elementwise = {cls for cls in offered if issubclass(cls, losses.base.RegressionLoss)}
    assert elementwise - drawn == {losses.Adaptive}, "which is the general loss with a learned α"
    assert not drawn - elementwise


def test_all_are_drawn_with_scale_one() -> None:
    for kind in robust_losses().values():
        for loss in kind.values():
            assert getattr(loss, "scale", 1) == getattr(loss, "delta", 1) == 1


def test_quadratic() -> None:
    rho, influence, weight = curves(losses.Quadratic(), R)
    assert rho.dtype == np.float64
    np.testing.assert_allclose(rho, R**2 / 2, rtol=1e-15)
    np.testing.assert_allclose(influence, R, atol=1e-8)
    np.testing.assert_allclose(weight, 1, atol=1e-7)


@pytest.mark.parametrize("delta", [0.5, 1.5])
def test_influence_of_huber_is_bounded(delta: float) -> None:
    influence = curves(losses.Huber(delta=delta), R)[1]
    np.testing.assert_allclose(influence, np.clip(R, -delta, delta), atol=1e-8)
    assert np.abs(influence).max() <= delta * (1 + 1e-8)


def test_tukey_ignores_what_is_beyond_its_scale() -> None:
    weight = curves(losses.Tukey(scale=2.0), R)[2]
    assert np.all(weight[np.abs(R) > 2.01] == 0) and np.all(weight[np.abs(R) < 1.99] > 0)
    np.testing.assert_allclose(weight, np.maximum(1 - (R / 2) ** 2, 0) ** 2, atol=1e-8)


def test_weight_of_cauchy() -> None:
    weight = curves(losses.Cauchy(scale=2.0), R)[2]
    np.testing.assert_allclose(weight, 1 / (1 + (R / 2) ** 2), atol=1e-8)


def test_influence_of_an_asymmetric_loss() -> None:
    influence = curves(losses.Quantile(q=0.8), R)[1]
    np.testing.assert_allclose(influence, np.where(R > 0, 0.2, -0.8), atol=1e-8)


# The picture


@pytest.mark.parametrize(
    ("name", "start"), [("x.png", b"\x89PNG"), ("x.SVG", b"<?xml"), ("new/x.pdf", b"%PDF")]
)
def test_the_picture_is_drawn(
    name: str, start: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    assert main(["list", "losses", "--plot", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"written: {file}\n" in said and "loss=…" in said
    assert file.read_bytes().startswith(start) and file.stat().st_size > 20_000
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file], "a temporary file"


def test_the_picture_of_the_page_is_small() -> None:
    assert 50_000 < (DOCS / PICTURE).stat().st_size < 300_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "losses", "--plot", "x.txt"], "must end in one of .png, .svg, .pdf"),
        (["list", "losses", "--plot", "x"], "must end in one of .png, .svg, .pdf"),
        (["list", "losses", "--plot", "new/x.txt"], "must end in one of .png, .svg, .pdf"),
        (["list", "losses", "--plot", ""], "must end in one of .png, .svg, .pdf"),
        (["list", "tasks", "--plot", "x.png"], "--plot draws losses"),
        (["list", "--plot", "x.png"], "--plot draws losses"),
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
    heard = capsys.readouterr()
    assert said in heard.err and heard.out == ""
    assert not list(tmp_path.iterdir())


def test_a_directory_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.png").mkdir()
    assert main(["list", "losses", "--plot", str(tmp_path / "x.png")]) == 2
    assert "this is a directory" in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == [tmp_path / "x.png"]


def test_a_file_in_the_place_of_a_folder(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("kept")
    assert main(["list", "losses", "--plot", str(tmp_path / "file" / "x.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"
