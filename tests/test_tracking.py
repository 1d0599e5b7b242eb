"""Tracking: what arrives in TensorBoard and MLflow, and that it can cost a run nothing."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import kexp
from kexp.api import Session
from kexp.choice import choice
from kexp.cli import main
from kexp.errors import Interrupted
from kexp.progress import Reporter
from kexp.store import read_run
from kexp.tracking import Mlflow, Sink, TensorBoard, Tracker, live
from kexp.tracking.base import send
from kexp.tracking.contents import choices, epochs_of, final
from kexp.tracking.mlflow import _check_answer, _cut
from tests.conftest import history, read, the_run, tiny
from tests.records import change, write_run

pytestmark = [
    # MLflow's tables with SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]
ARTIFACTS = {"config.yaml", "summary.json", "history.jsonl", "log.txt", "environment.json"}


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server from outside, no memory of earlier trackers, and time on a busy machine."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(live, "PATIENCE", 120.0)
    monkeypatch.setattr(live, "HASTE", 120.0)
    monkeypatch.setattr(live, "HUNG", [])


class Heard(Reporter):
    """Remembers what is said; may stop the run after an epoch, as a signal would."""

    def __init__(self, stop: int | None = None):
        self.said: list[str] = []
        self._stop = stop

    def say(self, text: str) -> None:
        self.said.append(text)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        if record["epoch"] == self._stop:
            raise Interrupted(15)


def trained(overrides: list[str], tracker: Tracker | None = None, stop: int | None = None) -> Heard:
    """Train a run, with a tracker that no config describes if one is given."""
    heard = Heard(stop)
    session = Session(reporter=heard)
    experiment = session.experiment(overrides)
    session.train(dataclasses.replace(experiment, track=tracker or experiment.track))
    return heard


def told(heard: Heard) -> list[str]:
    """What was said about a tracker."""
    return [text for text in heard.said if text.startswith("track=")]


# What is sent


def test_values_of_epochs_stand_together(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "standard"}, 3, dict(gap=0.5, validation=1.0, test=2.0))
    first, second = epochs_of(read_run(run))
    assert (first.number, second.number) == (1, 2)
    assert first.values["nll/validation"] == 1.0 and first.values["nll/gap"] == 0.5
    assert final(read_run(run))["nll/test"] == 2.0


def test_choices_have_options_and_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "standard"}, 3, {})
    known = choices(read_run(run))
    assert known["dropout"] == "standard" and known["dropout.rate"] == 0.5
    assert known["seed"] == 3 and known["dropout.places"] == '["last"]'
    assert not any("_target_" in key or key.startswith(("study", "paths")) for key in known)


def test_an_unfinished_run_names_classes(tmp_path: Path) -> None:
    run = tmp_path / "study" / "run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("loss: {_target_: kexp.losses.CrossEntropy}\n")
    assert choices(read_run(run)) == {"loss": "cross_entropy"}


HOSTILE = """
{"epoch": 1, "penalty": "<b>", "probe": {"nll": 1.0, "<script>": 2, "x/y": 1, "big": 1e999}}
{"epoch": 1, "penalty": 2.0}
{"epoch": 0, "penalty": 2.0}
{"epoch": true, "penalty": 2.0}
{"epoch": 3, "penalty": 5.0, "gap": [1], "norms": {"l1": null, "l2": true}}
{"epoch": 99999999999999999999, "penalty": 2.0}
"""


def test_hostile_values_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(HOSTILE)
    found = [(e.number, e.values) for e in epochs_of(read_run(tmp_path))]
    assert found == [(1, {"nll/probe": 1.0}), (3, {"penalty": 5.0})]


def test_text_is_cut_readably() -> None:
    assert _cut("short", 500) == "short"
    cut = _cut("a" * 600 + "end", 500)
    assert len(cut) <= 500 and cut.endswith("end") and " … " in cut
    assert _cut("\ud800", 9) == "?"


# TensorBoard


def events_of(folder: Path) -> Any:
    """What TensorBoard reads from a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return found.Reload()


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = events_of(folder)
    tags = events.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def check_scalars(run: Path, folder: Path | None = None) -> None:
    """Every epoch of the history is there once, and every finite value of it."""
    found = scalars_of(folder or run / "tensorboard")
    for e in epochs_of(read_run(run)):
        for name, value in e.values.items():
            assert [v for step, v in found[name] if step == e.number] == [np.float32(value)]
    epochs = [epoch["epoch"] for epoch in history(run)]
    assert [step for step, _ in found["nll/validation"]] == epochs


