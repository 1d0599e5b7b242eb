"""A sweep under fire: its memory and file handles stay flat, and no run is lost or wrong.

    python -m scripts.stress_sweep [--runs N] [--kills N] [--seed N] [--folder DIR] [--plot PNG]

The runs are tiny. One in ten has a loss that makes trouble: it raises, exits, ends or crashes its
process, runs out of memory, diverges or takes too long. At random, workers and the sweep itself
are killed; each time the sweep dies, some records are damaged and the same command is started
again, in the end with --retry-failed.

In the end each sound run must be there once, finished, with every epoch once and bit for bit what
it is in a sweep that nobody disturbed; each other run must say what became of it; and the records
must be compared and reported. While all this goes on, memory, file handles, threads and temporary
files are sampled: after the last start, they may not grow from run to run. 500 runs with 16 kills
took 25 minutes on 2 busy cores.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from kexp.store import read_run
from kexp.store.atomic import TEMPORARY
from tests.conftest import history, read, tiny
from tests.trouble import OUTCOMES, config_dir

SHARE = 10
"""One in so many runs makes trouble."""

EPOCHS = 2
LAUNCHER = (
    "hydra.launcher.n_jobs=2",
    "hydra.launcher.threads=1",
    "hydra.launcher.time_limit=30",
)
SAMPLE_SECONDS = 0.5

FLAT = {"mib": 0.1, "handles": 0.01, "threads": 0.01}
"""How much a process may grow from one of its runs to the next."""

NOISE = {"mib": 20, "handles": 4, "threads": 2}
"""What comes and goes within each run: growth that adds up to less is not told from it."""

MANY = 8
"""Growth is told of processes that had at least so many runs."""


@dataclass(frozen=True)
class Sample:
    """One process at one moment; `ended` runs of the sweep had ended by then."""

    at: float
    ended: int
    pid: int
    mib: float
    handles: int
    threads: int
    children: int


@dataclass(frozen=True)
class Study:
    """The sweep: its command, its folder and the runs that it is to make."""

    folder: Path
    words: tuple[str, ...]
    kinds: tuple[str, ...]
    seeds: int

    @property
    def results(self) -> Path:
        """Where its runs are."""
        return self.folder / "results"

    @property
    def output(self) -> Path:
        """What it said, over all its starts."""
        return self.folder / "output.txt"

    def command(self, *more: str) -> list[str]:
        """`kexp sweep` in a process of its own."""
        factors = (f"loss.kind={','.join(self.kinds)}", f"seed=range({self.seeds})")
        return [sys.executable, "-m", "kexp", "sweep", *self.words, *factors, *more]

    def start(self, *more: str) -> subprocess.Popen:
        """Start the command."""
        with open(self.output, "ab") as output:
            return subprocess.Popen(self.command(*more), stdout=output, stderr=output)


def main() -> None:
    """Run it all, print what happened, and exit with 1 if anything was lost, wrong or grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--kills", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the records are kept")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        calm, fire = studies(folder, options.runs)
        if calm.start().wait():
            sys.exit(f"the undisturbed sweep failed: see {calm.output}")
        watch = Watch(fire)
        with watch.watching():
            under_fire(fire, watch, random.Random(options.seed), options.kills)
        wrong = [*lost(calm, fire), *left_behind(fire, watch), *growth(watch), *analysed(fire)]
        if options.plot:
            draw(watch, options.plot)
    print(f"{len(fire.kinds) * fire.seeds} runs, {options.kills} SIGKILLs: {len(wrong)} wrong")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


