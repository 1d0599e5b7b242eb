"""One experiment: every choice of a run, checked, as objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexp.backends import Backend
from kexp.data import DataSet
from kexp.dropouts import DropoutChoice
from kexp.models import Model
from kexp.norms import NormChoice
from kexp.optimizers import Optimizer
from kexp.schedules import Schedule
from kexp.tasks import Task
from kexp.training.settings import Training


@dataclass(frozen=True)
class Experiment:
    """The choices of one run, and where its record goes.

    `config` is the resolved config as plain data; `config_text` is its YAML with interpolations
    (a secret, say) left unresolved, which is what may be written to disk.
    """

    seed: int
    task: Task
    data: DataSet
    model: Model
    loss: Any
    regularizer: Any
    dropout: DropoutChoice
    norm: NormChoice
    optimizer: Optimizer
    schedule: Schedule
    training: Training
    backend: Backend
    folder: Path
    data_folder: Path
    config: dict[str, Any]
    config_text: str
    identity: str
    label: str
