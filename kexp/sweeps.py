"""A study as a sequence of runs: every combination checked first, then run by Hydra's launcher."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Glob, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from kexp.config.build import resolved
from kexp.config.compose import Composer, hydra_initialised
from kexp.config.overrides import parse
from kexp.config.study import Study, study_of
from kexp.config.wording import literal
from kexp.errors import ConfigError, Interrupted, KexpError

if TYPE_CHECKING:
    from kexp.api import Session
    from kexp.experiment import Experiment


@dataclass
class Sweep:
    """What became of the runs of a sweep."""

    folders: list[Path] = field(default_factory=list)
    """The folder of every run that was started, in order."""

    finished: int = 0
    """How many runs finished, now or before."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    """Label and reason of each run that did not finish."""


def sweep(session: Session, overrides: Sequence[str], limit: int | None, force: bool) -> Sweep:
    """Run every combination of the values in `overrides`. A failed run does not stop the others.

    Raises `ConfigError` before the first run where any combination is at fault or there are more
    than `limit` of them, and `Interrupted` where a signal stopped it.
    """
    jobs = expand(session.composer, overrides, limit)
    _refuse_shared_folders([session.experiment(job) for job in jobs])
    session.reporter.say(f"sweep of {len(jobs)} run{'' if len(jobs) == 1 else 's'}")
    result, interrupted = Sweep(), []

    def one(number: int) -> None:
        if interrupted:
            return
        session.reporter.say(f"run {number + 1} of {len(jobs)}")
        try:
            _run(session, jobs[number], result, force)
        except Interrupted as error:
            interrupted.append(error)

    _launch(jobs, one)
    if interrupted:
        raise interrupted[0]
    _say_result(session, result, len(jobs))
    return result


def expand(composer: Composer, overrides: Sequence[str], limit: int | None) -> list[list[str]]:
    """The overrides of each run: the product of all the values given and of the study's levels.

    Where a factor of the study is given a value, that counts instead. Raises `ConfigError`.
    """
    parsed = composer.read(overrides)
    variations = _study(composer, parsed).variations([o.key_or_group for o in parsed])
    chosen = [o for o in parsed if not o.is_sweep_override()]
    parsed = [_listed(override, composer, chosen) for override in parsed]
    count = math.prod([*map(_levels, parsed), *map(len, variations)])
    if not count:
        raise ConfigError("this sweep has no runs: a range is empty")
    if limit is not None and count > limit:
        raise ConfigError(
            f"this sweep has {count:,} runs, more than {limit:,}; add --yes if that is meant"
        )
    (given,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    jobs = (
        tuple(itertools.chain(job, *levels))
        for levels in itertools.product(*variations)
        for job in given
    )
    return [list(job) for job in dict.fromkeys(jobs)]


def _study(composer: Composer, parsed: Sequence[Override]) -> Study:
    """The study that the overrides choose. Raises `ConfigError`."""
    about = [o for o in parsed if o.key_or_group.split(".")[0] == "study"]
    for override in about:
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: one study at a time")
    fixed = [o.input_line or "" for o in about]
    return study_of(resolved(composer.config(fixed))["study"])


def _refuse_shared_folders(experiments: list[Experiment]) -> None:
    """Refuse different runs that would be written to the same folder, as one `name` makes them."""
    folders: dict[Path, str] = {}
    for experiment in experiments:
        if folders.setdefault(experiment.folder, experiment.identity) != experiment.identity:
            raise ConfigError(
                f"several runs would be written to {experiment.folder}; leave name out, or let "
                "it tell them apart, as in 'name=mine-${seed}'"
            )


def _listed(override: Override, composer: Composer, chosen: list[Override]) -> Override:
    """The override with a glob replaced by the options that it matches and that fit the task."""
    key, value = override.key_or_group, override.value()
    if override.is_sweep_override() and override.is_interval_sweep():
        raise ConfigError(f"{override.input_line}: an interval has no grid; list the values")
    if not isinstance(value, Glob):
        return override
    matching = value.filter(composer.options(key, chosen))
    if not matching:
        raise ConfigError(f"{override.input_line} matches no option of a config group")
    return parse(f"{key}={','.join(matching)}")


def _levels(override: Override) -> int:
    """How many values are given; of a range without counting them one by one."""
    if not override.is_sweep_override():
        return 1
    value = override.value()
    if isinstance(value, RangeSweep):
        if not value.step:
            raise ConfigError(f"{override.input_line}: the step of a range must not be 0")
        return max(0, math.ceil(((value.stop or 0) - (value.start or 0)) / value.step))
    return sum(1 for _ in override.sweep_string_iterator())


def _run(session: Session, job: list[str], result: Sweep, force: bool) -> None:
    try:
        experiment = session.with_data(session.experiment(job), job)
        result.folders.append(experiment.folder)
        session.train(experiment, force)
        result.finished += 1
    except Interrupted:
        raise
    except KexpError as error:
        result.failures.append((" ".join(job), str(error)))
        session.reporter.say(f"failed: {error}")
    except Exception as error:
        result.failures.append((" ".join(job), f"{type(error).__name__}: {error}"))
        session.reporter.say(f"failed: {type(error).__name__}: {error}")


def _launch(jobs: list[list[str]], one: Callable[[int], None]) -> None:
    """Give the jobs to Hydra's launcher, which calls `one` with the number of each."""
    with hydra_initialised(), tempfile.TemporaryDirectory() as scratch:
        quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null"]
        places = [f"hydra.sweep.dir={literal(scratch)}", "hydra.job.chdir=false"]
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config(
            "config", [*quiet, *places], run_mode=RunMode.MULTIRUN, with_log_configuration=False
        )

        def task(job_config: Any) -> None:
            from hydra.core.hydra_config import HydraConfig

            one(int(HydraConfig.get().job.num))

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(
                config_loader=hydra.config_loader, callbacks=_no_callbacks()
            ),
            task_function=task,
            config=config,
        )
        launcher.launch([[] for _ in jobs], initial_job_idx=0)


def _no_callbacks() -> Any:
    from hydra._internal.callbacks import Callbacks

    return Callbacks()


def _say_result(session: Session, result: Sweep, count: int) -> None:
    session.reporter.say(f"{result.finished} of {count} runs finished")
    for label, reason in result.failures:
        session.reporter.say(f"failed: {label}: {reason}")
