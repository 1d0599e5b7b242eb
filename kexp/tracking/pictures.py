"""The examples that a run keeps, drawn as the report draws them."""

from __future__ import annotations

from kexp.store import Record


def pictures(record: Record) -> dict[str, bytes]:
    """A PNG of each kind of examples in a record, by name."""
    from kexp.analysis.plots import drawing, examples
    from kexp.analysis.report import exhibits

    label, found = str(record.summary.get("label") or record.path.name), {}
    if e := exhibits.wrong_answers(record):
        found["examples/misclassified"] = examples.misclassified({label: e}, _classes(record))
    if e := exhibits.images(record):
        found["examples/restored"] = examples.restored(
            {label: e}, exhibits.inputs_are_alike(record)
        )
    if e := exhibits.numbers(record):
        found["examples/predictions"] = examples.predictions({label: e})
    return {name: drawing.png(figure) for name, figure in found.items()}


def _classes(record: Record) -> list[str]:
    """The names of the classes; empty where they have none."""
    data = record.summary.get("data")
    names = data.get("classes") if isinstance(data, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []
