"""Yardsticks under perturbed inputs: against closed forms, in the record and in what is told."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexp
from kexp.analysis import robustness as found
from kexp.analysis.comparable import comparable
from kexp.analysis.levels import choices
from kexp.analysis.load import read_records
from kexp.analysis.quantities import Quantity, is_quantity, parsed
from kexp.api import Session
from kexp.cli import main
from kexp.data import Diabetes, Examples
from kexp.measures import YARDSTICKS
from kexp.robustness import GREY, Curves, noisy, occluded
from kexp.store import read_run
from kexp.store.names import identity
from kexp.streams import Streams
from kexp.tasks import Colorize, MnistConvnet, Ridge
from kexp.tasks.base import standardised
from kexp.training.course import Measure
from kexp.training.perturbing import curves
from tests.conftest import TINY, read, the_run, tiny
from tests.records import write_run

FEW = (
    "robustness=curves",
    "robustness.noise=[0.1,0.3]",
    "robustness.occlusion=[0.2]",
    "robustness.fgsm=[0.05,0.1]",
    "robustness.pgd=[0.05,0.1]",
    "robustness.pgd_steps=3",
    "robustness.examples=20",
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Noise and occlusion


def test_noise_of_all_strengths_is_the_same_but_for_its_size() -> None:
    x = np.full((3, 40, 40, 1), 0.25, np.float32)
    weak, strong = (noisy(x, sigma, rng()) - x for sigma in (0.1, 0.3))
    np.testing.assert_allclose(strong, 3 * weak, atol=1e-6)
    assert weak.std() == pytest.approx(0.1, rel=0.03) and weak.dtype == np.float32


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(28, 28), (20, 45), (64, 8)])
def test_occlusion_hides_its_share_of_every_image(share: float, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(1).uniform(0.6, 1, (6, *shape, 2)).astype(np.float32)
    hidden = occluded(x, share, rng()) == GREY
    of_each = hidden.mean(axis=(1, 2, 3))
    assert of_each == pytest.approx(np.full(6, share), abs=0.5 / shape[0] + 0.5 / shape[1])
    rows, columns = hidden[0, :, :, 0].any(axis=1), hidden[0, :, :, 0].any(axis=0)
    assert hidden[0, :, :, 0].sum() == rows.sum() * columns.sum()  # one rectangle
    if share <= 0.1 and shape == (28, 28):
        assert rows.sum() == columns.sum()
    untouched = np.where(hidden, x, occluded(x, share, rng()))
    assert np.array_equal(untouched, x)


def test_hidden_features_are_a_share_and_grow() -> None:
    x = np.random.default_rng(1).normal(size=(5, 10)).astype(np.float32)
    few, many = (occluded(x, share, rng()) == 0 for share in (0.2, 0.6))
    assert (few.sum(axis=1) == 2).all() and (many.sum(axis=1) == 6).all()
    assert (many | ~few).all()
    assert len({tuple(row) for row in few}) > 1
    assert ((occluded(x, 0.01, rng()) == 0).sum(axis=1) == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_more_occlusion_hides_all_that_less_hides(seed: int) -> None:
    x = np.ones((4, 20, 30, 1), np.float32)
    shares = (0.05, 0.2, 0.4, 0.8)
    hidden = [occluded(x, share, np.random.default_rng(seed)) == GREY for share in shares]
    for less, more in zip(hidden, hidden[1:], strict=False):
        assert (more | ~less).all()


def test_strengths_are_sorted_and_told_once() -> None:
    chosen = Curves(noise=[0.2, 0.1, 0.2], pgd=[], occlusion=[], fgsm=[0.5])
    assert chosen.strengths() == {"noise": [0.1, 0.2], "fgsm": [0.5]}
    assert len(Curves(noise=[0.1, 0.10000001, 0.2]).strengths()["noise"]) == 2


# Adversaries


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A linear regression whose best epoch is its last, and its summary."""
    folder = tmp_path_factory.mktemp("linear")
    options = (*FEW, "robustness.pgd_steps=5", "robustness.examples=500", "training.epochs=1")
    summary = kexp.run(*tiny("ridge", folder, *options), quiet=True)
    assert summary["best_epoch"] == summary["epochs"]
    return the_run(folder), summary


