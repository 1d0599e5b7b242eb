"""Every option composes, builds and holds all its parameters; the same config has one identity."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kexp.api import Session
from kexp.backends import Backend
from kexp.config.allowed import KINDS, SOURCES, kind_of, promises
from kexp.config.compose import Composer
from kexp.config.fitting import fits, fitting, option_class
from kexp.config.listing import listing
from kexp.config.messages import allowed
from kexp.config.options import parameters
from kexp.config.overrides import parse
from kexp.config.places import groups, option_file
from kexp.config.wording import literal, shown
from kexp.experiment import Experiment
from kexp.losses import Huber
from kexp.losses.barron import Settled
from kexp.noise import BlindGaussian

OPTIONS = [(group, option) for group, options in groups().items() for option in options]
TASKS = groups()["task"]
REQUIRED = {
    "data=folder": ["data.path=photos"],
    "data=depth_folder": ["data.path=photos"],
    "data=archive": ["data.train=photos.npz"],
    "model=convnet": ["data=digits"],
    "norm=instance": ["data=digits", "model=convnet"],
}

LEFT_OUT = {("data", "mnist"): {"test_size"}}
"""Parameters that an option does not offer: MNIST brings its own test set."""


@pytest.fixture(autouse=True)
def any_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends that are not installed here can be configured all the same."""
    monkeypatch.setattr(Backend, "check", lambda self: None)


def build(*overrides: str) -> Experiment:
    return Session().experiment(overrides)


def task_for(group: str, option: str) -> str:
    """A task that an option fits."""
    if group == "task":
        return option
    if group == "task/noise":
        return "denoise"
    for task in TASKS:
        kind = option_class("task", task).target
        if option in fitting(group, kind):
            return task
    raise AssertionError(f"{group}={option} fits no task")


def overrides_for(group: str, option: str) -> list[str]:
    chosen = [] if group in ("task", "study") else [f"task={task_for(group, option)}"]
    return [*chosen, f"{group}={option}", *REQUIRED.get(f"{group}={option}", [])]


def made(experiment: Experiment, group: str) -> Any:
    found: Any = experiment
    for name in group.split("/"):
        found = getattr(found, name)
    return found


# Options


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda part: part.replace("/", "."))
def test_every_option_builds(group: str, option: str) -> None:
    experiment = build(*overrides_for(group, option))
    if group == "study":
        return
    choice = made(experiment, group)
    assert isinstance(choice, kind_of(group.replace("/", ".")))
    for name, value in parameters(group, option).items():
        if name not in ("_target_", "defaults") and value != "???":
            assert getattr(choice, name) == value


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda part: part.replace("/", "."))
def test_every_parameter_can_be_set(group: str, option: str) -> None:
    """A YAML file holds every parameter of its class, so that each can be overridden."""
    if group == "study":
        return
    cls = option_class(group, option)
    wanted = {field.name for field in dataclasses.fields(cls)}
    held = set(parameters(group, option)) - {"_target_", "defaults"}
    inner = {inner.split("/")[1] for inner in groups() if inner.startswith(f"{group}/")}
    assert held <= wanted
    assert wanted - held - inner == LEFT_OUT.get((group, option), set())


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda part: part.replace("/", "."))
def test_every_option_file_says_what_it_is(group: str, option: str) -> None:
    text = option_file(group, option).read_text(encoding="utf-8")
    assert text.endswith("\n") and "\t" not in text
    (line,) = [part for part in listing(group).splitlines() if part.split()[:1] == [option]]
    assert len(line.split()) > 1, "no meaning"


def kexps_own(classes: set[type]) -> set[type]:
    """Those that no other test has made."""
    return {cls for cls in classes if cls.__module__.startswith("kexp.")}


def test_every_class_of_every_group_has_an_option() -> None:
    """What Python offers, the command line offers."""
    for key in KINDS:
        if key in ("training", "backend"):
            continue
        group = key.replace(".", "/")
        offered = {option_class(group, option) for option in groups()[group]}
        classes = {
            cls
            for cls in all_subclasses(kind_of(key))
            if cls.__module__.startswith(SOURCES[key]) and not kexps_own(all_subclasses(cls))
        } - {Settled}  # what an adaptive loss has become, made of that alone
        assert offered == classes, group


def all_subclasses(cls: type) -> set[type]:
    below = set(cls.__subclasses__())
    return below.union(*(all_subclasses(c) for c in below))


def test_none_is_an_object() -> None:
    for group in ("regularizer", "dropout", "norm"):
        assert "none" in groups()[group]
        assert made(build(f"{group}=none"), group) is not None


