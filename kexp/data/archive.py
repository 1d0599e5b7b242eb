"""Images in NumPy archives (npz): read without pickles, with faults named."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.lib import format as npy

from kexp.choice import choice
from kexp.data.base import Collection, DataSet, Examples
from kexp.data.download import is_html
from kexp.errors import DataError, DataMissing, KexpError

MAX_BYTES = 4 * 2**30
"""Most bytes that the arrays of one file may take in memory, together."""


@choice
class Archive(DataSet):
    """Images in npz files of the data directory: `train`, and `test` where there is one.

    Every array of a file is one grey image (h, w), or a stack of them (n, h, w), or a stack of
    grey or colour images (n, h, w, 1 or 3); uint8, all grey or all in colour. Arrays of another
    dtype (names, say) are left out.
    """

    targets: ClassVar[tuple[str, ...]] = ("image regression",)

    train: str = "train400.npz"
    test: str | None = None

    def where(self, folder: Path) -> str:
        """The files; `DataMissing` where one of them is not in the data directory."""
        files = [folder / name for name in (self.train, self.test) if name]
        for file in files:
            if not file.is_file():
                raise DataMissing(
                    f"{file} does not exist. Put the file there, or name the folder "
                    "that has it with KEXP_DATA_DIR or paths.data"
                )
        return " and ".join(str(file) for file in files)

    def load(self, folder: Path) -> Collection:
        """The images of both files."""
        self.where(folder)
        train = _images(folder / self.train)
        test = _images(folder / self.test) if self.test else None
        if test and test.inputs[0].shape[-1] != train.inputs[0].shape[-1]:
            raise DataError(f"one of {self.train} and {self.test} is grey, the other in colour")
        return Collection(train, test=test)


def open_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name.

    Object arrays (pickles) are refused, never loaded; so are arrays of more than `MAX_BYTES`
    in all, from their headers, before memory is taken for them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {member: _header(archive, member) for member in archive.namelist()}
            _check(path, headers)
            return {member.removesuffix(".npy"): _array(archive, member) for member in headers}
    except KexpError:
        raise
    except Exception as error:  # zip, zlib and npy readers raise almost anything on damaged bytes
        raise DataError(_not_an_archive(path, error)) from error


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that a member of the archive claims to have."""
    with archive.open(member) as file:
        if npy.read_magic(file) != (1, 0):  # others allow a header of 4 GiB, images need none
            raise ValueError(f"{member} is not in npy format 1.0")
        shape, _, dtype = npy.read_array_header_1_0(file)
    return shape, dtype


def _check(path: Path, headers: dict[str, tuple[tuple[int, ...], np.dtype]]) -> None:
    pickled = [name for name, (_, dtype) in headers.items() if dtype.hasobject]
    if pickled:
        raise DataError(
            f"{path} holds pickled objects, which kexp never loads: {', '.join(pickled)}; "
            "save it again without arrays of dtype object"
        )
    size = sum(math.prod(map(abs, shape)) * dtype.itemsize for shape, dtype in headers.values())
    if size > MAX_BYTES:
        raise DataError(
            f"{path} claims {size / 2**30:,.0f} GiB of arrays, more than the "
            f"{MAX_BYTES / 2**30:g} GiB that kexp takes from one file; split it, or remove it"
        )


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        return npy.read_array(file, allow_pickle=False)


def _not_an_archive(path: Path, error: Exception) -> str:
    if path.is_file() and is_html(path):
        return f"{path} is a web page (HTML), not data; remove it and fetch the file again"
    if isinstance(error, MemoryError):
        return f"{path} does not fit into memory ({error})"
    return f"{path} is damaged, cut short or no npz ({error}); remove it and fetch the file again"


def _images(path: Path) -> Examples:
    images: list[np.ndarray] = []
    names: list[str] = []
    for name, array in open_archive(path).items():
        if array.dtype != np.uint8 or array.ndim not in (2, 3, 4) or array.size == 0:
            continue
        stack = array[None] if array.ndim == 2 else array
        stack = stack[..., None] if stack.ndim == 3 else stack
        images += list(stack)
        names += [f"{name}[{i}]" if len(stack) > 1 else name for i in range(len(stack))]
    expected = "expected uint8 arrays (h, w), (n, h, w), (n, h, w, 1) or (n, h, w, 3)"
    if not images:
        raise DataError(f"{path} holds no images: {expected}")
    channels = {image.shape[-1] for image in images}
    if channels not in ({1}, {3}):
        found = " and ".join(map(str, sorted(channels)))
        raise DataError(f"{path} holds images of {found} channels: {expected}, all grey or all RGB")
    return Examples(images, names=names)
