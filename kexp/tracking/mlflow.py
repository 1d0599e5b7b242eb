"""MLflow: a run per run, below one that stands for its study."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from filelock import FileLock
from pydantic import field_validator

from kexp.choice import choice
from kexp.store import Record
from kexp.store.reading import LARGEST
from kexp.tracking.base import Sink, Tracker, Unreachable
from kexp.tracking.contents import Epoch, choices, final, place, times

EXPERIMENT = "kexp"
ARTIFACTS = ("config.yaml", "summary.json", "history.jsonl", "log.txt", "environment.json")
STATUS = {"finished": "FINISHED", "running": "RUNNING", "failed": "FAILED"}
STATUS |= {"diverged": "FAILED", "oom": "FAILED"}
"""What a state is in MLflow; any other is KILLED."""

LONGEST_VALUE, LONGEST_TAG, LONGEST_KEY = 500, 5_000, 250
"""What every version of MLflow takes, in characters."""

MOST_PARAMS, MOST_METRICS = 100, 1_000
"""How many of them MLflow takes at once."""

LOCK_SECONDS, ANSWER_SECONDS = 60, 10
"""How long to wait for another process to write, and for a server's first answer."""

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""So that MLflow reports to nobody else and prints nothing between the lines of a run."""


@choice
class Mlflow(Tracker):
    """MLflow: choices, curves, final values and the files of the record.

    `uri` is that of a server (`http://127.0.0.1:5000`) or of a database (`sqlite:///file.db`);
    null is what MLFLOW_TRACKING_URI says, else `mlflow.db` in the results folder. The weights are
    sent only where `model` is true.
    """

    name: ClassVar[str] = "mlflow"
    package: ClassVar[str] = "mlflow"

    uri: str | None = None
    model: bool = False

    @field_validator("uri")
    @classmethod
    def _is_uri(cls, uri: str | None) -> str | None:
        if uri is not None and not re.match(r"[a-z][a-z0-9+.-]*://|databricks", uri):
            raise ValueError("must be a URI, such as http://127.0.0.1:5000 or sqlite:///runs.db")
        return uri

    def prepare(self) -> None:
        """Keep MLflow quiet, unless the environment says otherwise."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)

    def open(self, record: Record) -> MlflowRun:
        """The run in MLflow, made if need be."""
        self.prepare()
        results = place(record).parent.parent
        return MlflowRun(Store(self._uri(results), results), record, self.model)

    def later(self, run: Path) -> str:
        """The command that sends the run afterwards; it does not repeat the URI."""
        return f"kexp export mlflow {run}" + (" --uri …" if self.uri else "")

    def hidden(self, text: str) -> str:
        """The text without any password, and of the URI the host alone."""
        for uri in filter(None, (self.uri, os.environ.get("MLFLOW_TRACKING_URI"))):
            text = text.replace(uri, _host(uri))
        return re.sub(r"(?<=://)[^\s/@]+@", "", text)

    def _uri(self, results: Path) -> str:
        given = self.uri or os.environ.get("MLFLOW_TRACKING_URI")
        return given or f"sqlite:///{results / 'mlflow.db'}"


class Store:
    """Where MLflow keeps runs, and a lock on it for this machine's processes."""

    def __init__(self, uri: str, results: Path):
        from mlflow import MlflowClient

        # What MLflow tells of its database would come into the log of the run that is training.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        prefix = "sqlite:///"
        self.database = (
            Path(uri.removeprefix(prefix)).absolute() if uri.startswith(prefix) else None
        )
        _check_answer(uri)
        self.lock = _lock(self.database.parent if self.database else results)
        with self.lock:
            self.client = MlflowClient(tracking_uri=uri)
            self.experiment = self._experiment()

    def writing(self) -> contextlib.AbstractContextManager[Any]:
        """Around writes: a file takes one writer at a time, a server sorts them out itself."""
        return self.lock if self.database else contextlib.nullcontext()

    def found(self, key: str) -> Any:
        """The run that is marked with a key, which is hexadecimal; None where there is none."""
        marked = f"tags.`kexp.key` = '{key}'"
        runs = self.client.search_runs([self.experiment], marked, max_results=1)
        return runs[0] if runs else None

    def _experiment(self) -> str:
        known = self.client.get_experiment_by_name(EXPERIMENT)
        if known:
            return known.experiment_id
        files = self.database and (self.database.parent / "mlflow-artifacts").as_uri()
        return self.client.create_experiment(EXPERIMENT, artifact_location=files)


