"""Data larger than memory: mapped images, views of their rows, and steps on batches streamed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import kexp
from kexp.api import Session
from kexp.cli import main
from kexp.data import Collection, DataSet, Examples, Folder, mapped
from kexp.data.images import KexpDataWarning
from kexp.data.rows import Rows, is_mapped
from kexp.errors import DataError, Interrupted
from kexp.streams import Streams
from kexp.tasks import Denoise, MnistConvnet
from tests.conftest import read, the_run, tiny
from tests.runs import assert_same

RNG = np.random.default_rng(0)
BASE = RNG.integers(0, 256, (7, 3, 2, 1), np.uint8)


def pictures(root: Path, sides: dict[str, tuple[int, int]]) -> Path:
    """A folder of images of noise in these sizes (height, width)."""
    for name, side in sides.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, side, np.uint8)).save(root / name)
    return root


def digits(root: Path, count: int = 60) -> Path:
    """Images of one size in two classes."""
    sides = {f"{label}/{i:02d}.png": (12, 12) for label in "ab" for i in range(count // 2)}
    return pictures(root, sides)


def ragged(root: Path) -> Path:
    """Images of different sizes."""
    return pictures(root, {f"{i}.png": (24 + i, 30 - i) for i in range(8)})


def load(root: Path, folder: Path, **options: Any) -> Collection:
    return Folder(path=str(root), mapped=True, **options).load(folder)


# Rows


indices = st.lists(st.integers(-7, 6), max_size=12).map(lambda i: np.array(i, int))
slices = st.slices(12)


@settings(max_examples=100, deadline=None, database=None)
@given(index=indices, cut=slices, data=st.data())
def test_rows_are_the_array_that_numpy_would_give(index, cut, data):
    rows, array = Rows(BASE, index), BASE[index]
    assert (rows.shape, rows.ndim, rows.dtype) == (array.shape, array.ndim, array.dtype)
    assert len(rows) == len(array) and all(map(np.array_equal, rows, array))
    np.testing.assert_array_equal(np.asarray(rows), array)
    np.testing.assert_array_equal(np.asarray(rows, np.float32), array.astype(np.float32))
    keys = [cut, np.arange(len(index)) % 2 == 0]
    if len(index):
        picked = data.draw(st.lists(st.integers(-len(index), len(index) - 1), max_size=9))
        one = picked[0] if picked else 0
        np.testing.assert_array_equal(rows[one], array[one])
        keys.append(np.array(picked, int))
    for key in keys:
        assert isinstance(rows[key], Rows) and rows[key].base is BASE
        np.testing.assert_array_equal(rows[key], array[key])


def test_rows_copy_nothing_but_when_they_become_an_array():
    rows = Rows(BASE, np.array([4, 1]))
    assert np.shares_memory(rows[1], BASE) and all(np.shares_memory(i, BASE) for i in rows)
    assert not np.shares_memory(np.asarray(rows), BASE)
    with pytest.raises(ValueError, match="by a copy"):
        rows.__array__(copy=False)
    with pytest.raises(IndexError):
        rows[2]


# One array for all splits, epochs and seeds


def collection() -> Collection:
    images = RNG.integers(0, 256, (50, 4, 4, 1), np.uint8)
    return Collection(Examples(images, np.arange(50, dtype=np.int32) % 3), classes=["a", "b", "c"])


def test_splits_of_all_seeds_share_their_images():
    whole, data = collection(), DataSet(label_noise=0.2)
    for seed in (0, 1):
        splits = data.split(whole, Streams(seed))
        for part in (splits.train, splits.probe, splits.validation, splits.test):
            assert part.inputs.base is whole.train.inputs


def test_an_epoch_is_rows_of_the_same_array():
    whole, task = collection(), MnistConvnet()
    for seed in (0, 1):
        train = DataSet(label_noise=0.2).split(whole, Streams(seed)).train
        first, second = (task.epoch(train, Streams(seed), epoch) for epoch in (1, 2))
        assert first.x is second.x is whole.train.inputs
        assert first.y is second.y is train.targets and first.rows is second.rows
        assert sorted(second.order) == list(range(len(train)))
        np.testing.assert_array_equal(first.x[first.rows], train.inputs)


def test_batches_to_measure_are_views_of_bounded_size(monkeypatch):
    from kexp.tasks import classification

    monkeypatch.setattr(classification, "MOST_VALUES", 16 * 7)
    test = DataSet(test_size=20).split(collection(), Streams(0)).test
    batches = MnistConvnet().batches(test, Streams(0), "test")
    assert [len(b.x) for b in batches] == [7, 7, 6]
    assert all(isinstance(b.x, Rows) for b in batches)
    np.testing.assert_array_equal(np.concatenate([b.x for b in batches]), test.inputs)


def test_exhibits_are_the_images_that_are_most_wrong(monkeypatch):
    from kexp.tasks import classification

    monkeypatch.setattr(classification, "MEASURED_AT_ONCE", 6)
    test = DataSet(test_size=20).split(collection(), Streams(0)).test
    batches, task = MnistConvnet().batches(test, Streams(0), "test"), MnistConvnet()
    logits = RNG.normal(size=(20, 3)).astype(np.float32)
    logits[np.arange(20), test.labels] += np.where(np.arange(20) % 3 == 0, 9, 0)
    shown = task.exhibits(np.split(logits, [6, 12, 18]), batches)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = [i for i in np.argsort(-p.max(axis=1)) if p[i].argmax() != test.labels[i]]
    assert 3 < len(wrong) <= classification.MOST_EXHIBITS
    np.testing.assert_array_equal(shown["inputs"], np.asarray(test.inputs)[wrong])
    right = 9 * np.eye(3, dtype=np.float32)[test.labels]
    assert task.exhibits(np.split(right, [6, 12, 18]), batches)["inputs"].shape == (0, 4, 4, 1)


# Mapped images


@pytest.mark.parametrize("options", [{}, {"colour": "rgb"}, {"side": 10}])
@pytest.mark.parametrize("make", [digits, ragged])
def test_mapped_images_are_the_same_images(tmp_path, make, options):
    root = make(tmp_path / "images")
    plain, found = Folder(path=str(root), **options).load(tmp_path), load(root, tmp_path, **options)
    assert is_mapped(found.train.inputs) and not is_mapped(plain.train.inputs)
    assert isinstance(found.train.inputs, list) == isinstance(plain.train.inputs, list)
    for one, other in zip(plain.train.inputs, found.train.inputs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.train.names == plain.train.names and found.checksum == plain.checksum


def test_mapped_splits_and_their_rows(tmp_path):
    root = tmp_path / "images"
    digits(root / "train", 20), digits(root / "val", 6), digits(root / "test", 6)
    found = load(root, tmp_path)
    assert [len(part) for part in (found.train, found.validation, found.test)] == [20, 6, 6]
    plain = Folder(path=str(root)).load(tmp_path)
    np.testing.assert_array_equal(found.test.inputs, plain.test.inputs)
    assert found.checksum == plain.checksum
    assert is_mapped(Folder().split(found, Streams(0)).train.inputs)


def test_files_are_decoded_once_until_they_change(tmp_path, monkeypatch):
    root, decoded, count = digits(tmp_path / "images", 6), mapped.decoded, []
    monkeypatch.setattr(mapped, "decoded", lambda *a: count.append(1) or decoded(*a))
    load(root, tmp_path), load(root, tmp_path)
    assert len(count) == 1
    before = (root / "a" / "00.png").stat()
    Image.fromarray(np.zeros((12, 12), np.uint8)).save(root / "a" / "00.png", compress_level=0)
    os.utime(root / "a" / "00.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not load(root, tmp_path).train.inputs[0].any() and len(count) == 2
    load(root, tmp_path, colour="rgb")
    assert len(count) == 3


def cut(pixels: Path) -> None:
    pixels.write_bytes(pixels.read_bytes()[:-100])


def longer(pixels: Path) -> None:
    pixels.write_bytes(pixels.read_bytes() + b"?")


def empty(pixels: Path) -> None:
    pixels.write_bytes(b"")


def flipped(pixels: Path) -> None:
    data = bytearray(pixels.read_bytes())
    data[len(data) // 2] ^= 1
    pixels.write_bytes(data)


def gone(pixels: Path) -> None:
    pixels.unlink()


def index_gone(pixels: Path) -> None:
    pixels.with_suffix(".npz").unlink()


def index_cut(pixels: Path) -> None:
    cut(pixels.with_suffix(".npz"))


def index_of_others(pixels: Path) -> None:
    np.savez(pixels.with_suffix(".npz"), x=np.zeros(3))


FAULTS = [cut, longer, empty, flipped, gone, index_gone, index_cut, index_of_others]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("make", [lambda root: digits(root, 6), ragged])
def test_a_damaged_file_is_noticed_and_made_again(tmp_path, make, fault):
    root = make(tmp_path / "images")
    whole = load(root, tmp_path).checksum
    (pixels,) = (tmp_path / ".mapped").glob("*.raw")
    fault(pixels)
    found, plain = load(root, tmp_path), Folder(path=str(root)).load(tmp_path)
    assert found.checksum == whole == plain.checksum
    for one, other in zip(plain.train.inputs, found.train.inputs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_converted_is_told_every_time(tmp_path):
    root = pictures(tmp_path / "images", {f"{i}.png": (9, 9) for i in range(3)})
    Image.fromarray(RNG.integers(0, 65536, (9, 9)).astype(np.uint16)).save(root / "deep.png")
    for _ in range(2):
        with pytest.warns(KexpDataWarning, match=r"1 images of 16 bits.*deep\.png"):
            load(root, tmp_path)


def test_f24_unreadable_images_are_named_and_nothing_is_kept(tmp_path):
    root = digits(tmp_path / "images", 6)
    (root / "a" / "00.png").write_text("no image")
    (root / "b" / "00.png").write_bytes((root / "b" / "01.png").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"2 of 6 images cannot be used(.|\n)*a/00(.|\n)*b/00"):
        load(root, tmp_path)
    assert not [file for file in (tmp_path / ".mapped").iterdir() if file.suffix != ".lock"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    root = digits(tmp_path / "images", 6)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".mapped").touch()
    with pytest.raises(DataError, match="cannot write .*/.mapped/.*data.mapped=false"):
        load(root, tmp_path / "data")


LOAD = """
    import sys, pathlib, kexp.data
    data = kexp.data.Folder(path=sys.argv[1], mapped=True)
    print(data.load(pathlib.Path(sys.argv[2])).checksum)
