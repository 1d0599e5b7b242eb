"""kexp: what did this choice do to overfitting, and how sure are we?

import kexp

summary = kexp.run("data.train_size=1000", "dropout=none")
kexp.sweep("dropout=none,standard", "seed=range(5)")
runs = kexp.load("results")
what = kexp.effects("results/mnist_convnet", on=["gap", "test.error"])
model = kexp.load_model("results/mnist_convnet/seed=0-1a2b3c4d")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kexp.analysis.load import load
    from kexp.analysis.telling import effects_table as effects
    from kexp.models.saved import load_model
    from kexp.sweeps import Sweep

__version__ = "0.1.0"
__all__ = ["effects", "load", "load_model", "run", "sweep"]


def run(
    *overrides: str,
    force: bool = False,
    config_dir: str | os.PathLike | None = None,
    modules: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Train one run and return its summary; the overrides are those of `kexp run`.

    Raises a `kexp.errors.KexpError` where the config is at fault or the run fails. The working
    directory, logging and signal handlers are as before afterwards.
    """
    return _session(config_dir, modules, quiet).run(overrides, force)


def sweep(
    *overrides: str,
    force: bool = False,
    retry_failed: bool = False,
    dry_run: bool = False,
    limit: int | None = 1000,
    config_dir: str | os.PathLike | None = None,
    modules: Sequence[str] = (),
    quiet: bool = False,
) -> Sweep:
    """Train every combination of the values given; the overrides are those of `kexp sweep`.

    Returns the folders of the runs and the failures; a run that fails does not stop the others.
    Finished runs are left alone, partial ones go on; failed ones only with `retry_failed`.
    """
    return _session(config_dir, modules, quiet).sweep(
        overrides, force=force, retry_failed=retry_failed, dry_run=dry_run, limit=limit
    )


def _session(config_dir: str | os.PathLike | None, modules: Sequence[str], quiet: bool) -> Any:
    from kexp.api import Session
    from kexp.progress import Lines, Reporter

    return Session(config_dir, modules, Reporter() if quiet else Lines())


def __getattr__(name: str) -> Any:
    if name == "load":
        from kexp.analysis.load import load

        return load
    if name == "effects":
        from kexp.analysis.telling import effects_table

        return effects_table
    if name == "load_model":
        from kexp.models.saved import load_model

        return load_model
    raise AttributeError(f"module 'kexp' has no attribute {name!r}")
