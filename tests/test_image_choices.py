"""Tasks from image to image with the four choices together: each combination trains."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexp
from kexp.config.fitting import fitting, option_class
from tests.conftest import history, the_run, tiny

TASKS = ("deblur_sr", "colorize")
NEEDED = {"ms_ssim": ("loss.scales=1",)}
OTHERS = [*product(("none", "l2"), ("none", "standard"), ("none", "batch"))]
PAIRS = [OTHERS[0], OTHERS[3], OTHERS[5], OTHERS[6]]
"""Of these four, every two factors have all their pairs of levels."""


def losses(task: str) -> list[str]:
    return fitting("loss", option_class("task", task).target)


ALL = [(task, loss, others) for task in TASKS for loss in losses(task) for others in OTHERS]
OF_IMAGES = [loss for loss in losses("deblur_sr") if loss not in losses("colorize")]
FEW = {"deblur_sr": OF_IMAGES, "colorize": losses("colorize")[::3]}
"""With few runs; `test_runs` has `denoise` with every loss."""
SOME = [(t, loss, PAIRS[i % 4]) for t, few in FEW.items() for i, loss in enumerate(few)]
ONCE = [(task, loss, PAIRS[i % 4]) for task in TASKS for i, loss in enumerate(losses(task))]
"""Every loss of each task, once. Two of all these are in the default suite."""


def marked(run: tuple[Any, ...]) -> Any:
    """A combination, that is trained by default, with the slow ones, or with all of them."""
    quick = run in (SOME[0], SOME[-1])
    marks = () if quick else pytest.mark.slow if run in (*SOME, *ONCE) else pytest.mark.full
    return pytest.param(*run, marks=marks)


def test_the_smaller_design_has_every_pair() -> None:
    for task in TASKS:
        runs = [others for t, _, others in SOME if t == task]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert len({(run[one], run[other]) for run in runs}) == 4


@pytest.mark.parametrize(
    ("task", "loss", "others"),
    [marked(run) for run in ALL],
    ids=lambda part: part if isinstance(part, str) else "-".join(part),
)
def test_every_combination_trains(
    task: str, loss: str, others: tuple[str, str, str], folder: Path
) -> None:
    regularizer, dropout, norm = others
    chosen = (f"regularizer={regularizer}", f"dropout={dropout}", f"norm={norm}", f"loss={loss}")
    small = ("task.patches_per_epoch=16", "training.epochs=1", *NEEDED.get(loss, ()))
    summary = kexp.run(*tiny(task, folder, *chosen, *small), quiet=True)
    (epoch,) = history(the_run(folder))
    for split in ("probe", "validation"):
        assert all(np.isfinite(value) for value in epoch[split].values())
        assert epoch[split]["objective"] == pytest.approx(epoch[split]["fit"] + epoch["penalty"])
    assert (epoch["penalty"] > 0) == (regularizer == "l2")
    assert summary["config"]["loss"]["_target_"].startswith("kexp.losses.")
