"""The commands: help, exit codes, lists, and output wherever it goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kexp
from kexp.cli import commands, main
from kexp.config.listing import listing
from kexp.config.places import groups
from kexp.errors import ConfigError, DataError, DataMissing, Diverged, Interrupted, StoreError
from kexp.sweeps import Sweep

COMMANDS = sorted(commands.commands)

PLURALS = {
    "backend": "backends",
    "data": "data",
    "dropout": "dropouts",
    "loss": "losses",
    "model": "models",
    "norm": "norms",
    "optimizer": "optimizers",
    "regularizer": "regularizers",
    "robustness": "robustness",
    "schedule": "schedules",
    "study": "studies",
    "task": "tasks",
    "task/noise": "noises",
    "track": "tracks",
    "training": "training",
}


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`python -m kexp` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kexp", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Makes `kexp run` end with an exception."""

    def fail(error: BaseException) -> None:
        def run(session: object, *arguments: object) -> None:
            raise error

        monkeypatch.setattr("kexp.api.Session.run", run)

    return fail


# Help


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str, flag: str, capsys) -> None:
    assert main([command, flag]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"Usage: kexp {command} ") and said.err == ""
    assert "--debug" in said.out


def test_help_names_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {command} " in said for command in COMMANDS)
    assert "Exit codes" in said and "kexp run" in said


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip().endswith(kexp.__version__)


def test_help_waits_for_nothing() -> None:
    """Only what says the help is imported, so that it is there at once."""
    code = "import sys; from kexp.cli import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout.splitlines()[-1]))
    assert "kexp.cli" in loaded
    assert not {"numpy", "scipy", "hydra", "pydantic", "keras", "tensorflow"} & loaded


# Exit codes


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["run", "--nonsense"],
        ["run", "--training.epochs=5"],
        ["sweep", "--limit", "many"],
        ["compare"],
        ["show"],
        ["data"],
        ["data", "burn", "mnist"],
        ["doctor", "now"],
        ["list", "losses", "tasks"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("Usage: kexp") and said.out == ""
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError("no such key"), 2, "kexp: no such key\n"),
        (DataError("broken"), 1, "kexp: broken\n"),
        (DataMissing("not there"), 1, "kexp: not there\n"),
        (StoreError("read-only"), 1, "kexp: read-only\n"),
        (Diverged("not finite"), 1, "kexp: not finite\n"),
        (Interrupted(2), 130, "the same command goes on from there"),
        (Interrupted(15), 143, "the same command goes on from there"),
        (KeyboardInterrupt(), 130, "stopped from the keyboard"),
        (ZeroDivisionError("oops"), 1, "kexp: ZeroDivisionError: oops (--debug shows where)\n"),
    ],
)
def test_exit_codes(error: BaseException, code: int, words: str, failing, capsys) -> None:
    failing(error)
    assert main(["run"]) == code
    said = capsys.readouterr()
    assert words in said.err and said.err.lstrip().startswith("kexp: ")
    assert "Traceback" not in said.err and said.out == ""


@pytest.mark.parametrize(("failures", "code"), [([], 0), ([("seed=1", "diverged")], 1)])
def test_exit_code_of_a_sweep(failures: list, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Sweep(failures=failures)
    monkeypatch.setattr("kexp.api.Session.sweep", lambda session, *given, **how: result)
    assert main(["sweep", "seed=1,2"]) == code


def test_debug_shows_the_traceback(failing, capsys) -> None:
    failing(ZeroDivisionError("oops"))
    assert main(["run", "--debug"]) == 1
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said and "ZeroDivisionError: oops" in said
    failing(ConfigError("no such key"))
    assert main(["run", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_overrides_reach_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("kexp.api.Session.run", lambda session, *rest: seen.append(rest))
    assert main(["run", "seed=1", "loss=focal", "--force"]) == 0
    assert main(["run", "--", "seed=2"]) == 0
    assert [tuple(overrides) for overrides, *_ in seen] == [("seed=1", "loss=focal"), ("seed=2",)]


# Lists


def test_every_group_is_known_here() -> None:
    assert set(groups()) == set(PLURALS)


@pytest.mark.parametrize("group", PLURALS)
def test_list_of_every_group(group: str, capsys) -> None:
    for name in {group, group.split("/")[-1], PLURALS[group]}:
        assert main(["list", name]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{PLURALS[group]}  (on the command line: {group}=…)\n")
        listed = [line.split()[0] for line in said.splitlines() if line[:3].strip()]
        assert listed[1:] == groups()[group]


def test_list_of_everything(capsys) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(f"(on the command line: {group}=…)" in said for group in groups())
    assert "kexp." not in said, "an option without a meaning shows its class"


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("lossses", "did you mean losses?"),
        ("Loss", "did you mean losses?"),
        ("huber", "huber is one of the losses: kexp list losses"),
        ("xyz", "there are backends, data, dropouts, losses"),
        ("", "there are backends, data, dropouts, losses"),
    ],
)
def test_list_of_an_unknown_word(word: str, advice: str, capsys) -> None:
    assert main(["list", word]) == 2
    said = capsys.readouterr()
    assert advice in said.err and said.err.startswith("kexp: ") and said.out == ""


def test_list_shows_the_users_options(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "wing.yaml").write_text("_target_: wing.Wing\nwidth: 0.1\n")
    said = listing("losses", tmp_path)
    wing, width = (line for line in said.splitlines() if "wing" in line or "width=0.1" in line)
    assert wing.split() == ["wing", "wing.Wing"] and width.index("width") == wing.index("wing.")
    assert "  huber " in said


# Data


def test_data_where(capsys, tmp_path: Path) -> None:
    assert main(["data", "where", "digits"]) == 0
    assert "embedded" in capsys.readouterr().out
    assert main(["data", "where", "photos"]) == 0
    assert "embedded" in capsys.readouterr().out
    assert main(["data", "where", "archive", "data.train=x.npz", f"paths.data={tmp_path}"]) == 1
    assert str(tmp_path / "x.npz") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["mnits"], "Did you mean data=mnist?"),
        (["folder"], "data.path must be given"),
        (["digits", "data.side=0"], "data.side must be a whole number ≥ 1, got 0"),
        (["digits", "data=photos"], "data is given twice"),
        (["digits", "seed=1,2"], "that is a sweep"),
    ],
)
def test_data_where_of_nothing(arguments: list[str], advice: str, capsys) -> None:
    assert main(["data", "where", *arguments]) == 2
    assert advice in capsys.readouterr().err


# Output, wherever it goes


def test_python_dash_m() -> None:
    done = process("--version")
    assert done.returncode == 0 and kexp.__version__.encode() in done.stdout
    done = process("run", "dropout.rate=1")
    assert done.returncode == 2 and done.stdout == b""
    words = "kexp: dropout.rate must be a number ≥ 0 and < 1, got 1\n"
    assert done.stderr.decode().replace("\r", "") == words


def test_reader_that_has_gone() -> None:
    """As in `kexp list | head -1`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kexp", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) in (0, 1)
    assert said == b""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_output_in_any_encoding(encoding: str) -> None:
    done = process("list", "losses", PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stderr == b""
    assert b"huber" in done.stdout
    assert ("δ".encode() in done.stdout) == (encoding == "utf-8")


def test_faults_in_any_encoding() -> None:
    done = process("run", "dropout.rate=1", "name=ü", PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and done.stderr.startswith(b"kexp: dropout.rate must be")
