"""Data sets: what they hold, how they are split, shrunk and corrupted."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from kexp.data import Archive, Collection, DataSet, Digits, Examples, Folder, Mnist, Photos, mnist
from kexp.data.images import KexpDataWarning, read_images
from kexp.errors import ConfigError, DataError, DataMissing
from kexp.streams import Streams

RNG = np.random.default_rng(0)


def numbered(total: int, classes: int = 10) -> Collection:
    """A collection whose names are the numbers of its examples."""
    images = RNG.integers(0, 256, (total, 2, 2, 1)).astype(np.uint8)
    labels = (np.arange(total) % classes).astype(np.int32)
    names = [str(i) for i in range(total)]
    return Collection(Examples(images, labels, names), classes=[str(k) for k in range(classes)])


def save(file: Path, pixels: object, **options: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, **options)
    return file


# Splits


@settings(max_examples=60, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    total=st.integers(10, 200),
    validation=st.floats(0.1, 0.4) | st.integers(1, 4),
    test=st.floats(0.1, 0.4) | st.integers(1, 4),
)
def test_splits_are_disjoint_and_complete_and_the_probe_is_a_part_of_train(
    seed, total, validation, test
):
    data = DataSet(validation_size=validation, test_size=test)
    splits = data.split(numbered(total), Streams(seed))
    parts = [set(part.names) for part in (splits.train, splits.validation, splits.test)]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == total
    assert set(splits.probe.names) <= parts[0]
    assert len(splits.probe) == min(len(splits.validation), len(splits.train))
    assert len(set(splits.probe.names)) == len(splits.probe)


@pytest.mark.parametrize(
    ("validation", "test", "sizes"),
    [(0.1, 0.2, (70, 10, 20)), (7, 13, (80, 7, 13)), (1, 1, (98, 1, 1))],
)
def test_sizes_are_numbers_or_shares_of_all(validation, test, sizes):
    data = DataSet(validation_size=validation, test_size=test)
    splits = data.split(numbered(100), Streams(0))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == sizes


def test_an_empty_test_split_is_refused():
    with pytest.raises(DataError, match="leaves no test example"):
        DataSet(test_size=0.0).split(numbered(100), Streams(0))


def test_images_labels_and_names_stay_together():
    whole = numbered(50)
    splits = DataSet(train_size=20, label_noise=0.5).split(whole, Streams(3))
    for part in (splits.train, splits.probe, splits.validation, splits.test):
        index = np.array([int(name) for name in part.names])
        assert np.array_equal(part.inputs, whole.train.inputs[index])
        assert np.array_equal(part.labels, whole.train.labels[index])
    place = [splits.train.names.index(name) for name in splits.probe.names]
    assert np.array_equal(splits.probe.targets, splits.train.targets[place])


def test_a_larger_train_size_holds_the_smaller_and_leaves_the_other_splits_alone():
    whole = numbered(100)
    small, large = (DataSet(train_size=size).split(whole, Streams(5)) for size in (10, 40))
    assert (len(small.train), len(large.train)) == (10, 40)
    assert large.train.names[:10] == small.train.names
    assert large.validation.names == small.validation.names
    assert large.test.names == small.test.names


def test_the_split_is_a_function_of_the_seed_alone():
    whole = numbered(100)
    first = DataSet().split(whole, Streams(1))
    again = DataSet(label_noise=0.3).split(whole, Streams(1))
    other = DataSet().split(whole, Streams(2))
    assert first.train.names == again.train.names != other.train.names
    assert first.probe.names == again.probe.names


def test_splits_that_a_data_set_brings_are_left_alone():
    whole, test, validation = numbered(50), numbered(9).train, numbered(8).train
    splits = DataSet().split(Collection(whole.train, validation, test), Streams(0))
    assert splits.test is test and splits.validation is validation
    assert sorted(splits.train.names) == sorted(whole.train.names)
    splits = DataSet(test_size=40).split(Collection(whole.train, test=test), Streams(0))
    assert (len(splits.train), len(splits.validation)) == (45, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"validation_size": 0.0}, "validation split is empty"),
        ({"train_size": 71}, "train_size=71 is more than the 70"),
        ({"test_size": 100}, "test_size=100 leaves nothing"),
        ({"validation_size": 90, "test_size": 90}, "no examples are left"),
    ],
)
def test_impossible_sizes_are_refused_with_the_key(fields, message):
    with pytest.raises(DataError, match=message):
        DataSet(**fields).split(numbered(100), Streams(0))


@pytest.mark.parametrize(
    "fields",
    [
        {"train_size": 0},
        {"train_size": 1.5},
        {"validation_size": -1},
        {"validation_size": 1.0},
        {"test_size": True},
        {"label_noise": 1.1},
        {"outliers": -0.1},
        {"outliers": float("nan")},
        {"typo": 1},
    ],
)
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(ValidationError):
        DataSet(**fields)


# Corruption


@settings(max_examples=40, deadline=None, database=None)
@given(share=st.floats(0, 1), classes=st.integers(2, 12), seed=st.integers(0, 1000))
def test_label_noise_is_exact_and_never_the_same_class(share, classes, seed):
    data = DataSet(label_noise=share)
    splits = data.split(numbered(120, classes), Streams(seed))
    train = splits.train
    targets = train.labels if train.targets is None else train.targets
    assert (targets != train.labels).sum() == round(share * len(train))
    assert targets.min() >= 0 and targets.max() < classes
    assert targets.dtype == train.labels.dtype
    assert splits.validation.targets is None and splits.test.targets is None


def test_label_noise_reaches_every_other_class_alike():
    splits = DataSet(label_noise=1.0, test_size=1).split(numbered(10_000), Streams(0))
    step = (splits.train.targets - splits.train.labels) % 10
    counts = np.bincount(step, minlength=10)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("ragged", [False, True])
def test_outliers_replace_their_share_of_the_targets_only(ragged):
    images = np.full((40, 30, 30, 1), 7, np.uint8)
    whole = Collection(Examples(list(images) if ragged else images))
    splits = DataSet(outliers=0.25).split(whole, Streams(0))
    assert isinstance(splits.train.targets, list) == ragged
    targets = np.stack(list(splits.train.targets))
    share = (targets != 7).mean() * 256 / 255  # one uniform draw in 256 is 7 again
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / targets.size)
    assert targets.dtype == np.uint8
    assert (np.stack(list(splits.train.inputs)) == 7).all()
    assert splits.validation.targets is None


def test_checksum_tells_pixels_labels_and_splits():
    whole = numbered(20)
    assert whole.checksum == Collection(whole.train).checksum
    ragged = Examples(list(whole.train.inputs), whole.train.labels)
    assert whole.checksum == Collection(ragged).checksum
    assert whole.checksum != Collection(whole.train, test=whole.train).checksum
    pixels, labels = whole.train.inputs.copy(), whole.train.labels.copy()
    pixels[3, 1, 1, 0] ^= 1
    labels[3] += 1
    assert whole.checksum != Collection(Examples(pixels, whole.train.labels)).checksum
    assert whole.checksum != Collection(Examples(whole.train.inputs, labels)).checksum


# The data sets


def test_digits_are_the_real_ones_enlarged(tmp_path):
    from sklearn.datasets import load_digits

    whole = Digits().load(tmp_path)
    assert whole.train.inputs.shape == (1797, 28, 28, 1)
    assert whole.train.inputs.dtype == np.uint8
    assert whole.train.labels.dtype == np.int32
    assert np.bincount(whole.train.labels).tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]
    plain = Digits(side=8).load(tmp_path).train.inputs[..., 0]
    assert np.array_equal(plain, np.round(load_digits().images * 255 / 16))


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("rgb", 3)])
def test_photos_are_thirteen_and_split_by_photograph(tmp_path, colour, channels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = Photos(colour=colour).load(tmp_path)
    assert len(whole.train) == len(set(whole.train.names)) == 13
    assert all(i.dtype == np.uint8 and i.shape[2] == channels for i in whole.train.inputs)
    assert all(280 <= side <= 741 for i in whole.train.inputs for side in i.shape[:2])
    splits = Photos(colour=colour).split(whole, Streams(0))
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [8, 2, 3]


def test_archive_takes_single_images_and_stacks(tmp_path):
    one, stack = np.zeros((5, 4), np.uint8), np.ones((3, 6, 6), np.uint8)
    np.savez(tmp_path / "a.npz", one=one, stack=stack, names=np.array(["x"]), mean=np.ones((2, 2)))
    np.savez_compressed(tmp_path / "b.npz", one=one)
    whole = Archive(train="a.npz", test="b.npz").load(tmp_path)
    assert [image.shape for image in whole.train.inputs] == [(5, 4, 1)] + 3 * [(6, 6, 1)]
    assert whole.train.names == ["one", "stack[0]", "stack[1]", "stack[2]"]
    assert len(whole.test) == 1 and whole.train.labels is None


def test_archive_takes_colour(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 5, 4, 3), np.uint8))
    whole = Archive(train="a.npz").load(tmp_path)
    assert [image.shape for image in whole.train.inputs] == 2 * [(5, 4, 3)]


def test_archive_that_is_not_there_says_where_to_put_it(tmp_path):
    with pytest.raises(DataMissing, match="train400.npz does not exist.*KEXP_DATA_DIR"):
        Archive().where(tmp_path)


def test_idx_hash_is_that_of_the_format():
    import hashlib

    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    written = bytes([0, 0, 8, 2]) + struct.pack(">II", 3, 4) + bytes(range(12))
    assert mnist.idx_sha256(array) == hashlib.sha256(written).hexdigest()


def test_real_mnist():
    folder = os.environ.get("KEXP_DATA_DIR")
    if not folder or not (Path(folder) / "mnist.npz").is_file():
        pytest.skip("no mnist.npz in the folder that KEXP_DATA_DIR names")
    whole = Mnist().load(Path(folder))
    assert whole.train.inputs.shape == (60000, 28, 28, 1)
    assert whole.test.inputs.shape == (10000, 28, 28, 1)
    assert np.bincount(whole.train.labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert len(whole.checksum) == 64


def test_mnist_is_looked_for_in_the_cache_of_keras_too(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(mnist, "SHAPES", {"x_train": (2, 3, 3), "y_train": (2,)})
    arrays = {"x_train": np.ones((2, 3, 3), np.uint8), "y_train": np.array([1, 9], np.uint8)}
    arrays |= {"x_test": arrays["x_train"], "y_test": arrays["y_train"]}
    hashes = {name: mnist.idx_sha256(arrays[name]) for name in ("x_train", "y_train")}
    monkeypatch.setattr(mnist, "IDX_SHA256", hashes)
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    np.savez(tmp_path / "keras" / "datasets" / "mnist.npz", **arrays)
    whole = Mnist().load(tmp_path / "nothing here")
    assert whole.train.inputs.shape == (2, 3, 3, 1)
    assert whole.train.labels.tolist() == [1, 9] and whole.train.labels.dtype == np.int32


# The user's folder


def test_flat_folder_has_no_labels(tmp_path):
    for name in ("b", "a", "c"):
        save(tmp_path / f"{name}.png", np.full((4, 6), ord(name)))
    whole = Folder(path=str(tmp_path)).load(tmp_path)
    assert whole.train.names == ["a.png", "b.png", "c.png"]
    assert whole.train.labels is None and whole.classes == []
    assert whole.train.inputs.shape == (3, 4, 6, 1) and whole.train.inputs.dtype == np.uint8
    assert whole.train.inputs[:, 0, 0, 0].tolist() == [ord(c) for c in "abc"]


def test_class_folders_are_labels_in_sorted_order(tmp_path):
    for name, label in (("1", "dog"), ("2", "cat"), ("3", "dog")):
        save(tmp_path / label / f"{name}.PNG", np.zeros((4, 4)))
    whole = Folder(path=str(tmp_path), colour="rgb").load(tmp_path)
    assert whole.classes == ["cat", "dog"]
    assert whole.train.names == ["cat/2.PNG", "dog/1.PNG", "dog/3.PNG"]
    assert whole.train.labels.tolist() == [0, 1, 1] and whole.train.labels.dtype == np.int32
    assert whole.train.inputs.shape == (3, 4, 4, 3)


@pytest.mark.parametrize(
    ("names", "brought"),
    [
        (("train", "val", "test"), (True, True)),
        (("train", "validation"), (True, False)),
        (("Train", "Test"), (False, True)),
        (("train",), (False, False)),
    ],
)
def test_folders_of_splits(tmp_path, names, brought):
    for split in names:
        for label in ("a", "b"):
            save(tmp_path / split / label / "1.png", np.zeros((4, 4)))
    whole = Folder(path=str(tmp_path)).load(tmp_path)
    assert (whole.validation is not None, whole.test is not None) == brought
    assert whole.classes == ["a", "b"]
    for part in filter(None, (whole.train, whole.validation, whole.test)):
        assert part.labels.tolist() == [0, 1]


def test_splits_may_be_flat(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "1.png", np.zeros((4, 4)))
    whole = Folder(path=str(tmp_path)).load(tmp_path)
    assert (whole.train.names, whole.test.names) == (["train/1.png"], ["test/1.png"])
    assert whole.train.labels is None and whole.test.labels is None


def test_train_among_other_classes_is_a_class(tmp_path):
    for label in ("train", "tram"):
        save(tmp_path / label / "1.png", np.zeros((4, 4)))
    assert Folder(path=str(tmp_path)).load(tmp_path).classes == ["train", "tram"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("train/1.png", "test/1.png", "cat/1.png"), "not both; it holds 'cat', 'test', 'train'"),
        (("val/1.png", "test/1.png"), "one folder per split"),
        (("train/1.png", "val/1.png", "validation/1.png"), "one folder per split"),
        (("train/a/1.png", "test/1.png"), "same class folders; train has .'a'., test has none"),
        (("train/1.png", "test/a/1.png"), "same class folders; train has none, test has .'a'."),
        (("train/a/1.png", "test/b/1.png"), "same class folders; train has .'a'., test has .'b'."),
    ],
)
def test_folders_that_are_neither_splits_nor_classes_are_refused(tmp_path, files, message):
    for file in files:
        save(tmp_path / file, np.zeros((4, 4)))
    with pytest.raises(DataError, match=message):
        Folder(path=str(tmp_path)).load(tmp_path)


def test_side_cuts_the_central_square(tmp_path):
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, 10:30] = 200
    save(tmp_path / "wide.png", pixels)
    save(tmp_path / "tall.png", pixels.T)
    save(tmp_path / "small.png", np.full((5, 5), 200))
    assert isinstance(Folder(path=str(tmp_path)).load(tmp_path).train.inputs, list)
    images = Folder(path=str(tmp_path), side=10).load(tmp_path).train.inputs
    assert images.shape == (3, 10, 10, 1)
    assert (images == 200).all()


def test_a_relative_path_is_tried_here_and_then_in_the_data_directory(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    save(there / "mine" / "there.png", np.zeros((4, 4)))
    assert Folder(path="mine").load(there).train.names == ["there.png"]
    save(here / "mine" / "here.png", np.zeros((4, 4)))
    assert Folder(path="mine").load(there).train.names == ["here.png"]


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "mine" / "1.png", np.zeros((4, 4)))
    assert Folder(path="~/mine").load(tmp_path).train.names == ["1.png"]


def test_a_folder_that_cannot_be_is_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="data=folder needs data.path=DIR"):
        Folder().where(tmp_path)
    with pytest.raises(DataMissing, match="data.path='gone' does not exist: looked for .* and "):
        Folder(path="gone").fetch(tmp_path / "data")
    save(tmp_path / "file.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match="must be a folder, not a file"):
        Folder(path="file.png").where(tmp_path)


# Image files


def test_grey_is_itu_r_601_luma(tmp_path):
    rgb = RNG.integers(0, 256, (8, 9, 3))
    file = save(tmp_path / "x.png", rgb)
    luma = rgb @ [0.299, 0.587, 0.114]
    assert np.abs(read_images([file], "grey")[0][..., 0] - luma).max() <= 0.51
    assert np.array_equal(read_images([file], "rgb")[0], rgb)


def test_grey_palette_and_black_and_white_become_rgb(tmp_path):
    grey = RNG.integers(0, 256, (8, 9)).astype(np.uint8)
    image = Image.fromarray(grey)
    image.save(tmp_path / "L.png")
    image.convert("P").save(tmp_path / "P.png")
    image.convert("1", dither=Image.Dither.NONE).save(tmp_path / "1.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_images([tmp_path / f"{mode}.png" for mode in ("L", "P", "1")], "rgb")
    assert all(image.shape == (8, 9, 3) for image in found)
    assert (found[0] == grey[..., None]).all() and (found[1] == grey[..., None]).all()
    assert set(np.unique(found[2])) == {0, 255}


@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "webp"])
def test_exif_orientation_is_applied(tmp_path, ending):
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a turn by 90 degrees clockwise
    file = save(tmp_path / f"x.{ending}", pixels, exif=exif)
    upright = read_images([file], "grey")[0]
    assert upright.shape == (32, 16, 1)
    assert upright[:12].mean() > 240 and upright[-12:].mean() < 15


@pytest.mark.parametrize("ending", ["png", "gif", "tiff", "bmp", "webp", "pgm"])
def test_lossless_formats_give_the_pixels(tmp_path, ending):
    pixels = RNG.integers(0, 256, (8, 9)).astype(np.uint8)
    options = {"lossless": True} if ending == "webp" else {}
    file = save(tmp_path / f"x.{ending}", pixels, **options)
    assert np.array_equal(read_images([file], "grey")[0][..., 0], pixels)


def test_no_images_are_no_fault():
    assert read_images([], "grey") == []


def test_a_warning_counts_and_names_the_first(tmp_path):
    files = [save(tmp_path / f"{i}.png", np.full((4, 4, 4), 128)) for i in range(5)]
    with pytest.warns(KexpDataWarning, match=r"^5 images with transparency.*0.png.*2.png', …$"):
        read_images(files, "rgb")


def test_data_need_neither_keras_nor_tensorflow():
    code = "import sys, kexp.data; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"keras", "tensorflow"} & set(shown.stdout.split())
