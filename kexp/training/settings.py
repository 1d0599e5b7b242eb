"""How long and in what portions a run trains."""

from __future__ import annotations

from typing import Literal

from kexp.choice import Count, Whole, choice


@choice
class Training:
    """Length of the training, batch size and early stopping.

    With `patience`, training stops once `monitor` has not been better on validation for that
    many epochs. `monitor` is a yardstick of the task, or `fit`; null means the task's first.
    `mc_passes` > 0 adds Monte-Carlo dropout at the end: the yardsticks of the mean prediction over
    that many passes with dropout left on (Gal and Ghahramani 2016), with the last weights.
    `precision`: what the layers compute in (weights stay float32): `mixed_bfloat16` is faster on a
    GPU, and on a CPU that has such instructions; `mixed_float16` is for older GPUs.
    `distribution`: `data_parallel` shares every batch out among all GPUs (docs/distribution.md).
    """

    epochs: Count = 15
    batch_size: Count = 128
    patience: Count | None = None
    monitor: str | None = None
    mc_passes: Whole = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    distribution: Literal["none", "data_parallel"] = "none"
