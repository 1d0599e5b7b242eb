"""The page of all choices, as Markdown that GitHub renders."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import yaml

from kexp.choice import summary
from kexp.config.fitting import fits, option_class, targets
from kexp.config.messages import allowed
from kexp.config.options import parameters
from kexp.config.places import groups
from kexp.config.wording import listed

GROUPS = {
    "loss": "Losses L(y, ŷ)",
    "regularizer": "Regularizers λR(θ)",
    "dropout": "Dropout",
    "norm": "Normalisation",
}
"""The groups that are on the page, and the headings of their sections."""

PICTURE = "images/losses.png"
"""Where the picture of the losses is, beside the page."""

INTRODUCTION = """# Reference of choices

Made by `python scripts/reference.py` from the docstrings and `conf/`: edit those, not this page.

    θ̂ = argmin (1/N) Σ L(ŷᵢ, yᵢ) + λR(θ)

r = ŷ − y is a residual, z are logits, p = softmax(z), θ the weights of a kernel. Defaults are
those of the option's file in `conf/`. On the command line: `loss=huber loss.delta=0.05`.
"""

ABOVE = {
    "loss": f"""![Loss, influence and weight of every elementwise regression loss]({PICTURE})

The loss ρ(r), its influence ψ(r) = ρ′(r), which says how strongly a residual pulls, and the weight
w(r) = ψ(r)/r that it has in iteratively reweighted least squares, all with scale 1. `adaptive` is
not drawn: it is the general loss with an α and a scale that are learned.
`kexp list losses --plot FILE` draws this.
"""
}
"""What opens the section of a group."""


def page() -> str:
    """The page."""
    sections = [INTRODUCTION]
    for group, title in GROUPS.items():
        sections += [f"## {title}\n", *([ABOVE[group]] if group in ABOVE else [])]
        sections += [_entry(group, option) for option in groups()[group]]
    return "\n".join(sections)


def _entry(group: str, option: str) -> str:
    """An option: class, meaning, formula, the rest of its docstring, its tasks, its parameters."""
    cls = option_class(group, option)
    rest = inspect.cleandoc(cls.__doc__ or "").partition("\n")[2].strip()
    parts = [f"### `{group}={option}`", f"**{summary(cls)}**"]
    if cls.formula:
        parts.append(_formula(cls.formula))
    parts += [rest, _purpose(cls), _table(group, option, cls)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _formula(tex: str) -> str:
    """A formula in a fence: between dollar signs GitHub reads `\\,` as Markdown, and shows commas.

    See github/markup, issues 1547 and 1746.
    """
    return f"```math\n{tex}\n```"


def _purpose(cls: type) -> str:
    """The class, and the tasks and targets that it is for, where it is not for all."""
    text = f"Class `{cls.__name__}`"
    if not targets(cls):
        return f"{text}."
    tasks = ", ".join(f"`{task}`" for task in _tasks(cls))
    return f"{text}, for {listed(targets(cls))} (tasks {tasks})."


def _tasks(cls: type) -> list[str]:
    """The tasks whose kind of target a class is for."""
    return [task for task in groups()["task"] if fits(cls, option_class("task", task).target)]


def _table(group: str, option: str, cls: Any) -> str:
    """Key, default in conf/ and allowed values of each parameter."""
    standard, fields = parameters(group, option), cls.__pydantic_fields__
    rows = [
        f"| `{group}.{field.name}` | `{_typed(standard.get(field.name, field.default))}` "
        f"| {_allowed(fields[field.name])} |"
        for field in dataclasses.fields(cls)
    ]
    return "\n".join(["| key | default | allowed |", "|---|---|---|", *rows]) if rows else ""


def _allowed(field: Any) -> str:
    """The values that a parameter takes, in the words of the messages, safe in a table."""
    return allowed(field.annotation, field.metadata).replace("|", "\\|")


def _typed(value: Any) -> str:
    """A value as it is typed after `key=`."""
    if isinstance(value, float):
        return repr(value)
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()
