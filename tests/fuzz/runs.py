"""Records of runs that came from elsewhere, read by every command that reads them."""

from __future__ import annotations

import html.parser
import json
import shutil
import warnings
from pathlib import Path

import matplotlib.font_manager  # noqa: F401 (whose cache is none of the cases)
from hypothesis import strategies as st

import kexp
from tests.fuzz import truth
from tests.fuzz.arrays import ARRAYS
from tests.fuzz.harness import Fault, command, holds
from tests.fuzz.mutations import MARK, VALUES, damaged, encoded, mutated

Files = dict[str, bytes]
RUNS = truth.runs()


@st.composite
def _damage(draw: st.DrawFn, run: Path) -> Files:
    """Some files of a run, changed."""
    files: Files = {}
    for name in draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=3, unique=True)):
        true = (run / name).read_bytes() if (run / name).exists() else b""
        kind = draw(st.sampled_from(["changed", "changed", "changed", "bytes", "gone"]))
        if kind == "gone":
            files[name] = b""
        elif kind == "bytes" or name in ("config.yaml", "log.txt"):
            files[name] = draw(damaged(true))
        elif name == "history.jsonl":
            epochs = draw(mutated(truth.history(run)[:6]))
            lines = epochs if isinstance(epochs, list) else [epochs]
            files[name] = b"\n".join(map(encoded, lines)) + draw(
                st.sampled_from([b"\n", b"", b"{"])
            )
        elif name == "examples.npz":
            files[name] = draw(ARRAYS)
        else:
            files[name] = encoded(draw(mutated(truth.document(run, name))))
    return files


FILES = ("summary.json", "summary.json", "summary.json", "status.json", "history.jsonl")
FILES = tuple(dict.fromkeys((*FILES, "examples.npz", "config.yaml", "log.txt")))


@st.composite
def _foreign(draw: st.DrawFn) -> tuple[int, Files]:
    """Which kind of run, and its damaged files."""
    kind = draw(st.integers(0, len(RUNS) - 1))
    return kind, draw(_damage(RUNS[kind]))


def written(case: tuple[int, Files], folder: Path) -> Path:
    """The run of a case, on disk."""
    kind, files = case
    run = folder / "runs" / "study" / "foreign"
    shutil.copytree(RUNS[kind], run)
    for name, content in files.items():
        (run / name).write_bytes(content)
    return run


@holds(_foreign(), few=4)
def a_run_is_shown(case: tuple[int, Files], folder: Path) -> None:
    """`kexp show` tells what can be told."""
    pictures = ("--png", "x.png", "--ridge", "y.png", "--eigenspace", "z.png")
    command("show", str(written(case, folder)), *pictures)


HALF = (0, {"history.jsonl": b'{"epoch": 1, "probe": {"\\ud800": 1}}\n'})
HUGE = (0, {"history.jsonl": b'{"epoch": 1, "gap": {"nll": 1' + b"0" * 400 + b"}}\n"})
"""Records that were faults once: half a character for a name, and a number that no float is."""


