"""The real MNIST, verified by the hashes of its arrays whatever file they came in."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from kexp.choice import choice
from kexp.data.archive import open_archive
from kexp.data.base import Collection, DataSet, Examples
from kexp.data.download import download
from kexp.errors import DataError, DataMissing

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
URL_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"

IDX_SHA256 = {
    "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of each array in LeCun's idx format (header, then the bytes), uncompressed."""

SHAPES = {"x_train": (60000, 28, 28), "y_train": (60000,), "x_test": (10000, 28, 28)}
SHAPES["y_test"] = (10000,)


@choice
class Mnist(DataSet):
    """MNIST: 70,000 handwritten digits of 28×28 (LeCun et al. 1998), with the official test set.

    Looked for as `mnist.npz` in the data directory, then in Keras's cache, then downloaded.
    Where it cannot be had, `fallback` says which data set takes its place (null: none).
    """

    targets: ClassVar[tuple[str, ...]] = (
        "classification",
        "binary",
        "image regression",
        "projection",
    )

    fallback: Literal["digits"] | None = "digits"

    def fetch(self, folder: Path) -> None:
        """Find or download the file; `DataMissing` says where it was looked for."""
        _fetched(folder)

    def where(self, folder: Path) -> str:
        """The file, or where it would be looked for and put."""
        found = _found(folder)
        if found is None:
            raise DataMissing(f"not on this machine; {_advice(folder)}")
        return str(found)

    def load(self, folder: Path) -> Collection:
        """The 60,000 training and 10,000 test images, verified."""
        path = _fetched(folder)
        arrays = open_archive(path)
        for name, expected in IDX_SHA256.items():
            _verify(path, name, arrays.get(name), expected)
        parts = [
            Examples(arrays[f"x_{part}"][..., None], arrays[f"y_{part}"].astype(np.int32))
            for part in ("train", "test")
        ]
        return Collection(parts[0], test=parts[1], classes=[str(k) for k in range(10)])


def idx_sha256(array: np.ndarray) -> str:
    """SHA-256 of a uint8 array written in the idx format."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return hashlib.sha256(header + array.tobytes()).hexdigest()


def _places(folder: Path) -> list[Path]:
    keras_home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))
    return [folder / "mnist.npz", keras_home / "datasets" / "mnist.npz"]


def _found(folder: Path) -> Path | None:
    return next((place for place in _places(folder) if place.is_file()), None)


def _fetched(folder: Path) -> Path:
    found = _found(folder)
    if found is not None:
        return found
    try:
        return download(URL, _places(folder)[0], URL_SHA256)
    except DataMissing as error:
        raise DataMissing(
            f"MNIST is neither on disk nor to be downloaded ({error}); {_advice(folder)}"
        ) from error


def _advice(folder: Path) -> str:
    looked = " and ".join(str(place) for place in _places(folder))
    return (
        f"looked for {looked}. Put mnist.npz (Keras's file) into the first folder, name another "
        "with KEXP_DATA_DIR or paths.data, or use data=digits, 1,797 real digits that need no "
        "network"
    )


def _verify(path: Path, name: str, array: np.ndarray | None, expected: str) -> None:
    if array is None:
        raise DataError(f"{path} holds no array {name!r}; it is not the MNIST that Keras ships")
    if array.shape != SHAPES[name] or array.dtype != np.uint8:
        raise DataError(
            f"{path}: {name} should be uint8 of shape {SHAPES[name]}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    if name.startswith("y_") and array.max() > 9:
        raise DataError(f"{path}: {name} should be labels 0 to 9, got labels up to {array.max()}")
    if idx_sha256(array) != expected:
        raise DataError(
            f"{path}: {name} is not the real MNIST (SHA-256 {idx_sha256(array)}, expected "
            f"{expected}); remove the file to have it fetched again"
        )
