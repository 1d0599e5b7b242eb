"""What every data set has in common: how it is loaded, split, shrunk and corrupted."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kexp.choice import Count, ProperShare, Share, choice
from kexp.data.rows import Rows
from kexp.errors import DataError
from kexp.streams import Streams


@dataclass(frozen=True)
class Examples:
    """Examples of one split.

    `inputs` are images, an array (n, h, w, c), some `Rows` of one or a list of arrays (h, w, c),
    uint8 (or uint16 scaled down, see `kexp.data.images`), or features, float32 of shape (n, d).
    `labels` are class numbers, shape (n,), and `values` numbers to predict, float32 of shape
    (n, 1), where there are any; `expected` is E[y|x] of these where it is known. `depths` are maps
    in metres, float32 of shape (n, h, w, 1), NaN where the depth is unknown. `targets` are what
    the model is trained on where that is not the truth: labels with noise, images, values or depths
    with outliers. `digests` are those of `digest`, of each input, where they are known already.
    """

    inputs: Any
    labels: np.ndarray | None = None
    names: list[str] = field(default_factory=list)
    targets: Any = None
    values: np.ndarray | None = None
    expected: np.ndarray | None = None
    digests: list[bytes] | None = None
    depths: Any = None

    def __len__(self) -> int:
        return len(self.inputs)

    def name(self, number: int) -> str:
        """What to call an example in a message."""
        return self.names[number] if self.names else f"number {number}"

    @property
    def shapes(self) -> np.ndarray:
        """The shape of each input, without reading any: (n, 3) of images."""
        if isinstance(self.inputs, list):
            return np.array([image.shape for image in self.inputs])
        shape = self.inputs.shape[1:]
        return np.broadcast_to(np.array(shape), (len(self), len(shape)))

    @cached_property
    def images(self) -> np.ndarray | Rows:
        """The images that are trained on, outliers and all; of a list one array, made once."""
        images = self.inputs if self.targets is None else self.targets
        return np.stack(images) if isinstance(images, list) else images

    @cached_property
    def unit_images(self) -> np.ndarray:
        """The same as float32 in [0, 1], made once."""
        return np.asarray(self.images).astype(np.float32) / np.float32(255)

    def hashed(self) -> Iterator[bytes]:
        """The digest of each input, one input at a time."""
        return map(digest, self.inputs) if self.digests is None else iter(self.digests)

    def take(self, index: np.ndarray) -> Examples:
        """The examples at `index`, in that order; images are not copied."""
        return Examples(
            inputs=_take(self.inputs, index),
            labels=_take(self.labels, index),
            names=[self.names[i] for i in index] if self.names else [],
            targets=_take(self.targets, index),
            values=_take(self.values, index),
            expected=_take(self.expected, index),
            depths=_take(self.depths, index),
        )


@dataclass(frozen=True)
class Collection:
    """A data set as loaded, with those splits that it brings along itself."""

    train: Examples
    validation: Examples | None = None
    test: Examples | None = None
    classes: list[str] = field(default_factory=list)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over the inputs, labels, values and depths of every split."""
        whole = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            for found in part.hashed() if part else ():
                whole.update(found)
            for truth in (part.labels, part.values, part.depths) if part else ():
                if truth is not None:
                    whole.update(np.ascontiguousarray(truth).data)
        return whole.hexdigest()


@dataclass(frozen=True)
class Splits:
    """Disjoint splits, and the probe: a random subset of train as large as validation."""

    train: Examples
    probe: Examples
    validation: Examples
    test: Examples


@choice
class DataSet:
    """A data set as a config choice.

    `train_size` is the number of training examples (null: all that are left), taken so that a
    larger one holds the smaller. `validation_size` and `test_size` are a number of examples or
    a share of all; they are left alone where the data set brings its own split.
    """

    targets: ClassVar[tuple[str, ...]]
    """Kinds of target (see `kexp.tasks.Task.target`) that it can be used for."""

    inputs: ClassVar[str] = "images"
    """What an input is: one of the `images`, or a row of `features`."""

    train_size: Count | None = None
    validation_size: Count | ProperShare = 0.1
    test_size: Count | ProperShare = 0.2
    label_noise: Share = 0.0
    outliers: Share = 0.0

    def fetch(self, folder: Path) -> None:
        """Make sure that the data are there, downloading if need be; `DataMissing` if not."""
        self.where(folder)

    def where(self, folder: Path) -> str:
        """Where the data are, in words, without fetching anything; `DataMissing` if nowhere."""
        return f"{type(self).__name__.lower()} is embedded in kexp's dependencies"

    def load(self, folder: Path) -> Collection:
        """The data, checked. `folder` is the data directory."""
        raise TypeError(f"{type(self).__name__} must define load(folder)")

    def split(self, collection: Collection, streams: Streams) -> Splits:
        """Train, validation and test splits, and the probe, from the stream `split`."""
        rest = collection.train
        _refuse_twins(collection)
        order = streams.rng("split").permutation(len(rest))
        total, key = len(order), f"data.train_size={self.train_size}"
        test, validation = collection.test, collection.validation
        if test is None:
            count = _count("data.test_size", self.test_size, total)
            test, order = rest.take(order[:count]), order[count:]
        if validation is None:
            count = _count("data.validation_size", self.validation_size, total)
            validation, order = rest.take(order[:count]), order[count:]
        if len(validation) == 0:
            raise DataError(
                f"the validation split is empty (data.validation_size={self.validation_size} of "
                f"{total} examples): overfitting is undefined without one"
            )
        if len(test) == 0:
            raise DataError(f"data.test_size={self.test_size} of {total} leaves no test example")
        if self.train_size is not None and self.train_size > len(order):
            raise DataError(f"{key} is more than the {len(order)} examples left for training")
        if len(order) == 0:
            raise DataError(
                f"no examples are left for training: all {total} went to validation and test"
            )
        train = rest.take(order[: self.train_size])
        train = corrupt(train, self, len(collection.classes), streams)
        chosen = streams.rng("probe").permutation(len(train))[: len(validation)]
        return Splits(train, train.take(np.sort(chosen)), validation, test)