def test_defaults_of_the_tasks() -> None:
    names = {"loss": "Quadratic", "data": "Photos", "model": "DnCNN", "dropout": "NoDropout"}
    experiment = build("task=denoise")
    assert {key: type(made(experiment, key)).__name__ for key in names} == names
    names = {"loss": "CrossEntropy", "data": "Mnist", "model": "Convnet", "dropout": "Standard"}
    experiment = build()
    assert {key: type(made(experiment, key)).__name__ for key in names} == names


def test_overrides_win_over_the_task_whatever_their_order() -> None:
    for order in (1, -1):
        chosen = ["task=denoise", "loss=huber", "data=digits", "training.epochs=3"][::order]
        experiment = build(*chosen)
        assert type(experiment.loss).__name__ == "Huber"
        assert type(experiment.data).__name__ == "Digits"
        assert experiment.training.epochs == 3


def test_experiment_holds_what_was_asked() -> None:
    chosen = ("seed=7", "paths.results=r", "paths.data=d", "study.name=s", "name=n")
    experiment = build(*chosen, "model.filters=[8,16,32]")
    assert experiment.seed == 7
    assert experiment.folder == Path("r/s/n") and experiment.data_folder == Path("d")
    assert experiment.model.filters == [8, 16, 32]
    assert experiment.config["model"]["filters"] == [8, 16, 32]
    assert experiment.label == "seed=7,model.filters=[8, 16, 32]"


def test_whole_numbers_are_taken_as_numbers() -> None:
    loss = build("task=denoise", "loss=huber", "loss.delta=2").loss
    assert loss.delta == 2.0 and type(loss.delta) is float


def test_fallback_data_compose() -> None:
    """What a run goes on with where its data cannot be had."""
    fallback = build().data.fallback
    assert "classification" in type(build(f"data={fallback}").data).targets


# Identity


BASE = ("task=denoise", "loss=huber", "loss.delta=0.5", "optimizer.learning_rate=0.001", "seed=3")


@pytest.mark.parametrize(
    "same",
    [
        BASE[::-1],
        (*BASE[:2], "loss.delta=.5", "optimizer.learning_rate=1e-3", "seed=3"),
        (*BASE[:2], "loss.delta=5e-1", "optimizer.learning_rate=1.0E-03", "seed=3"),
        (*BASE, "loss.elements=mean"),
        (*BASE, "task/noise=gaussian", "task.noise.sigma=25"),
        (*BASE, "norm=none"),
        (*BASE, "data.label_noise=0", "data.outliers=0.00"),
        (*BASE, "data.label_noise=-0.0"),
        (*BASE, "name=other"),
        (*BASE, "study.name=other"),
        (*BASE, "paths.results=elsewhere", "paths.data=elsewhere"),
    ],
)
def test_identity_stays(same: tuple[str, ...]) -> None:
    assert build(*same).identity == build(*BASE).identity


@pytest.mark.parametrize(("typed", "again"), [("1", "1.0"), ("1e0", "1"), ("10", "1e1")])
def test_spelling_of_a_number_changes_nothing(typed: str, again: str) -> None:
    first, second = (
        build("task=denoise", "loss=huber", f"loss.delta={value}") for value in (typed, again)
    )
    assert first.identity == second.identity
    assert first.label == second.label
    assert first.folder == second.folder


def test_an_interpolation_is_what_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEXP_TEST_PATH", "photos")
    plain = build("data=folder", "data.path=photos")
    assert build("data=folder", "data.path=${oc.env:KEXP_TEST_PATH}").identity == plain.identity
    monkeypatch.setenv("KEXP_TEST_PATH", "others")
    assert build("data=folder", "data.path=${oc.env:KEXP_TEST_PATH}").identity != plain.identity


CHANGES = (
    "seed=4",
    "loss=mae",
    "loss.delta=0.51",
    "loss.elements=sum",
    "regularizer=l2",
    "dropout=standard",
    "norm=batch",
    "optimizer=sgd",
    "optimizer.learning_rate=0.002",
    "schedule=constant",
    "schedule.final=0.1",
    "training.epochs=11",
    "training.batch_size=17",
    "training.patience=3",
    "training.monitor=ssim",
    "data=digits",
    "data.train_size=5",
    "data.validation_size=3",
    "data.outliers=0.1",
    "data.colour=rgb",
    "model.depth=7",
    "task/noise=poisson",
    "task.noise.sigma=26",
    "task.patch=41",
    "task.augment=false",
    "backend=jax",
    "backend.threads=1",
)


def test_identity_changes_with_whatever_changes_the_numbers() -> None:
    seen = {build(*BASE).identity: "base"}
    for change in CHANGES:
        key = change.partition("=")[0]
        kept = [override for override in BASE if override.partition("=")[0] != key]
        if change == "loss=mae":
            kept.remove("loss.delta=0.5")
        identity = build(*kept, change).identity
        assert identity not in seen, f"{change} is {seen[identity]}"
        seen[identity] = change


