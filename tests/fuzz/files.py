"""Config files of a user's directory."""

from __future__ import annotations

from pathlib import Path

import yaml
from hypothesis import strategies as st

from kexp.api import Session
from kexp.config.places import conf_dir
from kexp.errors import KexpError
from tests.fuzz.harness import Fault, command, holds
from tests.fuzz.mutations import damaged, mutated
from tests.fuzz.overrides import CHOICE, MOST_TOLD

GROUPS = "loss data task dropout study task/noise model optimizer training track backend".split()
OWN = {group: sorted((conf_dir() / group).glob("*.yaml")) for group in GROUPS}
HOSTILE = (
    "_target_: !!python/object/apply:os.system ['touch canary']",
    "_target_: os.system\ncommand: touch canary",
    "a: &a [x, x]\nb: [*a, *a]\n",
    "_target_: kexp.losses.Huber\ndelta: 0.1\ndelta: 0.2\n",
    "defaults: [huber]\n",
    "defaults: [/loss: huber, _self_]\n",
    "defaults: {loss: huber}\n",
    "defaults: [override /loss: huber, optional x: y]\n",
    "defaults:\n- x@_global_: y\n",
    "# @package _global_\nhydra:\n  run: {dir: /tmp/x}\n_target_: kexp.losses.Huber\n",
    "# @package x.y\n_target_: kexp.losses.Huber\n",
    "_target_: kexp.losses.Huber\ndelta: ${oc.env:HOME}\n",
    "_target_: kexp.losses.Huber\ndelta: ${delta}\n",
    "_target_: kexp.losses.Huber\ndelta: {_target_: os.system, command: x}\n",
    "_target_: [kexp.losses.Huber]\n",
    "_target_: kexp.losses.Huber\n? [a, b]\n: 1\n",
    "_target_: kexp.losses.Huber\ndelta: " + "[" * 300 + "]" * 300,
    "_target_: kexp.losses.Huber\nname: " + "x" * 200_000,
    "_target_: kexp.losses.Huber\ndelta: " + "9" * 5000,
    "_target_: kexp.losses.Huber\ndelta: 2024-01-01\nx: !!binary aGk=\ny: !!set {a}\n",
    "%YAML 9.9\n---\na: 1\n---\nb: 2\n",
    "\ufeff_target_: kexp.losses.Huber\n",
    "_target_: kexp.losses.Huber\n<<: {delta: 1}\n",
    "_target_: kexp.losses.Huber\n1: 2\nnull: 3\n",
)
PACKAGES = st.sampled_from(
    ["", "", "# @package _global_\n", "# @package loss\n", "# @package _x_\n"]
)
ENCODINGS = st.sampled_from(["utf-8"] * 6 + ["utf-16", "latin-1", "utf-8-sig", "utf-32"])


@st.composite
def _files(draw: st.DrawFn) -> tuple[str, str, bytes, list[str]]:
    """Group, name, content of a file, and the overrides beside it."""
    group = draw(st.sampled_from(GROUPS))
    true = draw(st.sampled_from(OWN[group])).read_text()
    kind = draw(st.sampled_from(["mutated", "mutated", "damaged", "hostile", "text"]))
    if kind == "mutated":
        content = draw(mutated(yaml.safe_load(true) or {}))
        try:
            text = draw(PACKAGES) + yaml.safe_dump(content, allow_unicode=True)
        except (yaml.YAMLError, RecursionError, ValueError):
            text = true
    elif kind == "hostile":
        text = draw(st.sampled_from(HOSTILE)) + draw(st.sampled_from(["", "\ndelta: 1", "\n- x"]))
    else:
        text = true if kind == "damaged" else draw(st.text(max_size=60))
    data = text.encode(draw(ENCODINGS), "replace")
    if kind == "damaged":
        data = draw(damaged(data))
    name = draw(st.sampled_from(["mine", "mine", "mine", "a b", "é", "x=y", "a.b", "-x", "${x}"]))
    return group, name, data, draw(st.lists(CHOICE, max_size=2))


FOUND = ("model", "mine", b'_target_: "\\e[2J"\n', [])
"""A file that was a fault once: `kexp list` had the terminal obey it."""


@holds(_files(), few=8, seconds=20.0, known=(FOUND,))
def config_files(case: tuple[str, str, bytes, list[str]], folder: Path) -> None:
    """Are read, or refused in words; nothing that they name is called."""
    group, name, content, more = case
    file = folder / "mine" / group / f"{name}.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with_task = ["task=denoise"] if group == "task/noise" else []
    try:
        session = Session(folder / "mine")
        session.experiment([f"{group}={name}", *with_task, *more])
    except KexpError as error:
        if not str(error) or len(str(error)) > MOST_TOLD:
            raise Fault(f"told in {len(str(error))} characters: {str(error)[:200]}") from error
    command("list", "--config-dir", str(folder / "mine"), group.split("/")[-1])