"""


def python(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))\n"
    root = digits(tmp_path / "images")
    _, shown = python(limit + textwrap.dedent(LOAD), root, tmp_path).communicate()
    assert "DataError: cannot write" in shown and "File too large; data.mapped=true" in shown
    assert not [file for file in (tmp_path / ".mapped").iterdir() if file.suffix != ".lock"]


def test_two_processes_at_once_do_no_harm(tmp_path):
    root = digits(tmp_path / "images")
    processes = [python(LOAD, root, tmp_path) for _ in range(2)]
    said = [process.communicate() for process in processes]
    assert said == 2 * [(Folder(path=str(root)).load(tmp_path).checksum + "\n", "")]


def test_what_a_killed_process_left_is_cleared_a_day_later(tmp_path):
    root, place = digits(tmp_path / "images", 6), tmp_path / ".mapped"
    place.mkdir()
    old, new = place / ".x.1.tmp.raw", place / ".x.2.tmp.raw"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    load(root, tmp_path)
    assert new.exists() and not old.exists()


def test_a_signal_is_not_taken_for_damage(tmp_path, monkeypatch):
    def interrupt(*args: Any) -> Any:
        raise Interrupted(15)

    root = digits(tmp_path / "images", 6)
    load(root, tmp_path)
    monkeypatch.setattr(mapped, "open_archive", interrupt)
    with pytest.raises(Interrupted):
        load(root, tmp_path)


def test_checksum_and_twins_read_one_image_at_a_time(tmp_path):
    """Of mapped images both are known from when the file was checked."""
    root = digits(tmp_path / "images", 6)
    found = load(root, tmp_path)
    assert len(found.train.digests) == 6
    (root / "b" / "00.png").write_bytes((root / "a" / "00.png").read_bytes())
    with pytest.raises(DataError, match="are the same image"):
        Folder().split(load(root, tmp_path), Streams(0))


def test_a_mapped_run_is_the_same_run(tmp_path):
    words = ("data=folder", f"data.path={tmp_path}", f"paths.data={tmp_path}")
    plain, streamed = (
        Session().experiment([*words, f"data.mapped={mapped}"]) for mapped in ("false", "true")
    )
    assert plain.identity == streamed.identity and plain.folder == streamed.folder
    assert not plain.data.mapped and streamed.data.mapped


# Denoising


@pytest.mark.parametrize("part", ["train", "validation"])
def test_batches_of_mapped_images_are_made_anew_and_the_same(tmp_path, part):
    """Those of the training images are trained on outliers."""
    root, task = ragged(tmp_path / "images"), Denoise(patch=16, patches_per_epoch=8)
    splits = [
        data.split(data.load(tmp_path), Streams(0))
        for data in (Folder(path=str(root), outliers=0.1, mapped=m) for m in (False, True))
    ]
    kept, made = (task.batches(getattr(s, part), Streams(0), part) for s in splits)
    assert isinstance(kept, list) and not isinstance(made, list)
    for _ in range(2):
        for one, other in zip(kept, made, strict=True):
            np.testing.assert_equal(vars(one), vars(other))
    noise = [(b.x - (b.y if b.truth is None else b.truth)).ravel()[:99] for b in kept]
    assert len(noise) == 1 or not np.allclose(noise[0], noise[1], atol=1e-3)
    first, second = (task.epoch(s.train, Streams(0), 1) for s in splits)
    np.testing.assert_equal(vars(first), vars(second))


# Streamed steps


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that were streamed, as they come."""
    from kexp.training.streamed_engine import StreamedEngine

    sizes: list[int] = []
    gather = StreamedEngine._gather

    def counting(self: Any, picked: np.ndarray) -> Any:
        sizes.append(len(picked))
        return gather(self, picked)

    monkeypatch.setattr(StreamedEngine, "_gather", counting)
    return sizes


