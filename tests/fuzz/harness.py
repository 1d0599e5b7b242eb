"""What a property is, how it is tried, and what no case may do."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis.strategies import SearchStrategy

import kexp
from kexp.cli import main

KEXP = str(Path(kexp.__file__).parent)

ROOM = 3 * 2**30
"""Bytes of address space that a case may take beyond what the process has.

Allocators such as PyArrow's reserve it by the gigabyte.
"""

EVERY = settings(
    deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck)
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
CHANGES |= {"os.chmod", "os.chown"}
EXECUTES = {"os.system", "os.exec", "os.posix_spawn", "os.startfile", "subprocess.Popen"}
EXECUTES |= {"os.fork", "pickle.find_class", "marshal.loads", "socket.connect", "exec"}


class Fault(AssertionError):
    """What a case did that none may do."""


class TooLong(BaseException):
    """A case took longer than it may."""


@dataclass
class Property:
    """`check(case, folder)` for any of `cases`; a test tries `few`, each at most `seconds` long."""

    check: Callable[[Any, Path], None]
    cases: SearchStrategy
    few: int
    seconds: float
    known: tuple[Any, ...] = ()
    tried: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    smallest: dict[str, str] = field(default_factory=dict)

    def test(self, folder: Path) -> None:
        """Try a few cases, those among them that were faults once; raises for the smallest one."""
        self._try(folder, self._bounded, settings(EVERY, max_examples=self.few, derandomize=True))

    def fuzz(self, folder: Path, examples: int) -> None:
        """Try many cases, and count the faults by where they came from."""
        many = settings(EVERY, max_examples=examples, phases=[Phase.explicit, Phase.generate])
        self._try(folder, self._counted, many)

    def _try(self, folder: Path, once: Callable[[Any, Path], None], how: settings) -> None:
        def case(value: Any) -> None:
            self.tried += 1
            with tempfile.TemporaryDirectory(dir=folder) as place:
                once(value, Path(place).resolve())

        for value in self.known:
            case = example(value)(case)
        how(given(self.cases)(case))()

    def _bounded(self, value: Any, folder: Path) -> None:
        with watched(folder, self.seconds):
            self.check(value, folder)

    def _counted(self, value: Any, folder: Path) -> None:
        try:
            self._bounded(value, folder)
        except (Exception, TooLong) as error:
            where = _signature(error)
            self.faults[where] += 1
            shown = repr(value)
            if where not in self.smallest or len(shown) < len(self.smallest[where]):
                self.smallest[where] = shown


PROPERTIES: dict[str, Property] = {}


def holds(cases: SearchStrategy, few: int, seconds: float = 10.0, known: tuple = ()) -> Callable:
    """Make a property of `check(case, folder)`, under its own name."""

    def taken(check: Callable[[Any, Path], None]) -> Callable[[Any, Path], None]:
        PROPERTIES[check.__name__] = Property(check, cases, few, seconds, known)
        return check

    return taken


def command(*words: str, codes: tuple[int, ...] = (0, 1, 2)) -> tuple[int, str, str]:
    """Exit code, output and complaints of a command, which must be as for a person."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([words[0], "--debug", *words[1:]])
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # pyright: ignore
    said, complained = texts
    if "(--debug shows where)" in complained:
        raise Fault(complained)
    if code not in codes:
        raise Fault(f"exit code {code}: {complained}")
    if code and not said.strip() and not complained.strip():
        raise Fault(f"exit code {code} without a word")
    if bad := {c for c in said if not c.isprintable() and c != "\n"}:
        raise Fault(f"characters that a terminal obeys: {bad!a}")
    return code, said, complained


@contextlib.contextmanager
def watched(folder: Path, seconds: float) -> Iterator[None]:
    """Inside, time and memory are bounded, nothing is executed, and nothing changed elsewhere."""
    before, done = Path.cwd(), time.monotonic() + seconds
    compiled, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # of what is imported late
    os.chdir(folder)
    WATCH.folder, WATCH.seen = folder, []
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        with _memory(), warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        WATCH.folder = None
        sys.dont_write_bytecode = compiled
        os.chdir(before)
    if WATCH.seen:
        raise Fault(f"did what it must not: {WATCH.seen[:3]}")
    if time.monotonic() > done:
        raise TooLong(f"more than {seconds} s")


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """Inside, no more than `ROOM` may be taken."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@dataclass
class Watch:
    """What a case must not do, and has done."""

    folder: Path | None = None
    seen: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple) -> None:
        """Hear of something that Python does."""
        if self.folder is None or event not in HEARD:
            return
        if event in EXECUTES:
            if event not in ("exec", "marshal.loads"):
                self.seen.append(f"{event} {arguments[:2]!r}")
        elif event != "open" or _is_written(*arguments):
            self._look(event, arguments[0])

    def _look(self, event: str, path: Any) -> None:
        folder, self.folder = self.folder, None  # what follows is not the case's
        try:
            if isinstance(path, (str, bytes, os.PathLike)):
                place = os.path.realpath(os.fsdecode(path))
                if place != os.devnull and not Path(place).is_relative_to(str(folder)):
                    self.seen.append(f"{event} {place}")
        finally:
            self.folder = folder


HEARD = CHANGES | EXECUTES | {"open"}
WATCH = Watch()
sys.addaudithook(WATCH)


def _is_written(path: Any, mode: Any, flags: Any) -> bool:
    return bool(set(str(mode or "")) & set("wax+")) or bool((flags or 0) & WRITES)


def _too_long(*_: Any) -> None:
    raise TooLong("the time is over")


def _signature(error: BaseException) -> str:
    """Kind of a fault and the line of kexp's that it came from."""
    lines = str(error).splitlines() or [""]
    if "Traceback" in lines[0]:  # what a command has told with --debug
        places = [line for line in lines if f'File "{KEXP}' in line and "cli.py" not in line]
        said = [line for line in lines if line[:1].strip() and line[:6] != "kexp: "]
        return f"{said[-1][:100]} @ {' '.join(places[-1].split()) if places else '?'}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(KEXP)]
    at = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__}: {lines[0][:100]} @ {at}"
