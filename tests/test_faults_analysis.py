"""Faults in records, whoever wrote them: the others are compared, and nothing is executed."""

from __future__ import annotations

import functools
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kexp
from kexp.analysis.load import read_records
from kexp.cli import main
from kexp.progress import Lines, Live, Logged
from kexp.store import RunFolder, reading
from tests.records import change, epochs_of, write_run, write_study

CORRUPT = {
    "garbage": b"\x00\xff\xfe\x80" * 100,
    "empty": b"",
    "truncated": b'{"schema": 1, "conf',
    "a list": b"[1, 2, 3]",
    "a number": b"7",
    "nested": b"[" * 100_000,
    "nested object": b'{"config": ' * 900 + b"1" + b"}" * 900,
    "NaN": b'{"last": NaN, "config": Infinity}',
    "UTF-16": '{"last": {}}'.encode("utf-16"),
    "long number": b'{"last": ' + b"9" * 5000 + b"}",
}
WRONG = {
    "last.gap is a list": {"last": {"gap": [1, 2]}},
    "last.gap is a number": {"last": {"gap": 0.3}},
    "last is a text": {"last": "0.3"},
    "last is empty": {"last": {}},
    "value is a text": {"last": {"gap": {"nll": "0.3"}, "validation": {}, "probe": {}}},
    "value is a list": {"test": {"last": {"nll": [0.3]}, "best": {}}},
    "value is too large": {"cost": {"nll": 10**400}},
    "value is true": {"onset": {"nll": True}},
    "onset is a list": {"onset": [3]},
    "options is a list": {"options": ["none"]},
    "config is a text": {"config": "none"},
    "config is deep": {"config": functools.reduce(lambda inner, _: {"a": inner}, range(40), {})},
    "test is null": {"test": None},
    "schema is a text": {"schema": "one"},
}
ODD_BUT_READ = {
    "seed is a text": {"seed": "zero"},
    "arm is a section": {"arm": {"a": [1]}},
    "identity is a list": {"identity": [1, 2]},
    "monitor is a list": {"monitor": ["nll"]},
    "label is a number": {"label": 3},
    "option is a section": {"options": {"dropout": {"a": 1}, "loss": [2]}},
    "no config": {"config": {}},
    "data is empty": {"data": {}},
    "study is a list": {"config": {"study": [1], "dropout": 5, "seed": 0, "task": None}},
}


