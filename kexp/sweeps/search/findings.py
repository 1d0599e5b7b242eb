"""A search in words: what it will do, what is known of it, and what it has found."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from kexp.errors import KexpError
from kexp.sweeps.search.searching import study_of
from kexp.sweeps.search.storage import how_to_load, shown
from kexp.sweeps.search.trials import is_void, label

if TYPE_CHECKING:
    from kexp.sweeps.search.course import Course
    from kexp.sweeps.search.searching import Plan
    from kexp.sweeps.search.trials import Trials

ENOUGH = 10
"""Importances are told of this many finished trials or more."""

FRESH = 5
"""Seeds to confirm the best configuration with."""

WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "begun",
    TrialState.WAITING: "waiting",
}


def described(plan: Plan) -> str:
    """What is searched, how, and for what."""
    s = plan.settings
    each = len(plan.space.seeds)
    runs = f" of {each} seeds ({plan.runs:,} runs)" if each > 1 else ""
    goals = " and ".join(
        f"{aim.title} ({'higher' if aim.higher_is_better else 'lower'} is better)"
        for aim in plan.aims
    )
    pruner = ", ".join(f"{name} {value}" for name, value in s.of_pruner.items())
    pruned = f", pruned by {s.pruner} ({pruner})" if s.pruner != "none" else ""
    lines = [
        f"search of {_trials(plan.target)}{runs} for {goals}, sampled by {s.sampler} (seed "
        f"{s.seed}){pruned}",
        *(f"  {dimension}" for dimension in plan.space.dimensions),
    ]
    if plan.space.fixed:
        lines.append(f"  in all: {shlex.join(plan.space.fixed)}")
    size = plan.space.size
    if size is not None and size < plan.target:
        lines.append(
            f"  there are only {size} configurations; hydra.sweeper.sampler=grid tries each once"
        )
    return "\n".join(lines)


def known(plan: Plan, storage: Any) -> str:
    """What the storage holds of a search, and what would be done about it."""
    try:
        study = study_of(plan, storage, new=False)
    except KeyError:
        return "nothing is known of this search yet; a dry run trains nothing"
    trials = [t for t in study.get_trials(deepcopy=False) if not is_void(t)]
    again = {t.user_attrs.get("retry_of") for t in trials}
    trials = [t for t in trials if t.number not in again]
    lines = [f"known of study {plan.name} in {shown(plan.storage)}: {_counts(trials)}"]
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            owner = trial.user_attrs.get("owner") or {}
            by = f"PID {owner.get('pid')} on {owner.get('host')}"
            lines.append(f"  trial {trial.number} was begun by {by}: to go on if that has ended")
        if trial.state == TrialState.FAIL:
            reason = trial.user_attrs.get("reason")
            lines.append(f"  {label(trial)} failed: {reason} (--retry-failed tries it again)")
    lines.append(f"{_trials(max(0, plan.target - len(trials)))} still to be asked for")
    return "\n".join(lines)


def found(plan: Plan, trials: Trials, course: Course) -> str:
    """What the search has found so far, with the commands to go on from it."""
    every = trials.latest()
    reused = f"; {course.reused} of them logged before" if course.reused else ""
    lines = [f"search of {_trials(len(every))}: {_counts(every)}{reused}", *_saved(every)]
    lines += [f"  {label(t)} failed: {t.user_attrs.get('reason')}" for t in trials.failed()]
    lines += _left(every, trials)
    done = [t for t in every if t.state == TrialState.COMPLETE]
    if not done:
        lines.append("no trial has finished, so there is no best one")
    elif plan.aims[1:]:
        lines += _front(plan, trials)
    else:
        lines += _best(plan, trials)
    lines += _importance(plan, trials, done)
    lines.append(f"all trials: study {plan.name} in {shown(plan.storage)}, in Python")
    lines.append(f"  {how_to_load(plan.storage, plan.name)}.trials_dataframe()")
    return "\n".join(lines)


def _counts(trials: Sequence[FrozenTrial]) -> str:
    counts = Counter(trial.state for trial in trials)
    said = [f"{counts[state]} {word}" for state, word in WORDS.items() if counts[state]]
    return ", ".join(said) or "nothing"


def _saved(trials: Sequence[FrozenTrial]) -> list[str]:
    """The epochs that were not trained because runs were pruned."""
    epochs = [pair for t in trials for pair in t.user_attrs.get("epochs", [])]
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    saved = sum(of - done for t in pruned for done, of in t.user_attrs.get("epochs", []))
    if not pruned:
        return []
    return [f"pruning saved {saved} of {sum(of for _, of in epochs)} epochs"]


def _left(every: Sequence[FrozenTrial], trials: Trials) -> list[str]:
    """Trials that another process works on."""
    lines = []
    for trial in every:
        if trial.state == TrialState.RUNNING and trial.number not in trials.own:
            owner = trial.user_attrs.get("owner") or {}
            by = f"PID {owner.get('pid')} on {owner.get('host')}"
            lines.append(f"  trial {trial.number} is left to {by}")
    return lines


def _best(plan: Plan, trials: Trials) -> list[str]:
    best = trials.study.best_trial
    lines = [
        f"best: trial {best.number}, {plan.shown(best.values)}",
        f"  {_command(plan, best)}",
    ]
    return [*lines, *_honesty(plan, best, trials)]


def _front(plan: Plan, trials: Trials) -> list[str]:
    front = sorted(trials.study.best_trials, key=lambda t: t.values)
    lines = [f"no other trial beats these {len(front)} in everything:"]
    for trial in front:
        lines.append(f"  trial {trial.number}, {plan.shown(trial.values)}")
        lines.append(f"    {_command(plan, trial)}")
    return [*lines, *_honesty(plan, front[0], trials)]


def _honesty(plan: Plan, trial: FrozenTrial, trials: Trials) -> list[str]:
    """What the choice has done to the value that was chosen by, and how to have an honest one."""
    tested = any(aim.part in ("test", "test_best") for aim in plan.aims)
    count = len(trials.all(TrialState.COMPLETE, TrialState.PRUNED))
    if count < 2 and not tested:
        return []
    chosen = f"chosen by that value among {_trials(count)}, so the value is optimistic"
    if tested:
        chosen += ", and as it is a test value, no honest estimate is left in these runs"
    confirm = _words(plan, [*_overrides(plan, trial), _fresh(plan)], "sweep")
    return [f"{chosen}; confirm it with seeds that the search has not seen:", f"  {confirm}"]


def _fresh(plan: Plan) -> str:
    used = [int(text.partition("=")[2]) for text in plan.space.seeds] or [_fixed_seed(plan)]
    first = max(used) + 1
    return f"seed=range({first},{first + FRESH})"


def _fixed_seed(plan: Plan) -> int:
    given = [o.partition("=")[2] for o in plan.space.fixed if o.startswith("seed=")]
    return int(given[0]) if given and given[0].isdigit() else 0


def _overrides(plan: Plan, trial: FrozenTrial) -> list[str]:
    return [o for o in plan.space.overrides(trial.params) if not o.startswith("seed=")]


def _command(plan: Plan, trial: FrozenTrial) -> str:
    """The command that trains the runs of a trial again, or does nothing as they are logged."""
    seeds = ",".join(text.partition("=")[2] for text in plan.space.seeds)
    overrides = plan.space.overrides(trial.params)
    if not seeds:
        return _words(plan, overrides, "run")
    return _words(plan, [*overrides, f"seed={seeds}"], "sweep" if "," in seeds else "run")


def _words(plan: Plan, overrides: Sequence[str], command: str) -> str:
    modules = [word for name in plan.modules for word in ("--module", name)]
    config = ["--config-dir", str(plan.config_dir)] if plan.config_dir else []
    return shlex.join(["kexp", command, *overrides, *config, *modules])


def _importance(plan: Plan, trials: Trials, done: Sequence[FrozenTrial]) -> list[str]:
    """Which dimensions have moved the value most (Watanabe et al. 2023)."""
    if plan.aims[1:] or len(done) < ENOUGH or len(plan.space.dimensions) < 2:
        return []
    try:
        found = optuna.importance.get_param_importances(trials.study)
    except (ValueError, RuntimeError, KexpError):
        return []
    shares = ", ".join(f"{key} {share:.0%}" for key, share in found.items())
    return [f"what has moved {plan.aims[0].title} most: {shares}"]


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
