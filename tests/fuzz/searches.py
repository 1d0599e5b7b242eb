"""Storages of a search that are damaged, and files that tell whether a run is held."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from hypothesis import strategies as st

from kexp.errors import KexpError
from kexp.store import RunFolder
from kexp.sweeps.search.storage import address, opened
from tests.fuzz.harness import command, holds
from tests.fuzz.mutations import VALUES, damaged, encoded

RATE = "optimizer.learning_rate=interval(1e-4,1e-2)"
SEARCH = (
    "hydra/sweeper=optuna",
    "data=digits",
    "paths.results=results",
    "hydra.sweeper.name=s",
    RATE,
)


@cache
def storage(kind: str) -> bytes:
    """The bytes of a storage with a search of three trials."""
    place = Path(tempfile.mkdtemp(prefix="kexp-fuzz-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    name = "search.db" if kind == "sqlite" else "journal:search"
    url = f"journal:{place / 'search'}" if kind == "journal" else f"sqlite:///{place / name}"
    with opened(address(url, place)) as kept:
        study = optuna.create_study(storage=kept, study_name="s", direction="minimize")
        study.set_user_attr("kexp", {"search": [RATE]})
        for value in (1.0, 2.0):
            trial = study.ask(
                {"optimizer.learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2)}
            )
            trial.set_user_attr("owner", {"host": "x", "pid": 1})
            study.tell(trial, value)
        study.ask()
    return (place / ("search" if kind == "journal" else name)).read_bytes()


@holds(
    st.sampled_from(["journal", "sqlite"]).flatmap(
        lambda kind: st.tuples(st.just(kind), st.binary(max_size=60) | damaged(storage(kind)))
    ),
    few=2,
    seconds=60.0,
)
def storages_of_a_search(case: tuple[str, bytes], folder: Path) -> None:
    """Are known, or refused in words."""
    kind, content = case
    (folder / "kept").write_bytes(content)
    url = "journal:kept" if kind == "journal" else "sqlite:///kept"
    command("sweep", "--dry-run", *SEARCH, f"hydra.sweeper.storage={url}")


STATUS = st.one_of(
    st.binary(max_size=40),
    VALUES.map(encoded),
    st.fixed_dictionaries(
        {"state": st.sampled_from(["running", "failed", "finished", 7])},
        optional={k: VALUES for k in ("seconds", "started", "host", "pid", "reason", "heartbeat")},
    ).map(encoded),
)


FOUND = (
    (b'{"state": "failed", "seconds": {}}', b"", b""),
    (b'{"state": "failed", "seconds": -1e999}', b"", b""),
    (b"", b"", b'{"epoch": 1, "gap": NaN}'),
)
"""Status, lock and history that were faults once."""


@holds(st.tuples(STATUS, st.binary(max_size=40), STATUS), few=30, known=FOUND)
def a_run_is_taken_up(case: tuple[bytes, bytes, bytes], folder: Path) -> None:
    """Whatever its heartbeat and its lock hold, a run is held by another or begun."""
    status, lock, history = case
    (folder / "run").mkdir()
    run = RunFolder(folder / "run")
    run.status.write_bytes(status)
    run.history.write_bytes(history + b"\n")
    (folder / "run" / ".lock").write_bytes(lock)
    try:
        with run.locked():
            run.start()
            run.rewind(1)
            run.end("finished")
    except KexpError:
        return
    state: Any = run.state()
    assert state["state"] == "finished" and state["seconds"] >= 0
