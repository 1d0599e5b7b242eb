"""Robustness: how a trained network does when its inputs are perturbed, more and more.

Noise and occlusion are as they come; FGSM and PGD are the worst that an adversary who knows the
network can do within ε of every input value (or nearly). Strengths are on the scale of the
inputs: images lie in [0, 1], features have standard deviation 1.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from kexp.choice import Count, Positive, Share, choice

GREY = 0.5
"""What covers an occluded part of an image; a feature becomes 0, its mean."""

REACH = 2.5
"""PGD's steps are this many times ε over their number, so that it can get anywhere within ε."""

Strengths = list[Positive]
Shares = list[Annotated[Share, Field(gt=0)]]


class Robustness:
    """Says under which perturbations a network is measured at the end of its training."""

    def strengths(self) -> dict[str, list[float]]:
        """The strengths of each perturbation, by its name; empty where none is wanted."""
        return {}


@choice
class NoRobustness(Robustness):
    """Robustness is not measured."""


@choice
class Curves(Robustness):
    """Yardsticks of test examples under noise, occlusion, FGSM and PGD, over their strength.

    `noise` are standard deviations of Gaussian noise; `occlusion` shares in (0, 1] of an image's
    pixels under a grey square at a random place, or of the features set to their mean, one at
    least; `fgsm` and `pgd` the greatest change ε of any input value. FGSM takes one step along the
    sign of the slope (Goodfellow et al. 2015, section 4); PGD `pgd_steps` steps of
    2.5 ε/`pgd_steps` from a random start, back within ε after each (Madry et al. 2018, equation 2).
    Both raise a loss that is the same for all runs of a task, whatever they were trained on:
    cross-entropy, for depth the scale-and-shift-invariant distance, else the squared error.
    `examples` is how many test examples are perturbed, drawn by the seed, fewer where they have
    more than a million values; whole images of a task on images count one by one. Strengths that
    are equal in six digits are one.
    """

    noise: Strengths = Field(default_factory=lambda: [0.05, 0.1, 0.2, 0.4])
    occlusion: Shares = Field(default_factory=lambda: [0.05, 0.1, 0.2, 0.4])
    fgsm: Strengths = Field(default_factory=lambda: [0.01, 0.03, 0.1, 0.2])
    pgd: Strengths = Field(default_factory=lambda: [0.01, 0.03, 0.1, 0.2])
    pgd_steps: Count = 10
    examples: Count = 500

    def strengths(self) -> dict[str, list[float]]:
        """Those that are given, rising, each once; a perturbation without any is left out."""
        given = {name: getattr(self, name) for name in ("noise", "occlusion", "fgsm", "pgd")}
        return {
            name: list({f"{value:g}": value for value in sorted(values)}.values())
            for name, values in given.items()
            if values
        }


def noisy(x: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """`x` with Gaussian noise of standard deviation `sigma`.

    Of one generator state all strengths have the same noise but for its size.
    """
    return x + np.float32(sigma) * rng.standard_normal(x.shape, np.float32)


def occluded(x: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Images (n, h, w, c) with a grey square over `share` of their pixels, or features (n, d)
    of which as many, one at least, are 0.

    A square that would be larger than the image is a rectangle. Of one generator state, the parts
    hidden at a smaller share lie within those at a larger one.
    """
    result = x.copy()
    if x.ndim == 2:
        order = rng.random(x.shape).argsort(axis=1)
        result[order < max(1, round(share * x.shape[1]))] = 0
        return result
    height, width = x.shape[1:3]
    rows, columns = _sides(share, height, width)
    centres = rng.random((len(x), 2))
    for image, (down, right) in zip(result, centres, strict=True):
        top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
        image[top : top + rows, left : left + columns] = GREY
    return result


def _sides(share: float, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a rectangle over `share` of an image, a square if it fits."""
    side = (share * height * width) ** 0.5
    rows = min(side, height)
    columns = min(share * height * width / rows, width)
    rows = share * height * width / columns
    return max(1, round(rows)), max(1, round(columns))
