"""task=eigenspace: its training, its closed form, and what is shown of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

import kexp
from kexp.cli import main
from kexp.config.fitting import fitting
from kexp.data import Digits, Splits
from kexp.eigenspace import eigenspace
from kexp.errors import ConfigError, DataError
from kexp.losses import Charbonnier
from kexp.streams import Streams
from kexp.tasks import Eigenspace
from kexp.tasks.eigenspace import weights_of
from tests.conftest import read, the_run, tiny

LOSSES = fitting("loss", "projection")
REGULARIZERS, DROPOUTS, NORMS = ("none", "l2"), ("none", "standard"), ("none", "batch")
OTHERS = list(itertools.product(REGULARIZERS, DROPOUTS, NORMS))
QUICK = ("mse", "geman_mcclure", "adaptive")
"""The losses of the default suite."""
COVERING = [(loss, *OTHERS[i % len(OTHERS)]) for i, loss in enumerate(LOSSES)]
OPPOSITE = [(loss, *OTHERS[-1 - i % len(OTHERS)]) for i, loss in enumerate(LOSSES)]


def splits_of(**options: Any) -> Splits:
    data = Digits(side=12, **options)
    return data.split(data.load(Path()), Streams(0))


def medium(rates: dict[str, Any], shares: list[float], method: str) -> np.ndarray:
    """Recognition rates at shares from 0.2 to 0.5."""
    return np.array(rates[method]["rate"])[(np.array(shares) > 0.15) & (np.array(shares) < 0.55)]


def trained(loss: str, regularizer: str, dropout: str, norm: str, folder: Path) -> dict[str, Any]:
    options = (f"loss={loss}", f"regularizer={regularizer}", f"dropout={dropout}", f"norm={norm}")
    return kexp.run(*tiny("eigenspace", folder, *options, "training.epochs=1"), quiet=True)


@pytest.mark.parametrize(
    "choices",
    [
        pytest.param(choices, marks=() if choices[0] in QUICK else pytest.mark.slow)
        for choices in COVERING
    ],
    ids=",".join,
)
def test_the_four_choices_train(choices: tuple[str, str, str, str], folder: Path) -> None:
    """Every loss, and every combination of the others, with what each does to the record."""
    loss, regularizer, *_ = choices
    summary = trained(*choices, folder)
    assert all(np.isfinite(v) for v in summary["last"]["validation"].values())
    assert (summary["last"]["penalty"] > 0) == (regularizer == "l2")
    found = summary["eigenspace"]
    assert (found["half_weight"] is None) == (loss == "mse")
    for kind in ("occlusion", "corruption"):
        plain, robust = (found[kind][m] for m in ("least_squares", "m_estimator"))
        assert (max(robust["iterations"]) == 0) == (loss == "mse")
        differ = np.subtract(robust["correct"], plain["correct"]).tolist()
        assert differ == np.subtract(robust["gained"], robust["lost"]).tolist()


def test_the_covering_has_every_combination() -> None:
    assert {choices[1:] for choices in COVERING} == set(OTHERS)
    assert [choices[0] for choices in COVERING] == LOSSES and "adaptive" in LOSSES


def test_with_its_opposite_the_covering_has_every_pair_of_two_choices() -> None:
    levels = LOSSES, REGULARIZERS, DROPOUTS, NORMS
    for a, b in itertools.combinations(range(len(levels)), 2):
        pairs = {(choices[a], choices[b]) for choices in (*COVERING, *OPPOSITE)}
        assert pairs == set(itertools.product(levels[a], levels[b]))


@pytest.mark.slow
@pytest.mark.parametrize("choices", OPPOSITE, ids=",".join)
def test_the_opposite_choices_train(choices: tuple[str, str, str, str], folder: Path) -> None:
    """Every loss with those levels of the other three that it has not in the covering."""
    summary = trained(*choices, folder)
    assert all(np.isfinite(v) for v in summary["last"]["validation"].values())


@pytest.mark.slow
def test_with_least_squares_it_descends_to_the_principal_components(folder: Path) -> None:
    """Span and error are those of PCA, in training by scikit-learn's of the same images."""
    options = (
        *("loss=mse", "model.components=4", "training.epochs=200", "training.batch_size=30"),
        *("data.train_size=300", "data.validation_size=300"),  # then the probe is all of train
        "optimizer.learning_rate=0.05",
    )
    summary = kexp.run(*tiny("eigenspace", folder, *options), quiet=True)
    found = summary["eigenspace"]
    assert found["angle"] < 0.5
    assert summary["last"]["probe"]["mse"] == pytest.approx(
        found["principal_mse"]["probe"], rel=1e-3
    )
    splits = splits_of(train_size=300, validation_size=300, test_size=40)
    train = np.asarray(splits.train.inputs).reshape(300, -1) / 255
    fit = PCA(4, svd_solver="full").fit(train)
    exact = np.mean((fit.inverse_transform(fit.transform(train)) - train) ** 2)
    assert found["principal_mse"]["probe"] == pytest.approx(exact, rel=1e-5)
    assert found["explained"] == pytest.approx(fit.explained_variance_ratio_.sum(), rel=1e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run."""
    folder = tmp_path_factory.mktemp("eigenspace")
    kexp.run(*tiny("eigenspace", folder), quiet=True)
    return the_run(folder)


def test_the_mean_image_is_what_to_beat(finished: Path) -> None:
    summary = read(finished, "summary.json")
    splits = splits_of(train_size=64, validation_size=40, test_size=40)
    train, test = (np.asarray(s.inputs) / 255 for s in (splits.train, splits.test))
    mean = summary["baselines"]["mean of the training images"]
    assert mean["mse"] == pytest.approx(np.mean((test - train.mean(axis=0)) ** 2), rel=1e-5)


@pytest.mark.slow
def test_the_robust_curve_lies_above(folder: Path) -> None:
    """With the default loss, at medium shares, though few images are in it."""
    options = ("data.train_size=300", "data.test_size=100", "task.recognised=100")
    sizes = ("model.components=12", "training.epochs=1")
    summary = kexp.run(*tiny("eigenspace", folder, *options, *sizes), quiet=True)
    found = summary["eigenspace"]
    assert found["images"] == 100 == summary["sizes"]["test"]
    for kind in ("occlusion", "corruption"):
        plain, robust, known = (
            medium(found[kind], found["shares"], m)
            for m in ("least_squares", "m_estimator", "known")
        )
        assert robust.mean() > plain.mean() + 0.04 and known.mean() > plain.mean()
        assert found[kind]["m_estimator"]["iterations"][3] > 5


@pytest.mark.slow
def test_the_default_run_beats_the_mean_and_least_squares(folder: Path) -> None:
    where = (f"paths.results={folder / 'results'}", f"paths.data={folder / 'data'}")
    summary = kexp.run("task=eigenspace", *where, quiet=True)
    mean = summary["baselines"]["mean of the training images"]
    assert summary["test"]["last"]["psnr"] > mean["psnr"] + 8
    found = summary["eigenspace"]
    rates = found["occlusion"]
    assert (
        medium(rates, found["shares"], "m_estimator")
        > medium(rates, found["shares"], "least_squares") + 0.08
    ).all()


def test_outliers_are_in_inputs_and_targets_alike() -> None:
    """An autoencoder is given what it shall give back; validation is clean."""
    splits, task = splits_of(train_size=50, outliers=0.2), Eigenspace()
    data = task.epoch(splits.train, Streams(0), 1)
    x = data.x if data.rows is None else data.x[data.rows]
    np.testing.assert_allclose(x / np.float32(255), data.y, rtol=1e-6)
    (batch,) = task.batches(splits.probe, Streams(0), "probe")
    changed = batch.y != batch.truth
    assert changed.mean() == pytest.approx(0.2, abs=0.02) and np.array_equal(batch.x, batch.y)
    assert task.fitted(batch.y, batch.y, batch.truth).all()
    assert not task.fitted(batch.truth, batch.y, batch.truth).any()
    assert task.batches(splits.test, Streams(0), "test")[0].truth is None


def test_an_epoch_is_every_image_once_in_an_order_of_its_own() -> None:
    splits, task = splits_of(train_size=50), Eigenspace()
    first, second = (task.epoch(splits.train, Streams(0), n) for n in (1, 2))
    assert sorted(first.order) == list(range(50)) and not np.array_equal(first.order, second.order)
    images = np.asarray(splits.train.inputs) / np.float32(255)
    np.testing.assert_allclose(first.y, images, rtol=1e-6)
    assert first.x[first.rows].shape == first.y.shape == (50, 12, 12, 1)


def test_weights_of_a_norm_are_those_of_least_squares() -> None:
    r = np.random.default_rng(0).normal(size=(3, 12))
    assert (weights_of(Charbonnier(elements="norm"), 1)(r) == 1).all()
    expected = 1 / np.sqrt(1 + (r / 0.3) ** 2)
    np.testing.assert_allclose(weights_of(Charbonnier(scale=0.3), 3)(r), expected, rtol=1e-5)


def test_a_loss_without_rho_is_refused() -> None:
    class Plain:
        def __call__(self, y: Any, y_hat: Any) -> Any:
            return y

    with pytest.raises(ValueError, match=r"Plain needs rho\(residual\) or weight\(residual\)"):
        Eigenspace().check(Digits(), Plain())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("model.components=65",), "there are 64 training images of 144 values each"),
        (("model.components=64",), "use model.components=63 or less"),
        (("model.components=17", "data.side=4"), "64 training images of 16 values each"),
    ],
)
def test_more_components_than_data_are_refused(
    options: tuple[str, ...], told: str, folder: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        kexp.run(*tiny("eigenspace", folder, *options), quiet=True)


def test_as_many_components_as_can_be_had_are_all_of_the_variance(folder: Path) -> None:
    options = ("model.components=63", "loss=mse", "task.recognised=5")
    found = kexp.run(*tiny("eigenspace", folder, *options), quiet=True)["eigenspace"]
    assert found["explained"] == pytest.approx(1) and 0 < found["angle"] <= 90


def test_a_single_training_image_has_a_record_that_can_be_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("data.train_size=1", "model.components=1", "loss=mse", "task.recognised=5")
    found = kexp.run(*tiny("eigenspace", folder, *options), quiet=True)["eigenspace"]
    assert found["explained"] == 1 and found["angle"] == 0
    assert main(["show", str(the_run(folder))]) == 0
    assert "1 principal components hold 100.0% of the variance" in capsys.readouterr().out


def test_a_model_without_components_is_refused_before_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain:
        pass

    check = Eigenspace.check_model
    monkeypatch.setattr(Eigenspace, "check_model", lambda self, _: check(self, Plain()))
    with pytest.raises(ConfigError, match="give Plain the parameter components"):
        kexp.run(*tiny("eigenspace", folder), quiet=True)


def test_the_closed_form_is_worked_out_once_and_targets_are_made_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked, epochs = [], []
    module, make = "kexp.tasks.eigenspace", Eigenspace.epoch

    def counted(*args: Any) -> Any:
        worked.append(args)
        return eigenspace(*args)

    def kept(*args: Any) -> Any:
        epochs.append(make(*args))
        return epochs[-1]

    monkeypatch.setattr(f"{module}.eigenspace", counted)
    monkeypatch.setattr(Eigenspace, "epoch", kept)
    options = ("training.epochs=2", "loss=mse", "task.recognised=5", "data.outliers=0.1")
    kexp.run(*tiny("eigenspace", folder, *options), quiet=True)
    assert len(worked) == 1
    assert len(epochs) > 1 and len({(id(e.x), id(e.y)) for e in epochs}) == 1


def own_images(folder: Path, sizes: tuple[int, ...] = (16,), classes: bool = True) -> list[str]:
    """Colour images of two classes in a folder, and the overrides to train on them."""
    rng = np.random.default_rng(0)
    for i in range(24):
        side = sizes[i % len(sizes)]
        place = folder / "mine" / (("dark", "light")[i % 2] if classes else "")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 128, (side, side, 3)) + 127 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")
    left = ("data.", "task.", "model.")
    kept = [o for o in tiny("eigenspace", folder) if not o.startswith(left)]
    own = ("data=folder", f"data.path={folder / 'mine'}", "data.colour=rgb")
    return [*kept, *own, "model.components=4"]


def test_colour_images_of_ones_own_are_recognised(folder: Path) -> None:
    """By an adaptive loss with an α and a scale of its own for each channel."""
    summary = kexp.run(*own_images(folder), "loss=adaptive", quiet=True)
    found = summary["eigenspace"]
    assert found["occlusion"]["least_squares"]["rate"][0] == 1
    with np.load(the_run(folder) / "examples.npz", allow_pickle=False) as shown:
        assert shown["occluded"].shape[1:] == shown["eigenvectors"].shape[1:] == (16, 16, 3)


def test_images_without_classes_or_of_several_sizes_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="no class labels, so there is nothing to recognise"):
        kexp.run(*own_images(folder / "a", classes=False), quiet=True)
    with pytest.raises(DataError, match="images of one shape, got .*data.side=28"):
        kexp.run(*own_images(folder / "b", sizes=(16, 20)), quiet=True)


def test_it_is_shown_and_drawn(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = read(finished, "summary.json")
    run, picture = finished, tmp_path / "eigenspace.png"
    assert main(["show", str(run), "--eigenspace", str(picture)]) == 0
    said = capsys.readouterr().out
    rate = summary["eigenspace"]["occlusion"]["m_estimator"]["rate"][3]
    converged = summary["eigenspace"]["occlusion"]["m_estimator"]["converged"][3]
    assert f" iterations, {converged:.0%} converged)" in said
    assert f"M-estimator {rate:.1%} [" in said and "8 principal components hold" in said
    assert picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size > 50_000
    with np.load(run / "examples.npz", allow_pickle=False) as shown:
        occluded, clean, weights = (shown[n] / 255 for n in ("occluded", "clean", "weights"))
        hidden = np.abs(occluded - clean) > 0.5
        assert weights[hidden].mean() < 0.2 < 0.5 < weights[occluded == clean].mean()
        assert len(shown["eigenvectors"]) == 8 and len(shown["mean"]) == 1


def test_a_run_without_an_eigenspace_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "status.json").write_text('{"state": "finished"}')
    assert main(["show", str(run), "--eigenspace", str(tmp_path / "x.png")]) == 2
    assert "task=eigenspace records one" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()
