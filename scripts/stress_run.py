"""One run under fire: SIGKILL at every write, and at random moments; then the same command again.

    python scripts/stress_run.py [--kills N] [--seed N] [--every N] [--only NAME,…]

Each configuration is first run undisturbed. Then it is killed, half of the time at a random moment
of its life and half at a random write, and started again, until it finishes; until N kills have
been made. With --every 1 it is also killed at each of its writes, before it and in its middle; with
--every 9, at each ninth.

Right after a kill each file must be whole; in the end the history must be the same byte for byte,
weights and examples bit for bit, and no other file there than without kills.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import signal
import stat
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

LINE = 20
"""A line is printed for so many kills."""

CONVNET = (
    "data=digits",
    "data.side=12",
    "data.train_size=64",
    "data.validation_size=40",
    "data.test_size=40",
    "model.filters=[8,8]",
    "training.batch_size=12",
)
CONFIGS: dict[str, tuple[str, ...]] = {
    "convnet": (
        *CONVNET,
        "norm=batch",
        "schedule=cosine",
        "training.epochs=4",
        "training.patience=2",
    ),
    "denoise": (
        "task=denoise",
        "norm=batch",
        "task.patch=16",
        "task.patches_per_epoch=20",
        "model.depth=3",
        "model.width=8",
        "training.batch_size=8",
        "training.epochs=2",
    ),
    "binary": ("task=binary", "dropout=gaussian", "schedule=exponential", "training.epochs=3"),
    "ridge": ("task=ridge", "training.epochs=3"),
    "jax": (*CONVNET, "backend=jax", "training.epochs=2"),
}
ASKED_TO_STOP = 3
"""So many portions of steps into a run, which is one step each, it is asked to save and end."""


def main() -> None:
    """Run all of it, and exit with 1 if anything was lost or differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=0)
    parser.add_argument("--only", default=",".join(CONFIGS))
    options = parser.parse_args()
    names = [name for name in CONFIGS if name in options.only.split(",")]
    tally = Tally()
    with tempfile.TemporaryDirectory() as place:
        subjects = undisturbed(names, Path(place))
        for subject in subjects if options.every else ():
            at_every_write(subject, options.every, tally)
        rng, goal = random.Random(options.seed), tally.kills + options.kills
        while tally.kills < goal:
            at_random(*rng.choices(subjects, [1 / s.seconds for s in subjects]), rng, goal, tally)
    tally.tell()
    sys.exit(bool(tally.wrong))


@dataclasses.dataclass
class Tally:
    """What has happened so far."""

    kills: int = 0
    runs: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    def killed(self) -> None:
        """Count a kill."""
        self.kills += 1
        if not self.kills % LINE:
            self.tell()

    def note(self, faults: list[str], where: str) -> None:
        """Print what is wrong, if anything."""
        self.wrong += faults
        for fault in faults:
            print(f"WRONG {where}: {fault}", flush=True)

    def tell(self) -> None:
        """Print the sum."""
        print(f"{self.kills} kills, {self.runs} runs ended: {len(self.wrong)} wrong", flush=True)


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a process kills itself: at its write number `write`, or after `seconds`.

    In a `torn` write half of what was to be written is on disk.
    """

    write: int = 0
    torn: bool = False
    seconds: float = 0.0
    stop: bool = False


@dataclasses.dataclass
class Subject:
    """A configuration, the run of it that nothing has disturbed, and what that took."""

    name: str
    place: Path
    writes: str = ""
    seconds: float = 0.0

    @property
    def calm(self) -> Path:
        """The results of the run that nothing has disturbed."""
        return self.place / f"{self.name}-calm"

    @property
    def fire(self) -> Path:
        """The results of the run that is being killed."""
        return self.place / f"{self.name}-fire"


def undisturbed(names: list[str], place: Path) -> list[Subject]:
    """Run each configuration without a kill. JAX first, while TensorFlow is not imported."""
    subjects = []
    for name in sorted(names, key=lambda name: name != "jax"):
        if name != "jax":
            import_what_runs_need()
        subject = Subject(name, place)
        began = time.monotonic()
        status, subject.writes = attempt(subject, subject.calm, Kill())
        subject.seconds = time.monotonic() - began
        if status:
            sys.exit(f"{name}: failed undisturbed\n{said(subject.calm)}")
        print(f"{name}: {len(subject.writes)} writes in {subject.seconds:.1f} s", flush=True)
        subjects.append(subject)
    return subjects


def import_what_runs_need() -> None:
    """Import TensorFlow and the rest, and start nothing of it, so that it is safe to fork."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as kexp does
    import sklearn.datasets  # noqa: F401
    import tensorflow  # noqa: F401

    import kexp.runner
    import kexp.training.loop  # noqa: F401
    from kexp.api import Session

    Session().experiment(CONFIGS["ridge"])


