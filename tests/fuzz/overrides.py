"""Command lines: overrides of a run or a sweep, and the arguments of every other command."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from kexp.api import Session
from kexp.config.places import groups
from kexp.errors import KexpError
from tests.fuzz.harness import Fault, command, holds
from tests.fuzz.mutations import TEXTS
from tests.fuzz.truth import study

SESSION = Session()
RUNS = study()
OPTIONS = groups()
TASKS = tuple(f"task={option}" for option in OPTIONS["task"])


def _keys() -> list[str]:
    compose = SESSION.composer
    return sorted({k for task in TASKS for k in compose.base(compose.parsed([task])).values})


KEYS = _keys()
SIGNS = (
    "' \" \\ ${ } ${seed} ${name} ${oc.env:HOME} [ ] { } ( ) , = : ~ + ++ @ / . % # ; * $ ` | < \t"
)
ODD = [*SIGNS.split(" "), " ", "\n", "\0", "\udcff", "\x1b[2J", "\u202e", "é", "日", "_target_"]
ATOMS = st.sampled_from(
    "1 0 -1 0.5 1e-3 1e400 -inf nan null none true false 0x1 1_0 .5 9999999999999999999999 "
    "standard huber l2 tensorflow cpu gpu:99 ~nobody/x /dev/null results 01 1.10 ???".split()
) | st.sampled_from([t for t in TEXTS if len(t) < 300])
TEXT = st.text(max_size=8) | st.lists(st.sampled_from(ODD), max_size=5).map("".join)
VALUE = st.recursive(
    ATOMS | TEXT,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(",".join),
        st.lists(inner, max_size=3).map(lambda v: f"[{','.join(v)}]"),
        st.lists(inner, max_size=3).map(
            lambda v: f"{{{','.join(f'a{i}:{x}' for i, x in enumerate(v))}}}"
        ),
        st.builds(
            "{}({})".format,
            st.sampled_from(
                "choice range glob interval tag sort shuffle int float str bool".split()
            ),
            st.lists(
                inner | st.sampled_from(["*", "0", "3", "1e9", "step=0", "log"]), max_size=4
            ).map(",".join),
        ),
        inner.map(lambda v: f"'{v}'"),
        inner.map(lambda v: f'"{v}"'),
        inner.map(lambda v: f"${{{v}}}"),
    ),
    max_leaves=6,
)
LONG = st.builds(
    lambda unit, times: unit * times,
    st.sampled_from(["a", "1", "[", "'", "(", "${", "a,", "a.", "\\", "a/", "é", " ", "_", "{a:"]),
    st.sampled_from([300, 3000, 9000, 30_000]),
)
HYDRA = "hydra/launcher hydra/sweeper hydra.launcher.n_jobs hydra.sweeper.n_trials hydra.run.dir "
HYDRA += "hydra.sweeper.sampler hydra.sweeper.objective hydra.sweeper.storage hydra.verbose hydra"
KEY = st.sampled_from([*OPTIONS, *KEYS]) | st.sampled_from([*HYDRA.split(), "defaults", "x"])
KEY = st.one_of(
    KEY,
    KEY,
    st.builds("{}{}".format, st.sampled_from(["+", "++", "~", " ", "a."]), KEY),
    st.builds(
        "{}{}".format, KEY, st.sampled_from(["@x", "@_global_", ".x", "/x", "._target_", " "])
    ),
    TEXT,
)
CHOICE = st.sampled_from(
    [f"{group}={option}" for group, options in OPTIONS.items() for option in options]
)
OVERRIDE = st.one_of(
    CHOICE,
    st.builds("{}={}".format, KEY, VALUE),
    st.builds("{}={}".format, KEY, VALUE),
    st.builds("{}={}".format, KEY, LONG),
    KEY,
    TEXT,
)
OVERRIDES = st.lists(OVERRIDE, min_size=1, max_size=4)
MOST_TOLD = 20_000


@holds(OVERRIDES, few=60, seconds=30.0)
def overrides_of_a_run(case: list[str], folder: Path) -> None:
    """Are taken, or refused in words; nothing is written."""
    try:
        SESSION.experiment(case)
    except KexpError as error:
        if not str(error) or len(str(error)) > MOST_TOLD + 12 * sum(map(len, case)):
            raise Fault(f"told in {len(str(error))} characters: {str(error)[:200]}") from error


@holds(OVERRIDES, few=6, seconds=20.0)
def overrides_of_a_sweep(case: list[str], folder: Path) -> None:
    """Are planned, or refused in words."""
    offline()
    words = [word for word in case if not word.startswith("-")]
    command("sweep", "--dry-run", "--limit", "50", *words)


NAMES = st.sampled_from(
    "dropout dropout.rate seed study run state gap gap.nll test.error validation onset label loss "
    "nll error psnr N mean task data.train_size config memorisation fit".split()
)
WORD = st.one_of(NAMES, NAMES, TEXT, st.sampled_from(TEXTS), LONG).filter(
    lambda text: "\0" not in text and _can_be_typed(text)
)
CONDITION = st.builds(
    "{}{}{}".format,
    WORD,
    st.sampled_from("= != < <= > >= == = , ~".split()),
    st.one_of(
        WORD, st.sampled_from("none standard 1 0.5 nan inf -1 1e999 standard(0.5) (".split())
    ),
)
ASKING = {
    "compare": ["--by", "--sort", "--metric", "--where", "--top", "--format"],
    "effects": ["--nuisance", "--baseline", "--on", "--where", "--metric", "--format"],
    "show": ["--metric", "--png", "--ridge", "--eigenspace"],
    "list": ["--plot", "--config-dir"],
    "export": ["-o", "--uri"],
    "data": ["--config-dir", "--module"],
}


@st.composite
def _commands(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(list(ASKING)))
    words = [name]
    for _ in range(draw(st.integers(0, 3))):
        words += [draw(st.sampled_from(ASKING[name])), draw(WORD | CONDITION)]
    if name == "export":
        words += [draw(st.sampled_from(["tensorboard", "tensorboard", "x"]))]
    if name == "data":
        words += [draw(st.sampled_from(["where", "where", "x"]))]
    place = {"show": "runs/study/none", "list": "losses"}.get(name, "runs")
    words += [draw(st.one_of(st.just(place), st.just(place), WORD))]
    return words + draw(st.lists(WORD, max_size=1))


@holds(_commands(), few=8, seconds=20.0)
def arguments_of_commands(case: list[str], folder: Path) -> None:
    """Are understood, or refused in words; what is to be written is written where it is said."""
    offline()
    shutil.copytree(RUNS, folder / "runs")
    words = [w for w in case if not _leads_out(w)]
    command(*words)


def _leads_out(word: str) -> bool:
    return word.startswith(("/", "~")) or ".." in word or "://" in word


def _can_be_typed(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


@cache
def offline() -> None:
    """Have no property wait for a network."""
    from kexp.data import mnist
    from kexp.errors import DataMissing

    def download(*_: Any) -> Path:
        raise DataMissing("no network")

    mnist.download = download