@holds(_foreign(), few=4, known=(HALF, HUGE))
def a_run_is_loaded(case: tuple[int, Files], folder: Path) -> None:
    """`kexp.load` gives a table with a row, or with those of its epochs."""
    run = written(case, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        frame, epochs = kexp.load(run), kexp.load(run, epochs=True)
    if len(frame) != 1:
        raise Fault(f"{len(frame)} rows")
    for table in (frame, epochs):
        table.to_csv(errors="replace")


@holds(_foreign(), few=4, seconds=20.0)
def a_run_is_exported(case: tuple[int, Files], folder: Path) -> None:
    """`kexp export tensorboard` sends what can be sent."""
    command("export", "tensorboard", "-o", "events", str(written(case, folder)))


QUESTIONS = (
    ["compare", "--format", "json"],
    ["compare", "--format", "table"],
    ["compare", "--format", "latex", "--each", "--sort", "gap"],
    ["compare", "--format", "md", "--by", "dropout"],
    ["compare", "--format", "csv", "--where", "state=finished"],
    ["compare", "--format", "csv", "--where", "gap.nll<100"],
    ["effects"],
    ["effects", "--format", "json"],
    ["effects", "--nuisance", "loss", "--on", "test.error"],
)


@holds(
    st.tuples(st.lists(_foreign(), min_size=1, max_size=2), st.integers(0, len(QUESTIONS) - 1)),
    few=8,
    seconds=20.0,
)
def a_study_is_compared(case: tuple[list[tuple[int, Files]], int], folder: Path) -> None:
    """Sound runs are compared whatever stands beside them."""
    shutil.copytree(truth.study(), folder / "runs")
    for number, foreign in enumerate(case[0]):
        written(foreign, folder).rename(folder / "runs" / "study" / f"foreign-{number}")
    code, said, complained = command(*QUESTIONS[case[1]], str(folder / "runs"))
    if QUESTIONS[case[1]][-1] == "json" and QUESTIONS[case[1]][0] == "compare":
        counted = sum(row.get("n", 0) for row in json.loads(said)) if not code else 0
        if counted < 6:
            raise Fault(f"{counted} of 6 sound runs are compared: {complained}")
    elif code and case[1] not in (5, 8):
        raise Fault(f"not compared: {complained}")


@holds(st.lists(_foreign(), min_size=1, max_size=2), few=1, seconds=60.0, known=([HUGE],))
def a_report_is_written(case: list[tuple[int, Files]], folder: Path) -> None:
    """Well-formed, with no foreign text that a browser would obey."""
    shutil.copytree(truth.study(), folder / "runs")
    for number, foreign in enumerate(case):
        written(foreign, folder).rename(folder / "runs" / "study" / f"foreign-{number}")
    code, _, complained = command("report", str(folder / "runs"), "-o", "page.html")
    if code:
        raise Fault(f"no report: {complained}")
    page, text = Page(), (folder / "page.html").read_text(encoding="utf-8")
    if "cannot be drawn" in text:
        raise Fault(f"not drawn: {text[text.index('cannot be drawn') - 60 :][:200]}")
    page.feed(text)
    page.close()
    if page.opened or page.bad:
        raise Fault(f"page: left open {page.opened}, {page.bad[:3]}")


class Page(html.parser.HTMLParser):
    """Hears what a browser would take for tags; remembers those left open, and what is foreign."""

    ALONE = ("meta", "img", "br", "input", "link", "hr", "col", "wbr", "source")

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if MARK in name or name.startswith("on") or "javascript:" in (value or "").lower():
                self.bad.append(f"<{tag} {name}={value!r}>"[:100])
            fetched = name in ("src", "href", "data", "action", "xlink:href")
            if fetched and not (value or "").startswith(("data:", "#")):
                self.bad.append(f"<{tag} {name}={value!r}>"[:100])
        if MARK in tag:
            self.bad.append(tag)
        if tag not in self.ALONE:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.ALONE:
            self.opened.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.opened or self.opened.pop() != tag:
            self.bad.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if MARK in data and self.opened and self.opened[-1] in ("script", "style"):
            self.bad.append(f"in {self.opened[-1]}: {data[:60]}")


PLACE = ("task=mnist_convnet", "data=digits", "paths.results=results", "name=run", "study.name=s")


@holds(
    st.fixed_dictionaries(
        {},
        optional={
            "status.json": VALUES.map(encoded)
            | st.fixed_dictionaries(
                {
                    "state": st.sampled_from(
                        ["running", "failed", "finished", "interrupted", "x", 1]
                    )
                },
                optional={k: VALUES for k in ("seconds", "started", "host", "pid", "reason")},
            ).map(encoded),
            "history.jsonl": st.binary(max_size=30)
            | st.just(b"[" * 9000 + b"\n")
            | (VALUES | VALUES.map(lambda v: {"epoch": v})).map(lambda v: encoded(v) + b"\n"),
            "config.yaml": st.binary(max_size=30) | st.just(b"identity: x\n"),
            "summary.json": VALUES.map(encoded) | st.just(b'{"identity": [1]}'),
            ".lock": st.binary(max_size=10),
        },
    ),
    few=4,
    seconds=20.0,
)
def a_folder_is_planned(case: Files, folder: Path) -> None:
    """`kexp sweep --dry-run` says what would become of a folder, whatever lies in it."""
    run = folder / "results" / "s" / "run"
    run.mkdir(parents=True)
    for name, content in case.items():
        (run / name).write_bytes(content)
    command("sweep", "--dry-run", *PLACE)
