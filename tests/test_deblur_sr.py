"""Deblurring and super-resolution: what is degraded, cut and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import kexp
from kexp import resampling
from kexp.api import Session
from kexp.data import Collection, Examples, Folder, Photos, Splits
from kexp.data.base import replace_pixels
from kexp.data.images import luma
from kexp.errors import ConfigError, DataError
from kexp.streams import Streams
from kexp.tasks import DeblurSr
from kexp.tasks.images import unit
from tests.conftest import the_run, tiny

RNG = np.random.default_rng(0)


def noise(height: int, width: int, channels: int = 1) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("patch", "blur"), [(12, 0.0), (13, 1.0), (33, 2.0)])
def test_a_patch_is_degraded_as_within_its_image(patch, blur, scale):
    """Every patch is found in the degraded whole image, at the place of its target."""
    task = DeblurSr(scale=scale, blur=blur, patch=patch, patches_per_epoch=6, augment=False)
    image = noise(112, 107)
    epoch = task.epoch(Examples([image]), Streams(0), 1)
    assert epoch.x.shape == epoch.y.shape == (6, patch, patch, 1)
    clean = unit(image[None])
    whole = resampling.degrade(task.whole(clean), blur, scale)
    views = np.lib.stride_tricks.sliding_window_view(clean[0, ..., 0], (patch, patch))
    for x, y in zip(epoch.x[..., 0], epoch.y[..., 0], strict=True):
        ((top, left),) = np.argwhere((views == y).all(axis=(2, 3)))
        np.testing.assert_allclose(
            x, whole[0, top : top + patch, left : left + patch, 0], atol=1e-6
        )


def test_a_turned_patch_is_degraded_as_the_turned_image():
    image = noise(61, 64)
    task = DeblurSr(scale=4, blur=0.5, patch=13, patches_per_epoch=24)
    epoch = task.epoch(Examples([image]), Streams(1), 1)
    whole = task.whole(unit(image[None]))
    degraded = resampling.degrade(whole, 0.5, 4)
    for x, y in zip(epoch.x[..., 0], epoch.y[..., 0], strict=True):
        found = 0
        for turn in range(8):
            there, here = (np.rot90(v[0, ..., 0], turn % 4) for v in (degraded, whole))
            there, here = (v[:, ::-1] if turn >= 4 else v for v in (there, here))
            views = np.lib.stride_tricks.sliding_window_view(here, (13, 13))
            for top, left in np.argwhere((views == y).all(axis=(2, 3))):
                np.testing.assert_allclose(x, there[top : top + 13, left : left + 13], atol=1e-6)
                found += 1
        assert found == 1


def test_measured_as_scikit_image_does_without_the_border():
    task = DeblurSr(scale=3)
    examples = Examples([noise(40, 32)])
    (batch,) = task.batches(examples, Streams(0), "test")
    assert batch.x.shape == batch.y.shape == (1, 39, 30, 1)
    prediction = batch.y + RNG.normal(0, 0.1, batch.y.shape).astype(np.float32)
    prediction[:, :3] = 9.0
    prediction[:, :, -3:] = -9.0
    found = task.measure([prediction], [batch])
    p, y = (v[0, 3:-3, 3:-3, 0] for v in (prediction, batch.y))
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(y, p, data_range=1), rel=1e-6)
    similarity = structural_similarity(
        y, p, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert found["ssim"] == pytest.approx(similarity, rel=1e-5)
    assert found["mse"] == pytest.approx(np.square(p - y).mean(), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(p - y).mean(), rel=1e-5)


def test_luma_is_pillows():
    every = np.stack(np.meshgrid(*3 * [np.arange(0, 256, 5)]), axis=-1).astype(np.uint8)
    image = every.reshape(52, -1, 3)
    assert np.array_equal(luma(image)[..., 0], np.asarray(Image.fromarray(image).convert("L")))


def test_images_in_colour_are_their_luminance():
    """Photographs read in colour train and measure as the same ones read in grey."""
    task = DeblurSr(patches_per_epoch=4)
    grey, colour = (
        Photos(colour=name).split(Photos(colour=name).load(Path()), Streams(0))
        for name in ("grey", "rgb")
    )
    one, other = (task.epoch(s.train, Streams(0), 1) for s in (grey, colour))
    assert np.array_equal(one.x, other.x) and np.array_equal(one.y, other.y)
    one, other = (task.batches(s.test, Streams(0), "test") for s in (grey, colour))
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y)
    assert task.shapes(Collection(colour.train)) == ((None, None, 1), 1)


def test_outliers_are_in_the_target_alone():
    image = noise(60, 60)
    targets = [replace_pixels(image, 0.3, np.random.default_rng(1))]
    task = DeblurSr(scale=2, blur=0.0, patch=16, patches_per_epoch=3)
    clean, noisy = (
        task.epoch(Examples([image], targets=t), Streams(0), 1) for t in (None, targets)
    )
    assert np.array_equal(clean.x, noisy.x)
    assert np.mean(clean.y != noisy.y) == pytest.approx(0.3, abs=0.06)
    batch = task.batch(Examples([image], targets=targets), 0, np.random.default_rng(0))
    assert batch.truth is not None
    assert task.fitted(batch.y, batch.y, batch.truth).all()
    assert not task.fitted(batch.truth, batch.y, batch.truth).any()


def test_images_too_small_are_named():
    """For a patch with its margin, and for the window of SSIM within the border."""
    task = DeblurSr(scale=3, blur=1.0, patch=33)
    good, small = Examples([noise(69, 69)], names=["good"]), Examples([noise(17, 80)], names=["b"])
    task.check_splits(Splits(good, good, Examples([noise(18, 18)]), good), 1)
    with pytest.raises(DataError) as told:
        task.check_splits(Splits(small, small, small, good), 1)
    assert "train 'b': 17×80 pixels, needed at least 69×69" in str(told.value)
    assert "a patch, task.patch=33 and 18 pixels on each side" in str(told.value)
    assert "validation 'b': 17×80 pixels, needed at least 18×18" in str(told.value)


@pytest.mark.parametrize(
    ("override", "rule"),
    [("task.scale=5", "one of 2, 3, 4"), ("task.blur=-1", "≥ 0"), ("task.blur=99", "≤ 16")],
)
def test_settings_out_of_range_are_refused(override, rule):
    with pytest.raises(ConfigError, match=rule):
        Session().experiment(["task=deblur_sr", override])


@pytest.mark.slow
def test_a_folder_in_colour_of_images_of_any_size(folder):
    """In memory and mapped."""
    images = folder / "images"
    images.mkdir()
    for i in range(6):
        Image.fromarray(noise(36 + i, 40 - i, 3)).save(images / f"{i}.png")
    data = ("data=folder", f"data.path={images}", "data.colour=rgb", "data.mapped=true")
    kept = [o for o in tiny("deblur_sr", folder) if not o.startswith("data")]
    kept = [o for o in kept if not o.startswith("paths.data")]
    sizes = ("data.validation_size=1", "data.test_size=1")
    place = f"paths.data={folder / 'kept'}"
    summary = kexp.run(*kept, *data, *sizes, place, quiet=True)
    assert summary["sizes"] == {"train": 4, "probe": 1, "validation": 1, "test": 1}
    task = DeblurSr(scale=2, blur=0.5, patch=12, patches_per_epoch=4)
    parts = [Folder(path=str(images), colour="rgb", mapped=m).load(folder) for m in (False, True)]
    one, other = (task.epoch(part.train, Streams(0), 1) for part in parts)
    assert np.array_equal(one.x, other.x) and np.array_equal(one.y, other.y)


def test_an_untrained_residual_network_is_the_baseline(folder):
    """DnCNN starts as the identity; a learning rate of nothing keeps it there."""
    rate = ("optimizer.learning_rate=1e-12", "training.epochs=1")
    summary = kexp.run(*tiny("deblur_sr", folder, *rate), quiet=True)
    bicubic = summary["baselines"]["bicubic enlargement"]
    assert set(bicubic) == {"psnr", "ssim", "mse", "mae"}
    for name, value in bicubic.items():
        assert summary["test"]["last"][name] == pytest.approx(value, rel=1e-5)
    with np.load(the_run(folder) / "examples.npz", allow_pickle=False) as shown:
        assert shown["inputs"].shape == shown["targets"].shape == (2, 32, 32, 1)
        assert np.array_equal(shown["inputs"], shown["outputs"])
        assert (shown["inputs"] != shown["targets"]).mean() > 0.5