def studies(folder: Path, runs: int) -> tuple[Study, Study]:
    """A small sweep of sound runs, to be left alone, and the large one with trouble in it.

    Trouble comes in the first half, so that processes may grow old in the second.
    """
    seeds = max(1, runs // (SHARE * len(OUTCOMES)))
    sound = [f"none{number}" for number in range(runs // seeds - len(OUTCOMES))]
    early = len(sound) // 2 // len(OUTCOMES)
    kinds: list[str] = []
    for trouble in OUTCOMES:
        kinds += [trouble, *(sound.pop() for _ in range(early))]
    both = []
    for name, some in (("calm", ("none",)), ("fire", (*kinds, *sound))):
        (folder / name).mkdir(parents=True)
        choices = ("loss=trouble", "dropout=standard", f"training.epochs={EPOCHS}")
        words = (*config_dir(folder / name), *tiny("mnist_convnet", folder / name, *choices))
        both.append(Study(folder / name, (*words, *LAUNCHER), some, seeds))
    return both[0], both[1]


class Watch:
    """Samples the processes of a sweep, whichever they are at the time."""

    def __init__(self, study: Study):
        self.study = study
        self.samples: list[Sample] = []
        self.starts: list[int] = []
        self.workers: dict[int, psutil.Process] = {}
        self.temporary: list[int] = []
        self._began = time.monotonic()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Around what is to be watched."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(SAMPLE_SECONDS):
                self.look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def look(self) -> None:
        """Take a sample of each process."""
        if not self.starts:
            return
        now, ended = time.monotonic() - self._began, self.ended()
        self.temporary.append(sum(1 for _ in self.study.results.rglob(TEMPORARY)))
        for process in family(self.starts[-1]):
            with contextlib.suppress(psutil.Error):
                values = (process.memory_info().rss / 2**20, process.num_fds())
                more = (process.num_threads(), len(process.children()))
                self.samples.append(Sample(now, ended, process.pid, *values, *more))
                if process.pid != self.starts[-1]:
                    self.workers[process.pid] = process

    def ended(self) -> int:
        """How many runs have ended so far, one way or another."""
        return self.study.output.read_bytes().count(b"\n[")

    def of(self, pid: int) -> list[Sample]:
        """The samples of one process."""
        return [sample for sample in self.samples if sample.pid == pid]


def family(pid: int) -> list[psutil.Process]:
    """A sweep and its workers."""
    try:
        parent = psutil.Process(pid)
        workers = [c for c in parent.children() if "spawn_main" in " ".join(c.cmdline())]
        return [parent, *workers]
    except psutil.Error:
        return []


def under_fire(study: Study, watch: Watch, rng: random.Random, kills: int) -> None:
    """Kill at random, the sweep itself at last, and start it again until it has ended by itself."""
    while kills:
        with started(study, watch) as process:
            while process.poll() is None and kills:
                let_pass(process, watch, rng.randint(1, 6), rng.uniform(0, 2))
                victims = family(process.pid)[: None if kills > 1 else 1]
                if victims:
                    rng.choice(victims).kill()
                    kills -= 1
        damage(study.results, rng)
    with started(study, watch, "--retry-failed"):
        pass


def let_pass(process: subprocess.Popen, watch: Watch, runs: int, seconds: float) -> None:
    """Wait until so many runs more have ended, and some seconds of the next have passed."""
    ended = watch.ended() + runs
    while process.poll() is None and watch.ended() < ended:
        time.sleep(0.1)
    time.sleep(seconds)


@contextlib.contextmanager
def started(study: Study, watch: Watch, *more: str) -> Iterator[subprocess.Popen]:
    """One start of the command, and its end."""
    with study.start(*more) as process:
        watch.starts.append(process.pid)
        yield process
    if process.returncode not in (0, 1, -signal.SIGKILL):
        sys.exit(f"the sweep ended with exit code {process.returncode}: see {study.output}")


def damage(results: Path, rng: random.Random) -> None:
    """Damage the records of three runs, each in another way."""
    runs = sorted(path.parent for path in results.rglob("status.json"))
    for spoil in (_no_status, _no_summary, _torn):
        if runs:
            spoil(runs.pop(rng.randrange(len(runs))))


def _no_status(run: Path) -> None:
    (run / "status.json").write_bytes(bytes(100))


def _no_summary(run: Path) -> None:
    (run / "summary.json").write_text("{")


def _torn(run: Path) -> None:
    (run / "status.json").write_text("")
    with open(run / "history.jsonl", "a") as file:
        file.write('{"epoch": 2, "learning')


def lost(calm: Study, fire: Study) -> list[str]:
    """What is missing, twice, different or not told as it was, in words."""
    runs = [path.parent for path in sorted(fire.results.rglob("status.json"))]
    expected = {(kind, seed) for kind in fire.kinds for seed in range(fire.seeds)}
    found = [(config["loss"]["kind"], config["seed"]) for config in map(_config, runs)]
    wrong = [f"{run}: twice, or never asked for" for run in set(found) ^ expected]
    wrong += ["a run is there twice"] * (len(found) != len(set(found)))
    undisturbed = [path.parent for path in calm.results.rglob("status.json")]
    sound = {_config(run)["seed"]: run for run in undisturbed}
    for run, (kind, seed) in zip(runs, found, strict=True):
        status = read(run, "status.json")
        state, reason = OUTCOMES.get(kind, ("finished", ""))
        if status["state"] != state or reason not in (status["reason"] or ""):
            wrong.append(f"{run.name}: {status['state']}: {status['reason']}")
        elif kind not in OUTCOMES and not same(run, sound[seed]):
            wrong.append(f"{run.name}: not as in the undisturbed sweep")
    return wrong


def _config(run: Path) -> dict:
    return read_run(run).config


def same(run: Path, other: Path) -> bool:
    """Whether two runs have every epoch once, the same history and weights, bit for bit."""
    if [record["epoch"] for record in history(run)] != list(range(1, EPOCHS + 1)):
        return False
    if (run / "history.jsonl").read_bytes() != (other / "history.jsonl").read_bytes():
        return False
    state = "checkpoint/state.npz"
    with np.load(run / state) as left, np.load(other / state) as right:
        return left.files == right.files and all(
            np.array_equal(left[name], right[name]) for name in left.files
        )


def left_behind(study: Study, watch: Watch) -> list[str]:
    """Processes that still run, and files that are not whole."""
    alive = [process for process in watch.workers.values() if process.is_running()]
    wrong = [f"process {process.pid} is still there" for process in alive]
    wrong += [f"left behind: {path}" for path in study.results.rglob(TEMPORARY)]
    size = sum(path.stat().st_size for path in study.results.rglob("*") if path.is_file())
    print(
        f"{len(watch.starts)} starts, {len(watch.workers)} workers, "
        f"at most {max(watch.temporary, default=0)} temporary files, {size / 2**20:.0f} MiB"
    )
    return wrong


def growth(watch: Watch) -> list[str]:
    """Print how much the processes of the last start grew per run, and say which did too much.

    The second half of what each lived through counts. The two workers share the runs.
    """
    wrong = tell("sweep", second_half(watch.of(watch.starts[-1])), 1)
    since = watch.of(watch.starts[-1])[0].at
    for number, pid in enumerate(watch.workers, 1):
        samples = watch.of(pid)
        if samples[0].at >= since:
            wrong += tell(f"worker {number}", second_half(samples), 2)
    return wrong


def second_half(samples: list[Sample]) -> list[Sample]:
    """Those taken when half of the runs had ended that ended in all of them."""
    middle = (samples[0].ended + samples[-1].ended) / 2
    return [sample for sample in samples if sample.ended >= middle]


def tell(name: str, samples: list[Sample], share: int) -> list[str]:
    """Print the slopes of one process, which has one in `share` of the runs."""
    wrong, said, ended = [], [], [sample.ended for sample in samples]
    if ended[-1] - ended[0] < MANY * share:
        return []
    for what, bound in FLAT.items():
        values = [getattr(sample, what) for sample in samples]
        slope = share * float(np.polyfit(ended, values, 1)[0])
        said.append(f"{what} {min(values):.0f} to {max(values):.0f} ({slope:+.4f} per run)")
        if slope > bound and slope * (ended[-1] - ended[0]) / share > NOISE[what]:
            wrong.append(f"{name}: {what} grow by {slope:.3f} per run, more than {bound}")
    print(f"{name}, {(ended[-1] - ended[0]) // share} runs: {', '.join(said)}")
    return wrong


def analysed(study: Study) -> list[str]:
    """What compare, effects and report make of the whole, and how long they take."""
    page, where = study.folder / "report.html", str(study.results)
    commands: dict[str, tuple[str, ...]] = {
        "compare": (where,),
        "effects": (where,),
        "report": (where, "-o", str(page)),
    }
    wrong = []
    for name, words in commands.items():
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "kexp", name, *words], capture_output=True, text=True
        )
        print(f"kexp {name}: {time.monotonic() - began:.1f} s")
        if done.returncode:
            wrong.append(f"kexp {name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return wrong


def draw(watch: Watch, path: Path) -> None:
    """Memory and file handles of every process over time."""
    from matplotlib.figure import Figure

    by_pid: dict[int, list[Sample]] = defaultdict(list)
    for sample in watch.samples:
        by_pid[sample.pid].append(sample)
    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, (what, label) in zip(
        figure.subplots(2, sharex=True),
        {"mib": "resident memory (MiB)", "handles": "open file handles"}.items(),
        strict=True,
    ):
        for pid, samples in by_pid.items():
            color = "C3" if pid in watch.starts else "C0"
            line = [(sample.at, getattr(sample, what)) for sample in samples]
            axes.plot(*zip(*line, strict=True), color=color, linewidth=1)
        axes.set(ylabel=label, ylim=(0, None))
    axes.set(xlabel="seconds (red: the sweep; blue: its workers)")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
