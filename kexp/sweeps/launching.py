"""Hydra's part of a sweep: which launcher and sweeper are chosen, and how they are set up."""

from __future__ import annotations

import contextlib
import itertools
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kexp.config.compose import Composer, hydra_initialised, search_path
from kexp.config.overrides import parse, raw_value
from kexp.config.wording import nearest
from kexp.errors import ConfigError, Held, Interrupted, KexpError, StoreError
from kexp.store import RunFolder
from kexp.store.differences import flatten
from kexp.sweeps.board import Board, board_for
from kexp.sweeps.local import HELD_SECONDS, Local, settings_of
from kexp.sweeps.slots import SAVING_SECONDS
from kexp.sweeps.vectorized import Vectorized, explained
from kexp.sweeps.work import Outcome, Work

QUIET = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
)
GROUPS = {"hydra/launcher": "launcher", "hydra/sweeper": "sweeper"}
OWN = {"local": Local, "vectorized": Vectorized}
"""kexp's own launchers, which tell of each run as soon as it has ended, and their settings."""

EXTRAS = ("joblib", "submitit", "ray", "optuna")
ABOUT_HYDRA = (
    "of Hydra's own settings, kexp sweep takes hydra/launcher, hydra/sweeper and what is below "
    "hydra.launcher and hydra.sweeper; where results go is set by paths.results, study.name and "
    "name"
)
LOOK_SECONDS = 1.0
"""How often the records of runs on other machines are looked at."""