@pytest.fixture(scope="module")
def on_board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a classifier with TensorBoard."""
    folder = tmp_path_factory.mktemp("board")
    kexp.run(*tiny("mnist_convnet", folder, "track=tensorboard", "dropout.rate=0.3"), quiet=True)
    return the_run(folder)


def test_scalars_are_those_of_the_history(on_board: Path) -> None:
    check_scalars(on_board)
    found, epochs = scalars_of(on_board / "tensorboard"), history(on_board)
    for split in ("probe", "validation", "gap"):
        values = [np.float32(epoch[split]["nll"]) for epoch in epochs]
        assert [value for _, value in found[f"nll/{split}"]] == values
    assert {"fit/gap", "objective/training", "penalty", "norms/l2", "learning_rate"} <= set(found)
    test = read(on_board, "summary.json")["test"]["last"]
    assert found["error/test"] == [(2, np.float32(test["error"]))]


def test_hparams_are_the_choices(on_board: Path) -> None:
    from tensorboard.plugins.hparams import metadata

    tags = events_of(on_board / "tensorboard").PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
    end = metadata.parse_session_end_info_plugin_data(tags[metadata.SESSION_END_INFO_TAG])
    assert start.hparams["loss"].string_value == "crossentropy"
    assert start.hparams["dropout.rate"].number_value == 0.3
    assert start.hparams["data.train_size"].number_value == 64
    assert {"seed", "optimizer", "norm", "regularizer"} <= set(start.hparams)
    assert start.group_name.endswith(on_board.name) and end.status == 1  # STATUS_SUCCESS


def test_examples_are_pictures(on_board: Path) -> None:
    events = events_of(on_board / "tensorboard")
    assert events.Tags()["images"] == ["examples/misclassified"]
    (picture,) = events.Images("examples/misclassified")
    with Image.open(io.BytesIO(picture.encoded_image_string)) as image:
        assert image.size == (picture.width, picture.height) and min(image.size) > 300


@pytest.mark.parametrize(("task", "name"), [("denoise", "restored"), ("ridge", "predictions")])
def test_examples_of_other_tasks(task: str, name: str, folder: Path) -> None:
    kexp.run(*tiny(task, folder, "track=tensorboard", "training.epochs=1"), quiet=True)
    assert events_of(the_run(folder) / "tensorboard").Tags()["images"] == [f"examples/{name}"]


def test_the_table_works_over_a_study(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """TensorBoard itself makes a row of each run, named by it, with its choices and results."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    for option in ("none", "standard"):
        for seed in (0, 1):
            write_run(tmp_path, {"dropout": option}, seed, dict(validation=seed + 0.5, test=0.25))
    assert main(["export", "tensorboard", str(tmp_path)]) == 0
    assert "tensorboard: 4 of 4 runs sent" in capsys.readouterr().out

    read_all = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "study")).Reload()
    provider = MultiplexerDataProvider(read_all, str(tmp_path / "study"))
    context = backend_context.Context(TBContext(data_provider=provider))
    asked = RequestContext()
    known = context.hparams_metadata(asked, "")
    about = context.experiment_from_metadata(asked, "", True, known, None)
    assert {"dropout", "dropout.rate", "seed"} <= {info.name for info in about.hparam_infos}
    metrics = {info.name.tag for info in about.metric_infos}
    assert {"nll/validation", "nll/gap", "nll/test"} <= metrics

    wanted = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[1],
        include_metrics=True,
        col_params=[
            api_pb2.ColParams(hparam="dropout"),
            api_pb2.ColParams(metric=api_pb2.MetricName(tag="nll/test")),
        ],
    )
    rows = list_session_groups.Handler(asked, context, "", wanted).run().session_groups
    assert {row.sessions[0].name for row in rows} == {
        f"{option},seed={seed}/tensorboard" for option in ("none", "standard") for seed in (0, 1)
    }
    for row in rows:
        assert row.hparams["dropout"].string_value == row.name.split("/")[1].split(",")[0]
        assert any(m.name.tag == "nll/test" and m.value == 0.25 for m in row.metric_values)


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "none"}, 0, dict(gap=1.0, validation=1.0, test=1.0))
    send(TensorBoard(), read_run(run))
    (first,) = (run / "tensorboard").iterdir()
    content = first.read_bytes()
    send(TensorBoard(), read_run(run))
    (second,) = (run / "tensorboard").iterdir()
    assert second.name > first.name and second.read_bytes() == content
    check_scalars(run)


