"""Learning-rate schedules: a factor in [0, 1] on the optimizer's learning rate, per step."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kexp.choice import Count, Share, choice


class Schedule:
    """A factor on the learning rate as a function of progress t in [0, 1) through training."""

    def factor(self, progress: np.ndarray) -> np.ndarray:
        """The factor at each `progress`, the same shape."""
        raise TypeError(f"{type(self).__name__} must define factor(progress)")


@choice
class Constant(Schedule):
    """The learning rate stays as it is."""

    def factor(self, progress: np.ndarray) -> np.ndarray:
        """1."""
        return np.ones_like(progress)


@choice
class Cosine(Schedule):
    """Half a cosine from 1 to `final`, after a linear warm-up. Loshchilov and Hutter 2017.

    f(t) = final + ½ (1 − final)(1 + cos πt'), where t' runs from 0 to 1 after the first `warmup`
    share of all steps, in which f rises from 0 to 1.
    """

    warmup: Share = 0.0
    final: Share = 0.0

    def factor(self, progress: np.ndarray) -> np.ndarray:
        """Warm-up, then half a cosine."""
        rest = np.clip((progress - self.warmup) / max(1.0 - self.warmup, 1e-12), 0.0, 1.0)
        cosine = self.final + 0.5 * (1.0 - self.final) * (1.0 + np.cos(np.pi * rest))
        return np.minimum(cosine, progress / self.warmup) if self.warmup else cosine


@choice
class Exponential(Schedule):
    """Exponential decay from 1 to `final` over the training: f(t) = finalᵗ, 0 < final ≤ 1."""

    final: Share = Field(default=0.01, gt=0)

    def factor(self, progress: np.ndarray) -> np.ndarray:
        """finalᵗ."""
        return self.final**progress


@choice
class Step(Schedule):
    """Times `drop` after each of `drops` equal parts of the training: f(t) = drop^⌊t·drops⌋."""

    drop: Share = 0.1
    drops: Count = 3

    def factor(self, progress: np.ndarray) -> np.ndarray:
        """drop^⌊t·drops⌋."""
        return self.drop ** np.floor(progress * self.drops + 1e-9)  # k/drops may be rounded down
