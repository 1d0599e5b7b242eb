"""What each task makes of its data and its predictions, and the choices that reach into a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import Ridge as SklearnRidge

import kexp
from kexp.cli import main
from kexp.data import BreastCancer, Collection, Diabetes, Digits, Examples, Polynomial, Splits
from kexp.data.base import replace_values
from kexp.errors import DataError
from kexp.ridge import ridge_path
from kexp.streams import Streams
from kexp.tasks import Binary, MnistConvnet, Ridge
from kexp.tasks.base import standardised
from kexp.tasks.ridge import STRENGTHS
from tests.conftest import history, read, the_run, tiny


def splits_of(data: Any, task: Any = None) -> Splits:
    collection = data.load(Path())
    if task:
        collection = task.adapted(collection)
    return data.split(collection, Streams(0))


def kernel(run: Path, layer: str = "logits") -> np.ndarray:
    """The kernel of a layer of the best weights."""
    import keras

    import kexp.layers  # noqa: F401  (registers the layers)

    model = keras.saving.load_model(run / "model.keras", safe_mode=True)
    return np.array(model.get_layer(layer).kernel)


# Tables


def test_tables_are_what_scikit_learn_ships() -> None:
    diabetes, cancer = Diabetes().load(Path()).train, BreastCancer().load(Path()).train
    assert diabetes.inputs.shape == (442, 10) and diabetes.values.shape == (442, 1)
    assert (diabetes.values.min(), diabetes.values.max()) == (25, 346)
    assert cancer.inputs.shape == (569, 30) and np.bincount(cancer.labels).tolist() == [212, 357]
    assert BreastCancer().load(Path()).classes == ["malignant", "benign"]


def test_polynomial_is_its_truth_and_noise() -> None:
    part = Polynomial(examples=5000, degree=3, truth=[1.0, 0.0, 2.0], noise=0.5).load(Path()).train
    x = part.inputs[:, 0]
    np.testing.assert_allclose(part.inputs[:, 2], x**3, atol=1e-6)
    np.testing.assert_allclose(part.expected[:, 0], 1 + 2 * x**2, atol=1e-6)
    residual = part.values - part.expected
    assert abs(residual.mean()) < 0.03 and residual.std() == pytest.approx(0.5, rel=0.05)
    assert np.array_equal(
        part.values,
        Polynomial(examples=5000, truth=[1.0, 0.0, 2.0], noise=0.5).load(Path()).train.values,
    )
    other = Polynomial(examples=5000, degree=3, draw=1).load(Path()).train
    assert not np.array_equal(other.inputs, part.inputs)


def test_checksum_of_a_table_counts_inputs_labels_and_values() -> None:
    whole = Diabetes().load(Path())
    train = whole.train
    moved = Examples(train.inputs, values=train.values + 1)
    assert whole.checksum == Diabetes().load(Path()).checksum
    assert whole.checksum != Collection(moved).checksum


def test_outliers_replace_the_stated_share_of_values() -> None:
    values = np.random.default_rng(0).normal(3, 2, (20000, 1)).astype(np.float32)
    noisy = replace_values(values, 0.25, np.random.default_rng(1))
    changed = noisy != values
    assert changed.mean() == pytest.approx(0.25, abs=0.02) and noisy.dtype == np.float32
    assert np.abs(noisy[changed] - 3).max() < 10.5 and noisy[changed].std() > 4


def test_features_are_standardised_by_the_training_split_alone() -> None:
    splits = standardised(splits_of(Diabetes()))
    np.testing.assert_allclose(splits.train.inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(splits.train.inputs.std(axis=0), 1, rtol=1e-4)
    assert splits.train.values.std() == pytest.approx(1, rel=1e-4)
    assert np.abs(splits.validation.inputs.mean(axis=0)).max() > 1e-3
    raw = splits_of(Diabetes())
    mean, deviation = raw.train.values.mean(), raw.train.values.std()
    expected = (raw.validation.values - mean) / deviation
    np.testing.assert_allclose(splits.validation.values, expected, rtol=1e-4, atol=1e-5)


def test_a_constant_feature_becomes_zero() -> None:
    part = Examples(np.array([[1e6 + 0.1, 2.0]] * 3 + [[1e6 + 0.1, 4.0]], np.float32))
    splits = standardised(Splits(part, part, part, part))
    assert (splits.train.inputs[:, 0] == 0).all() and splits.train.inputs[:, 1].std() > 0.9


@pytest.mark.parametrize("wrong", [-1, 10])
@pytest.mark.parametrize("task", [MnistConvnet(), Binary()], ids=["classes", "binary"])
def test_labels_out_of_range_are_refused(task: Any, wrong: int) -> None:
    whole = Digits(side=8).load(Path())
    labels = whole.train.labels.copy()
    labels[3] = wrong
    data = Collection(Examples(whole.train.inputs, labels), classes=whole.classes)
    with pytest.raises(DataError, match=f"from 0 to 9, .* got {wrong} for the example number 3"):
        task.adapted(data)
    assert task.adapted(whole).train.labels.max() in (1, 9)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    splits = splits_of(Diabetes())
    splits.validation.values[2] = value
    with pytest.raises(DataError, match=f"the value must be finite, got {value} .* number 2"):
        Ridge().check_splits(splits, 1)


# Binary


def test_odd_classes_count_as_one() -> None:
    labels = Digits(side=8).load(Path()).train.labels
    digits = Binary().adapted(Digits(side=8).load(Path()))
    assert np.array_equal(digits.train.labels, labels % 2)
    assert digits.classes == ["0+2+4+6+8", "1+3+5+7+9"]
    chosen = Binary(positive=["3", "8"]).adapted(Digits(side=8).load(Path())).train.labels
    assert np.array_equal(chosen == 1, np.isin(labels, [3, 8]))


@pytest.mark.parametrize("positive", [["11"], [], [str(k) for k in range(10)]])
def test_classes_that_cannot_be_positive_are_refused(positive: list[str]) -> None:
    with pytest.raises(DataError, match="task.positive must name some of the classes"):
        Binary(positive=positive).adapted(Digits(side=8).load(Path()))


def test_label_noise_flips_the_two_classes(folder: Path) -> None:
    splits = splits_of(Digits(side=8, label_noise=0.5), Binary())
    flipped = splits.train.targets != splits.train.labels
    assert flipped.sum() == round(0.5 * len(splits.train))
    assert set(np.unique(splits.train.targets)) == {0, 1}


def test_one_logit_is_measured_as_two_classes() -> None:
    from kexp.tasks import Batch

    z = np.random.default_rng(0).normal(0, 2, (50, 1)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 2, 50)
    p = special.expit(z[:, 0].astype(float))
    measured = Binary().measure([z], [Batch(z, y)])
    assert measured["nll"] == pytest.approx(-np.mean(np.log(np.where(y == 1, p, 1 - p))), rel=1e-6)
    assert measured["error"] == np.mean((p > 0.5) != (y == 1))
    assert measured["brier"] == pytest.approx(2 * np.mean((p - y) ** 2), rel=1e-6)
    noisy = 1 - y
    fitted = Binary().fitted(z, noisy, y)
    assert np.array_equal(fitted, (p > 0.5) == (noisy == 1))


@pytest.mark.parametrize("task", [Binary(), MnistConvnet()], ids=["binary", "classes"])
def test_the_average_prediction_is_that_of_probabilities(task: Any) -> None:
    rng = np.random.default_rng(3)
    passes = [rng.normal(0, 3, (20, 1 if task == Binary() else 4)) for _ in range(5)]
    mean = np.mean([special.softmax(task.all_logits(z), axis=-1) for z in passes], axis=0)
    average = special.softmax(task.all_logits(task.average(passes)), axis=-1)
    np.testing.assert_allclose(average, mean, rtol=1e-9)


def test_logistic_regression_reaches_what_scikit_learn_reaches(folder: Path) -> None:
    options = ("model=linear", "optimizer.learning_rate=0.03", "training.epochs=40")
    summary = kexp.run(*tiny("binary", folder, *options), quiet=True)
    assert summary["test"]["last"]["error"] < 0.06 and summary["test"]["last"]["nll"] < 0.2


# What to beat


def test_trivial_predictions_are_measured_like_any_other(folder: Path) -> None:
    noisy = kexp.run(*tiny("denoise", folder), quiet=True)["baselines"]["noisy image"]
    assert noisy["psnr"] == pytest.approx(20.17, abs=0.3)  # of noise of 25/255
    binary = kexp.run(*tiny("binary", folder), quiet=True)["baselines"]
    (majority,) = binary.values()
    assert majority["error"] == pytest.approx(0.377, abs=0.001)  # 43 of 114 are malignant
    ridge = kexp.run(*tiny("ridge", folder), quiet=True)["baselines"]["mean of the training values"]
    splits = standardised(splits_of(Diabetes()))
    assert ridge["mse"] == pytest.approx(np.mean(np.square(splits.test.values)), rel=1e-5)


def test_show_tells_what_to_beat(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", *tiny("denoise", folder)])
    capsys.readouterr()
    main(["show", str(the_run(folder / "results"))])
    told = capsys.readouterr().out
    psnr = read(the_run(folder / "results"), "summary.json")["baselines"]["noisy image"]["psnr"]
    assert f"test PSNR of the noisy image, without training: {psnr:.4g} dB\n" in told


# Ridge


def exact(summary: dict[str, Any], strength: float, intercept: bool = True) -> SklearnRidge:
    """scikit-learn's fit of the run's training split with the run's λ."""
    splits = standardised(splits_of(Diabetes()))
    fit = SklearnRidge(alpha=2 * len(splits.train) * strength, fit_intercept=intercept)
    return fit.fit(splits.train.inputs.astype(float), splits.train.values[:, 0].astype(float))