def test_events_elsewhere(tmp_path: Path) -> None:
    run = write_run(tmp_path / "results", {"dropout": "none"}, 0, dict(gap=1.0, validation=1.0))
    assert main(["export", "tensorboard", str(run), "-o", str(tmp_path / "board")]) == 0
    check_scalars(run, tmp_path / "board" / "study" / run.name)
    assert not (run / "tensorboard").exists()


def test_a_reader_that_follows_sees_a_resumed_run_once(tmp_path: Path) -> None:
    """A TensorBoard that has read the first file takes up the second and forgets the first."""
    run = write_run(tmp_path, {"dropout": "none"}, 0, dict(gap=1.0, validation=1.0))
    send(TensorBoard(), read_run(run))
    events = events_of(run / "tensorboard")
    send(TensorBoard(), read_run(run))
    events.Reload()
    assert [e.step for e in events.Scalars("nll/validation")] == [1, 2]


# MLflow


def client_of(results: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{results / 'mlflow.db'}")


def runs_of(results: Path) -> tuple[list[Any], list[Any]]:
    """The runs of studies and those below them."""
    client = client_of(results)
    (experiment,) = [e for e in client.search_experiments() if e.name == "kexp"]
    every = client.search_runs([experiment.experiment_id])
    below = [r for r in every if "mlflow.parentRunId" in r.data.tags]
    return [r for r in every if r not in below], below


def sent_epochs(results: Path, run: Any, name: str = "epoch") -> list[tuple[int, float]]:
    values = client_of(results).get_metric_history(run.info.run_id, name)
    return sorted((m.step, m.value) for m in values)


@pytest.fixture(scope="module")
def in_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a classifier with MLflow."""
    folder = tmp_path_factory.mktemp("mlflow")
    kexp.run(*tiny("mnist_convnet", folder, "track=mlflow"), quiet=True)
    return the_run(folder)


def test_a_run_in_mlflow(in_mlflow: Path) -> None:
    results = in_mlflow.parents[1]
    ((study,), (run,)) = runs_of(results)
    assert study.info.run_name == "mnist_convnet" and study.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert run.info.run_name == in_mlflow.name and run.info.status == "FINISHED"
    summary, epochs = read(in_mlflow, "summary.json"), history(in_mlflow)
    assert run.data.tags["kexp.identity"] == summary["identity"]
    assert run.data.tags["kexp.verdict"] == summary["verdict"]
    assert sent_epochs(results, run) == [(1, 1), (2, 2)]
    for split in ("probe", "validation", "gap"):
        values = [(e["epoch"], e[split]["nll"]) for e in epochs]
        assert sent_epochs(results, run, f"nll/{split}") == values
    assert run.data.metrics["error/test"] == summary["test"]["last"]["error"]
    assert run.data.params["loss"] == "crossentropy" and run.data.params["dropout.rate"] == "0.5"
    assert run.data.params["seed"] == "0" and run.data.params["data.train_size"] == "64"
    assert not any(key.startswith(("paths", "track", "study")) for key in run.data.params)


def test_artifacts_lie_beside_the_database(in_mlflow: Path) -> None:
    results = in_mlflow.parents[1]
    ((_, (run,)), client) = (runs_of(results), client_of(results))
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == ARTIFACTS
    (kept,) = (results / "mlflow-artifacts").rglob("history.jsonl")
    assert kept.read_bytes() == (in_mlflow / "history.jsonl").read_bytes()
    assert not list(results.rglob("mlruns")) and not Path("mlruns").exists()


def test_exported_twice_is_the_same(in_mlflow: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(in_mlflow.parents[1], results, ignore=shutil.ignore_patterns("mlflow*"))
    before = None
    for _ in range(2):
        assert main(["export", "mlflow", str(results)]) == 0
        ((study,), (run,)) = runs_of(results)
        names = sorted(run.data.metrics)
        now = {name: sent_epochs(results, run, name) for name in names}
        after = (study.info.run_id, run.info.run_id, now, run.data.params, run.data.tags)
        assert before in (None, after)
        before = after
    assert runs_of(results)[1][0].data.params == runs_of(in_mlflow.parents[1])[1][0].data.params


def test_the_weights_are_sent_only_if_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "none"}, 0, dict(gap=1.0))
    (run / "model.keras").write_bytes(b"weights")
    for model in (False, True):
        send(Mlflow(model=model), read_run(run))
        (child,) = runs_of(tmp_path)[1]
        sent = {a.path for a in client_of(tmp_path).list_artifacts(child.info.run_id)}
        assert ("model.keras" in sent) == model


def test_an_interrupted_run_goes_on_in_the_same_run(folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder, "track=mlflow", "training.epochs=3")
    with pytest.raises(Interrupted):
        trained(overrides, stop=2)
    results = folder / "results"
    ((first,), seen) = (runs_of(results)[1], sent_epochs)
    assert first.info.status == "KILLED" and seen(results, first) == [(1, 1), (2, 2)]
    trained(overrides)
    (second,) = runs_of(results)[1]
    assert second.info.run_id == first.info.run_id and second.info.status == "FINISHED"
    assert seen(results, second) == [(1, 1), (2, 2), (3, 3)]


def test_earlier_epochs_are_sent_with_the_later_ones(folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder, "training.epochs=3")
    with pytest.raises(Interrupted):
        trained(overrides, stop=2)
    for track in ("mlflow", "tensorboard"):
        shutil.copytree(folder / "results", folder / track, dirs_exist_ok=True)
        places = [o for o in overrides if not o.startswith("paths.results")]
        trained([*places, f"paths.results={folder / track}", f"track={track}"])
    (run,) = runs_of(folder / "mlflow")[1]
    assert sent_epochs(folder / "mlflow", run) == [(1, 1), (2, 2), (3, 3)]
    check_scalars(the_run(folder / "tensorboard"))


def test_a_run_trained_afresh_is_another_run(folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder, "track=mlflow", "training.epochs=1")
    kexp.run(*overrides, quiet=True)
    change(the_run(folder) / "status.json", started="2020-01-01T00:00:00+00:00")
    kexp.run(*overrides, force=True, quiet=True)
    assert len(runs_of(folder / "results")[1]) == 2


@pytest.mark.parametrize(
    ("more", "state"),
    [("optimizer.learning_rate=1e30", "FAILED"), ("training.batch_size=16", "FINISHED")],
)
def test_the_final_state_arrives(more: str, state: str, folder: Path) -> None:
    overrides = tiny("mnist_convnet", folder, "track=mlflow", "optimizer=sgd", more)
    code = main(["run", *overrides])
    (run,) = runs_of(folder / "results")[1]
    assert (run.info.status, code) == (state, int(state == "FAILED"))
    assert run.data.tags["kexp.state"] == read(the_run(folder), "status.json")["state"]


def test_a_run_that_fails_before_training_arrives(folder: Path) -> None:
    overrides = tiny("denoise", folder, "task.patch=30", "data.validation_size=0.99")
    assert main(["run", *overrides, "track=mlflow"]) == 1
    (run,) = runs_of(folder / "results")[1]
    assert run.info.status == "FAILED" and run.data.tags["kexp.reason"]


@pytest.mark.slow
def test_processes_at_once_make_one_study(tmp_path: Path) -> None:
    """Also where the database is not yet there."""
    runs = [write_run(tmp_path, {"dropout": "none"}, i, dict(gap=1.0)) for i in range(4)]
    command = [sys.executable, "-m", "kexp", "export", "mlflow"]
    working = [subprocess.Popen([*command, str(run)]) for run in runs]
    assert [process.wait(120) for process in working] == [0] * 4
    studies, below = runs_of(tmp_path)
    assert len(studies) == 1 and len(below) == 4
    assert all(sent_epochs(tmp_path, run) == [(1, 1), (2, 2)] for run in below)


def test_the_environment_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "results", {"dropout": "none"}, 0, dict(gap=1.0))
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other' / 'mlflow.db'}")
    assert main(["export", "mlflow", str(run)]) == 0
    assert runs_of(tmp_path / "other")[1] and not (tmp_path / "results" / "mlflow.db").exists()


def test_long_values_arrive_shortened(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "none", "data.path": "x" * 9_000}, 0, {}, name="run")
    send(Mlflow(), read_run(run))
    (sent,) = runs_of(tmp_path)[1]
    assert len(sent.data.params["data.path"]) <= 500


# The run does not depend on it


def test_the_record_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, but for times; so are identity and folder."""
    records, experiments = [], []
    for track in ("none", "tensorboard", "mlflow"):
        (folder / track).mkdir()
        monkeypatch.chdir(folder / track)
        overrides = tiny("mnist_convnet", folder, "paths.results=results", f"track={track}")
        experiments.append(Session().experiment(overrides))
        kexp.run(*overrides, quiet=True)
        records.append(the_run(folder / track))
    assert len({(e.identity, e.arm, e.label, e.folder) for e in experiments}) == 1
    for name in ("config.yaml", "history.jsonl", "examples.npz", "checkpoint/state.npz", "log.txt"):
        assert len({(run / name).read_bytes() for run in records}) == 1, name
    summaries = [read(run, "summary.json") for run in records]
    for summary in summaries:
        del summary["throughput"], summary["memory"]
    assert summaries[0] == summaries[1] == summaries[2]
    assert "track" not in json.dumps(summaries)


# A tracker that does not work


class Broken(Sink):
    def epochs(self, epochs: Any) -> None:
        raise OSError("no space\nleft")


class Stuck(Sink):
    def end(self, record: Any) -> None:
        time.sleep(60)


@choice
class Bad(Tracker):
    name: ClassVar[str] = "mlflow"
    package: ClassVar[str] = ""
    kind: str = "broken"

    def open(self, record: Any) -> Sink:
        return {"broken": Broken, "stuck": Stuck}[self.kind]()

    def later(self, run: Path) -> str:
        return f"kexp export mlflow {run}"


def test_a_fault_is_told_once_and_the_run_goes_on(folder: Path) -> None:
    heard = trained(tiny("mnist_convnet", folder), Bad())
    run = the_run(folder)
    (line,) = told(heard)
    assert line == (
        "track=mlflow: no space left; the run is not affected, and "
        f"`kexp export mlflow {run}` sends it later"
    )
    assert read(run, "status.json")["state"] == "finished" and len(history(run)) == 2
    assert line in (run / "log.txt").read_text()


def test_a_hung_tracker_is_left_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for once in a process, and not again."""
    monkeypatch.setattr(live, "PATIENCE", 0.5)
    begun = time.monotonic()
    first = trained(tiny("mnist_convnet", folder), Bad(kind="stuck"))
    assert "no answer within 0.5 s" in told(first)[0]
    second = trained(tiny("mnist_convnet", folder, "seed=1"), Bad(kind="stuck"))
    (line,) = told(second)
    assert "it has not answered before in this process" in line
    assert time.monotonic() - begun < 30


def test_time_that_it_has_hung_already_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(Bad, "open", lambda *_: over.wait(60) and Sink())
    sending = live.Sending(Bad(), tmp_path, {})
    sending.start()
    time.sleep(0.6)
    begun = time.monotonic()
    sending.finish(0.5)
    assert time.monotonic() - begun < 0.4 and sending.fault == "no answer within 0.5 s"
    over.set()
    sending.join()


def test_an_interrupted_run_hardly_waits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so says nothing about later runs."""
    monkeypatch.setattr(live, "HASTE", 0.2)
    with pytest.raises(Interrupted):
        trained(tiny("mnist_convnet", folder), Bad(kind="stuck"), stop=1)
    assert "no answer within 0.2 s" in (the_run(folder) / "log.txt").read_text()
    assert live.HUNG == []


@pytest.fixture
def silent() -> Iterator[str]:
    """A server on the loopback that accepts and never answers; its URI."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://user:secret@127.0.0.1:{server.getsockname()[1]}"


def test_a_silent_server_is_told(
    silent: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kexp.tracking.mlflow.ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("PLACE", silent)
    heard = trained(tiny("mnist_convnet", folder, "track=mlflow", "track.uri=${oc.env:PLACE}"))
    (line,) = told(heard)
    assert "no server answers at http://127.0.0.1:" in line and "--uri …" in line
    run = the_run(folder)
    assert read(run, "status.json")["state"] == "finished"
    for file in run.glob("*.*"):
        assert b"secret" not in file.read_bytes(), file
    assert not any("secret" in text for text in heard.said)


def test_a_hung_server_does_not_hold_up_the_exit(silent: str, folder: Path) -> None:
    """Not even when MLflow itself waits for it, and would for minutes."""
    overrides = [*tiny("mnist_convnet", folder), "track=mlflow", f"track.uri={silent}"]
    code = (
        "import sys; from kexp.tracking import live, mlflow; from kexp.cli import main\n"
        "live.PATIENCE = 3; mlflow._check_answer = lambda uri: None\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", *overrides], capture_output=True, timeout=300, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "no answer within 3 s" in done.stdout


def test_a_dead_server_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    run = write_run(tmp_path, {"dropout": "none"}, 0, {})
    assert main(["export", "mlflow", str(run), "--uri", f"http://127.0.0.1:{port}/x?t=1"]) == 1
    assert f"no server answers at http://127.0.0.1:{port} (" in capsys.readouterr().err


def test_any_answer_is_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as asked:
                asked.recv(1000)
                asked.sendall(b"HTTP/1.1 401 no\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        _check_answer(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_missing_package_is_told_before_training(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda n, *a: None if n == name else find(n, *a)
    )
    assert main(["run", *tiny("mnist_convnet", folder), f"track={name}"]) == 2
    assert f"needs the package {name}: pip install 'kexp[{name}]'" in capsys.readouterr().err
    assert main(["export", name, str(folder)]) == 2
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["track=mlfow"], "mlflow"),
        (["track=mlflow", "track.uri=localhost:5000"], "track.uri: must be a URI"),
        (["track=mlflow", "track.model=1"], "track.model must be true or false, got 1"),
        (["track=mlflow", "track.url=x"], "track.uri"),
        (["track=mlflow", "track._target_=os.system"], "track._target_=os.system is not allowed"),
        (["track=tensorboard", "track.folder=''"], "track.folder"),
        (["track.uri=x"], "track"),
    ],
)
def test_values_are_checked(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "data=digits", *words]) == 2
    assert said in capsys.readouterr().err


# Export


def test_damaged_and_newer_runs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good, newer, empty, torn = (
        write_run(tmp_path, {"dropout": "none"}, i, dict(gap=1.0)) for i in range(4)
    )
    change(newer / "summary.json", schema=99)
    for file in ("summary.json", "history.jsonl"):
        (empty / file).unlink()
    (torn / "history.jsonl").write_text('{"epoch": 1, "penalty": 1.0}\n{"epo')
    assert main(["export", "tensorboard", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"problem: {newer} was written by a newer kexp" in said
    assert f"problem: {empty}: there is no config of a run" in said
    assert "line 2 is torn" in said and "2 of 4 runs sent" in said
    assert (good / "tensorboard").is_dir() and (torn / "tensorboard").is_dir()
    assert not (newer / "tensorboard").exists()


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_foreign_run_is_text(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Nothing of it is instantiated or resolved, no link followed; its text stays text."""
    run = write_run(tmp_path, {"dropout": "none"}, 0, dict(gap=1.0), label="<b>\ud800'\x1b[31m")
    summary = read(run, "summary.json")
    summary["config"]["loss"] = {
        "_target_": "os.system",
        "command": "touch bad",
        "k' or 1": 10**400,
    }
    summary["config"]["optimizer"]["learning_rate"] = "${oc.env:HOME}"
    summary["identity"] = "' or tags.x = '"
    summary["options"]["loss"] = "<script>"
    (run / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "secret").write_text("secret")
    (run / "log.txt").symlink_to(tmp_path / "secret")
    assert main(["export", name, str(tmp_path)]) == 0, capsys.readouterr().out
    if name == "mlflow":
        (sent,) = runs_of(tmp_path)[1]
        assert sent.data.params["loss"] == "<script>"
        assert sent.data.params["loss.command"] == "touch bad"
        assert sent.data.params["optimizer.learning_rate"] == "${oc.env:HOME}"
        files = client_of(tmp_path).list_artifacts(sent.info.run_id)
        assert {file.path for file in files} == {"summary.json", "history.jsonl"}


def test_events_are_not_written_through_a_link(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = write_run(tmp_path / "results", {"dropout": "none"}, 0, dict(gap=1.0))
    (tmp_path / "elsewhere").mkdir()
    (run / "tensorboard").symlink_to(tmp_path / "elsewhere")
    assert main(["export", "tensorboard", str(run)]) == 1
    assert "is a link" in capsys.readouterr().out
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_run_is_named_wherever_one_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "results", {"dropout": "none"}, 0, dict(gap=1.0))
    (run / "checkpoint").mkdir()
    monkeypatch.chdir(run / "checkpoint")
    board = ["-o", str(tmp_path / "board")] if name == "tensorboard" else []
    assert main(["export", name, "..", *board]) == 0
    if board:
        check_scalars(run, tmp_path / "board" / "study" / run.name)
    else:
        ((study,), (sent,)) = runs_of(tmp_path / "results")
        assert (study.info.run_name, sent.info.run_name) == ("study", run.name)


@pytest.mark.parametrize("words", [["mlflow", "-o", "x"], ["tensorboard", "--uri", "sqlite:///x"]])
def test_options_of_the_other_are_refused(words: list[str], tmp_path: Path) -> None:
    assert main(["export", *words, str(tmp_path)]) == 2


def test_export_needs_no_framework(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "none"}, 0, dict(gap=1.0))
    code = (
        "import sys; from kexp.cli import main\n"
        "main(['export', 'tensorboard', sys.argv[1]]); main(['export', 'mlflow', sys.argv[1]])\n"
        "print({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "tensorboard: 1 of 1 runs sent",
        "mlflow: 1 of 1 runs sent",
        "set()",
    ]
    assert done.stderr == ""