# Labels


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        ("", "default"),
        ("task=denoise", "default"),
        ("dropout=standard dropout.rate=0.5", "default"),
        ("dropout=none", "dropout=none"),
        ("task=denoise dropout=none loss=mse", "default"),
        ("seed=1 dropout=none", "dropout=none,seed=1"),
        ("dropout=none seed=1", "dropout=none,seed=1"),
        ("regularizer=l2", "regularizer=l2"),
        ("regularizer=l2 regularizer.strength=1e-3", "regularizer=l2,regularizer.strength=0.001"),
        ("task=denoise task/noise=poisson task.noise.peak=9", "task/noise=poisson,task.noise.pe"),
        ("data.fallback=null", "data.fallback=null"),
        ("optimizer=sgd optimizer.nesterov=true", "optimizer=sgd,optimizer.nesterov=true"),
        ("name=x study.name=y paths.results=z paths.data=z", "default"),
        ("backend.threads=1", "default"),
        ("data.path=ü data=folder", "data=folder,data.path=ü"),
    ],
)
def test_label(overrides: str, label: str) -> None:
    assert build(*overrides.split()).label.startswith(label)


def test_label_is_whole_however_long() -> None:
    filters = list(range(1, 41))
    experiment = build(f"model.filters={filters}")
    assert experiment.label == f"model.filters={filters}"
    assert len(experiment.folder.name) < 100


def test_label_is_in_the_name_of_the_folder() -> None:
    experiment = build("dropout=none", "seed=1")
    assert experiment.folder.name == f"dropout=none,seed=1-{experiment.identity[:8]}"
    assert experiment.folder.parent == Path("results/mnist_convnet")


# Composing


def test_composing_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values need no composing anew; sessions share what was composed from kexp's own files."""
    build("task=denoise", "loss=huber", "loss.delta=0.1")
    monkeypatch.setattr("kexp.config.compose.compose", None)
    for i in range(3):
        build("loss=huber", "task=denoise", f"loss.delta=0.{i + 2}", f"seed={i}")


def test_configs_are_independent() -> None:
    composer = Composer()
    first = composer.config(["seed=1"])
    first.loss.gamma = 5
    first.model.filters.append(7)
    second = composer.config(["seed=2"])
    assert first.seed == 1 and second.seed == 2
    assert "gamma" not in second.loss and second.model.filters == [32, 64]


def test_hydra_is_left_as_it_was(tmp_path: Path) -> None:
    """A notebook that uses Hydra itself is not disturbed."""
    from hydra import compose, initialize_config_dir

    (tmp_path / "mine.yaml").write_text("a: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        Composer().config(["loss=focal", "optimizer=sgd", "norm=layer"])
        assert compose("mine").a == 1


# Words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (float("nan"), "nan"),
        ("a", "'a'"),
        ([1, "a"], "[1, 'a']"),
        ("x" * 100, "'" + "x" * 59 + "… (102 characters)"),
    ],
)
def test_values_as_the_command_line_writes_them(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("cls", "name", "words"),
    [
        (Huber, "delta", "a number > 0"),
        (Huber, "elements", "one of mean, sum, norm"),
        (BlindGaussian, "low", "a number ≥ 0 and ≤ 255"),
    ],
)
def test_allowed_in_words(cls: Any, name: str, words: str) -> None:
    field = cls.__pydantic_fields__[name]
    assert allowed(field.annotation, field.metadata) == words


@pytest.mark.parametrize("text", ["", "a", "a b", "'", '"', "\\", '\\"', 'a\\\\"b\\', "ü,{}[]$="])
def test_literal_is_read_as_it_is(text: str) -> None:
    assert parse(f"name={literal(text)}").value() == text


def test_fits() -> None:
    assert fits(Huber, "regression") and not fits(Huber, "classification")
    assert fits(object, "regression")
    assert {"huber", "mae", "mse"} < set(fitting("loss", "regression"))
    assert "ssim" in fitting("loss", "image regression")
    assert not {"ssim", "crossentropy"} & set(fitting("loss", "regression"))
    assert "binary_crossentropy" in fitting("loss", "binary")
    assert fitting("data", "regression") == ["diabetes", "polynomial"]
    assert fitting("dropout", "regression") == groups()["dropout"]


def test_a_plain_class_may_name_one_kind_of_target() -> None:
    class Plain:
        targets = "image regression"

    assert fits(Plain, "image regression") and not fits(Plain, "regression")


def test_promises() -> None:
    assert promises(kind_of("loss")) == ["targets", "__call__"]
    assert promises(kind_of("regularizer")) == ["__call__"]