def diabetes() -> Examples:
    """The test split that the run was measured on."""
    data = Diabetes()
    return standardised(data.split(data.load(Path()), Streams(0))).test


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_the_worst_case_of_a_linear_regression_is_reached(
    attack: str, linear: tuple[Path, dict[str, Any]]
) -> None:
    """max over |δ| ≤ ε of (r + δ·w)² is (|r| + ε‖w‖₁)².

    PGD starts at random, where the residual may have the other sign, and climbs the lower side.
    """
    run, summary = linear
    model = kexp.load_model(run)
    (kernel, bias) = (np.array(w) for w in model.get_weights())
    test = diabetes()
    residual = np.abs(test.inputs @ kernel + bias - test.values)
    for epsilon in (0.05, 0.1):
        expected = np.mean(np.square(residual + epsilon * np.abs(kernel).sum()))
        measured = summary["robustness"][attack][f"{epsilon:g}"]["mse"]
        least = expected * (1 - 1e-4 if attack == "fgsm" else 1 - 1e-3)
        assert least <= measured <= expected * (1 + 1e-4)
    clean = summary["robustness"]["clean"]["mse"]
    assert clean == pytest.approx(summary["test"]["last"]["mse"], rel=1e-6)
    assert clean == pytest.approx(np.mean(np.square(residual)), rel=1e-4)


def test_noise_is_measured_as_it_is_drawn(linear: tuple[Path, dict[str, Any]]) -> None:
    """(r + σ n·w)² of every example, whose mean over the noise is r² + σ²‖w‖²."""
    run, summary = linear
    kernel, bias = (np.array(w) for w in kexp.load_model(run).get_weights())
    test, streams = diabetes(), Streams(0)
    chosen = test.take(streams.rng("robustness/examples").permutation(len(test)))
    noise = streams.rng("robustness/noise", 0).standard_normal(chosen.inputs.shape, np.float32)
    residual = chosen.inputs @ kernel + bias - chosen.values
    for sigma in (0.1, 0.3):
        expected = np.mean(np.square(residual + sigma * noise @ kernel))
        assert summary["robustness"]["noise"][f"{sigma}"]["mse"] == pytest.approx(expected, 1e-4)


def test_an_adversary_raises_the_loss_of_the_task_whatever_the_loss(folder: Path) -> None:
    """PGD is at least as strong as FGSM, stronger strengths do more, and images stay images."""
    options = (*FEW, "loss=hinge", "robustness.fgsm=[0.02,0.2]", "robustness.pgd=[0.02,0.2]")
    summary = kexp.run(*tiny("mnist_convnet", folder, *options, "training.epochs=4"), quiet=True)
    curves = summary["robustness"]
    assert curves["examples"] == 20
    nll = {name: curves[name] for name in ("fgsm", "pgd")}
    for name, curve in nll.items():
        assert curves["clean"]["nll"] < curve["0.02"]["nll"] < curve["0.2"]["nll"], name
        mean = np.mean([curve["0.02"]["nll"], curve["0.2"]["nll"]])
        assert curve["mean"]["nll"] == pytest.approx(mean)
    assert nll["pgd"]["0.2"]["nll"] > 0.99 * nll["fgsm"]["0.2"]["nll"]


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(task, marks=() if task == "denoise" else pytest.mark.slow)
        for task in sorted(TINY)
    ],
)
def test_every_task_is_measured_by_all_its_yardsticks(task: str, folder: Path) -> None:
    summary = kexp.run(*tiny(task, folder, *FEW, "training.epochs=1"), quiet=True)
    curves = summary["robustness"]
    yardsticks = set(summary["test"]["last"]) - {"fit", "objective"}
    for name, strengths in (("noise", ("0.1", "0.3")), ("pgd", ("0.05", "0.1"))):
        assert set(curves[name]) == {*strengths, "mean"}
        assert all(set(of) == yardsticks for of in curves[name].values())
    assert set(curves["clean"]) == yardsticks
    assert all(
        np.isfinite(v) for of in (curves["clean"], *curves["pgd"].values()) for v in of.values()
    )
    again = kexp.run(*tiny(task, folder, *FEW, "training.epochs=1", "name=again"), quiet=True)
    assert again["robustness"] == curves