@pytest.mark.parametrize("bias", ["true", "false"])
def test_descent_agrees_with_the_closed_form(bias: str, folder: Path) -> None:
    """The same objective by the ordinary engine: full batches, so that there is no noise."""
    options = (
        f"model.bias={bias}",
        "regularizer.strength=0.05",
        "training.epochs=300",
        "training.batch_size=266",
        "optimizer.learning_rate=0.2",
        "schedule=constant",
    )
    summary = kexp.run(*tiny("ridge", folder, *options), quiet=True)
    assert summary["sizes"]["train"] == 266
    assert summary["ridge"]["distance"] < 1e-5
    fit = exact(summary, 0.05, bias == "true")
    np.testing.assert_allclose(summary["ridge"]["closed_form"], fit.coef_, rtol=1e-4)
    np.testing.assert_allclose(summary["ridge"]["coefficients"], fit.coef_, atol=1e-5)
    splits = standardised(splits_of(Diabetes()))
    error = np.mean((fit.predict(splits.validation.inputs) - splits.validation.values[:, 0]) ** 2)
    assert summary["last"]["validation"]["mse"] == pytest.approx(error, rel=1e-4)
    penalty = 0.05 * np.sum(fit.coef_**2)
    assert summary["last"]["penalty"] == pytest.approx(penalty, rel=1e-4)