def split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides for Hydra itself, and those of the runs."""
    of_hydra = [o for o in overrides if o.startswith(("hydra/", "hydra."))]
    return of_hydra, [o for o in overrides if o not in of_hydra]


@dataclass
class Launching:
    """Hydra, set up for one sweep."""

    hydra: Any
    config: Any

    @property
    def launcher_name(self) -> str:
        """The launcher that is chosen, as `local`."""
        return str(self.config.hydra.runtime.choices["hydra/launcher"])

    @property
    def sweeper_name(self) -> str:
        """The sweeper that is chosen: `basic` or `optuna`."""
        return str(self.config.hydra.runtime.choices["hydra/sweeper"])

    def check(self) -> None:
        """Raise `ConfigError` where the launcher cannot be set as it is."""
        if self.launcher_name in OWN:
            self._settings()
        if self.launcher_name == "joblib" and not self.config.hydra.launcher.n_jobs:
            raise ConfigError(
                "hydra.launcher.n_jobs must be a number of runs at once, or -1 for all cores, got 0"
            )

    def _settings(self) -> Any:
        """The settings of one of kexp's own launchers."""
        chosen = self.config.hydra.launcher.items()
        return settings_of(OWN[self.launcher_name], {k: v for k, v in chosen if k[0] != "_"})

    def explained(self, work: Work) -> Iterator[str]:
        """What the launcher would do with the work, a line each, where that is not plain."""
        if self.launcher_name == "vectorized":
            yield from explained(self._settings(), work)

    def sweeper(self, searched: Any) -> Any:
        """The sweeper, set up for a search."""
        return self._plugin(Plugins.instance().instantiate_sweeper, searched)

    def _plugin(self, make: Callable[..., Any], task_function: Any) -> Any:
        """A launcher or a sweeper; what it says against its settings is told as it is."""
        context = self._context()
        try:
            return make(hydra_context=context, task_function=task_function, config=self.config)
        except InstantiationException as error:
            raise error.__cause__ if isinstance(error.__cause__, KexpError) else error from None

    @contextlib.contextmanager
    def _launcher(self, work: Work) -> Iterator[Any]:
        """The launcher, set up for some work; what it writes of its own goes below results."""
        place = work.jobs[-1].folder.parent.parent / ".sweeps"
        try:
            place.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=place))
        except OSError as error:
            raise StoreError(
                f"cannot write to {place.parent} ({error.strerror}); choose another place with "
                "paths.results=DIR"
            ) from None
        with open_dict(self.config):
            self.config.hydra.sweep.dir = str(folder.resolve())
            if self.launcher_name == "ray" and self.config.hydra.launcher.ray.init.get("address"):
                # The launcher sets a size by default, which a cluster that is running refuses.
                self.config.hydra.launcher.ray.init.setdefault("object_store_memory", None)
        work.threads = self._threads()
        try:
            yield self._plugin(Plugins.instance().instantiate_launcher, work)
        finally:
            _tidy(folder)

    def train(self, work: Work, reporter: Any) -> list[Outcome]:
        """Train all jobs of the work with the launcher; what became of each, in order."""
        count = len(work.jobs)
        found = {o.number: o for o in self.stream(work, iter(range(count)), count, reporter)}
        return [found[number] for number in sorted(found)]

    def stream(
        self, work: Work, numbers: Iterator[int], at_most: int, reporter: Any, batch: int = 0
    ) -> Iterator[Outcome]:
        """Train the jobs of these numbers, and give what became of each.

        The launcher `local` asks for another number, which may have been added to the jobs by
        then, whenever a worker is free; others take `batch` of them at a time, all if that is 0.
        """
        board = board_for(reporter, work.jobs, at_most)
        work.board, work.reporter, work.total = board, reporter, at_most
        if self.launcher_name in OWN:
            with self._launcher(work) as launcher, board.shown():
                yield from launcher.train(numbers, at_most, batch)
            return
        through = self._here if self.launcher_name == "basic" else self._elsewhere
        held: list[int] = []
        while some := list(itertools.islice(numbers, batch or None)):
            for outcome in through(work, some, board):
                if outcome.state == "held":
                    board.held(outcome)
                    held.append(outcome.number)
                else:
                    yield outcome
        for number in held:
            wait_until_free(work.jobs[number].folder)
            yield from through(work, [number], board)

    def _here(self, work: Work, numbers: list[int], board: Board) -> list[Outcome]:
        """In this process, one after the other."""
        with self._launcher(work) as launcher:
            done = launcher.launch([[] for _ in numbers], initial_job_idx=numbers[0])
        if work.interrupted:
            raise work.interrupted
        return [job.return_value for job in done]

    def _elsewhere(self, work: Work, numbers: list[int], board: Board) -> list[Outcome]:
        """Through another launcher: where it tells nothing of a run, the run's record does."""
        failure, done = "it was not trained", []
        before = {number: _stamp(work.jobs[number].folder) for number in numbers}
        with self._launcher(work) as launcher, board.shown(), _watched(board, before):
            try:
                with passed_on([work.jobs[number].folder for number in numbers]):
                    done = launcher.launch([[] for _ in numbers], initial_job_idx=numbers[0])
            except Interrupted:
                raise
            except Exception as error:
                first = str(error).strip().split("\n")[0]
                failure = f"{self.launcher_name} gave up: {type(error).__name__}: {first}"
                board.reporter.say(failure)
        told = {job._return_value.number: job._return_value for job in done if _is_told(job)}
        return [
            told.get(n) or _recorded(n, work.jobs[n].folder, before[n], failure) for n in numbers
        ]

    def _threads(self) -> int | None:
        """CPU threads of a run, where the launcher's settings say how many it may take."""
        from kexp.sweeps.machine import cores

        chosen = self.config.hydra.launcher
        if self.launcher_name == "joblib":
            jobs = int(chosen.n_jobs)
            return max(1, cores() // (jobs if jobs > 0 else max(1, cores() + 1 + jobs)))
        if self.launcher_name.startswith("submitit"):
            return chosen.cpus_per_task
        if self.launcher_name == "ray":
            return int(chosen.ray.remote.get("num_cpus") or 1)
        return None

    def _context(self) -> HydraContext:
        from hydra._internal.callbacks import Callbacks

        return HydraContext(config_loader=self.hydra.config_loader, callbacks=Callbacks())


@contextlib.contextmanager
def set_up(
    composer: Composer, chosen: Sequence[Override], of_hydra: Sequence[str]
) -> Iterator[Launching]:
    """Hydra with the launcher and the sweeper that the overrides choose. Raises `ConfigError`."""
    parsed = [parse(text) for text in of_hydra]
    fixed = [o for o in chosen if o.key_or_group in ("task", "study")]
    composer.base([o for o in fixed if not o.is_sweep_override()])  # refuses what there is not
    with hydra_initialised():
        hydra: Any = GlobalHydra.instance().hydra
        _check(hydra, parsed)
        lines = [
            *search_path(composer.config_dir),
            *QUIET,
            *(o.input_line for o in fixed),
        ]
        groups = [o.input_line for o in parsed if o.key_or_group in GROUPS]
        settings = [o for o in parsed if o.key_or_group not in GROUPS]
        config = _composed(hydra, [*lines, *groups])
        for override in settings:
            _check_setting(config, override)
        changed = [f"++{o.input_line}" for o in settings]
        launch = Launching(hydra, _composed(hydra, [*lines, *groups, *changed]))
        launch.check()
        yield launch


def _composed(hydra: Any, lines: Sequence[str]) -> Any:
    try:
        return hydra.compose_config(
            "config", list(lines), run_mode=RunMode.MULTIRUN, with_log_configuration=False
        )
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        wrong = ", ".join(line.lstrip("+") for line in lines if "hydra." in line.split("=")[0][2:])
        raise ConfigError(f"{wrong or 'the settings of Hydra'}: {reason}") from None


def _check(hydra: Any, parsed: Sequence[Override]) -> None:
    """Refuse other settings of Hydra, launchers that do not exist, and sweeps of launchers."""
    for override in parsed:
        key = override.key_or_group
        if key not in GROUPS and not key.startswith(("hydra.launcher.", "hydra.sweeper.")):
            raise ConfigError(f"{key}: {ABOUT_HYDRA}")
        if override.is_sweep_override():
            listed = f"; several are a list: '{key}=[{raw_value(override)}]'"
            hint = listed if key == "hydra.sweeper.objective" else ""
            raise ConfigError(f"{override.input_line}: a sweep has one {key}{hint}")
        if key in GROUPS:
            options = hydra.config_loader.get_group_options(key)
            if raw_value(override) not in options:
                raise ConfigError(_unknown(override, options))


def _unknown(override: Override, options: list[str]) -> str:
    key, typed = override.key_or_group, raw_value(override)
    near = nearest(typed, options)
    ordered = ", ".join([*near, *(o for o in options if o not in near)])
    extra = next((e for e in EXTRAS if typed.startswith(e)), None)
    if extra:
        return f"{key}={typed} needs a package more: pip install 'kexp[{extra}]'"
    return f"{key}={typed}: no such {GROUPS[key]}; there are {ordered}"


def _check_setting(config: Any, override: Override) -> None:
    """Refuse keys that the launcher or the sweeper has not; a section left open takes any."""
    key, section = override.key_or_group, ".".join(override.key_or_group.split(".")[:2])
    known = flatten(OmegaConf.to_container(OmegaConf.select(config, section), resolve=False))
    known = {f"{section}.{name}": value for name, value in known.items() if name != "_target_"}
    parent = key.rpartition(".")[0]
    is_open = parent != section and OmegaConf.is_dict(OmegaConf.select(config, parent))
    if key in known or is_open:
        return
    option = config.hydra.runtime.choices[section.replace(".", "/")]
    near = nearest(key, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known) or 'none'}"
    raise ConfigError(f"{section.replace('.', '/')}={option} has no setting {key}; {hint}")