def test_perturbing_changes_nothing_else_of_the_record(folder: Path) -> None:
    kexp.run(*tiny("mnist_convnet", folder, "name=with", *FEW), quiet=True)
    kexp.run(*tiny("mnist_convnet", folder, "name=without"), quiet=True)
    runs = [folder / "results/mnist_convnet" / name for name in ("with", "without")]
    one, other = (read(run, "summary.json") for run in runs)
    assert one["test"] == other["test"] and "robustness" not in other
    histories = [(run / "history.jsonl").read_text() for run in runs]
    assert histories[0] == histories[1]
    assert one["identity"] != other["identity"]


# The record and its readers


def test_runs_from_before_there_was_robustness_are_the_same_runs(folder: Path) -> None:
    kexp.run(*tiny("ridge", folder), quiet=True)
    run = the_run(folder)
    config = read_run(run).config
    section = config.pop("robustness")
    assert section == {"_target_": "kexp.robustness.NoRobustness"}
    assert identity({**config, "robustness": section}) == identity(config)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(
        text.replace("robustness:\n  _target_: kexp.robustness.NoRobustness\n", "")
    )
    assert "robustness" not in (run / "config.yaml").read_text()
    assert read_run(run).config["robustness"] == section
    summary = json.loads((run / "summary.json").read_text())
    del summary["options"]["robustness"], summary["config"]["robustness"]
    (run / "summary.json").write_text(json.dumps(summary))
    assert choices(read_run(run))["robustness"] == "none"


def test_a_run_that_is_monitored_by_its_fit_tells_robustness_by_the_yardstick(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", *tiny("ridge", folder, *FEW, "training.monitor=fit")])
    assert "measuring robustness: noise, occlusion, fgsm, pgd" in capsys.readouterr().out
    main(["show", str(the_run(folder))])
    assert "  MSE under PGD of 0: " in capsys.readouterr().out
    main(["compare", str(folder)])
    assert "MSE under PGD" in " ".join(capsys.readouterr().out.split())


def answered(course: Any, answer: Any) -> tuple[dict[str, Any], list[Any]]:
    """What a course returns if every wish of it gets `answer(wish)`, and the wishes."""
    wishes = [next(course)]
    while True:
        try:
            wishes.append(course.send(answer(wishes[-1])))
        except StopIteration as stop:
            return stop.value, wishes


def test_examples_are_drawn_from_the_whole_test_split() -> None:
    """A folder's test split may be sorted by class."""
    labels = np.repeat([0, 1], 600).astype(np.int32)
    x = labels[:, None, None, None] * np.ones((1200, 4, 4, 1), np.float32)
    options = Curves(noise=[0.1], occlusion=[], fgsm=[], pgd=[], examples=500)
    engine: Any = None
    course = curves(options, MnistConvnet(), engine, Examples(x, labels), Streams(0))
    found, wishes = answered(
        course, lambda wish: [(np.zeros((len(b.x), 2)), b.y * 0.0) for b in wish.batches]
    )
    seen = np.concatenate([batch.y for batch in wishes[0].batches])
    assert found["examples"] == len(seen) == 500 and 200 < seen.sum() < 300


@pytest.mark.parametrize("name", ["noise", "occlusion"])
def test_the_truth_is_not_perturbed_along(name: str) -> None:
    """A network that always says the same is as good at every strength: also where a yardstick
    needs the input, as the colours in sRGB do."""
    photos = [np.random.default_rng(i).integers(0, 255, (16, 16, 3), np.uint8) for i in range(3)]
    options = Curves(**{"noise": [], "occlusion": [], "fgsm": [], "pgd": [], name: [0.1, 0.4]})
    engine: Any = None
    course = curves(options, Colorize(), engine, Examples(photos), Streams(0))
    found, _ = answered(
        course, lambda wish: [(np.zeros_like(b.y), np.zeros(len(b.x))) for b in wish.batches]
    )
    assert found[name]["0.1"] == found[name]["0.4"] == found["clean"]


@pytest.mark.parametrize("task", sorted(TINY))
def test_an_adversary_is_the_same_each_time(task: str) -> None:
    """Else an engine would compile its slopes anew at every step."""
    made = Session().experiment([f"task={task}"]).task
    assert made.adversary() == made.adversary()
    assert hash(made.adversary()) == hash(made.adversary())


def test_a_signal_is_heeded_between_perturbations(folder: Path) -> None:
    from kexp.errors import Interrupted

    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Interrupted(signal.SIGTERM)

    x, y = np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)
    engine: Any = None
    test = Examples(x, values=y)
    course = curves(Curves(), Ridge(), engine, test, Streams(0), check)
    wish = next(course)
    with pytest.raises(Interrupted):
        while True:
            assert isinstance(wish, Measure)
            wish = course.send([(y, y[:, 0])])
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("key", "part", "name"),
    [
        ("pgd", "pgd", ""),
        ("pgd.error", "pgd", "error"),
        ("pgd@0.1", "pgd@0.1", ""),
        ("pgd@0.10.error", "pgd@0.1", "error"),
        ("noise@1e-3.nll", "noise@0.001", "nll"),
        ("test.error", "test", "error"),
        ("memorisation", "memorisation", ""),
    ],
)
def test_keys_of_quantities_are_understood(key: str, part: str, name: str) -> None:
    assert parsed(key) == (part, name) and is_quantity(key)