def test_the_path_of_a_record_is_scikit_learns(folder: Path) -> None:
    path = kexp.run(*tiny("ridge", folder), quiet=True)["ridge"]
    splits = standardised(splits_of(Diabetes()))
    for i in (1, 40, 101):
        fit = exact({}, path["strengths"][i])
        for name in ("train", "validation"):
            part = getattr(splits, name)
            error = np.mean((fit.predict(part.inputs) - part.values[:, 0]) ** 2)
            assert path[f"{name}_mse"][i] == pytest.approx(error, rel=1e-4)
    dof = path["degrees_of_freedom"]
    assert dof == sorted(dof, reverse=True) and dof[0] == pytest.approx(11) and 1 < dof[-1] < 1.1
    assert path["squared_bias"] == sorted(path["squared_bias"])
    assert path["variance"] == sorted(path["variance"], reverse=True)
    assert path["best_validation_mse"] == min(path["validation_mse"])
    assert "least-squares" in path["about"]


def test_bias_and_variance_of_a_polynomial_are_about_its_truth(folder: Path) -> None:
    """Where the truth is known the expected error of the fit is bias² + variance."""
    task, data = Ridge(), Polynomial(examples=60, noise=0.5)
    summary = kexp.run(*tiny("ridge", folder, "data=polynomial", "data.noise=0.5"), quiet=True)
    assert summary["ridge"]["about"] == "the true expectation"
    splits = task.prepared(splits_of(data))
    x, expected = splits.train.inputs.astype(float), splits.train.expected[:, 0].astype(float)
    deviation = splits.train.values[:, 0] - expected
    rng, errors = np.random.default_rng(0), []
    for _ in range(400):
        y = expected + rng.normal(0, np.sqrt(np.mean(deviation**2)), len(x))
        fitted = ridge_path(x, y, 2 * len(x) * np.array(STRENGTHS[50:70])).predict(x)
        errors.append(np.mean((fitted - expected[:, None]) ** 2, axis=0))
    added, shown = task.closing(splits, [np.zeros((x.shape[1], 1))], _experiment())
    closing = added["ridge"]
    assert not shown
    total = np.add(closing["squared_bias"], closing["variance"])[50:70]
    np.testing.assert_allclose(np.mean(errors, axis=0), total, rtol=0.1)


def test_with_outliers_no_bias_is_claimed_about_the_truth(folder: Path) -> None:
    """The noise that is fitted has the outliers in it."""
    options = ("data=polynomial", "data.noise=0.5", "training.epochs=1", "data.outliers=0.2")
    corrupted = kexp.run(*tiny("ridge", folder, *options), quiet=True)["ridge"]
    clean = kexp.run(*tiny("ridge", folder, *options[:-1], "name=clean"), quiet=True)["ridge"]
    assert "least-squares" in corrupted["about"] and "true" in clean["about"]
    assert corrupted["noise_variance"] > 2 * clean["noise_variance"]


