"""Images decoded once into a file of the data directory, and mapped from there into memory.

A memory map holds what is being read and no more, and all processes of a machine share it. So
data may be larger than memory, and a file is decoded once and not by every run.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from filelock import FileLock

from kexp.data.archive import open_archive
from kexp.data.base import digest
from kexp.data.images import Colour, KexpDataWarning, decoded
from kexp.errors import DataError
from kexp.store.atomic import TEMPORARY, replacing, write_arrays

FORMAT = 1
"""To be raised with any change to what is decoded or how it is kept."""

ABANDONED = 24 * 3600.0
"""Seconds after which nobody is writing an unfinished file any more."""


@dataclass(frozen=True)
class MappedImages:
    """Memory-mapped images, an array (n, h, w, c) if all have one shape, else a list of (h, w, c).

    `digests` has the digest of each.
    """

    images: Any
    digests: list[bytes]


def mapped_images(
    files: Sequence[Path], colour: Colour, side: int | None, folder: Path
) -> MappedImages:
    """The images that `read_images` reads, mapped from `folder`, and its warnings.

    They are decoded, file by file, where they are not there, no longer what the files are, or
    damaged. `<key>.raw` there has the pixels of all images, one after the other, and `<key>.npz`
    their shapes (n, 3), SHA-256 digests (n, 32) and what was warned of.
    """
    pixels = folder / f"{_key(files, colour, side)}.raw"
    found = _opened(pixels)
    if found is None:
        with _alone(pixels):
            found = _opened(pixels)
            if found is None:
                _make(pixels, files, colour, side)
                found = _opened(pixels)
    if found is None:
        raise DataError(f"{pixels} is not what was written to it: is the disk in order?")
    return found


def _key(files: Sequence[Path], colour: Colour, side: int | None) -> str:
    """What names the images: where the files are, when they changed, and how they are decoded.

    A time of modification can be set at will; that of the last change (ctime) cannot.
    """
    how = hashlib.sha256(repr((FORMAT, PIL.__version__, colour, side)).encode())
    for file in files:
        with contextlib.suppress(OSError):  # what cannot be read is told when it is decoded
            found = file.stat()
            stamp = (str(file.absolute()), found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            how.update(repr(stamp).encode())
    return how.hexdigest()[:32]


@contextlib.contextmanager
def _alone(pixels: Path) -> Iterator[None]:
    """Keep other processes from decoding the same at the same time; a fault of the disk is told."""
    try:
        pixels.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(pixels.with_suffix(".lock")):
            _clear(pixels.parent)
            yield
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot write {pixels}: {why}; data.mapped=true keeps the decoded images there: "
            "make room, name another data directory (paths.data, KEXP_DATA_DIR), or use "
            "data.mapped=false"
        ) from error


def _clear(folder: Path) -> None:
    """Remove what processes left behind that were killed, a day ago or more."""
    for file in folder.glob(TEMPORARY):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink()


def _make(pixels: Path, files: Sequence[Path], colour: Colour, side: int | None) -> None:
    """Decode the images into the files. That with the shapes comes last."""
    shapes, digests = [], []
    with warnings.catch_warnings(record=True) as caught, replacing(pixels) as file:
        warnings.simplefilter("always", KexpDataWarning)
        for image in decoded(files, colour, side):
            file.write(np.ascontiguousarray(image).data)
            shapes.append(image.shape)
            digests.append(np.frombuffer(digest(image), np.uint8))
    index = {"shapes": np.array(shapes), "digests": np.array(digests)}
    said = np.array([str(warning.message) for warning in caught], np.str_)
    write_arrays(pixels.with_suffix(".npz"), {**index, "warnings": said})


def _opened(pixels: Path) -> MappedImages | None:
    """The images, each of which is what was written; None where that is not so."""
    try:
        index = open_archive(pixels.with_suffix(".npz"))
        shapes, digests = index["shapes"], [row.tobytes() for row in index["digests"]]
        if not _are_there(pixels, shapes, digests):
            return None
        every = np.memmap(pixels, np.uint8, "r")
    except (DataError, OSError, KeyError, ValueError):
        return None
    for text in index["warnings"].tolist():
        warnings.warn(text, KexpDataWarning, stacklevel=4)
    if (shapes == shapes[0]).all():
        return MappedImages(every.reshape(-1, *shapes[0]), digests)
    ends = np.cumsum(shapes.prod(axis=1))
    parts = np.split(every, ends[:-1])
    return MappedImages([p.reshape(s) for p, s in zip(parts, shapes, strict=True)], digests)


def _are_there(pixels: Path, shapes: np.ndarray, digests: list[bytes]) -> bool:
    """Whether the file holds these images and no more.

    It is read, as a disk that cannot be read would end a process that maps it.
    """
    with pixels.open("rb") as file:
        for shape, expected in zip(shapes, digests, strict=True):
            image = np.fromfile(file, np.uint8, int(shape.prod())).reshape(shape)
            if digest(image) != expected:
                return False
        return not file.read(1)
