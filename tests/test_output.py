"""Tables in every form: numbers in full or for readers, and nothing in a cell that is obeyed."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kexp.analysis import output
from kexp.analysis.output import render, spelled
from kexp.measures import YARDSTICKS

FORMS = ("table", "csv", "json", "md", "latex")
ROWS = [
    {"dropout": "none", "gap": 0.123456789012345, "N": 3},
    {"dropout": "standard", "gap": None, "N": 10},
]
COLUMNS = ["dropout", "gap", "N"]


def read_csv(text: str) -> list[list[str]]:
    """The cells of a CSV text."""
    return list(csv.reader(io.StringIO(text)))


def test_table_aligns_numbers_at_the_right() -> None:
    lines = render(COLUMNS, ROWS, "table", "a title", "a caption").splitlines()
    assert lines == [
        "a title",
        "",
        "dropout       gap    N",
        "---------  ------  ---",
        "none       0.1235    3",
        "standard        –   10",
        "",
        "a caption",
    ]


def test_csv_and_json_have_numbers_in_full() -> None:
    assert read_csv(render(COLUMNS, ROWS, "csv")) == [
        COLUMNS,
        ["none", "0.123456789012345", "3"],
        ["standard", "", "10"],
    ]
    assert json.loads(render(COLUMNS, ROWS, "json")) == ROWS


def test_markdown() -> None:
    assert render(COLUMNS, ROWS[:1], "md", "t").splitlines() == [
        "**t**",
        "",
        "| dropout   |    gap |   N |",
        "|:----------|-------:|----:|",
        "| none      | 0.1235 |   3 |",
    ]


def test_latex_is_a_booktabs_table() -> None:
    text = render(
        ["loss", "gap"], [{"loss": "label_smoothing", "gap": "1.0 ± 0.1 %"}], "latex", "t"
    )
    assert r"label\_smoothing & 1.0 $\pm$ 0.1 \% \\" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"\begin{tabular}{lr}" in text and r"\caption{t}" in text


@pytest.mark.parametrize("form", FORMS)
def test_no_rows(form: str) -> None:
    text = render(COLUMNS, [], form)
    assert text == "[]" if form == "json" else "dropout" in text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_missing(value: float) -> None:
    assert json.loads(render(["x"], [{"x": value}], "json")) == [{"x": None}]
    assert read_csv(render(["y", "x"], [{"y": 1, "x": value}], "csv"))[1] == ["1", ""]
    assert render(["x"], [{"x": value}], "table").endswith("–")


def test_wide_tables_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.sys, "stdout", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setenv("COLUMNS", "40")
    text = render(["a", "b"], [{"a": "word " * 20, "b": "x" * 50}], "table")
    assert max(map(len, text.splitlines())) <= 40
    assert text.count("word") == 20 and text.count("x") == 50


def test_wide_characters_take_two_columns() -> None:
    lines = render(["a", "b"], [{"a": "損失", "b": "x"}, {"a": "loss", "b": "y"}], "table")
    assert lines.splitlines()[2:] == ["損失  x", "loss  y"]  # as wide as they are drawn


@pytest.mark.parametrize("text", ["=cmd()", "+1+1", "-1+cmd()", "@SUM(1)", "＝1+1", "-2_0"])
def test_f66_csv_cells_compute_nothing(text: str) -> None:
    ((head,), (cell,)) = read_csv(render([text], [{text: text}], "csv"))
    assert head == cell == f"'{text}"


@pytest.mark.parametrize("value", [-0.5, 3, "-0.5", "+1e-3", "-.5", "0.1", -1e-300])
def test_f66_numbers_stay_numbers(value: Any) -> None:
    ((cell,),) = read_csv(render(["x"], [{"x": value}], "csv"))[1:]
    assert float(cell) == float(value)


@pytest.mark.parametrize(
    "text", ["\t=1", "\r=1", "\n=1", "a\x1b[31m", "a\x9b31m", "a\x07", "a\u202eb"]
)
@pytest.mark.parametrize("form", FORMS)
def test_f66_control_characters_are_spelled_out(form: str, text: str) -> None:
    shown = render([text, "n"], [{text: text, "n": 1}], form, text, text)
    assert not [c for c in shown if not c.isprintable() and c != "\n"]
    assert "\n=1" not in shown


def test_latex_knows_every_sign_of_a_yardstick() -> None:
    texts = [text for y in YARDSTICKS.values() for text in (y.label, y.unit)]
    shown = [render([text], [{text: text}], "latex") for text in texts if text]
    assert all(text.isascii() for text in shown) and any(r"$\Delta$E$_0$$_0$" in t for t in shown)


def test_f66_latex_commands_are_spelled_out() -> None:
    text = render(["x"], [{"x": r"\input{/etc/passwd} & 5 % $x$ #1 ~^^M[1]"}], "latex")
    assert "\\input" not in text and r"\textbackslash{}input\{/etc/passwd\} \& 5 \%" in text
    row = text.split("\\midrule")[1].split("\\\\\n")[0]
    bare = re.sub(r"\\[{}$&%#_]|\\\^\{\}|\\text\w+\{\}", "", row)
    assert not set("\\^~#$&%") & set(bare)


def test_f66_markdown_is_text() -> None:
    text = render(["x"], [{"x": "<script>alert(1)</script> | ![x](http://a) `b` *c*"}], "md")
    assert "<script>" not in text and "![" not in text
    assert len(re.findall(r"(?<!\\)\|", text.splitlines()[-1])) == 2


def test_spelled_leaves_text_alone() -> None:
    assert spelled("λ = 0.1 ± 2 %, 損失") == "λ = 0.1 ± 2 %, 損失"
    assert spelled("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text() | st.floats() | st.none())))
def test_f66_whatever_is_in_cells(rows: list[dict[str, Any]]) -> None:
    for form in FORMS:
        shown = render(["a", "b", "c"], rows, form, "t", "c")
        assert not [c for c in shown if not c.isprintable() and c != "\n"]
    assert len(json.loads(render(["a", "b", "c"], rows, "json"))) == len(rows)
    assert {len(line) for line in read_csv(render(["a", "b", "c"], rows, "csv"))} == {3}
