"""Recognition in an eigenspace over the share that is hidden, in words and as numbers to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kexp.analysis.curves import save
from kexp.measures import YARDSTICKS

KINDS = {"occlusion": "a block hidden", "corruption": "pixels replaced"}
METHODS = ("least_squares", "m_estimator", "known")
PICTURES = ("occluded", "least_squares", "m_estimator", "weights", "clean")
MEDIUM = 0.3
"""The share that is told in words."""


@dataclass(frozen=True)
class Recognition:
    """Right answers by kind and method for each share, shape (shares,), of so many images."""

    shares: np.ndarray
    images: int
    correct: dict[tuple[str, str], np.ndarray]

    def rates(self, kind: str, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The share of right answers, and the ends of its 95 % interval (Wilson 1927)."""
        from statsmodels.stats.proportion import proportion_confint

        correct = self.correct[kind, method]
        low, high = proportion_confint(correct, self.images, method="wilson")
        return correct / self.images, np.asarray(low), np.asarray(high)


def read(section: Any) -> Recognition:
    """What a record holds. Raises `ValueError`, `TypeError` or `LookupError` where it is not so."""
    shares, images = np.array(section["shares"], float), int(section["images"])
    correct = {}
    for kind in KINDS:
        for method in METHODS:
            counts = np.array(section[kind][method]["correct"], int)
            if counts.shape != shares.shape or images < 1 or counts.min() < 0:
                raise ValueError(f"{kind}.{method} is no number of images for each share")
            if counts.max() > images:
                raise ValueError(f"{kind}.{method} is more than the {images} images")
            correct[kind, method] = counts
    return Recognition(shares, images, correct)


def pooled(many: Sequence[Recognition]) -> Recognition:
    """Several seeds together, as far as their shares are those of the first.

    As if all images were different: where test splits overlap, intervals are too narrow.
    """
    alike = [r for r in many if np.array_equal(r.shares, many[0].shares)]
    correct = {key: np.sum([r.correct[key] for r in alike], axis=0) for key in many[0].correct}
    return Recognition(many[0].shares, sum(r.images for r in alike), correct)


def described(summary: dict[str, Any]) -> str:
    """What the closed form says, in a few lines."""
    section = summary["eigenspace"]
    found = read(section)
    at = int(np.abs(found.shares - MEDIUM).argmin())
    lines = []
    for kind, what in KINDS.items():
        rates = (_percent(*found.rates(kind, m), at) for m in METHODS)
        plain, robust, known = rates
        pair = section[kind]["m_estimator"]
        converged = f", {pair['converged'][at]:.0%} converged" if "converged" in pair else ""
        lines.append(
            f"recognised of {found.images} images with {found.shares[at]:.0%} of "
            f"{'the pixels in a hidden block' if kind == 'occlusion' else what}: "
            f"least squares {plain}, M-estimator {robust} "
            f"({pair['gained'][at]} gained, {pair['lost'][at]} lost, "
            f"{pair['iterations'][at]:.0f} iterations{converged}), "
            f"least squares with these pixels known {known}"
        )
    mse = YARDSTICKS["mse"]
    lines.append(
        f"{section['components']} principal components hold {section['explained']:.1%} of the "
        f"variance; the trained span is {section['angle']:.3g}° from theirs (largest principal "
        f"angle); test MSE {mse.show(summary['test']['last']['mse'])}, of the principal "
        f"components {mse.show(section['principal_mse']['test'])}"
    )
    return "\n".join(lines)


def pictures(examples: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """Mean, eigenvectors and occluded images among a record's examples, if they are there."""
    shown = {name: examples.get(name) for name in (*PICTURES, "mean", "eigenvectors")}
    known = [a for a in shown.values() if a is not None and a.dtype == np.uint8 and a.ndim == 4]
    if len(known) < len(shown) or len({a.shape[1:] for a in known}) > 1 or not known[0].size:
        return None
    same = len({len(shown[name]) for name in PICTURES}) == 1  # pyright: ignore[reportArgumentType]
    fits = same and known[0].shape[-1] in (1, 3) and all(a.size for a in known)
    return shown if fits else None  # pyright: ignore[reportReturnType]


def draw(found: Recognition, of: dict[str, np.ndarray] | None, title: str, file: Path) -> None:
    """The curves and, below them, the pictures if there are any; format by suffix."""
    from kexp.analysis.plots import recognition

    figure = recognition.whole({"M-estimator": found}, of)
    figure.suptitle(title, fontsize=9, wrap=True)
    figure.set_facecolor("white")
    save(figure, file)


def _percent(rate: np.ndarray, low: np.ndarray, high: np.ndarray, at: int) -> str:
    return f"{rate[at]:.1%} [{low[at]:.1%}, {high[at]:.1%}]"
