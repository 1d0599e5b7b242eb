"""One experiment: every choice of a run, checked, as objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexp.backends import Backend
from kexp.data import DataSet
from kexp.dropouts import DropoutChoice
from kexp.errors import without_secrets
from kexp.models import Model
from kexp.norms import NormChoice
from kexp.optimizers import Optimizer
from kexp.robustness import Robustness
from kexp.schedules import Schedule
from kexp.tasks import Task
from kexp.tracking import Tracker
from kexp.training.settings import Training


@dataclass(frozen=True)
class Experiment:
    """The choices of one run, and where its record goes.

    `config` is the config as plain data and `config_text` its YAML, both with interpolations (a
    secret, say) left unresolved, as they may be written to disk. `identity` is a hash of all that
    changes the numbers, with every value resolved, `arm` the same without the seed: runs of one
    arm differ in nothing but their seed. `options` names the option chosen in each group;
    `command` are the words that train the run again. Where the run is sent to as well, `track`, is
    in none of these: the record is the same without it.
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
    robustness: Robustness
    backend: Backend
    track: Tracker
    folder: Path
    data_folder: Path
    config: dict[str, Any]
    config_text: str
    identity: str
    arm: str
    options: dict[str, str]
    label: str
    command: tuple[str, ...] = ()

    def hidden(self, text: str) -> str:
        """A text to be written to disk, without the values behind `${oc.env:…}` in the config."""
        return without_secrets(text, self.config_text)