class MlflowRun(Sink):
    """One run in MLflow. Its metric `epoch` says which epochs have arrived."""

    def __init__(self, store: Store, record: Record, model: bool):
        self._store, self._client = store, store.client
        self._files = (*ARTIFACTS, "model.keras") if model else ARTIFACTS
        with store.lock:
            run = store.found(_key(record)) or self._made(record)
            self._id = run.info.run_id
            self.last = int(run.data.metrics.get("epoch", 0))
            self._send_choices(record, run.data.params)
            if record.status.get("state") == "running" and run.info.status != "RUNNING":
                self._client.update_run(self._id, status="RUNNING")

    def epochs(self, epochs: Sequence[Epoch]) -> None:
        """Send epochs whole, as many at once as MLflow takes."""
        for batch in _batches(epochs):
            metrics = [
                _metric(name, value, e.at, e.number)
                for e in batch
                for name, value in {**e.values, "epoch": e.number}.items()
            ]
            with self._store.writing():
                self._client.log_batch(self._id, metrics=metrics)
            self.last = batch[-1].number

    def end(self, record: Record) -> None:
        """Send final values, files and the state."""
        _, end = times(record)
        with self._store.writing():
            there = self._client.get_run(self._id).data.metrics
            new = {k: v for k, v in final(record).items() if there.get(k) != v}
            metrics = [_metric(name, value, end, self.last) for name, value in new.items()]
            self._client.log_batch(self._id, metrics=metrics, tags=_tags(_about(record)))
            for file in _sendable(record.path, self._files):
                self._client.log_artifact(self._id, str(file))
            status = STATUS.get(str(record.status.get("state")), "KILLED")
            if status != "RUNNING":
                self._client.set_terminated(self._id, status, round(1000 * end))

    def _made(self, record: Record) -> Any:
        """A new run below that of the study."""
        tags = {"mlflow.parentRunId": self._study(record), "kexp.key": _key(record)}
        return self._client.create_run(
            self._store.experiment,
            start_time=round(1000 * times(record)[0]),
            tags={**tags, **_about(record)},
            run_name=_cut(place(record).name, LONGEST_KEY),
        )

    def _study(self, record: Record) -> str:
        """The id of the run that stands for the study; it has ended as soon as it is there."""
        name = place(record).parent.name
        key = _hash("study", name)
        if known := self._store.found(key):
            return known.info.run_id
        tags = {"kexp.key": key, "kexp.study": _cut(name, LONGEST_TAG)}
        run = self._client.create_run(
            self._store.experiment, tags=tags, run_name=_cut(name, LONGEST_KEY)
        )
        self._client.set_terminated(run.info.run_id)
        return run.info.run_id

    def _send_choices(self, record: Record, there: dict[str, str]) -> None:
        """Send those that are not there yet: MLflow never changes one."""
        from mlflow.entities import Param

        named = {_named(key): _shown(value) for key, value in choices(record).items()}
        new = [Param(key, value) for key, value in named.items() if key and key not in there]
        for i in range(0, len(new), MOST_PARAMS):
            self._client.log_batch(self._id, params=new[i : i + MOST_PARAMS])


def _key(record: Record) -> str:
    """What tells a training from all others, one with --force from the one before it, too."""
    path, summary = place(record), record.summary
    identity = summary.get("identity") or record.config.get("identity")
    return _hash("run", path.parent.name, path.name, identity, record.status.get("started"))


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def _about(record: Record) -> dict[str, str]:
    """Tags: which run this is and what became of it."""
    path, summary, status = place(record), record.summary, record.status
    values = {
        "identity": summary.get("identity") or record.config.get("identity"),
        "study": path.parent.name,
        "run": path.name,
        "label": summary.get("label"),
        "verdict": summary.get("verdict"),
        "state": status.get("state"),
        "reason": status.get("reason"),
    }
    return {f"kexp.{k}": _cut(str(v), LONGEST_TAG) for k, v in values.items() if v is not None}


def _tags(values: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]


def _metric(name: str, value: float, at: float, step: int) -> Any:
    from mlflow.entities import Metric

    return Metric(name, value, round(1000 * at), step)


def _batches(epochs: Sequence[Epoch]) -> Iterator[Sequence[Epoch]]:
    """Whole epochs, as many as MLflow takes at once."""
    size = max(1, MOST_METRICS // (1 + max(len(e.values) for e in epochs)))
    for i in range(0, len(epochs), size):
        yield epochs[i : i + size]


def _named(key: str) -> str:
    """A key as MLflow takes it."""
    return re.sub(r"[^\w.-]", "_", key, flags=re.ASCII).lstrip(".")[:LONGEST_KEY]


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return _cut(text, LONGEST_VALUE)


def _cut(text: str, longest: int) -> str:
    """The text, or its beginning and its end with … between, where it is too long."""
    text = text.encode("utf-8", "replace").decode()
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:half]} … {text[-half:]}"


def _sendable(run: Path, names: Sequence[str]) -> Iterator[Path]:
    """The files of a run that are there: no links, which may lead anywhere, and none too large."""
    for file in (run / name for name in names):
        with contextlib.suppress(OSError):
            about = file.lstat()
            if stat.S_ISREG(about.st_mode) and about.st_size <= LARGEST:
                yield file


def _lock(folder: Path) -> FileLock:
    """A lock in a folder, or in that for temporary files where this one cannot be written."""
    if os.access(folder, os.W_OK):
        return FileLock(folder / ".mlflow.lock", timeout=LOCK_SECONDS)
    user = hashlib.sha256(str(Path.home()).encode()).hexdigest()[:8]
    return FileLock(Path(tempfile.gettempdir()) / f"kexp-mlflow-{user}.lock", timeout=LOCK_SECONDS)


def _host(uri: str) -> str:
    """`https://host:5000` of a URI with more to it, which may be secret."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if host else uri


def _check_answer(uri: str) -> None:
    """Raise `Unreachable` where a server gives no answer at all; MLflow would try for minutes."""
    if not uri.startswith(("http://", "https://")):
        return
    import requests

    try:
        requests.head(uri, timeout=ANSWER_SECONDS, allow_redirects=False)
    except requests.exceptions.SSLError:
        pass  # somebody is there; MLflow has its own say about certificates
    except requests.exceptions.RequestException as error:
        raise Unreachable(f"no server answers at {uri} ({type(error).__name__})") from None