def corrupt(train: Examples, data: DataSet, classes: int, streams: Streams) -> Examples:
    """`train` with label noise or outliers in its targets, as `data` asks for.

    An outlier in an image is a value replaced by a uniform one from 0 to 255; in values it is one
    replaced by a uniform one from 5 standard deviations below their mean to 5 above. In depths it
    is one with a uniform inverse, from that of the 99 % quantile of all known ones to that of 1 %.
    """
    if data.label_noise and train.labels is not None:
        if classes < 2:
            raise DataError("data.label_noise needs two classes or more to flip between")
        noisy = flip_labels(train.labels, data.label_noise, classes, streams.rng("label noise"))
        return dataclasses.replace(train, targets=noisy)
    if data.outliers and train.values is not None:
        rng = streams.rng("outliers")
        return dataclasses.replace(train, targets=replace_values(train.values, data.outliers, rng))
    if data.outliers and train.depths is not None:
        rng = streams.rng("outliers")
        depths = replace_depths(np.asarray(train.depths), data.outliers, rng)
        return dataclasses.replace(train, targets=depths)
    if data.outliers:
        rng = streams.rng("outliers")
        images = [replace_pixels(image, data.outliers, rng) for image in train.inputs]
        targets = images if isinstance(train.inputs, list) else np.stack(images)
        return dataclasses.replace(train, targets=targets)
    return train


def flip_labels(
    labels: np.ndarray, share: float, classes: int, rng: np.random.Generator
) -> np.ndarray:
    """Symmetric label noise: exactly round(share · n) labels become another, uniform class."""
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + rng.integers(1, classes, size=len(chosen))) % classes
    return noisy


def replace_pixels(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """`image` with each value replaced, with probability `share`, by a uniform one (0–255)."""
    uniform = rng.integers(0, 256, size=image.shape).astype(image.dtype)
    return np.where(rng.random(image.shape) < share, uniform, image)


def replace_values(values: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """`values` with each replaced, with probability `share`, by one of uniform mean ± 5 sd."""
    far = 5 * values.std()
    uniform = rng.uniform(values.mean() - far, values.mean() + far, values.shape)
    return np.where(rng.random(values.shape) < share, uniform, values).astype(values.dtype)


def replace_depths(depths: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """`depths` with each known one replaced, with probability `share`, by a uniform inverse one."""
    far, near = 1 / np.nanquantile(depths, (0.99, 0.01))
    noisy = depths.copy()
    for depth in noisy:  # image by image, so that more images leave those before as they are
        uniform = 1 / rng.uniform(far, near, depth.shape)
        chosen = (rng.random(depth.shape) < share) & ~np.isnan(depth)
        depth[chosen] = uniform[chosen]
    return noisy


def _refuse_twins(collection: Collection) -> None:
    """Raise `DataError` where an image is in two parts of the data, pixel for pixel.

    An image file may not be twice in a part that is still to be split either: it could come to be
    in two. Of data without files, only a validation split that they bring themselves is looked at.
    """
    files = bool(collection.train.names)
    if not files and collection.validation is None:
        return
    named = ("train", "validation", "test") if files else ("train", "validation")
    parts = {name: getattr(collection, name) for name in named}
    complete = not files or all(parts.values())
    known: dict[bytes, tuple[str, str]] = {}
    for part, examples in parts.items():
        for number, found in enumerate(examples.hashed() if examples else ()):
            name = examples.name(number)
            where, twin = known.setdefault(found, (part, name))
            if where != part:
                raise DataError(f"{where} and {part} overlap: {twin} and {name} are the same image")
            if twin != name and part == "train" and not complete:
                raise DataError(
                    f"{twin} and {name} are the same image, which could get into training and "
                    "validation; remove one of them"
                )


def digest(image: np.ndarray) -> bytes:
    """SHA-256 of an image's shape and pixels, or of a row of features."""
    found = hashlib.sha256(repr(image.shape).encode())
    found.update(np.ascontiguousarray(image).data)
    return found.digest()


def _count(key: str, size: float, total: int) -> int:
    """A number of examples from a number or a share of `total`."""
    count = size if isinstance(size, int) else round(size * total)
    if count >= total:
        raise DataError(f"{key}={size} leaves nothing for training: there are {total} examples")
    return count


def _take(values: Any, index: np.ndarray) -> Any:
    if values is None:
        return None
    if isinstance(values, np.ndarray) and values.ndim >= 4:
        return Rows(values, np.asarray(index))
    return [values[i] for i in index] if isinstance(values, list) else values[index]