def attempt(subject: Subject, results: Path, kill: Kill) -> tuple[int, str]:
    """Run the command once in a process of its own; how that ended, and a letter per write."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        output = os.open(f"{results}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        arm(results, kill, writer)
        from kexp.cli import main

        code = main(["run", *CONFIGS[subject.name], f"paths.results={results}"])
        sys.stdout.flush()
        os._exit(code)
    os.close(writer)
    with open(reader, "rb") as pipe:
        writes = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), writes


def said(results: Path) -> str:
    """What the attempts at a run have printed."""
    return Path(f"{results}.txt").read_text(errors="replace")


CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.utime")


def arm(results: Path, kill: Kill, told: int) -> None:
    """Have this process kill itself as told; a letter goes to `told` for each of its writes.

    It is s (synchronised) where the content of a file has been written, c where a name is changed.
    """
    if kill.seconds:
        threading.Timer(kill.seconds, die).start()
    if kill.stop:
        stop_in_the_middle_of_an_epoch()
    writes, sync = [0], os.fsync

    def at_write(descriptor: int | None = None) -> None:
        content = descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode)
        writes[0] += 1
        os.write(told, b"s" if content else b"c")
        if writes[0] == kill.write:
            if kill.torn and content:
                tear(descriptor)
            die()

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in CHANGES or (event == "open" and opens_to_write(arguments))
        if changes and str(arguments[0]).startswith(str(results)):
            at_write()

    def counted_sync(descriptor: int) -> None:
        at_write(descriptor)
        sync(descriptor)

    os.fsync = counted_sync
    sys.addaudithook(heard)


def opens_to_write(arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event `open` is for more than reading."""
    flags = arguments[2]
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def die() -> None:
    """What no process can help."""
    os.kill(os.getpid(), signal.SIGKILL)


