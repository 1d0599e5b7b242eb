"""What a sweep will do with each of its runs, told before the first is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kexp.errors import ConfigError
from kexp.experiment import Experiment
from kexp.store import RunFolder
from kexp.store.reading import read_json
from kexp.sweeps.board import last_epoch
from kexp.sweeps.work import FAILED, Job

if TYPE_CHECKING:
    from kexp.api import Session

Action = Literal["train", "go on", "retry", "skip", "leave"]

WORDS: dict[Action, str] = {
    "train": "to train",
    "go on": "to go on",
    "retry": "to train again",
    "skip": "finished before",
    "leave": "failed before",
}


@dataclass(frozen=True)
class Planned:
    """One run and what will happen to it, with the reason in words."""

    job: Job
    action: Action
    because: str
    identity: str
    reason: str | None = None

    @property
    def trains(self) -> bool:
        """Whether it will be trained."""
        return self.action in ("train", "go on", "retry")


def planned(
    session: Session, jobs: Sequence[Sequence[str]], force: bool, retry_failed: bool
) -> list[Planned]:
    """What will happen to each run; data are fetched, as a fallback would make it another run.

    Raises `ConfigError` where a combination is at fault, or two would share a folder.
    """
    experiments = [session.experiment(job) for job in jobs]
    refuse_shared_folders(experiments)
    found = []
    for overrides, experiment, label in zip(jobs, experiments, labels(jobs), strict=True):
        chosen, settled = session.settled(experiment, overrides)
        action, because, reason = _action(RunFolder(chosen.folder), chosen, force, retry_failed)
        job = job_of(chosen, settled, label, again=action == "retry")
        found.append(Planned(job, action, because, chosen.identity, reason))
    return list({plan.job.folder: plan for plan in found}.values())


def labels(jobs: Sequence[Sequence[str]]) -> list[str]:
    """What tells each run from the others: the overrides that not all of them share."""
    shared = set(jobs[0]).intersection(*jobs) if jobs[1:] else set()
    return [" ".join(o for o in job if o not in shared) for job in jobs]


def job_of(e: Experiment, overrides: Sequence[str], label: str = "", again: bool = False) -> Job:
    """The job that trains an experiment; its label in the sweep is the run's own if not given."""
    return Job(
        tuple(overrides),
        e.folder,
        label or e.label,
        e.training.epochs,
        e.backend.device,
        again,
        experiment=e,
    )


def told(plans: Sequence[Planned]) -> str:
    """`sweep of 24 runs: 18 to train, 1 to go on, 5 finished before`."""
    counts = Counter(plan.action for plan in plans)
    parts = ", ".join(f"{counts[a]} {words}" for a, words in WORDS.items() if counts[a])
    return f"sweep of {len(plans)} run{'' if len(plans) == 1 else 's'}: {parts}"


def _action(
    folder: RunFolder, e: Experiment, force: bool, retry_failed: bool
) -> tuple[Action, str, str | None]:
    status = folder.state()
    state, reason = status.get("state"), status.get("reason")
    if state is None:
        return "train", "new", None
    if force:
        return "train", f"again from the start: --force ({state} before)", None
    if state == "finished" and read_json(folder.summary):
        return "skip", "finished", None
    if state in FAILED:
        said = f"{state}: {reason}"
        if retry_failed:
            return "retry", f"--retry-failed ({said})", None
        return "leave", f"{said} (--retry-failed trains it again)", said
    record = last_epoch(folder.history)
    epoch = f"after epoch {record['epoch']} of {e.training.epochs}" if record else "from the start"
    by = f", PID {status.get('pid')} on {status.get('host')}" if state == "running" else ""
    return "go on", f"{epoch} ({state} before{by})", None


def refuse_shared_folders(experiments: Sequence[Experiment]) -> None:
    """Refuse different runs that would be written to the same folder, as one `name` makes them."""
    folders: dict[object, str] = {}
    for experiment in experiments:
        if folders.setdefault(experiment.folder, experiment.identity) != experiment.identity:
            raise ConfigError(
                f"several runs would be written to {experiment.folder}; leave name out, or let "
                "it tell them apart, as in 'name=mine-${seed}'"
            )