@pytest.mark.parametrize(
    "key", ["pgd@", "pgd@x.nll", "gap@0.1", "pgd@0.1.x", "pgd@-1", "fgsm.", ""]
)
def test_keys_that_mean_nothing_are_refused(key: str) -> None:
    assert not is_quantity(key)


def made(results: Path) -> Path:
    """Runs with two dropouts and three seeds, of which one dropout is fooled less."""
    for dropout, base in (("none", 0.5), ("standard", 0.2)):
        for seed in range(3):
            error = base + seed / 100
            at = {"0.1": {"nll": error}, "0.2": {"nll": 2 * error}, "mean": {"nll": 1.5 * error}}
            robustness = {"examples": 9, "clean": {"nll": 0.1}, "pgd": at}
            values = dict(gap=seed / 10, validation=seed / 10, test=seed / 10)
            write_run(results, {"dropout": dropout}, seed, values, robustness=robustness)
    return results


def test_quantities_read_the_mean_and_single_strengths(tmp_path: Path) -> None:
    record = read_records([made(tmp_path)])[0]
    nll = YARDSTICKS["nll"]
    assert Quantity("pgd", nll).of(record) == pytest.approx(0.75)
    assert Quantity("pgd@0.2", nll).of(record) == 1.0
    assert Quantity("pgd@0.3", nll).of(record) is None
    assert Quantity("pgd@0.2", nll).title == "NLL under PGD of 0.2"
    assert Quantity("noise", nll).title == "NLL under noise"


def test_compare_and_effects_tell_of_robustness_where_it_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_collection: None
) -> None:
    results = made(tmp_path)
    assert main(["compare", str(results), "--by", "dropout"]) == 0
    told = capsys.readouterr().out
    assert "NLL under PGD" in told and "under FGSM" not in told
    assert main(["effects", str(results), "--on", "pgd@0.1"]) == 0
    assert "−0.300" in capsys.readouterr().out
    assert main(["compare", str(results), "--where", "pgd@0.2.nll<0.5"]) == 0
    assert capsys.readouterr().out.count("standard") == 1


def test_curves_of_a_configuration_are_means_over_its_seeds(tmp_path: Path) -> None:
    (runs,) = comparable(read_records([made(tmp_path)]))
    records = [r for r in runs.records if "none" in r.path.name]
    curve = found.curve("none", records, "pgd", YARDSTICKS["nll"])
    assert curve is not None
    np.testing.assert_allclose(curve.strengths, [0, 0.1, 0.2])
    np.testing.assert_allclose(curve.values.mean, [0.1, 0.51, 1.02])
    np.testing.assert_allclose(curve.values.deviation, [0, 0.01, 0.02], atol=1e-12)