TASKS = {
    "mnist_convnet": ("norm=batch", "data.label_noise=0.2", "training.batch_size=24"),
    "denoise": ("norm=batch", "dropout=spatial", "data.outliers=0.1"),
    "ridge": ("loss=huber",),
    "eigenspace": ("loss=huber",),
}


@pytest.mark.parametrize("task", TASKS)
def test_streamed_steps_are_the_steps_in_memory(
    task: str, folder: Path, monkeypatch: pytest.MonkeyPatch, gathered: list[int]
) -> None:
    """With a smaller last batch too."""
    from kexp.training import streamed_engine

    places = [f"paths.results={folder / name}" for name in ("memory", "streamed")]
    kexp.run(*tiny(task, folder, *TASKS[task], places[0]), quiet=True)
    assert not gathered
    monkeypatch.setattr(streamed_engine, "streams", lambda data: True)
    kexp.run(*tiny(task, folder, *TASKS[task], places[1]), quiet=True)
    assert gathered
    assert_same(the_run(folder / "memory"), the_run(folder / "streamed"))


def test_data_too_large_for_the_device_are_streamed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, gathered: list[int]
) -> None:
    """It is tried once, not at every epoch."""
    import tensorflow as tf

    from kexp.training.graph_engine import GraphEngine

    tried = []

    def full(self: Any, data: Any) -> None:
        tried.append(data.x)
        raise tf.errors.ResourceExhaustedError(None, None, "no room")

    monkeypatch.setattr(GraphEngine, "load", full)
    kexp.run(*tiny("mnist_convnet", folder), quiet=True)
    assert len(tried) == 1 and gathered == 2 * [16, 16, 16, 16]


