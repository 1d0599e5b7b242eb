"""The report: complete in itself, true to the records, and safe whatever these hold."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import html
import http.server
import itertools
import json
import re
import shutil
import subprocess
import threading
import zipfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexp.analysis import recognition
from kexp.analysis.design import Design, Factor
from kexp.analysis.plots import recognition as plots
from kexp.analysis.plots.configurations import Configuration
from kexp.analysis.recognition import KINDS, METHODS, PICTURES
from kexp.analysis.report import selection
from kexp.analysis.report.formula import mathml
from kexp.cli import main
from kexp.store.reading import LARGEST, read_examples, read_run

HOSTILE = "<script>alert(1)</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
)
TARGETS = {"mnist_convnet": "nll", "denoise": "psnr", "ridge": "mse", "eigenspace": "psnr"}


def epochs(yardstick: str, low: float, gap: float, count: int, **more: Any) -> list[dict[str, Any]]:
    """Curves that fall (or rise, in dB) towards a probe value, with a gap that grows."""
    sign = -1 if yardstick in ("psnr", "ssim") else 1
    made = []
    for number in range(1, count + 1):
        probe = low + sign * np.exp(-number / 2)
        values = {yardstick: probe + sign * gap * number / count}
        made.append(
            {
                "epoch": number,
                "probe": {yardstick: probe},
                "validation": values,
                "gap": {yardstick: gap * number / count},
                **more,
            }
        )
    return made


def write_run(
    folder: Path,
    name: str,
    seed: int = 0,
    gap: float = 0.3,
    task: str = "mnist_convnet",
    state: str = "finished",
    **choices: str,
) -> Path:
    """A record as a run leaves it; `choices` are options of its groups, such as dropout."""
    run = folder / "study" / name
    run.mkdir(parents=True)
    yardstick = TARGETS[task]
    learned = {"learned": {"alpha": [1.0, 1.1], "scale": 0.1}} if task == "denoise" else {}
    history = epochs(yardstick, 20.0 if task == "denoise" else 0.1, gap, 6, **learned)
    groups = {"task": task, "data": "mnist", "loss": "crossentropy", "dropout": "none", **choices}
    config = {"seed": seed, **{k: {"_target_": f"kexp.{k}.{v}"} for k, v in groups.items()}}
    summary = {
        "schema": 1,
        "identity": f"{name}-{seed}",
        "label": name,
        "command": ["kexp", "run", f"seed={seed}", "loss=glob(*)"],
        "seed": seed,
        "options": groups,
        "choices": {"loss": {"meaning": "In `nats`.", "formula": r"L = -\log\, p_y"}},
        "config": config,
        "monitor": yardstick,
        "epochs": 6,
        "last": history[-1],
        "best": history[-2],
        "test": {"last": history[-1]["validation"], "best": history[-2]["validation"]},
        "onset": {yardstick: 3 + seed},
        "cost": {yardstick: gap / 6},
        "verdict": "fine",
    }
    if task == "mnist_convnet":
        bins = {"count": [1, 9], "confidence": [0.4, 8.8], "correct": [0, 8]}
        summary["diagnosis"] = {"confusion": [[5, 1], [0, 4]], "reliability": bins}
        summary["data"] = {"name": "mnist", "classes": ["zero", "one"]}
    if task == "ridge":
        summary["ridge"] = ridge()
    if task == "eigenspace":
        summary["eigenspace"] = recognised(seed, 0 if choices["loss"] == "mse" else 1)
    (run / "history.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in history))
    (run / "summary.json").write_text(json.dumps(summary))
    status = {"state": state} | ({} if state == "finished" else {"reason": "fit is nan"})
    (run / "status.json").write_text(json.dumps(status))
    np.savez(run / "examples.npz", **examples(task))
    return run


def examples(task: str) -> dict[str, np.ndarray]:
    """What a run of a task shows of its test split."""
    rng = np.random.default_rng(0)
    if task == "ridge":
        return {k: rng.normal(size=8).astype(np.float32) for k in ("outputs", "targets")}
    pictures = rng.integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    if task == "eigenspace":
        names = ("inputs", "outputs", "targets", "mean", "eigenvectors", *PICTURES)
        return dict.fromkeys(names, pictures)
    if task == "denoise":
        return {"inputs": pictures, "outputs": pictures // 2, "targets": pictures}
    answers = {"label": np.array([0, 1, 0], np.int32), "predicted": np.array([1, 0, 1], np.int32)}
    return {"inputs": pictures, **answers, "confidence": np.array([0.9, 0.8, 0.7], np.float32)}


def ridge() -> dict[str, Any]:
    """A path of three strengths."""
    errors = {f"{part}_mse": [0.4, 0.3, 0.5] for part in ("train", "validation")}
    bias = {"squared_bias": [0.0, 0.1, 0.2], "variance": [0.2, 0.1, 0.0], "about": "the truth"}
    best = {"best_strength": 0.1, "best_validation_mse": 0.3, "test_mse_at_best": 0.3}
    strengths = {"strengths": [0.0, 0.1, 1.0], "degrees_of_freedom": [3.0, 2.0, 1.0]}
    return {**strengths, **errors, **bias, **best, "distance": 0.1}


def recognised(seed: int = 0, more: int = 1) -> dict[str, Any]:
    """What is recognised at two shares: of 20 images, fewer by least squares."""
    kinds = {
        kind: {m: {"correct": [20 - seed, 10 + i * more]} for i, m in enumerate(METHODS)}
        for kind in KINDS
    }
    return {"shares": [0.0, 0.5], "images": 20, **kinds}


def change(run: Path, **parts: Any) -> None:
    """Put other parts into a summary."""
    file = run / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **parts}))


def report(folder: Path, *options: str, code: int = 0) -> str:
    """The page about the runs in a folder."""
    page = folder / "report.html"
    assert main(["report", str(folder), "-o", str(page), *options]) == code
    return page.read_text(encoding="utf-8") if code == 0 else ""


def policy(page: str) -> str:
    """The Content-Security-Policy of a page."""
    (found,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    return html.unescape(found)


class Seen(HTMLParser):
    """Tags, ids, references and texts of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes.append((name, value or ""))
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.references.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two losses × two dropouts × three seeds, a diverged run, images and a ridge path."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for loss, dropout, seed in itertools.product(
        ("crossentropy", "focal"), ("none", "standard"), range(3)
    ):
        gap = 0.3 - 0.1 * (dropout == "standard") + 0.003 * rng.normal()
        name = f"loss={loss},dropout={dropout},seed={seed}"
        write_run(folder, name, seed, gap, loss=loss, dropout=dropout)
    write_run(folder, "wild", 3, state="diverged")
    for loss, seed in itertools.product(("mse", "adaptive"), range(3)):
        write_run(folder, f"denoise-{loss}-{seed}", seed, 1.0 + seed, "denoise", loss=loss)
    write_run(folder, "ridge", task="ridge", loss="mse")
    for loss, seed in itertools.product(("mse", "geman_mcclure"), range(2)):
        write_run(folder, f"eigenspace-{loss}-{seed}", seed, task="eigenspace", loss=loss)
    return folder