@contextlib.contextmanager
def _watched(board: Board, before: dict[int, object]) -> Iterator[None]:
    """Renew the board from the records of the runs, wherever they are trained."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            _survey(board, before)
            board.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _survey(board, before)


def _survey(board: Board, before: dict[int, object]) -> None:
    for number, stamp in before.items():
        folder = RunFolder(board.jobs[number].folder)
        if board.has_ended(number) or _stamp(folder.path) == stamp:
            continue
        status = folder.state()
        if status.get("state") == "running":
            board.started(number, folder)
        elif status.get("state") not in (None, "interrupted"):
            board.ended(Outcome(number, str(status["state"]), status.get("reason")))


def _recorded(number: int, path: Path, before: object, failure: str) -> Outcome:
    status = RunFolder(path).state()
    state = status.get("state")
    if state is None or _stamp(path) == before:
        return Outcome(number, "failed", failure)
    if state == "running":
        by = f"PID {status.get('pid')} on {status.get('host')}"
        return Outcome(number, "failed", f"it may still be running, as {by} ({failure})")
    return Outcome(number, str(state), status.get("reason"))


def _is_told(job: Any) -> bool:
    """Whether a job's return is an outcome; an exception in its place is not."""
    return isinstance(getattr(job, "_return_value", None), Outcome)


def wait_until_free(path: Path) -> None:
    """Wait while another process trains a run."""
    while True:
        try:
            with RunFolder(path).locked():
                return
        except Held:
            time.sleep(HELD_SECONDS)


@contextlib.contextmanager
def passed_on(folders: Sequence[Path]) -> Iterator[None]:
    """A signal to stop is passed on to the processes of the launcher on this machine.

    Their runs are given some seconds to save, then `Interrupted` is raised.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: Any) -> None:
        signal.signal(number, before[number])
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.terminate()
        until = time.monotonic() + SAVING_SECONDS
        while time.monotonic() < until and any(map(_runs_here, folders)):
            time.sleep(0.1)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _runs_here(path: Path) -> bool:
    """Whether a process of this machine, and alive, is training a run."""
    status = RunFolder(path).state()
    here = status.get("state") == "running" and status.get("host") == platform.node()
    return here and isinstance(status.get("pid"), int) and psutil.pid_exists(status["pid"])


def _stamp(path: Path) -> object:
    """What changes whenever a run writes its status."""
    try:
        found = RunFolder(path).status.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _tidy(folder: Path) -> None:
    """Remove what a launcher made, unless it has logs of its own in it."""
    if not any(path.is_file() for path in folder.rglob("*")):
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()
