"""Colourisation: CIELAB, colour differences, and data that have no colour."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

import kexp
from kexp.api import Session
from kexp.config.fitting import fitting
from kexp.data import Archive, ColourPhotos, Examples, Splits
from kexp.data.base import replace_pixels
from kexp.errors import ConfigError, DataError
from kexp.streams import Streams
from kexp.tasks import Batch, Colorize
from kexp.tasks.colorize import lab, rgb
from kexp.yardsticks import delta_e
from tests.conftest import the_run, tiny

RNG = np.random.default_rng(0)
TASK = Colorize(patch=16, patches_per_epoch=8)
IMAGE = RNG.integers(0, 256, (24, 20, 3), np.uint8)

SHARMA = np.array(
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ],
    dtype=object,
)
"""Pairs 1, 13, 17, 26 and 31 of the test data of Sharma et al. 2005, table 1."""


def test_colour_difference_is_that_of_the_published_pairs():
    one, two = (np.array(SHARMA[:, i].tolist(), np.float32)[:, None, None] for i in (0, 1))
    assert delta_e(one, two) == pytest.approx(SHARMA[:, 2].astype(float), abs=1e-3)
    assert delta_e(one, one) == pytest.approx(np.zeros(5), abs=1e-6)
    pair = np.stack([one[0], one[1]]).reshape(1, 2, 1, 3), np.stack([two[0], two[1]])
    assert delta_e(pair[0], pair[1].reshape(1, 2, 1, 3)) == pytest.approx([3.1745], abs=1e-3)


def test_inputs_and_targets_are_scikit_images_lab():
    batch = TASK.batch(Examples([IMAGE]), 0, RNG)
    expected = rgb2lab(IMAGE / 255.0)
    assert batch.x.dtype == batch.y.dtype == np.float32
    np.testing.assert_allclose(100 * batch.x[0], expected[..., :1], atol=1e-3)
    np.testing.assert_allclose(128 * batch.y[0], expected[..., 1:], atol=1e-3)
    np.testing.assert_allclose(rgb(lab(batch.x, batch.y))[0], IMAGE / 255, atol=1e-3)


def test_all_of_srgb_is_within_one():
    corners = np.stack(np.meshgrid(*3 * [np.arange(0, 256, 15)]), axis=-1).astype(np.uint8)
    seen = TASK.seen(corners.reshape(1, 18, -1, 3))
    assert 0 <= seen[..., 0].min() and seen[..., 0].max() == pytest.approx(1, abs=1e-6)
    assert 0.8 < np.abs(seen[..., 1:]).max() < 1


def test_colours_outside_of_srgb_are_clipped_without_a_warning():
    """Where scikit-image warns, it gives the same; far outside, the result is finite."""
    values = RNG.uniform((0, -128, -128), (100, 128, 128), (1, 40, 40, 3)).astype(np.float32)
    with pytest.warns(UserWarning, match="negative Z values"):
        expected = lab2rgb(values)
    found = rgb(values)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert 0 <= found.min() and found.max() <= 1
    assert np.isfinite(rgb(1e12 * values)).all()


def test_measured_as_scikit_image_does():
    batch = TASK.batch(Examples([IMAGE]), 0, RNG)
    prediction = (batch.y + RNG.normal(0, 0.05, batch.y.shape)).astype(np.float32)
    found = TASK.measure([prediction], [batch])
    one = np.concatenate([100 * batch.x, 128 * prediction], axis=-1)[0].astype(float)
    two = np.concatenate([100 * batch.x, 128 * batch.y], axis=-1)[0].astype(float)
    assert found["delta_e"] == pytest.approx(deltaE_ciede2000(two, one).mean(), rel=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        one, two = lab2rgb(one), lab2rgb(two)
    expected = peak_signal_noise_ratio(two, one, data_range=1)
    assert found["psnr"] == pytest.approx(expected, rel=1e-4)
    assert found["mse"] == pytest.approx(np.square(one - two).mean(), rel=1e-3)
    assert found["mae"] == pytest.approx(np.abs(one - two).mean(), rel=1e-3)


def test_a_patch_is_cut_out_of_the_image_in_lab():
    plain = Colorize(patch=16, patches_per_epoch=6, augment=False)
    epoch = plain.epoch(Examples([IMAGE]), Streams(0), 1)
    assert epoch.x.shape == (6, 16, 16, 1) and epoch.y.shape == (6, 16, 16, 2)
    whole = TASK.batch(Examples([IMAGE]), 0, RNG)
    views = np.lib.stride_tricks.sliding_window_view(whole.x[0, ..., 0], (16, 16))
    for x, y in zip(epoch.x, epoch.y, strict=True):
        ((top, left),) = np.argwhere((views == x[..., 0]).all(axis=(2, 3)))
        assert np.array_equal(y, whole.y[0, top : top + 16, left : left + 16])


def test_what_to_beat_is_grey_and_the_mean_colour():
    images = [IMAGE, RNG.integers(90, 256, (16, 30, 3), np.uint8)]
    part = Examples(images)
    batches = TASK.batches(part, Streams(0), "test")
    found = TASK.trivial(Splits(part, part, part, part), batches)
    assert not any(p.any() for p in found["grey image"])
    colours = np.concatenate([rgb2lab(i / 255.0)[..., 1:].reshape(-1, 2) for i in images])
    for prediction in found["mean colour of the training images"]:
        np.testing.assert_allclose(128 * prediction[0, 3, 5], colours.mean(axis=0), rtol=1e-4)


def test_the_mean_colour_is_that_of_the_first_images_where_there_are_many(monkeypatch):
    monkeypatch.setattr("kexp.tasks.colorize.MOST_AVERAGED", 2)
    images = [IMAGE, RNG.integers(90, 256, (16, 30, 3), np.uint8), IMAGE[:9]]
    every, first = (Examples(images[:n]) for n in (3, 2))
    batches = TASK.batches(Examples([IMAGE]), Streams(0), "test")
    found, expected = (
        list(TASK.trivial(Splits(part, part, part, part), batches).items())[1]
        for part in (every, first)
    )
    assert found[0] == "mean colour of the first 2 training images"
    assert expected[0] == "mean colour of the training images"
    np.testing.assert_array_equal(found[1], expected[1])


def test_outliers_are_in_the_colours_alone():
    targets = [replace_pixels(IMAGE, 0.2, np.random.default_rng(1))]
    clean, noisy = (
        TASK.epoch(Examples([IMAGE], targets=t), Streams(0), 1) for t in (None, targets)
    )
    assert np.array_equal(clean.x, noisy.x)
    assert np.mean(clean.y != noisy.y) == pytest.approx(1 - 0.8**3, abs=0.06)
    batch = TASK.batch(Examples([IMAGE], targets=targets), 0, RNG)
    assert batch.truth is not None
    assert TASK.fitted(batch.y, batch.y, batch.truth).all()
    assert not TASK.fitted(batch.truth, batch.y, batch.truth).any()


def test_pictures_are_in_colour(folder):
    kexp.run(*tiny("colorize", folder, "training.epochs=1"), quiet=True)
    with np.load(the_run(folder) / "examples.npz", allow_pickle=False) as shown:
        shown = dict(shown)
    assert all(shown[name].shape == (2, 128, 128, 3) for name in ("inputs", "outputs", "targets"))
    assert np.ptp(shown["inputs"].astype(int), axis=-1).max() <= 1  # grey
    data = ColourPhotos(train_size=4, validation_size=2, test_size=2)
    test = data.split(data.load(Path()), Streams(0)).test
    assert np.abs(shown["targets"].astype(int) - np.asarray(test.inputs)).max() <= 1
    batch = Batch(np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 8, 8, 2), np.float32))
    assert TASK.picture("outputs", batch.y + 5, batch).shape == (1, 8, 8, 3)


# Data


def test_tiles_are_parts_of_photographs_in_colour():
    whole = ColourPhotos().load(Path())
    assert whole.train.inputs.shape == (110, 128, 128, 3) and whole.train.inputs.dtype == np.uint8
    assert len(set(whole.train.names)) == 110
    photographs = {name.split()[0] for name in whole.train.names}
    assert len(photographs) == 8
    for photograph in photographs:
        mine = [name.startswith(photograph) for name in whole.train.names]
        chroma = np.hypot(*np.moveaxis(rgb2lab(whole.train.inputs[mine])[..., 1:], -1, 0))
        assert chroma.mean() > 5, f"{photograph} is grey"
    splits = ColourPhotos().split(whole, Streams(0))
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [77, 11, 22]


def test_data_that_serve_this_task():
    assert fitting("data", "colour regression") == ["colour_photos", "folder"]
    assert fitting("model", "colour regression") == ["unet", "unet_deep"]


def test_grey_data_are_refused():
    with pytest.raises(ConfigError, match="images in colour; add data.colour=rgb"):
        Session().experiment(["task=colorize", "data=folder", "data.path=."])
    with pytest.raises(ConfigError, match="data can be colour_photos, folder"):
        Session().experiment(["task=colorize", "data=photos"])
    Session().experiment(["task=colorize", "data=folder", "data.path=.", "data.colour=rgb"])


def test_grey_images_are_refused(tiny_images):
    with pytest.raises(DataError, match="in colour, and these are grey"):
        TASK.shapes(Archive(train="tiny.npz").load(tiny_images))
    grey = Examples([np.repeat(IMAGE[..., :1], 3, axis=-1)])
    with pytest.raises(DataError, match="red, green and blue are the same"):
        TASK.check_splits(Splits(grey, grey, grey, grey), 1)
    some = Examples([grey.inputs[0], IMAGE])
    TASK.check_splits(Splits(some, grey, grey, grey), 1)


@pytest.mark.slow
def test_a_folder_of_images_of_any_size(folder):
    images = folder / "images"
    images.mkdir()
    for i in range(6):
        pixels = RNG.integers(0, 256, (30 + i, 26, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{i}.png")
    data = ("data=folder", f"data.path={images}", "data.colour=rgb", "data.mapped=true")
    left = [o for o in tiny("colorize", folder) if not o.startswith(("data", "paths.data"))]
    sizes = ("data.validation_size=1", "data.test_size=1", f"paths.data={folder / 'kept'}")
    summary = kexp.run(*left, *data, *sizes, quiet=True)
    assert summary["sizes"] == {"train": 4, "probe": 1, "validation": 1, "test": 1}