@pytest.fixture(scope="module")
def page(study: Path) -> str:
    return report(study, "--plots", str(study / "plots"))


@pytest.fixture(scope="module")
def seen(page: str) -> Seen:
    return Seen(page)


def test_page_is_complete_in_itself(page: str, seen: Seen) -> None:
    assert not [r for r in seen.references if not r.startswith(("#", "data:"))]
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in policy(page) and "script-src 'sha256-" in policy(page)
    assert seen.tags["script"] == 1 and not seen.tags["iframe"] and not seen.tags["link"] > 1
    assert not [name for name, _ in seen.attributes if name.startswith("on")]


def test_policy_knows_the_script(page: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{known}';" in policy(page)


def test_ids_are_unique_and_references_lead_somewhere(page: str, seen: Seen) -> None:
    assert not [i for i, count in Counter(seen.ids).items() if count > 1]
    wanted = {r[1:] for r in seen.references if r.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted and wanted <= set(seen.ids)


def test_no_placeholder_is_left(page: str) -> None:
    assert "{{" not in page and "{%" not in page and "Undefined" not in page
    assert "#1b1f24" not in page.partition("</style>")[2]
    assert "var(--ink)" in page.partition("</style>")[2]


def test_structure_can_be_walked(page: str, seen: Seen) -> None:
    assert all(seen.tags[tag] == 1 for tag in ("main", "header", "footer", "h1", "title"))
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    assert seen.tags["table"] == seen.tags["caption"] and seen.tags["svg"] == seen.tags["figure"]
    assert seen.tags["figcaption"] == seen.tags["figure"]
    pictures = re.findall(r'<div class="scroll plot"[^>]*>', page)
    assert all('role="img"' in p and re.search(r'aria-label="[^"]{20,}', p) for p in pictures)


def test_it_says_what_was_found(seen: Seen) -> None:
    for words in (
        "the seed alone moves NLL gap by",
        "dropout=standard against none: NLL gap −0.",
        "loss × dropout on NLL gap",
        "1 run diverged",
        "left out: ",
        "What the loss learned",
        "Ridge path",
        "Input, output, target and error",
        "kexp run seed=2 'loss=glob(*)'",
        "kexp report",
    ):
        assert words in seen.text, words


def test_nothing_failed_to_be_drawn(seen: Seen) -> None:
    assert "cannot be drawn" not in seen.text and "problem:" not in seen.text


def test_plots_are_files(study: Path, page: str) -> None:
    plots = study / "plots"
    names = {path.stem for path in plots.glob("*.png")}
    assert names == {path.stem for path in plots.glob("*.svg")}
    kinds = {name.rpartition("on-mnist-")[2] for name in names}
    assert {"effects", "learning-curves", "gap-curves", "interactions", "trade-off"} <= kinds
    assert {"parallel-coordinates", "misclassified", "confusion", "calibration"} <= kinds
    assert any(name.endswith("restored-images") for name in names)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plots.glob("*.png"))
    assert all(b"var(--" not in path.read_bytes() for path in plots.glob("*.svg"))


def test_the_same_records_make_the_same_page(tmp_path: Path) -> None:
    write_run(tmp_path, "alone")
    assert report(tmp_path) == report(tmp_path)


def hostile_page(tmp_path: Path, sneaky: str) -> str:
    """The page about runs that have markup wherever a record has text."""
    for seed, dropout in itertools.product(range(3), ("none", sneaky)):
        run = write_run(tmp_path, f"r{seed}<script>alert(1)<{len(dropout)}", seed, dropout=dropout)
        change(
            run,
            label=HOSTILE,
            command=["kexp", "run", HOSTILE],
            data={"name": HOSTILE, "classes": [HOSTILE, sneaky]},
            choices={"loss": {"meaning": f"`{HOSTILE}", "formula": HOSTILE}},
            options={"task": HOSTILE, "data": sneaky, "dropout": dropout},
            verdict=HOSTILE,
        )
        (run / "environment.json").write_text(json.dumps({"device": HOSTILE}))
    (run / "history.jsonl").write_text(f"{HOSTILE}\n")
    failed = write_run(tmp_path, "failed", 7, state="failed")
    (failed / "status.json").write_text(json.dumps({"state": HOSTILE, "reason": sneaky}))
    return report(tmp_path, "--where", "seed<9")


def test_f61_report_escapes_what_records_say(tmp_path: Path) -> None:
    sneaky = f'"><img src=x onerror=alert(2)>{HOSTILE}$\\frac{{\x1b\u202e\x9b'
    page = hostile_page(tmp_path, sneaky)
    seen = Seen(page)
    assert seen.tags["script"] == 1 and not seen.tags["img"]
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert HOSTILE in "".join(seen.words)
    assert not set("\x1b\u202e\x9b") & set(page)


def loading(address: str) -> str:
    """Markup that has a browser load something from there, in every way that is known."""
    return (
        f"</title></style></script></svg>'\"><img src={address}1 srcset={address}2>"
        f"<link rel=stylesheet href={address}3><link rel=dns-prefetch href={address}4>"
        f"<style>@import '{address}5';*{{background:url({address}6)}}</style>"
        f"<meta http-equiv=refresh content='9;url={address}7'><iframe src={address}8></iframe>"
        f"<svg><image href={address}9 /><use xlink:href={address}a /></svg><base href={address}>"
        f"<object data={address}b></object><video poster={address}c src={address}d></video>"
        f"<script src={address}e></script><script>fetch('{address}f')</script>"
        f"<body background={address}g onload=fetch('{address}h')>"
    )


def test_f61_nothing_is_loaded_by_what_records_say(tmp_path: Path) -> None:
    seen = Seen(hostile_page(tmp_path, loading("http://127.0.0.1/")))
    urls = ("href", "src", "srcset", "xlink:href", "action", "data", "poster", "background")
    named = {value for name, value in seen.attributes if name in urls}
    assert not [url for url in named if not url.startswith(("#", "data:"))]
    assert not set(seen.tags) & {"base", "iframe", "object", "video", "form", "embed", "img"}
    assert not [v for n, v in seen.attributes if n == "style" and ("url" in v or "import" in v)]
    assert not [v for n, v in seen.attributes if n == "http-equiv" and v.lower() == "refresh"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page with")
def test_f61_a_browser_asks_no_server_for_anything(tmp_path: Path) -> None:
    """The server would be asked, were the markup obeyed: the browser shows that by hand."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        markup = loading(f"http://127.0.0.1:{server.server_address[1]}/")
        hostile_page(tmp_path, markup)
        (tmp_path / "obeyed.html").write_text(f"<html><body>{markup}")
        shown = _opened(tmp_path, "report.html")
        assert "<main" in shown and asked == []
        _opened(tmp_path, "obeyed.html")
        assert asked
        server.shutdown()


def _opened(folder: Path, name: str) -> str:
    """The document after a browser has loaded a page."""
    profile = f"--user-data-dir={folder / 'profile'}"
    options = [*SWITCHES, profile, "--virtual-time-budget=3000", "--dump-dom"]
    command = [str(CHROMIUM), *options, (folder / name).as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def test_formulas_of_all_choices_become_mathml() -> None:
    import kexp.dropouts
    import kexp.losses
    import kexp.norms
    import kexp.regularizers

    modules = (kexp.losses, kexp.regularizers, kexp.dropouts, kexp.norms)
    formulas = {
        found.formula
        for module in modules
        for found in map(module.__dict__.get, dir(module))
        if isinstance(getattr(found, "formula", None), str) and found.formula
    }
    assert len(formulas) > 20
    for formula in formulas:
        made = mathml(formula)
        assert made and set(Seen(made).tags) <= set(
            "math mrow mi mn mo mfrac msqrt msub msup msubsup mover munder munderover mspace mtext "
            "mtable mtr mtd mstyle mpadded".split()
        ), formula


@pytest.mark.parametrize(
    "tex",
    [
        HOSTILE,
        r"\href{javascript:alert(1)}{x}",
        r"\text{<script>alert(1)</script>}",
        r"\class{x}{y} \style{background:url(http://example.org)}{z}",
        "{" * 500,
        "x" * 10_000,
        "\\left(" * 50,
        "\x00\ud800",
        "",
    ],
)
def test_hostile_formulas_stay_harmless(tex: str) -> None:
    made = mathml(tex)
    if made is not None:
        seen = Seen(made)
        assert not {"script", "a", "semantics", "annotation-xml"} & set(seen.tags)
        assert not seen.references
        assert not [n for n, _ in seen.attributes if n.startswith("on") or n in ("style", "class")]


def test_examples_that_are_not_arrays_of_numbers_are_left_out(tmp_path: Path) -> None:
    class Wicked:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    runs = [write_run(tmp_path, f"seed={seed}", seed) for seed in range(5)]
    np.savez(runs[0] / "examples.npz", inputs=np.array([Wicked()], dtype=object))
    (runs[1] / "examples.npz").write_bytes(b"PK no zip")
    np.savez_compressed(runs[2] / "examples.npz", inputs=np.zeros(LARGEST + 1, np.uint8))
    np.savez(runs[3] / "examples.npz", inputs=np.zeros((2, 3), np.uint8), label=np.zeros(5))
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**9)}
    with (runs[4] / "array.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile(runs[4] / "examples.npz", "w") as archive:
        archive.write(runs[4] / "array.npy", "inputs.npy")
    text = Seen(report(tmp_path)).text
    for run, words in zip(
        runs,
        ("are not read", "cannot be read", "MiB", "could be shown", "is not in"),
        strict=True,
    ):
        found = re.search(rf"{re.escape(str(run / 'examples.npz'))}[^.]*?{words}", text)
        assert found, (run.name, words)
    assert not (tmp_path / "executed").exists()


def test_examples_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "examples.npz"
    assert read_examples(file) == ({}, None)
    written = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.asfortranarray(np.eye(3))}
    np.savez(file, **written)
    arrays, problem = read_examples(file)
    assert problem is None and list(arrays) == list(written)
    assert all(
        np.array_equal(arrays[k], v) and arrays[k].dtype == v.dtype for k, v in written.items()
    )
    assert read_run(tmp_path).examples().keys() == written.keys()


def test_one_run_has_a_page(tmp_path: Path) -> None:
    write_run(tmp_path, "alone")
    text = Seen(report(tmp_path)).text
    assert "Nothing was varied whose effect could be told" in text
    assert "there is 1 seed: nothing is claimed" in text and "Learning curves" in text


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    for dropout in ("none", "standard"):
        write_run(tmp_path, dropout, dropout=dropout)
    text = Seen(report(tmp_path)).text
    assert "too few seeds to say" in text and "narrower" not in text


def test_seeds_alone_have_a_page(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, f"seed={seed}", seed, 0.3 + 0.1 * seed)
    text = Seen(report(tmp_path)).text
    assert "the seed alone moves" in text and "Spread over seeds" in text


def test_recognition_of_every_loss_is_in_one_figure(page: str, seen: Seen) -> None:
    """Counts are summed over seeds; what the eigenspace sees is shown of a robust loss."""
    assert "Test images recognised by the nearest training image" in seen.text
    assert "and seeds, as if all images were different" in seen.text
    rows = re.findall(r"<tr>(?:(?!</tr>).)*a block hidden(?:(?!</tr>).)*</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    shown = {(c[0], c[2]): c[3:] for c in cells}
    labels = "geman_mcclure, baseline", "mse"
    assert set(shown) == {(label, share) for label in labels for share in ("0%", "50%")}
    for label in labels:
        assert all(c.startswith("97.5% [") for c in shown[label, "0%"])  # 20 and 19 of 20
    assert [shown[la, "50%"][1].split()[0] for la in labels] == ["55.0%", "50.0%"]
    assert "count for nothing. Of geman_mcclure, baseline, which recognises most" in seen.text


def test_panels_stand_in_the_order_of_levels() -> None:
    """Where one factor varies, the baseline names its level; where several do, it is plain."""
    sizes, norms = Factor("data.train_size", ("100", "300")), Factor("norm", ("none", "batch"))
    for factors, cells, titles in (
        ([sizes], [("300",), ("100",)], ["baseline: data.train_size=100", "data.train_size=300"]),
        ([sizes, norms], [("100", "batch"), ("100", "none")], ["baseline", "batch"]),
    ):
        design = Design(tuple(factors), ())
        every = [Configuration(cell, selection.short(design, cell), {}) for cell in cells]
        ordered = selection.by_levels(design, every)
        assert [selection.titled(design, c) for c in ordered] == titles


def test_each_curve_of_least_squares_is_drawn_once() -> None:
    """One for all configurations where it is the same; with their labels where it differs."""
    one = recognition.read(recognised())
    correct = {key: c - (key[1] == "least_squares") for key, c in one.correct.items()}
    other = dataclasses.replace(one, correct=correct)

    def drawn(of: dict[str, recognition.Recognition]) -> list[str]:
        (legend,) = plots.curves(of).legends
        return [text.get_text() for text in legend.get_texts()]

    known = "least squares with the pixels known"
    assert drawn({"a": one, "b": one}) == ["a", "b", "least squares", known]
    several = ["least squares: a, c", "least squares: b", known]
    assert drawn({"a": one, "b": other, "c": one}) == ["a", "b", "c", *several]


def test_where_all_diverged_the_page_says_so(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, f"seed={seed}", seed, state="diverged")
    seen = Seen(report(tmp_path))
    assert "Nothing can be said yet" in seen.text and "fit is nan" in seen.text
    assert not seen.tags["svg"]


@pytest.mark.parametrize(
    "damage",
    [
        {"diagnosis": {"confusion": [[1, "x"]], "reliability": {"count": "many"}}},
        {"diagnosis": ["no"]},
        {"ridge": {"strengths": "none"}},
        {"ridge": 5},
        {"eigenspace": {"shares": [0.1, "x"], "images": 5}},
        {"eigenspace": {**recognised(), "images": 3}},
        {"eigenspace": "none"},
        {"choices": {"loss": {"meaning": 5, "formula": ["x"]}, "norm": "odd"}},
        {"command": {"no": "list"}, "label": 7, "options": {"task": ["odd"]}},
        {"epochs": "six", "seed": "three", "data": {"classes": 5}},
        {"last": {"gap": {"nll": "wide"}, "learned": 5}, "test": {}},
        {"last": {"gap": {}}},
    ],
    ids=lambda damage: ",".join(damage),
)
def test_damaged_records_do_not_stop_the_page(damage: dict[str, Any], tmp_path: Path) -> None:
    for seed in range(3):
        run = write_run(tmp_path, f"seed={seed}", seed)
        if seed:
            change(run, **copy.deepcopy(damage))
    assert "All runs" in Seen(report(tmp_path)).text


@pytest.mark.parametrize(
    "line",
    ["{}", '{"epoch": 2, "probe": 5}', '{"epoch": 2, "learned": {"alpha": [[1], "x"]}}', "["],
)
def test_damaged_histories_do_not_stop_the_page(line: str, tmp_path: Path) -> None:
    run = write_run(tmp_path, "odd")
    file = run / "history.jsonl"
    file.write_text(file.read_text() + line + "\n")
    change(run, last={**json.loads((run / "summary.json").read_text())["last"], "learned": 1})
    assert "Learning curves" in Seen(report(tmp_path)).text
    file.write_text(line)
    assert "All runs" in Seen(report(tmp_path)).text


def test_old_records_without_what_is_new_have_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, "old")
    summary = json.loads((run / "summary.json").read_text())
    for name in ("command", "choices", "diagnosis", "data", "epochs", "identity", "verdict"):
        summary.pop(name)
    summary["label"] = "loss=focal,model.filters=[8,8]"
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "examples.npz").unlink()
    text = Seen(report(tmp_path)).text
    assert "kexp run task=mnist_convnet loss=focal 'model.filters=[8,8]'" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "."), "is a directory: name a file"),
        (("--plots", "file"), "is a file: --plots wants a directory"),
        (("-o", "file/report.html"), "cannot be written"),
        (("--where", "seed=9"), "--where seed=9: no run meets it; seed is 0"),
        (("--metric", "psnr"), "these runs have nll"),
        (("--baseline", "dropout"), "write factor=level"),
    ],
)
def test_refusals_say_what_to_do(
    options: tuple[str, str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_run(tmp_path, "alone")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["report", ".", *options]) in (1, 2)
    assert words in capsys.readouterr().err


def test_output_is_told_and_its_folder_made(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_run(tmp_path, "alone")
    output = tmp_path / "new" / "page.html"
    assert main(["report", str(tmp_path), "-o", str(output)]) == 0
    assert f"written: {output}" in capsys.readouterr().out
    assert [path.name for path in output.parent.iterdir()] == ["page.html"]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page with")
def test_page_works_in_a_browser(study: Path, page: str) -> None:
    api = pytest.importorskip("playwright.sync_api")
    address = (study / "report.html").as_uri()
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        try:
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            faults: list[str] = []
            requests: list[str] = []
            tab.on("console", lambda message: faults.append(message.text))
            tab.on("pageerror", lambda error: faults.append(str(error)))
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(address)
            _filter_works(tab)
            _sorting_works(tab)
            _plots_are_there(tab)
            for width in (1280, 400):
                tab.set_viewport_size({"width": width, "height": 900})
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
            _follows_the_scheme(tab)
            assert not faults
            assert [url for url in requests if not url.startswith("data:")] == [address]
        finally:
            browser.close()


def _filter_works(tab: Any) -> None:
    box = tab.locator(".runs", has_text="loss=focal,dropout=standard,seed=2")
    count, rows = box.get_by_role("status"), box.locator("tbody tr:visible")
    assert count.inner_text() == "13 of 13 runs shown" and rows.count() == 13
    box.get_by_role("searchbox").fill("focal standard")
    assert count.inner_text() == "3 of 13 runs shown" and rows.count() == 3
    box.get_by_role("searchbox").fill("")
    box.get_by_label("state").select_option(label="diverged")
    assert count.inner_text() == "1 of 13 runs shown" and "wild" in rows.inner_text()
    box.get_by_label("state").select_option(label="any")
    assert rows.count() == 13


def _sorting_works(tab: Any) -> None:
    """By keyboard alone: the headers are reached with Tab and pressed with Enter."""
    box = tab.locator(".runs", has_text="loss=focal,dropout=standard,seed=2")
    header = box.get_by_role("columnheader", name="NLL gap")
    box.get_by_role("searchbox").focus()
    for _ in range(20):
        tab.keyboard.press("Tab")
        if "NLL gap" in tab.evaluate("document.activeElement.textContent"):
            if tab.evaluate("document.activeElement.tagName") == "BUTTON":
                break
    column = tab.evaluate("document.activeElement.parentElement.cellIndex")
    for order in ("ascending", "descending"):
        tab.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == order
        cells = box.locator("tbody tr").evaluate_all(
            f"rows => rows.map(row => row.cells[{column}].textContent)"
        )
        values = [float(cell) for cell in cells if cell != "–"]
        assert values == sorted(values, reverse=order == "descending") and len(values) > 10
    assert box.locator("[aria-sort]").count() == 1


def _plots_are_there(tab: Any) -> None:
    sizes = tab.locator("figure svg").evaluate_all(
        "all => all.map(e => [e.getBoundingClientRect().width, e.querySelectorAll('*').length])"
    )
    assert len(sizes) > 15 and all(width > 300 and parts > 20 for width, parts in sizes)


def _follows_the_scheme(tab: Any) -> None:
    found = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        found.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        label = "getComputedStyle(document.querySelector('.plot svg text')).fill"
        found.append(tab.evaluate(label))
    assert len(set(found)) == 4


@pytest.mark.parametrize(
    ("target", "columns"),
    [("image regression", ["input", "output"]), ("depth regression", ["output"])],
)
def test_inputs_are_measured_only_where_they_are_such_images_as_the_targets(
    target: str, columns: list[str], tmp_path: Path, no_collection: None
) -> None:
    """A photograph is no bad depth map."""
    run = write_run(tmp_path / "results", "one", task="denoise")
    change(run, target=target)
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 16, 16, 3)).astype(np.uint8)
    np.savez(run / "examples.npz", inputs=images[0], outputs=images[1], targets=images[2])
    page = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "results"), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    table = text[text.index("PSNR of the images") :]
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", table[: table.index("</thead>")])
    assert heads == ["run of", "image", *columns]