def tear(descriptor: int) -> None:
    """Cut off half of what has just been written: half a file, or half a line of a history."""
    path = Path(f"/proc/self/fd/{descriptor}").resolve()
    lines = path.read_bytes().splitlines() if path.suffix == ".jsonl" else []
    size = path.stat().st_size
    os.truncate(path, size - len(lines[-1]) // 2 if lines else size // 2)


def stop_in_the_middle_of_an_epoch() -> None:
    """Send this process a signal that asks to save and stop, after some steps."""
    from kexp.training import course, engine

    answer, taken = course.Steps.answer, [0]

    def counted(wish: course.Steps) -> np.ndarray:
        objectives = answer(wish)
        taken[0] += 1
        if taken[0] == ASKED_TO_STOP:
            os.kill(os.getpid(), signal.SIGTERM)
        return objectives

    engine.PORTION_SECONDS = 0.0
    setattr(course.Steps, "answer", counted)  # noqa: B010


def at_every_write(subject: Subject, step: int, tally: Tally) -> None:
    """Kill at each write, before it and in its middle; and when asked to stop within an epoch."""
    asked = Kill(stop=True)
    _, writes = attempt(subject, subject.fire, asked)
    finish(subject, tally, str(asked))
    every = [
        Kill(write, torn, stop=stop)
        for stop, letters in ((False, subject.writes), (True, writes))
        for write, letter in enumerate(letters, start=1)
        for torn in ((False, True) if letter == "s" else (False,))
    ]
    for kill in every[::step]:
        fire_at(subject, kill, tally)
        finish(subject, tally, str(kill))


def at_random(subject: Subject, rng: random.Random, goal: int, tally: Tally) -> None:
    """Kill and start again until the run has ended."""
    kills = [random_kill(subject, rng)]
    while fire_at(subject, kills[-1], tally) == -signal.SIGKILL and tally.kills < goal:
        kills.append(random_kill(subject, rng))
    finish(subject, tally, " ".join(map(str, kills)))


def random_kill(subject: Subject, rng: random.Random) -> Kill:
    """At any moment, or at any write; of a run that has been asked to stop, now and then."""
    stop = rng.random() < 0.2
    if rng.random() < 0.5:
        return Kill(seconds=rng.uniform(0, subject.seconds), stop=stop)
    return Kill(rng.randint(1, len(subject.writes)), torn=rng.random() < 0.5, stop=stop)


def fire_at(subject: Subject, kill: Kill, tally: Tally) -> int:
    """One attempt that is killed, or ends before; look at every file right after it."""
    ended, _ = attempt(subject, subject.fire, kill)
    if ended == -signal.SIGKILL:
        tally.killed()
    elif ended != (143 if kill.stop else 0) and ended != 0:
        tally.note([f"ended with {ended}\n{said(subject.fire)}"], f"{subject.name} {kill}")
    tally.note(list(broken(subject)), f"{subject.name} {kill}")
    return ended


def finish(subject: Subject, tally: Tally, where: str) -> None:
    """The same command once more, which must end as if nothing had happened."""
    ended, _ = attempt(subject, subject.fire, Kill())
    faults = list(differences(subject)) if not ended else [said(subject.fire)]
    tally.note(faults, f"{subject.name} {where}")
    tally.runs += 1
    for path in sorted(subject.fire.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    Path(f"{subject.fire}.txt").unlink()


def broken(subject: Subject) -> Iterator[str]:
    """Files that are neither the old ones nor the new, in words."""
    for path in subject.fire.rglob("*"):
        if path.is_dir() or path.name.endswith(".tmp") or path.name.startswith("."):
            continue
        try:
            WHOLE.get(path.suffix, Path.read_bytes)(path)
        except Exception as error:
            yield f"{path.name} is broken: {error!r}"
        if path.name == "history.jsonl":
            yield from lost(path, subject)


def lost(path: Path, subject: Subject) -> Iterator[str]:
    """A history must begin as the undisturbed one, and hold what the checkpoint says."""
    history = path.read_bytes()
    if not (run_of(subject.calm) / "history.jsonl").read_bytes().startswith(history):
        yield "the history is not the beginning of the undisturbed one"
    state = path.parent / "checkpoint" / "state.npz"
    if state.exists() and arrays(state)["epoch"] > history.count(b"\n"):
        yield "the checkpoint is beyond the history"


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file, all of them read."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def weights_in(path: Path) -> bytes:
    """The weights in a .keras file, whose other parts hold times and numbers of objects."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(damaged)
        return file.read("model.weights.h5")


def told_in(path: Path) -> dict[str, Any]:
    """A summary without what depends on how fast the machine is."""
    summary = json.loads(path.read_text())
    kept = summary.keys() - {"throughput", "memory", "config", "command"}
    return {key: summary[key] for key in kept}


def state_in(path: Path) -> str:
    """The state that a status names."""
    return json.loads(path.read_text())["state"]


WHOLE: dict[str, Callable[[Path], Any]] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".npz": arrays,
    ".keras": weights_in,
}
SAME: dict[str, Callable[[Path], Any]] = {
    "history.jsonl": Path.read_bytes,
    "checkpoint/state.npz": arrays,
    "examples.npz": arrays,
    "model.keras": weights_in,
    "summary.json": told_in,
    "status.json": state_in,
}


def run_of(results: Path) -> Path:
    """The folder of the only run."""
    (status,) = results.rglob("status.json")
    return status.parent


def differences(subject: Subject) -> Iterator[str]:
    """What is missing, left over or different in the run that was killed, in words."""
    calm, fire = run_of(subject.calm), run_of(subject.fire)
    files = [{p.relative_to(run) for p in run.rglob("*") if p.is_file()} for run in (calm, fire)]
    yield from (f"{path} is missing or left over" for path in files[0] ^ files[1])
    for name, content in SAME.items():
        if not equal(content(calm / name), content(fire / name)):
            yield f"{name} differs"


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same; of arrays, each bit."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.tobytes() == right.tobytes()
    return left == right


if __name__ == "__main__":
    main()