def _experiment() -> Any:
    from kexp.api import Session

    return Session().experiment(["task=ridge", "data=polynomial"])


def test_no_closed_form_is_claimed_for_another_objective(folder: Path) -> None:
    for choice in (
        "loss=huber",
        "regularizer=l1",
        "model=mlp",
        "regularizer.kernels=convolution",
        "dropout=standard",
        "optimizer=adamw",
    ):
        summary = kexp.run(*tiny("ridge", folder, choice, "training.epochs=1"), quiet=True)
        told = (summary["ridge"][key] for key in ("coefficients", "closed_form", "distance"))
        assert list(told) == [None] * 3, choice


def test_the_path_is_shown_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kexp.run(*tiny("ridge", folder), quiet=True)["ridge"]
    run, picture = str(the_run(folder)), folder / "path.png"
    assert main(["show", run, "--ridge", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "effective degrees of freedom" in said and "from the closed form" in said
    for name, key in (("trained", "coefficients"), ("closed form", "closed_form")):
        numbers = " ".join(f"{value:8.4f}" for value in path[key])
        assert f"  {name:<12}{numbers}\n" in said
    assert picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size > 20_000


def test_a_run_without_a_path_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kexp.run(*tiny("binary", folder, "training.epochs=1"), quiet=True)
    assert main(["show", str(the_run(folder)), "--ridge", str(folder / "x.png")]) == 2
    assert "task=ridge records one" in capsys.readouterr().err
    assert not (folder / "x.png").exists()


# Choices that reach into the training


def test_learned_shape_and_scale_are_logged_each_epoch(folder: Path) -> None:
    options = ("loss=adaptive", "training.epochs=3", "optimizer.learning_rate=0.02")
    kexp.run(*tiny("ridge", folder, *options), quiet=True)
    learned = [epoch["learned"] for epoch in history(the_run(folder))]
    assert all(0.001 < e["alpha"][0] < 1.999 and e["scale"][0] > 1e-5 for e in learned)
    assert len({e["alpha"][0] for e in learned}) == len({e["scale"][0] for e in learned}) == 3


def test_an_interrupted_adaptive_run_goes_on_bit_for_bit(folder: Path) -> None:
    """What the loss has learned is in the checkpoint, and so is the optimizer's state of it."""
    from kexp.errors import Interrupted
    from kexp.training.loop import Loop

    options = ("loss=adaptive", "training.epochs=4", "optimizer.learning_rate=0.02")
    whole = kexp.run(*tiny("ridge", folder, *options, "name=whole"), quiet=True)
    keep, stopped = Loop.keep, []

    def keep_then_stop(self: Loop, epoch: int, trained: dict) -> Iterator[Any]:
        yield from keep(self, epoch, trained)
        if epoch == 2 and not stopped:
            stopped.append(epoch)
            raise Interrupted(15)

    Loop.keep = keep_then_stop
    try:
        with pytest.raises(Interrupted):
            kexp.run(*tiny("ridge", folder, *options, "name=parts"), quiet=True)
    finally:
        Loop.keep = keep
    parts = kexp.run(*tiny("ridge", folder, *options, "name=parts"), quiet=True)
    assert parts["last"] == whole["last"] and parts["test"] == whole["test"]


def test_max_norm_holds_in_a_run(folder: Path) -> None:
    options = ("regularizer=max_norm", "regularizer.limit=0.3", "dropout=none")
    kexp.run(*tiny("mnist_convnet", folder, *options), quiet=True)
    for layer in ("conv_1", "conv_2", "logits"):
        weights = kernel(the_run(folder), layer)
        norms = np.sqrt(np.square(weights).reshape(-1, weights.shape[-1]).sum(axis=0))
        assert norms.max() <= 0.3 * (1 + 1e-5) and norms.max() > 0.29


def test_a_regularizer_of_one_kind_of_layer_leaves_the_other(folder: Path) -> None:
    """A limit on dense kernels alone."""
    options = ("regularizer=max_norm", "regularizer.limit=0.1", "regularizer.kernels=dense")
    kexp.run(*tiny("mnist_convnet", folder, *options), quiet=True)
    run = the_run(folder)
    assert np.square(kernel(run)).sum(axis=0).max() <= 0.01 * (1 + 1e-5)
    assert np.square(kernel(run, "conv_1")).sum(axis=(0, 1, 2)).max() > 0.1


def test_weight_decay_shrinks_weights_without_a_penalty(folder: Path) -> None:
    runs = {}
    for strength in (0.0, 0.2):
        options = ("regularizer=weight_decay", f"regularizer.strength={strength}", "optimizer=sgd")
        runs[strength] = kexp.run(*tiny("mnist_convnet", folder, *options), quiet=True)
    assert runs[0.2]["last"]["penalty"] == runs[0.0]["last"]["penalty"] == 0
    assert runs[0.2]["last"]["norms"]["l2"] < 0.99 * runs[0.0]["last"]["norms"]["l2"]


def test_l1_drives_weights_to_zero_and_the_share_is_logged(folder: Path) -> None:
    shares = {}
    for regularizer in ("none", "l1"):
        strength = ("regularizer.strength=0.05",) if regularizer == "l1" else ()
        steps = ("schedule=cosine", "training.epochs=15", "optimizer.learning_rate=0.01")
        options = (*steps, f"regularizer={regularizer}", *strength)
        summary = kexp.run(*tiny("mnist_convnet", folder, *options), quiet=True)
        shares[regularizer] = summary["last"]["norms"]["near_zero"]
    assert shares["none"] < 0.05 < 0.2 < shares["l1"]


@pytest.mark.parametrize("dropout", ["standard", "dropconnect"])
def test_monte_carlo_dropout_is_recorded(dropout: str, folder: Path) -> None:
    options = (f"dropout={dropout}", "training.mc_passes=8", "training.epochs=3")
    summary = kexp.run(*tiny("mnist_convnet", folder, *options), quiet=True)
    sampled = summary["mc_dropout"]
    assert sampled["passes"] == 8 and set(sampled) == {
        *("passes", "probe", "validation", "test", "gap"),
    }
    difference = sampled["validation"]["nll"] - sampled["probe"]["nll"]
    assert sampled["gap"]["nll"] == pytest.approx(difference)
    assert sampled["test"]["nll"] != summary["test"]["last"]["nll"]
    assert sampled["test"]["nll"] == pytest.approx(summary["test"]["last"]["nll"], rel=0.3)
    again = kexp.run(*tiny("mnist_convnet", folder, *options, "name=again"), quiet=True)
    assert again["mc_dropout"] == sampled


def test_without_dropout_monte_carlo_passes_change_nothing(folder: Path) -> None:
    options = ("dropout=none", "training.mc_passes=3", "training.epochs=1")
    summary = kexp.run(*tiny("denoise", folder, *options), quiet=True)
    assert summary["mc_dropout"]["test"]["psnr"] == pytest.approx(summary["test"]["last"]["psnr"])
    assert "mc_dropout" not in kexp.run(*tiny("denoise", folder, "name=other"), quiet=True)


def test_places_of_dropout(folder: Path) -> None:
    import keras

    options = ("model=mlp", "model.hidden=[8,8]", "dropout.places=[input,hidden,last]")
    kept = [o for o in tiny("mnist_convnet", folder, *options) if not o.startswith("model.filters")]
    kexp.run(*kept, quiet=True)
    model = keras.saving.load_model(the_run(folder) / "model.keras", safe_mode=True)
    names = [layer.name for layer in model.layers if "dropout" in layer.name]
    assert names == ["dropout_input", "dropout_1", "dropout"]


def test_dropconnect_starts_from_the_same_weights(folder: Path) -> None:
    """Pairing: with a learning rate of nearly nothing, the kernels stay those of the seed."""
    kernels = []
    for dropout in ("none", "dropconnect"):
        options = (f"dropout={dropout}", "optimizer.learning_rate=1e-12", f"name={dropout}")
        kexp.run(*tiny("mnist_convnet", folder, *options, "training.epochs=1"), quiet=True)
        kernels.append(kernel(folder / "results" / "mnist_convnet" / dropout))
    np.testing.assert_allclose(*kernels, atol=1e-8)


def test_an_infinite_shape_is_kept_in_the_record(folder: Path) -> None:
    options = ("loss=general", "loss.alpha=-inf", "loss.scale=1.0")
    summary = kexp.run(*tiny("ridge", folder, *options), quiet=True)
    assert summary["config"]["loss"]["alpha"] == "-inf"
    assert read(the_run(folder), "summary.json")["config"]["loss"]["alpha"] == "-inf"
    welsch = ("loss=welsch", f"loss.scale={np.sqrt(2)}")
    twin = kexp.run(*tiny("ridge", folder, *welsch, "name=welsch"), quiet=True)
    for name, value in twin["last"]["validation"].items():
        if name != "objective":
            assert summary["last"]["validation"][name] == pytest.approx(value, rel=1e-3)
