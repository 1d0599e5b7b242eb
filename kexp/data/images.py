"""Image files as uint8 arrays, read with Pillow: PNG, JPEG, GIF, TIFF, BMP, WebP and PPM.

What is not plain 8-bit grey or RGB is converted, and a `KexpDataWarning` says so, once per kind:

    transparency (RGBA, LA, palette)  laid on white
    CMYK                              converted to RGB, without a colour profile
    16 bits, grey (0 to 65535)        divided by 257 and rounded, so that 65535 becomes 255
    16 bits, colour                   the 8 bits that Pillow reads (the high ones, in PPM rounded):
                                      at most one grey level from the rounded value
    several frames or pages           the first one

Without a warning: the EXIF orientation is applied, a palette is looked up, black and white become
0 and 255, RGB becomes grey as ITU-R 601 luma (Pillow's "L"), grey becomes RGB by repetition.

Refused: floating-point images and integers outside 0 to 65535, because their range is unknown;
images of more than `MAX_PIXELS`, from the header, before a pixel is decoded; and damaged files.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kexp.errors import DataError, KexpError

Colour = Literal["grey", "rgb"]

FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM")
SUFFIXES = frozenset(
    ".png .jpg .jpeg .gif .tif .tiff .bmp .webp .ppm .pgm .pbm .pnm".split(),
)
"""Endings, in lower case, of the files that count as images."""

MAX_PIXELS = 100_000_000
"""Largest width × height that is decoded; at 4 bytes a pixel this bounds an image to 400 MB."""

ORIENTATION, TURNED = 0x0112, range(2, 9)
"""The EXIF tag of how an image is stored, and its values for one that is turned or mirrored."""

TRANSPARENT = "with transparency, laid on white"
CMYK = "in CMYK, converted to RGB"
DEEP_GREY = "of 16 bits, divided by 257 and rounded to 8 bits"
DEEP_COLOUR = "of 16 bits a channel, reduced to the high 8 bits"
FRAMES = "with several frames or pages, of which the first is used"


class KexpDataWarning(UserWarning):
    """Data were converted or left out; the text says what, how many and the first names."""


class _Refused(Exception):
    """Why one file cannot be used."""


def read_images(files: Sequence[Path], colour: Colour, side: int | None = None) -> list[np.ndarray]:
    """The images as uint8 arrays (h, w, 1) for "grey" or (h, w, 3) for "rgb", values 0 to 255.

    With `side` each is cut to its central square and resized (bicubic) to side × side pixels.
    All files that cannot be used are named in one `DataError`.
    """
    return list(decoded(files, colour, side))


def decoded(
    files: Sequence[Path], colour: Colour, side: int | None, upright: str = ""
) -> Iterator[np.ndarray]:
    """The same, one image at a time; faults and warnings come after the last.

    `upright` names what fits each image pixel by pixel as it is stored: then one that EXIF says is
    stored turned or mirrored is a fault.
    """
    faults: list[str] = []
    notes: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's: what matters becomes a fault or a note
                image = _read(file, colour, side, notes, upright)
        except KexpError:  # a signal's, not the file's
            raise
        except Exception as error:  # in Pillow a damaged file can raise almost anything
            faults.append(f"  {str(file)!r}: {_reason(error)}")
        else:
            yield image
    if faults:
        listed = "\n".join(faults)
        raise DataError(
            f"{len(faults)} of {len(files)} images cannot be used; mend or remove them:\n{listed}"
        )
    for kind, names in notes.items():
        warn_of(f"images {kind}", names)


def luma(images: np.ndarray) -> np.ndarray:
    """RGB images (…, 3), uint8, as grey ones (…, 1): ITU-R 601 luma, bit for bit Pillow's "L"."""
    red, green, blue = np.moveaxis(images.astype(np.uint32), -1, 0)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)[..., None]


def warn_of(what: str, names: Sequence[str]) -> None:
    """Give one `KexpDataWarning`: the count, `what`, and the first three names."""
    first = ", ".join(repr(name) for name in names[:3])
    more = ", …" if len(names) > 3 else ""
    warnings.warn(f"{len(names)} {what}: {first}{more}", KexpDataWarning, stacklevel=3)


def _read(
    file: Path, colour: Colour, side: int | None, notes: dict[str, list[str]], upright: str
) -> np.ndarray:
    if not file.is_file():
        raise _Refused("is not a file")  # opening a named pipe would wait for ever
    if file.stat().st_size == 0:
        raise _Refused("is empty")
    with file.open("rb") as stream:  # by name Pillow maps the file, and scrambles a turned TIFF
        image = Image.open(stream, formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _Refused(f"{width}×{height} pixels are more than {MAX_PIXELS:,}")
        kinds = _kinds(image)
        turn = image.getexif().get(ORIENTATION) if upright else None
        if turn in TURNED:
            raise _Refused(
                f"is stored turned (EXIF orientation {turn}), which {upright} is not; save it "
                "upright"
            )
        ImageOps.exif_transpose(image, in_place=True)
        plain = _plain(image).convert("L" if colour == "grey" else "RGB")
    for kind in kinds:
        notes[kind].append(str(file))
    pixels = np.array(plain if side is None else square(plain, side))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def square(image: Image.Image, side: int) -> Image.Image:
    """The central square, resized. Cut first: else the filter looks beyond the square's edge."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    square = image.crop((left, top, left + short, top + short))
    return square.resize((side, side), Image.Resampling.BICUBIC)


def _kinds(image: Image.Image) -> list[str]:
    """Which conversions the image needs; asked before it is decoded."""
    grey = image.mode.startswith("I")
    found = {
        FRAMES: getattr(image, "n_frames", 1) > 1,
        DEEP_GREY: grey,
        DEEP_COLOUR: _is_deep(image) and not grey,
        TRANSPARENT: image.has_transparency_data and not grey,
        CMYK: image.mode == "CMYK",
    }
    return [kind for kind, holds in found.items() if holds]


def _is_deep(image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel, which the mode of a colour image does not tell."""
    for tile in getattr(image, "tile", ()):
        stored = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if image.format == "PPM" and isinstance(stored[-1], int) and stored[-1] > 255:
            return True  # the largest value
        if ";16" in str(stored[0]):
            return True  # the raw mode
    return False


def _plain(image: Image.Image) -> Image.Image:
    """The image without transparency, 8 bits a channel."""
    if image.mode == "F":
        raise _Refused("holds floating-point pixels of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image if image.mode in ("1", "L", "P") else image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """0 to 65535 as 0 to 255: round(value / 257)."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise _Refused(f"holds integers from {low} to {high}, expected 0 to 65535")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is not an image"
    if isinstance(error, Image.DecompressionBombError):
        return f"is a decompression bomb: more than {MAX_PIXELS:,} pixels"
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    return f"is damaged or cut short ({type(error).__name__}: {error})"
