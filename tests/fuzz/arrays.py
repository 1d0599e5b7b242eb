"""Files of arrays and images that came from elsewhere."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from kexp.data import Archive, Folder, Mnist
from kexp.data.archive import open_archive
from kexp.data.images import KexpDataWarning
from kexp.errors import KexpError
from kexp.store import RunFolder
from kexp.store.reading import read_examples
from tests.fuzz.harness import Fault, holds
from tests.fuzz.mutations import damaged

NAMES = st.sampled_from(
    "x.npy inputs.npy outputs.npy targets.npy label.npy predicted.npy confidence.npy epoch.npy "
    "model/0.npy x_train.npy ../../x.npy /etc/x.npy C:\\x.npy x x.npy/ .npy é.npy".split()
)
DTYPES = st.sampled_from(
    "|u1 <u2 >i4 <i8 <f4 <f8 >f8 |b1 <c16 |O |S5 <U5 <M8[s] <m8[ns] <f2 <f16 |V8 V0 x".split()
) | st.sampled_from([[("a", "<i4"), ("b", "|O")], [("a", "<i4", (1000, 1000, 1000))], [], None, 7])
SHAPES = st.lists(
    st.sampled_from([0, 1, 2, 3, 8, 28, 1000, -1, 2**31, 2**62, 10**30, 1.5, True]), max_size=4
)
HEADERS = st.sampled_from(
    [
        b"",
        b"{",
        b"{}",
        b"[" * 1000,
        b"{'descr': '|u1'}",
        b"__import__('os').system('x')",
        b"\0" * 99,
    ]
)
SIZES = st.sampled_from([0, 1, 24, 192, 6272])


@st.composite
def _member(draw: st.DrawFn) -> bytes:
    """The bytes of an array whose header may lie."""
    if draw(st.integers(0, 3)) == 0:
        file, dtype = io.BytesIO(), draw(st.sampled_from(["u1", "f4", "i8", "U3", "?", "f8"]))
        shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 8]), max_size=5))
        np.save(file, np.zeros(shape, dtype))
        return file.getvalue()
    version = draw(st.sampled_from([(1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9)]))
    shape = tuple(draw(SHAPES))
    order = draw(st.sampled_from([False, True, None]))
    header = repr({"descr": draw(DTYPES), "fortran_order": order, "shape": shape}).encode()
    header = draw(st.one_of(st.just(header), st.just(header), HEADERS))
    length = draw(st.sampled_from([len(header)] * 5 + [0, 65535, 2**31])) % 2 ** (
        32 if version[0] > 1 else 16
    )
    sized = struct.pack("<H" if version == (1, 0) else "<I", length)
    return b"\x93NUMPY" + bytes(version) + sized + header + bytes(draw(SIZES))


@st.composite
def _archives(draw: st.DrawFn) -> bytes:
    """A zip file of such members, some of them twice, compressed or not."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        for name in draw(st.lists(NAMES, max_size=4)):
            how = draw(
                st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
            )
            archive.writestr(name, draw(_member()), how)
    return file.getvalue()


ARRAYS = _archives() | _archives().flatmap(damaged) | st.binary(max_size=40)


def _bomb() -> bytes:
    """256 MiB of zeros in a quarter of a MiB, said to be few."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "|u1", "fortran_order": False, "shape": (2, 8, 8)}
            )
            for _ in range(256):
                member.write(bytes(2**20))
    return file.getvalue()


@holds(ARRAYS, few=40, known=(_bomb(),))
def arrays_of_a_data_set(case: bytes, folder: Path) -> None:
    """Are numbers, or a `DataError`: as a file of arrays, of images and of MNIST."""
    (folder / "mnist.npz").write_bytes(case)
    for read in (
        lambda: open_archive(folder / "mnist.npz"),
        lambda: Archive(train="mnist.npz", test=None).load(folder),
        lambda: Mnist().load(folder),
    ):
        try:
            read()
        except KexpError:
            continue


def _headed(header: bytes) -> bytes:
    """An archive of one array with this header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    return file.getvalue()


FOUND = (
    b"{",
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (1.5,)}",
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (4611686018427387904,)}",
)
"""Headers that were faults once."""