CLASSES = ("task=mnist_convnet", "model.filters=[8,8]", "data.validation_size=10")
DENOISE = ("task=denoise", "task.patch=16", "task.patches_per_epoch=32", "model.depth=3")
DENOISE += ("model.width=8", "data.validation_size=2", "data.test_size=2")


@pytest.mark.parametrize(
    ("make", "options"), [(digits, CLASSES), (ragged, DENOISE)], ids=["classes", "denoise"]
)
def test_a_mapped_folder_gives_the_same_record(
    tmp_path: Path, make: Any, options: tuple[str, ...], gathered: list[int]
) -> None:
    root = make(tmp_path / "images")
    words = ["run", *options, "data=folder", f"data.path={root}", f"paths.data={tmp_path}"]
    words += ["training.epochs=2", "training.batch_size=16"]
    assert main([*words, f"paths.results={tmp_path / 'memory'}"]) == 0
    assert not gathered
    assert main([*words, "data.mapped=true", f"paths.results={tmp_path / 'mapped run'}"]) == 0
    assert bool(gathered) == (make is digits)
    one, other = the_run(tmp_path / "memory"), the_run(tmp_path / "mapped run")
    assert_same(one, other)
    sha256 = [read(run, "environment.json")["data"]["sha256"] for run in (one, other)]
    assert sha256[0] == sha256[1]
    with np.load(one / "examples.npz") as left, np.load(other / "examples.npz") as right:
        for name in left.files:
            np.testing.assert_array_equal(left[name], right[name])


