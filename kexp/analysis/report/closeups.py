"""Figures of single configurations and runs: what they got wrong, and what they learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kexp.analysis import bands
from kexp.analysis.analysis import Analysis
from kexp.analysis.plots import curves as draw_curves
from kexp.analysis.plots import diagnosis
from kexp.analysis.plots import examples as draw_examples
from kexp.analysis.plots.configurations import Configuration
from kexp.analysis.report import exhibits, selection, tables
from kexp.analysis.report.shown import MEAN, Shown, sentence

MOST_LINES = 7


def examples(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """What the model made of test examples."""
    cells = a.design.cells()
    records = {
        label: selection.first_run(cells[cell]).record
        for label, cell in selection.notable(a, every).items()
    }
    for kind, show in ((exhibits.wrong_answers, _wrong), (exhibits.images, _images)):
        if of := {label: e for label, r in records.items() if (e := kind(r)) is not None}:
            yield show(of, a)
    if of := {la: e for la, r in records.items() if (e := exhibits.numbers(r)) is not None}:
        yield _numbers(of)


def _wrong(of: dict[str, Any], a: Analysis) -> Shown:
    most = max(int(max(e["label"].max(), e["predicted"].max())) for e in of.values()) + 1
    names = next((n for n in _class_names(a) if len(n) >= most), [])
    of = dict(list(of.items())[:2])
    rows = [
        (label, draw_examples.named(names, t), draw_examples.named(names, p), f"{100 * c:.1f} %")
        for label, e in of.items()
        for t, p, c in zip(e["label"], e["predicted"], e["confidence"], strict=True)
    ]
    return Shown(
        "misclassified",
        "Wrong and sure of it",
        "Test images that were misclassified with the highest confidence, by the run with the "
        "first seed.",
        draw_examples.misclassified(of, names),
        tables.texts("Wrong answers", ("run of", "true", "predicted", "confidence"), rows),
    )


def _images(of: dict[str, Any], a: Analysis) -> Shown:
    alike = all(map(exhibits.inputs_are_alike, a.every_run))
    measured = ("inputs", "outputs") if alike else ("outputs",)
    rows = [
        (label, i + 1, *(_decibel(e[k][i], e["targets"][i]) for k in measured))
        for label, e in of.items()
        for i in range(len(e["inputs"]))
    ]
    columns = ("run of", "image", *(name[:-1] for name in measured))
    return Shown(
        "restored-images",
        "Input, output, target and error",
        "Test images of the run with the first seed; the error is drawn on one scale for all.",
        draw_examples.restored(of, alike),
        tables.texts("PSNR of the images", columns, rows),
    )


def _numbers(of: dict[str, Any]) -> Shown:
    rows = [
        (label, f"{t:.4g}", f"{p:.4g}")
        for label, e in of.items()
        for t, p in zip(e["targets"], e["outputs"], strict=True)
    ]
    return Shown(
        "predictions",
        "Predictions",
        "Predicted over true values of some test examples, by the run with the first seed; on the "
        "line they agree.",
        draw_examples.predictions(of),
        tables.texts("Predictions", ("run of", "true", "predicted"), rows),
    )


def confusion(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """Which classes are taken for which."""
    cells = a.design.cells()
    found = {
        label: matrix
        for label, cell in list(selection.notable(a, every).items())[:2]
        if (matrix := exhibits.confusion(cells[cell])) is not None
    }
    found = {k: m for k, m in found.items() if m.shape == next(iter(found.values())).shape}
    if not found:
        return
    size = len(next(iter(found.values())))
    names = exhibits.classes(a.every_run, size)
    rows = [
        (label, names[i], *(f"{count:.0f}" for count in row))
        for label, matrix in found.items()
        for i, row in enumerate(matrix)
    ]
    yield Shown(
        "confusion",
        "Confusion",
        "Test examples of each true class (rows) by predicted class (columns), summed over seeds. "
        "The colour is the share of the true class; small shares are stretched.",
        diagnosis.confusion(found, names),
        tables.texts("Counts", ("configuration", "true", *names), rows) if size <= 20 else None,
    )


def calibration(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """Whether confidence is right."""
    cells = a.design.cells()
    found = {
        label: bins
        for label, cell in selection.notable(a, every).items()
        if (bins := exhibits.reliability(cells[cell])) is not None
    }
    if not found:
        return
    rows = [
        (label, f"{n:.0f}", f"{confidence / n:.3f}", f"{correct / n:.3f}")
        for label, b in found.items()
        for n, confidence, correct in zip(b.count, b.confidence, b.correct, strict=True)
        if n
    ]
    yield Shown(
        "calibration",
        "Calibration",
        "Accuracy over confidence in bins, summed over seeds. Below the diagonal a model is too "
        "sure of itself, above it not sure enough. ECE is the mean distance from the diagonal.",
        diagnosis.reliability(found),
        tables.texts("Bins", ("configuration", "predictions", "confidence", "accuracy"), rows),
    )


def learned(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """What an adaptive loss learned."""
    cells, found = a.design.cells(), []
    for c in every:
        having = [r for r in cells[c.cell] if _last(r.record).get("learned")]
        if having and len(found) < MOST_LINES:
            if of_name := bands.learned(bands.histories(having)):
                found.append((c.label, of_name))
    if not found:
        return
    rows = [
        (label, name, i + 1, f"{s.mean[0]:.4g}", f"{s.mean[-1]:.4g}")
        for label, of_name in found
        for name, spreads in of_name.items()
        for i, s in enumerate(spreads)
    ]
    epochs = max(len(s.mean) for _, of in found for many in of.values() for s in many)
    yield Shown(
        "learned",
        "What the loss learned",
        f"Numbers of the loss that are learned along with the network, over epochs. {MEAN}.",
        draw_curves.learned(found, epochs),
        tables.texts("Learned", ("configuration", "number", "channel", "first", "last"), rows),
    )


def ridge(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """The closed form over all strengths."""
    from kexp.analysis import ridge_path
    from kexp.analysis.plots import canvas

    paths = (row.record.summary.get("ridge") for row in a.design.rows)
    path = next((p for p in paths if isinstance(p, dict)), None)
    if path is None:
        return
    names = ("strengths", "degrees_of_freedom", "train_mse", "validation_mse")
    rows = [tuple(f"{v:.4g}" for v in row) for row in zip(*(path[n] for n in names), strict=True)]
    figure = canvas.inked(ridge_path.drawn(path))
    figure.set_facecolor("none")
    yield Shown(
        "ridge-path",
        "Ridge path",
        f"{'. '.join(map(sentence, ridge_path.described(path).splitlines()))}. Of the first run; "
        "other seeds have other splits.",
        figure,
        tables.texts("Path", ("λ", "degrees of freedom", "train MSE", "validation MSE"), rows),
    )


def recognition(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """How many images are recognised over the share that is hidden, by configuration."""
    from kexp.analysis import recognition as numbers
    from kexp.analysis.plots import recognition as plots

    cells, of = a.design.cells(), {}
    for c in selection.spaced(a, every, MOST_LINES):
        sections = [row.record.summary.get("eigenspace") for row in cells[c.cell]]
        found = [numbers.read(s) for s in sections if isinstance(s, dict)]
        if found:
            of[_estimator(a, c)] = numbers.pooled(found)
    if not of:
        return
    rows = [
        (label, what, f"{share:.0%}", *(_counted(r, kind, m, i) for m in numbers.METHODS))
        for label, r in of.items()
        for kind, what in numbers.KINDS.items()
        for i, share in enumerate(r.shares)
    ]
    names = ("configuration", "damage", "share", "least squares", "M-estimator", "pixels known")
    yield Shown(
        "recognition",
        "Recognition",
        "Test images recognised by the nearest training image in the eigenspace, over the share of "
        "their pixels that is hidden or replaced. Bands are Wilson's 95 % intervals over images "
        "and seeds, as if all images were different, though test splits of several seeds overlap. "
        "The dotted line is least squares on the pixels that are as they were.",
        plots.curves(of),
        tables.texts("Recognised", names, rows),
    )


def eigenspace(a: Analysis, every: Sequence[Configuration]) -> Iterator[Shown]:
    """Mean, eigenvectors, and why the M-estimator sees more."""
    from kexp.analysis import recognition as numbers
    from kexp.analysis.plots import recognition as plots

    best, best_rate, pictures = "", -1.0, None
    for c in every:
        record = selection.first_run(a.design.cells()[c.cell]).record
        section, found = record.summary.get("eigenspace"), numbers.pictures(record.examples())
        if isinstance(section, dict) and found:
            rate = numbers.read(section).rates("occlusion", "m_estimator")[0].mean()
            if rate > best_rate:
                best, best_rate, pictures = _estimator(a, c), rate, found
    if pictures is None:
        return
    yield Shown(
        "eigenspace",
        "What the eigenspace sees",
        "The mean and the first eigenvectors of the training images; below, test images with 30 % "
        "of their pixels hidden, their reconstructions, and the weights of the M-estimator: dark "
        f"pixels count for nothing. Of {best}, which recognises most, the run with the first seed.",
        plots.pictures(pictures),
    )


def _estimator(a: Analysis, c: Configuration) -> str:
    """The label of a configuration; of the baseline, and of a single one, its loss as well."""
    loss = selection.first_run(a.design.cells()[c.cell]).record.summary.get("options", {})
    name = str(loss.get("loss", "")) if isinstance(loss, dict) else ""
    plain = c.label in ("baseline", "the run", "all runs") and name
    return f"{name}, {c.label}" if plain else c.label


def _counted(found: Any, kind: str, method: str, i: int) -> str:
    rate, low, high = (values[i] for values in found.rates(kind, method))
    return f"{rate:.1%} [{low:.1%}, {high:.1%}]"


def _class_names(a: Analysis) -> list[list[str]]:
    found = []
    for record in a.every_run[:1]:
        data = record.summary.get("data")
        names = data.get("classes") if isinstance(data, dict) else None
        found += [[str(n) for n in names]] if isinstance(names, list) else []
    return found


def _last(record: Any) -> dict[str, Any]:
    last = record.summary.get("last")
    return last if isinstance(last, dict) else {}


def _decibel(image: np.ndarray, target: np.ndarray) -> str:
    return f"{draw_examples.psnr(image, target):.2f} dB"