@holds(ARRAYS, few=40, known=(_bomb(), *map(_headed, FOUND)))
def arrays_of_a_run(case: bytes, folder: Path) -> None:
    """Are numbers, or a problem in words: examples to look at, and a state to go on from."""
    file = folder / "run" / "checkpoint" / "state.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(case)
    arrays, problem = read_examples(file)
    if not all(isinstance(a, np.ndarray) and a.dtype.kind in "buif" for a in arrays.values()):
        raise Fault(f"other than numbers: {arrays}")
    try:
        RunFolder(folder / "run").load_checkpoint()
    except KexpError:
        pass


MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "gif": ("L", "P"),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "YCbCr"),
    "bmp": ("1", "L", "P", "RGB"),
    "webp": ("RGB", "RGBA"),
    "ppm": ("1", "L", "RGB", "I;16"),
}


@st.composite
def _pictures(draw: st.DrawFn) -> tuple[str, bytes]:
    """Ending and bytes of an image of a format, some of them changed."""
    ending = draw(st.sampled_from(list(MODES)))
    mode = draw(st.sampled_from(MODES[ending]))
    size = draw(st.sampled_from([(1, 1), (3, 2), (17, 16), (64, 1)]))
    options: dict[str, Any] = {}
    if (
        ending in ("gif", "webp", "png", "tiff")
        and draw(st.booleans())
        and mode in ("L", "RGB", "P")
    ):
        options = {"save_all": True, "append_images": [Image.new(mode, size)] * 2}
    if ending in ("jpg", "png", "webp", "tiff") and draw(st.booleans()):
        exif = Image.Exif()
        exif[274] = draw(st.sampled_from([1, 3, 6, 8, 0, 99]))
        options["exif"] = exif
    if ending in ("jpg", "png", "tiff", "webp") and draw(st.booleans()):
        options["icc_profile"] = draw(st.binary(max_size=40))
    if ending == "tiff":
        options["compression"] = draw(
            st.sampled_from([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
        )
    file = io.BytesIO()
    try:
        Image.new(mode, size, None).save(file, {"jpg": "jpeg"}.get(ending, ending), **options)
    except (ValueError, OSError, KeyError, SystemError, RuntimeError):
        Image.new("L", size).save(file, {"jpg": "jpeg"}.get(ending, ending))
    data = file.getvalue()
    content = draw(st.one_of(st.just(data), damaged(data), damaged(data), _lying(ending, data)))
    return draw(st.sampled_from([ending] * 5 + list(MODES))), content


@st.composite
def _lying(draw: st.DrawFn, ending: str, data: bytes) -> bytes:
    """An image whose header says another size, the checksum of a PNG's mended."""
    number = draw(st.sampled_from([0, 1, 9, 1000, 10_000, 65_535, 2**31 - 1, 2**32 - 1]))
    changed = bytearray(data)
    if ending == "png":
        at = 16 + 4 * draw(st.integers(0, 1))
        changed[at : at + 4] = struct.pack(">I", number)
        changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
        return bytes(changed)
    at = draw(st.integers(0, min(len(data) - 1, 60)))
    packed = struct.pack(draw(st.sampled_from("<I >I".split())), number)
    changed[at : at + 4] = packed
    return bytes(changed)


@holds(
    st.tuples(
        st.lists(_pictures(), min_size=1, max_size=3),
        st.sampled_from(["grey", "rgb"]),
        st.sampled_from([None, 4]),
    ),
    few=30,
)
def images_of_a_folder(case: tuple[list[tuple[str, bytes]], Any, int | None], folder: Path) -> None:
    """Are 8-bit images, or a `DataError` that names them."""
    pictures, colour, side = case
    (folder / "photos").mkdir()
    for number, (ending, content) in enumerate(pictures):
        (folder / "photos" / f"{number}.{ending}").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KexpDataWarning)
        try:
            found = Folder(path=str(folder / "photos"), colour=colour, side=side).load(folder)
        except KexpError:
            return
    for image in found.train.inputs:
        if image.dtype != np.uint8 or image.shape[-1] != (1 if colour == "grey" else 3):
            raise Fault(f"an image of {image.dtype} {image.shape}")