def test_one_program_serves_all_streamed_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kexp.training import programs
    from kexp.training.streamed_engine import StreamedEngine

    root, traced, trace = digits(tmp_path / "images"), [], StreamedEngine._streamed_steps
    monkeypatch.setattr(StreamedEngine, "_streamed_steps", lambda *a: traced.append(1) or trace(*a))
    words = [*CLASSES, "data=folder", f"data.path={root}", f"paths.data={tmp_path}"]
    words += ["data.mapped=true", "training.epochs=2", "training.batch_size=16"]
    programs.forget()
    for seed in range(3):
        kexp.run(*words, f"paths.results={tmp_path / 'r'}", f"seed={seed}", quiet=True)
    ((_, program),) = programs._kept.items()
    assert len(traced) == program.engine.traces == 2  # of full batches, and of the smaller last one


LARGE = """
    import pathlib, sys, threading, time, kexp

    def anonymous():
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

    peak = 0.0

    def watch():
        global peak
        while True:
            peak = max(peak, anonymous())
            time.sleep(0.005)

    threading.Thread(target=watch, daemon=True).start()
    peaks = []
    for size in ("small", "large"):
        peak = anonymous()
        kexp.run(
            "task=mnist_convnet", "model=linear", "optimizer=sgd", "data=folder",
            f"data.path={sys.argv[1]}/{size}", "data.mapped=true", f"paths.data={sys.argv[1]}",
            f"paths.results={sys.argv[1]}/results", "training.epochs=2", "training.batch_size=8",
            quiet=True,
        )
        peaks.append(peak)
    print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_mapped_data(tmp_path: Path) -> None:
    """Of 560 MB more of images than in the run before, less than 100 MiB more are held."""
    pixels = RNG.integers(0, 256, 1_000_000, np.uint8)
    for size, count in (("small", 40), ("large", 600)):
        for i in range(count):
            place = tmp_path / size / "ab"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            pixels[:4] = np.frombuffer(np.uint32(i).tobytes(), np.uint8)
            (place / f"{i}.pgm").write_bytes(b"P5 1000 1000 255\n" + pixels.tobytes())
    said, shown = python(LARGE, tmp_path).communicate()
    assert said, shown
    sizes = sorted(file.stat().st_size for file in (tmp_path / ".mapped").glob("*.raw"))
    assert sizes == [40_000_000, 600_000_000]
    assert float(said) < 100
