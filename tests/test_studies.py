"""Studies: what they vary, what the command line may change, and that each of them trains."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import kexp
from kexp.analysis.analysis import analyse
from kexp.analysis.comparable import comparable
from kexp.analysis.load import read_records
from kexp.api import Session
from kexp.config import places
from kexp.config.compose import Composer
from kexp.config.study import Study, overrides, study_of
from kexp.errors import ConfigError
from kexp.sweeps import expand
from tests.conftest import HERE

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("no_collection")

STUDIES = [name for name in places.groups()["study"] if name != "none"]
FILES = {name: places.option_file("study", name) for name in STUDIES}
DENOISER = ["task.patches_per_epoch=16", "data.train_size=2", "data.test_size=1"]
SMALL = {
    "quickstart": ["data.validation_size=40", "data.test_size=40"],
    "overfitting_mnist": ["data=digits", "data.validation_size=40", "data.train_size=64"],
    "label_noise": ["data=digits", "data.validation_size=40", "data.train_size=64"],
    "eigenspace_robust": ["data.train_size=64", "data.test_size=40", "task.recognised=10"],
    "reproduce_keras_mnist": ["data=digits", "data.validation_size=40", "data.train_size=64"],
    "reproduce_dropout": ["data=digits", "data.train_size=64", "model.hidden=[8,8]"],
    "reproduce_decorrelated": ["data=digits", "data.validation_size=40", "data.train_size=64"],
    "reproduce_dncnn": [*DENOISER, "data=photos", "model.depth=3", "model.width=8"],
    "reproduce_dncnn_small": [*DENOISER, "data=photos"],
    "reproduce_barron": ["data.train_size=64"],
    "reproduce_ridge": ["data.train_size=64"],
    "denoise_outliers": [*DENOISER],
}
REPRODUCTIONS = [name for name in STUDIES if name.startswith("reproduce_")]
LONG = {"eigenspace_robust", *REPRODUCTIONS}
EVERY = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in STUDIES],
)


def jobs_of(*given: str) -> list[list[str]]:
    return expand(Composer(), given, None)


@EVERY
def test_every_run_of_a_study_builds(name: str) -> None:
    session = Session()
    jobs = jobs_of(f"study={name}")
    made = [session.experiment(job) for job in jobs]
    assert len({e.identity for e in made}) == len(jobs) > 3
    assert {e.folder.parent.name for e in made} == {name}


@pytest.mark.parametrize("name", STUDIES)
def test_header_is_a_question_and_its_command(name: str) -> None:
    """First the question, then the command, the time it takes and what to expect."""
    text = FILES[name].read_text()
    lines = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    assert lines[0] == "@package _global_" and "?" in lines[1]
    assert f"kexp sweep study={name}" in lines
    header = " ".join(lines)
    assert re.search(r"Takes about \d+ (seconds|minutes|hours)", header), "the time it takes"
    assert "Expect" in header


@EVERY
def test_every_study_trains_and_is_analysed(name: str, tmp_path: Path) -> None:
    """One epoch of two levels of its first factor, all else at one level."""
    study = study_of(Session().experiment([f"study={name}"]).config["study"])
    first, *others = study.factors | study.nuisance
    fixed = [overrides(key, (study.factors | study.nuisance)[key][0])[0] for key in others]
    levels = ",".join(overrides(first, le)[0].partition("=")[2] for le in study.factors[first][:2])
    small = [*SMALL[name], "training.epochs=1", f"paths.results={tmp_path}", "seed=0"]
    done = kexp.sweep(f"study={name}", f"{first}={levels}", *fixed, *small, HERE, quiet=True)
    assert done.finished == 2 and not done.failures
    (runs,) = comparable(read_records([tmp_path]))
    answer = analyse(runs)
    assert answer.design.factors[0].baseline == str(study.factors[first][0])
    assert answer.quantities[0].yardstick.name == study.yardstick


@pytest.mark.slow
def test_ridge_reproduces_the_published_coefficients(tmp_path: Path) -> None:
    """Of body-mass index and total cholesterol, in units of the source: 42 patients are missing."""
    done = kexp.sweep(
        "study=reproduce_ridge", "study.seeds=2", f"paths.results={tmp_path}", HERE, quiet=True
    )
    assert done.finished == 4
    for run in read_records([tmp_path]):
        path, penalised = run.summary["ridge"], run.config["regularizer"]["strength"] > 0
        assert path["distance"] < 1e-6
        found = 1619 * np.array(path["coefficients"])[[2, 4]]
        published = (489.7, -83.5) if penalised else (519.8, -792.2)
        assert found == pytest.approx(published, abs=50 if penalised else 220)


@pytest.mark.slow
def test_the_adaptive_loss_withstands_outliers_as_published(tmp_path: Path) -> None:
    levels = ("loss=mse,adaptive", "data.outliers=0.2", "study.seeds=3")
    done = kexp.sweep(
        "study=reproduce_barron", *levels, f"paths.results={tmp_path}", HERE, quiet=True
    )
    assert done.finished == 6
    test = {
        (run.config["loss"]["_target_"].rpartition(".")[2], run.config["seed"]): run.summary["test"]
        for run in read_records([tmp_path])
    }
    for seed in range(3):
        least_squares, adaptive = (test[n, seed]["last"]["mse"] for n in ("Quadratic", "Adaptive"))
        assert adaptive < least_squares - 0.02


def test_studies_are_tried() -> None:
    assert set(SMALL) == set(STUDIES)


def test_seeds_are_outermost() -> None:
    """Stopped half-way, a study has complete comparisons of its first seeds."""
    jobs = jobs_of("study=quickstart")
    numbers = [next(o for o in job if o.startswith("seed=")) for job in jobs]
    assert numbers == [f"seed={i // 4}" for i in range(20)]


def test_the_command_line_takes_the_place_of_levels() -> None:
    given = ("study=quickstart", "dropout=none,spatial,gaussian", "seed=7", "regularizer=l1")
    jobs = jobs_of(*given)
    assert len(jobs) == 3 and all("seed=7" in job and "regularizer=l1" in job for job in jobs)
    assert len(jobs_of("study=quickstart", "study.seeds=2")) == 8
    assert len(jobs_of("study=quickstart", "study.seeds=[3,5]", "model.width=1,2")) == 16


def test_level_with_companions() -> None:
    jobs = jobs_of("study=overfitting_mnist", "seed=0")
    l1 = [job for job in jobs if "regularizer=l1" in job]
    assert len(l1) == 8 and all("regularizer.strength=0.0001" in job for job in l1)
    none = [job for job in jobs if "regularizer=none" in job]
    assert len(none) == 8 and not any("strength" in o for job in none for o in job)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (0.1, "0.1"), ("l2", "l2"), ("[8,8]", "[8,8]"), (3, "3")],
)
def test_levels_are_written_as_on_the_command_line(value: object, text: str) -> None:
    assert overrides("a.b", value) == [f"a.b={text}"]  # type: ignore[arg-type]
    assert overrides("a.b", [value, "c=1"]) == [f"a.b={text}", "c=1"]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"seeds": 0}, "study.seeds must be a whole number ≥ 1"),
        ({"factors": {"dropout": []}}, "study.factors"),
        ({"factors": {"dropout": "none"}}, "study.factors"),
        ({"quantities": ["gab"]}, "study.quantities: gab is nothing that runs are compared on"),
        ({"factor": {}}, "no parameter factor; it takes factors"),
        ({"factors": {"a": [1]}, "nuisance": {"a": [1]}}, "both have a; leave one out"),
        ({"factors": {"seed": [1]}}, "set study.seeds"),
        (["dropout"], "study must be a section"),
    ],
)
def test_faults_of_a_study_are_told(section: object, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        study_of(section)


def test_unknown_yardsticks_and_factors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="study.yardstick must be one of fit, objective, nll"):
        Session().experiment(["study.yardstick=nil"])
    (tmp_path / "study").mkdir()
    text = "# @package _global_\nstudy:\n  name: mine\n  factors:\n    dropot: [none, standard]\n"
    (tmp_path / "study" / "mine.yaml").write_text(text)
    session = Session(config_dir=tmp_path)
    (first, *_) = expand(session.composer, ["study=mine"], None)
    with pytest.raises(ConfigError, match="'dropot' in the config; did you mean dropout"):
        session.experiment(first)


def test_one_study_at_a_time() -> None:
    with pytest.raises(ConfigError, match="study=quickstart,label_noise: one study at a time"):
        jobs_of("study=quickstart,label_noise")


def test_study_chooses_the_task_for_advice() -> None:
    with pytest.raises(ConfigError, match="with task=denoise loss is one of huber"):
        Session().experiment(["study=denoise_outliers", "loss=hubr"])


def test_study_does_not_change_the_identity_of_a_run() -> None:
    given = ["data=digits", "dropout=none", "data.train_size=200", "training.batch_size=32"]
    plain = Session().experiment([*given, "training.epochs=30"])
    studied = Session().experiment(["study=quickstart"])
    assert plain.identity == studied.identity and plain.folder != studied.folder


def test_default_study_has_nothing() -> None:
    assert Study().variations([]) == []