def test_a_damaged_section_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"dropout": "none"}, 0, robustness={"pgd": {"x": 1, "0.1": 3}})
    record = read_run(run)
    assert found.strengths(record, "pgd") == [0.1]
    assert np.isnan(found.value(record, "pgd", 0.1, YARDSTICKS["nll"]))
    assert found.perturbations([record]) == ["pgd"]
    for section in (3, [1], {"pgd": "no"}):
        other = write_run(tmp_path / str(section)[:2], {"dropout": "none"}, 0, robustness=section)
        assert found.perturbations([read_run(other)]) == []


def test_the_report_draws_the_curves(tmp_path: Path, no_collection: None) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(made(tmp_path / "results")), "-o", str(page)]) == 0
    text = page.read_text()
    assert ">Robustness<" in text and "PGD change every input value by at most ε" in text


def test_show_tells_the_curves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", *tiny("ridge", folder, *FEW)])
    capsys.readouterr()
    main(["show", str(the_run(folder))])
    told = capsys.readouterr().out
    values = json.loads((the_run(folder) / "summary.json").read_text())["robustness"]
    first, second = (values["pgd"][key]["mse"] for key in ("0.05", "0.1"))
    assert "robustness, of 20 test examples:\n" in told
    clean = values["clean"]["mse"]
    assert f"  MSE under PGD of 0: {clean:.4g}, 0.05: {first:.4g}, 0.1: {second:.4g}\n" in told


# Faults


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("robustness.noise=[-0.1]", "robustness.noise"),
        ("robustness.occlusion=[1.5]", "robustness.occlusion"),
        ("robustness.pgd_steps=0", "robustness.pgd_steps"),
        ("study.quantities=[pgd@0.7]", "study.quantities: pgd@0.7 needs the robustness"),
    ],
)
def test_wrong_strengths_are_refused(
    override: str, text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *tiny("ridge", folder, *FEW), override]) == 2
    assert text in capsys.readouterr().err


def test_a_study_cannot_be_about_what_is_not_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *tiny("ridge", folder), "study.quantities=[pgd]"]) == 2
    assert "study.quantities: pgd needs the robustness" in capsys.readouterr().err
    assert main(["run", *tiny("ridge", folder, *FEW), "study.quantities=[pgd@0.10,noise]"]) == 0


def test_depth_is_attacked_where_it_is_measured() -> None:
    """Scale and shift are aligned away, and unknown depths are no part of it."""
    import keras

    from kexp.losses import Quadratic
    from kexp.objective import Objective
    from kexp.optimizers import SGD
    from kexp.regularizers import Zero
    from kexp.tasks import Depth
    from kexp.training.engine import make_engine

    draws = np.random.default_rng(4)
    x = draws.random((2, 8, 8, 3), np.float32)
    y, other = draws.random((2, 2, 8, 8, 1), np.float32)
    y[:, :3, :3] = np.nan
    adversary = Depth().adversary()
    values = [np.array(adversary(y, other * scale + 0.5)) for scale in (1.0, 3.0)]
    assert np.isfinite(values).all() and values[0] == pytest.approx(values[1], rel=1e-4)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
    engine = make_engine(Objective(model, Quadratic(), Zero()), SGD().build())
    slopes = engine.slopes(x, y, adversary)
    assert np.isfinite(slopes).all() and np.abs(slopes).max() > 1e-4


def test_inputs_that_overshoot_stay_within_epsilon(folder: Path) -> None:
    """Bicubic interpolation leaves [0, 1]; to clip it would be more than ε."""
    from kexp.tasks import DeblurSr, Denoise, MnistConvnet

    image = np.zeros((1, 8, 8, 1), np.float32)
    assert not DeblurSr().is_within_range(image) and not Denoise().is_within_range(image)
    assert MnistConvnet().is_within_range(image)
    assert not MnistConvnet().is_within_range(np.zeros((3, 5), np.float32))