def compared(capsys: pytest.CaptureFixture, results: Path, *more: str) -> tuple[list[Any], str]:
    """The rows of the comparison, and what is said on stderr."""
    assert main(["compare", str(results), "--format", "json", *more]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def loaded(results: Path, **options: Any) -> Any:
    """The table of some results whatever is wrong with them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kexp.load(results, **options)


def effects_are_told(capsys: pytest.CaptureFixture, results: Path) -> str:
    """What `kexp effects` prints."""
    assert main(["effects", str(results)]) == 0
    out, err = capsys.readouterr()
    return out + err


def test_f49_records_of_another_machine(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Absolute paths in a record are not followed."""
    write_study(tmp_path / "before")
    for run in (tmp_path / "before" / "study").iterdir():
        config = json.loads((run / "summary.json").read_text())["config"]
        paths = {"results": "/nowhere/results", "data": "/nowhere/data"}
        change(run / "summary.json", config={**config, "paths": paths})
        change(run / "status.json", host="elsewhere", pid=1)
    before, _ = compared(capsys, tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "copy")
    shutil.move(tmp_path / "before", tmp_path / "after")
    assert compared(capsys, tmp_path / "after") == (before, "")
    assert "dropout=standard" in effects_are_told(capsys, tmp_path / "after")
    assert loaded(tmp_path / "after")["path"].str.startswith(str(tmp_path / "after")).all()
    both, err = compared(capsys, tmp_path)
    assert [row["n"] for row in both] == [3, 3] and err.count("counted once") == 6


@pytest.mark.parametrize("schema", [0, None])
def test_f50_older_records_are_read(
    schema: int | None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for run in (write_study(tmp_path) / "study").iterdir():
        summary = json.loads((run / "summary.json").read_text())
        for section in ("schema", "arm", "identity", "options", "cost", "onset"):
            del summary[section]
        older = summary if schema is None else {**summary, "schema": schema}
        (run / "summary.json").write_text(json.dumps(older))
    found, err = compared(capsys, tmp_path)
    assert [row["n"] for row in found] == [3, 3] and err == ""
    assert len(loaded(tmp_path)) == 6
    assert "dropout=" in effects_are_told(capsys, tmp_path)


@pytest.mark.parametrize("schema", [1.0, 1.5, -1, True, "1", [1]])
def test_f50_what_is_no_schema(schema: Any, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Is said to be none: no newer kexp would read it."""
    run = write_study(tmp_path) / "study" / "none,seed=0"
    change(run / "summary.json", schema=schema)
    found, err = compared(capsys, tmp_path)
    assert [row["n"] for row in found] == [2, 3]
    assert f"{run} has no schema that there is, but {schema!r}" in err


@pytest.mark.parametrize("parts", [{}, {"last": [1], "config": {}}], ids=["as ours", "other shape"])
def test_f50_newer_records_are_refused(
    parts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = write_study(tmp_path) / "study" / "none,seed=0"
    change(run / "summary.json", schema=99, **parts)
    found, err = compared(capsys, tmp_path)
    assert [row["n"] for row in found] == [2, 3]
    assert err.count(str(run)) == 1 and "written by a newer kexp (schema 99): update" in err
    with pytest.warns(UserWarning, match="newer kexp"):
        runs = kexp.load(tmp_path)
    assert runs["last.gap.nll"].isna().sum() == 1


def test_f51_corrupt_runs_among_500(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """All kinds at once: each listed, all others compared."""
    write_study(tmp_path, seeds=range(250))
    whole = sorted((tmp_path / "study").iterdir())
    for run, content in zip(whole, CORRUPT.values(), strict=False):
        (run / "summary.json").write_bytes(content)
    for run, parts in zip(whole[len(CORRUPT) :], WRONG.values(), strict=False):
        change(run / "summary.json", **parts)
    broken = len(CORRUPT) + len(WRONG)
    found, err = compared(capsys, tmp_path)
    assert sum(row["n"] for row in found) == 500 - broken
    missing = [run for run in whole[:broken] if str(run) not in err]
    assert not missing and str(whole[broken]) not in err
    assert "dropout=standard" in effects_are_told(capsys, tmp_path)
    runs = loaded(tmp_path)
    assert len(runs) == 500 and runs["last.gap.nll"].notna().sum() >= 500 - broken
    assert runs["last.gap.nll"].dtype == "float64"


@pytest.mark.parametrize("kind", CORRUPT)
def test_f51_corrupt_files(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Whatever file of a run is corrupt."""
    results = write_study(tmp_path)
    for number, name in enumerate(("summary.json", "status.json", "config.yaml", "history.jsonl")):
        run = results / "study" / f"broken-{number}"
        shutil.copytree(results / "study" / "none,seed=0", run)
        change(run / "summary.json", identity=str(number), seed=10 + number)
        if name == "config.yaml":
            (run / "summary.json").unlink()
        (run / name).write_bytes(CORRUPT[kind])
    found, err = compared(capsys, results)
    assert sum(row["n"] for row in found) == 7
    for number in range(3):
        assert f"broken-{number}" in err
    assert len(loaded(results)) == 10 and len(loaded(results, epochs=True)) >= 12
    assert "dropout=standard" in effects_are_told(capsys, results)


@pytest.mark.parametrize("kind", WRONG)
def test_f51_wrong_shapes(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = write_study(tmp_path) / "study" / "none,seed=0"
    change(run / "summary.json", **WRONG[kind])
    found, err = compared(capsys, tmp_path)
    assert [row["n"] for row in found] == [2, 3] and str(run) in err
    assert len(loaded(tmp_path)) == 6


@pytest.mark.parametrize("kind", ODD_BUT_READ)
def test_f51_odd_shapes_stop_nothing(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = write_study(tmp_path) / "study" / "none,seed=0"
    change(run / "summary.json", **ODD_BUT_READ[kind])
    for more in ([], ["--each"], ["--by", "dropout"], ["--by", "seed"], ["--where", "seed!=7"]):
        found, _ = compared(capsys, tmp_path, *more)
        assert sum(row["n"] for row in found) == 6
    for form in ("table", "csv", "md", "latex"):
        assert main(["compare", str(tmp_path), "--format", form]) == 0
    assert len(loaded(tmp_path)) == 6
    effects_are_told(capsys, tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("name", ["summary.json", "status.json", "history.jsonl"])
def test_f51_pipes_and_devices(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A pipe would be waited for, and a device read, for ever."""
    results = write_study(tmp_path)
    for run, make in (("none,seed=0", os.mkfifo), ("none,seed=1", _link_to_zeros)):
        file = results / "study" / run / name
        file.unlink()
        make(file)
    found, err = compared(capsys, results)
    assert [row["n"] for row in found] == ([3, 3] if name == "history.jsonl" else [1, 3])
    frame = loaded(results, epochs=True)
    assert len(frame) == 8 if name == "history.jsonl" else len(frame) == 12


def _link_to_zeros(file: Path) -> None:
    file.symlink_to("/dev/zero")


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["nll", "gap", "last", "best", "dropout", "_target_", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
SECTIONS = "schema identity arm label seed options data config monitor last best test onset cost"
PARTS = st.dictionaries(st.sampled_from(SECTIONS.split()), SHAPES, max_size=3)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(parts=PARTS, status=SHAPES, epoch=SHAPES)
def test_f51_whatever_is_in_a_record(
    parts: Any, status: Any, epoch: Any, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "study" / "none,seed=0"
    if not run.exists():
        write_study(tmp_path)
        shutil.copy(run / "summary.json", tmp_path / "whole.json")
    shutil.copy(tmp_path / "whole.json", run / "summary.json")
    change(run / "summary.json", **parts)
    change(run / "status.json", reason=status, seconds=status)
    (run / "history.jsonl").write_text(json.dumps({"epoch": 1, "gap": epoch}) + "\n")
    found, _ = compared(capsys, tmp_path)
    assert sum(row["n"] for row in found) >= 5
    for more in (["--each", "--sort", "gap"], ["--by", "dropout", "--where", "state=finished"]):
        compared(capsys, tmp_path, *more)
    assert len(loaded(tmp_path)) == 6 and len(loaded(tmp_path, epochs=True)) >= 10


@pytest.mark.parametrize("started", ["2999-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00"])
def test_f52_clocks(
    started: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing compared depends on clocks; durations come from a steady one."""
    write_study(tmp_path / "a")
    before, _ = compared(capsys, tmp_path / "a")
    for run in list((tmp_path / "a" / "study").iterdir())[::2]:
        change(run / "status.json", started=started, heartbeat=started)
        os.utime(run / "summary.json", (0, 0))
    assert compared(capsys, tmp_path / "a")[0] == before
    folder = RunFolder(tmp_path / "b" / "study" / "run")
    folder.path.mkdir(parents=True)
    folder.start()
    monkeypatch.setattr("kexp.store.folder.now", lambda: started)
    monkeypatch.setattr("time.time", lambda: -1e9)
    folder.end("finished")
    status = folder.state()
    assert status["heartbeat"] == started and 0 <= status["seconds"] < 60


def writer(results: Path, count: int, ready: Any, looking: Any) -> None:
    """Trains nothing, but writes as runs do: status, epochs one by one, summary, end.

    Every ten runs it waits until the reader has begun another look.
    """
    for seed in range(count):
        if seed % 10 == 0 and seed:
            looking.acquire()
        source = write_run(results / "made", {"dropout": "none"}, seed, {"gap": 1.0 + seed})
        folder = RunFolder(results / "seen" / "study" / f"seed={seed}")
        folder.path.mkdir(parents=True)
        folder.start()
        folder.rewind(0)
        ready.set()
        summary = json.loads((source / "summary.json").read_text())
        for line in epochs_of(summary["last"], 5).splitlines():
            folder.append(json.loads(line))
            folder.beat()
        from kexp.store import atomic

        atomic.write_json(folder.summary, summary)
        folder.end("finished")


def test_f56_reading_while_runs_are_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Every row is that of a whole run, and none is lost again."""
    count = 60
    context = multiprocessing.get_context("spawn")
    ready, looking = context.Event(), context.Semaphore(0)
    process = context.Process(target=writer, args=(tmp_path, count, ready, looking))
    process.start()
    try:
        assert ready.wait(30)
        seen, looks = 0, 0
        while process.is_alive():
            looking.release()
            seen, looks = look(tmp_path / "seen", seen, capsys), looks + 1
        process.join()
        assert process.exitcode == 0 and looks > 3
        assert look(tmp_path / "seen", seen, capsys) == count
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("name", ["summary.json", "status.json"])
def test_f56_a_file_that_comes_while_it_is_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when it was read: that it is there right after is no damage."""
    run = write_run(tmp_path, {"dropout": "none"}, 0, {"gap": 1.0})
    hidden = (run / name).rename(run / "hidden")
    read = reading._content

    def late(path: Path, largest: int) -> bytes:
        try:
            return read(path, largest)
        finally:
            if path.name == name and hidden.exists():
                hidden.rename(path)

    monkeypatch.setattr(reading, "_content", late)
    assert reading.read_run(run).problems == []
    assert (run / name).exists()
    assert reading.read_run(run).summary


def look(results: Path, seen: int, capsys: pytest.CaptureFixture) -> int:
    """The number of finished runs, after all that can be read has been checked."""
    found, err = compared(capsys, results, "--each")
    assert "problem" not in err
    assert [row["gap"] for row in sorted(found, key=lambda row: row["seed"])] == [
        1.0 + seed for seed in range(len(found))
    ]
    assert len(found) >= seen
    epochs = loaded(results, epochs=True)
    for _, of_run in epochs.groupby("run") if len(epochs) else ():
        assert of_run["epoch"].tolist() == list(range(1, len(of_run) + 1))
        assert len(of_run) == 5 or set(of_run["state"]) == {"running"}
    effects_are_told(capsys, results)
    return len(found)


def canaries(folder: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A file that nobody may make, and configs whose classes would make it."""
    canary = folder / "canary"
    command = f"touch {canary}"
    return canary, {
        "os.system": {"_target_": "os.system", "command": command, "_args_": [command]},
        "subprocess": {"_target_": "subprocess.getoutput", "cmd": command},
        "shutil": {"_target_": "shutil.copy", "src": __file__, "dst": str(canary)},
        "pandas": {"_target_": "pandas.read_pickle", "filepath_or_buffer": str(folder / "p")},
        "builtins": {"_target_": "builtins.exec", "_args_": [f"open({str(canary)!r}, 'w')"]},
        "resolver": {"rate": f"${{oc.env:HOME}}${{eval:__import__('os').system('{command}')}}"},
    }


@pytest.mark.parametrize(
    "kind", ["os.system", "subprocess", "shutil", "pandas", "builtins", "resolver"]
)
def test_f59_foreign_configs_are_data(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    canary, configs = canaries(tmp_path)
    results = write_study(tmp_path / "results")
    for seed in range(3):
        run = results / "study" / f"none,seed={seed}"
        config = json.loads((run / "summary.json").read_text())["config"]
        foreign = {**config, "dropout": configs[kind], "hydra": configs[kind]}
        change(run / "summary.json", config=foreign)
    partial = results / "study" / "partial"
    partial.mkdir()
    (partial / "status.json").write_text('{"state": "failed"}')
    tag = f"dropout: !!python/object/apply:os.system ['touch {canary}']\n"
    (partial / "config.yaml").write_text(tag)
    found, err = compared(capsys, results)
    assert sum(row["n"] for row in found) == 6 and "cannot be read" in err
    compared(capsys, results, "--where", "dropout!=x", "--by", "dropout")
    effects_are_told(capsys, results)
    runs = loaded(results)
    assert len(runs) == 7 and not canary.exists()
    assert os.environ["HOME"] not in runs.filter(like="dropout").to_string()


def test_f60_hydra_and_pickles_are_ignored(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    canary, configs = canaries(tmp_path)
    run = write_study(tmp_path / "results") / "study" / "none,seed=0"
    pickled = b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."
    for name in ("config.pkl", "hydra.pickle", "config.yaml", "history.jsonl", "environment.json"):
        (run / name).write_bytes(pickled)
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text("hydra: {_target_: os.system}")
    summary = json.loads((run / "summary.json").read_text())
    change(run / "summary.json", config={**summary["config"], "hydra": configs["os.system"]})
    found, _ = compared(capsys, tmp_path / "results")
    assert sum(row["n"] for row in found) == 6
    effects_are_told(capsys, tmp_path / "results")
    assert len(loaded(tmp_path / "results", epochs=True)) == 10 and not canary.exists()


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files below a folder, and when they were written."""
    return {
        str(file): (file.lstat().st_mtime_ns, file.read_bytes() if file.is_file() else b"")
        for file in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "..", "a\x00b", "C:\\x"])
def test_f65_names_in_records_lead_nowhere(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Analysis writes nothing, and says where a run is, not where it says it is."""
    results = write_study(tmp_path / "results")
    for run in (results / "study").iterdir():
        config = json.loads((run / "summary.json").read_text())["config"]
        lying = {**config, "name": name, "study": {"name": name}, "paths": {"results": name}}
        change(run / "summary.json", config=lying, label=name, study=name, run=name, path=name)
    (tmp_path / "outside").mkdir()
    write_run(tmp_path / "outside", {"dropout": "spatial"}, 0)
    (results / "link").symlink_to(tmp_path / "outside")
    before = snapshot(tmp_path)
    found, _ = compared(capsys, results, "--each")
    assert {row["study"] for row in found} == {"study"} and len(found) == 6
    effects_are_told(capsys, results)
    runs = loaded(results)
    assert set(runs["study"]) == {"study"} and runs["path"].str.startswith(str(results)).all()
    assert snapshot(tmp_path) == before


EVIL = "=HYPERLINK(1)|\\input{x}<script>alert(1)</script>\x1b[2J\u202e"
OBEYED: dict[str, Callable[[str], bool]] = {
    "table": lambda text: "\x1b" in text or "\u202e" in text,
    "csv": lambda text: any(cell.startswith(("=", '"=')) for cell in text.split(",")),
    "json": lambda text: "\x1b" in text,
    "md": lambda text: "<script>" in text,
    "latex": lambda text: "\\input" in text,
}


@pytest.mark.parametrize("form", OBEYED)
@pytest.mark.parametrize("command", ["compare", "compare --each", "effects"])
def test_f66_exported_text_is_not_obeyed(
    command: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    results = write_study(tmp_path, options=("none", EVIL.replace("/", "")))
    broken = results / "study" / "a\x1b[2Jb"
    broken.mkdir()
    (broken / "status.json").write_text('{"state": "failed", "reason": "\\u001b[31m"}')
    assert main([*command.split(), str(results), "--format", form]) == 0
    out, err = capsys.readouterr()
    assert "HYPERLINK" in out and not OBEYED[form](out)
    assert not {"\x1b", "\u202e"} & set(out + err)


def everywhere(value: Any, more: str) -> Any:
    """A value with `more` at the end of every text in it, keys too."""
    if isinstance(value, dict):
        both = {**value, **{f"{key}{more}": part for key, part in value.items()}}
        return {key: everywhere(part, more) for key, part in both.items()}
    if isinstance(value, list):
        return [everywhere(part, more) for part in value]
    return f"{value}{more}" if isinstance(value, str) else value


ESCAPES = "\x1b[2J\x9b31m\x1b]8;;http://a\x1b\\\u202e\u2066\x07\r\b\x7f"
"""A terminal would clear the screen, colour, link, turn around, ring and overwrite."""


@pytest.mark.parametrize("command", ["show", "show --metric nll", "compare --diff"])
def test_f66_terminals_obey_nothing_of_a_record(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = sorted((write_study(tmp_path) / "study").iterdir())[:2]
    evil = runs[0].rename(runs[0].with_name("a" + ESCAPES.replace("/", "")))
    for name in ("summary.json", "status.json"):
        found = json.loads((evil / name).read_text())
        (evil / name).write_text(json.dumps(everywhere({**found, "reason": "x"}, ESCAPES)))
    places = [evil, runs[1]] if "--diff" in command else [evil]
    main([*command.split(), *map(str, places)])
    out, err = capsys.readouterr()
    assert r"\x1b[2J" in out
    assert not [c for c in out + err if not c.isprintable() and c != "\n"]


def test_f66_terminals_obey_nothing_that_a_run_says(capsys: pytest.CaptureFixture) -> None:
    """The reason of a foreign run that failed, say, or the name of a folder."""
    log = io.StringIO()
    for reporter in (Lines(), Live(), Logged(Lines(), log)):
        reporter.say(f"two\nlines{ESCAPES}")
    shown = capsys.readouterr().out + log.getvalue()
    assert shown.count("two\nlines\\x1b[2J") == 4
    assert not [c for c in shown if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize("kind", [*CORRUPT, *WRONG, *ODD_BUT_READ])
def test_f51_show_of_a_damaged_record(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """What can be read is shown, and what cannot is named."""
    run = write_study(tmp_path, ("none",), [0]) / "study" / "none,seed=0"
    if kind in CORRUPT:
        (run / "history.jsonl").write_bytes(CORRUPT[kind])
        (run / "summary.json").write_bytes(CORRUPT[kind])
    else:
        change(run / "summary.json", **(WRONG | ODD_BUT_READ)[kind])
    assert main(["show", str(run)]) == 0
    out, err = capsys.readouterr()
    assert f"{run}\nstate: finished" in out and err == ""
    assert f"problem: {run}" in out or kind in ODD_BUT_READ


@pytest.mark.parametrize("part", ["gap", "validation", "probe"])
@pytest.mark.parametrize("value", [None, "x", 3, [1], {}, {"nll": "x"}, {"nll": None}])
def test_f51_show_of_damaged_epochs(
    part: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = write_study(tmp_path, ("none",), [0]) / "study" / "none,seed=0"
    epochs = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    epochs[-1][part] = value
    (run / "history.jsonl").write_text("".join(f"{json.dumps(epoch)}\n" for epoch in epochs))
    assert main(["show", str(run)]) == 0
    assert capsys.readouterr().err == ""


def cpu_seconds(*words: str) -> float:
    """CPU time of a command: that of the clock depends on what else the machine is at."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "kexp", *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system


def test_f75_help_answers_at_once() -> None:
    assert min(cpu_seconds("--help") for _ in range(3)) < 0.3


def test_f75_a_thousand_runs_are_compared_in_a_second(tmp_path: Path) -> None:
    write_study(tmp_path, seeds=range(500))
    for run in (tmp_path / "study").iterdir():
        line = (run / "history.jsonl").read_text().splitlines()[0]
        (run / "history.jsonl").write_text(f"{line}\n" * 50)
    assert min(cpu_seconds("compare", str(tmp_path)) for _ in range(3)) < 1.0


def test_f75_reading_keeps_what_is_compared_alone(tmp_path: Path) -> None:
    """10,000 summaries with all they have would be the larger part of a gigabyte."""
    from kexp.analysis.load import COMPARED

    write_run(tmp_path, {"dropout": "none"}, 0, diagnosis={"confusion": [[0] * 10] * 10})
    (record,) = read_records([tmp_path], COMPARED)
    assert "diagnosis" not in record.summary and "last" in record.summary
    (record,) = read_records([tmp_path])
    assert "diagnosis" in record.summary
