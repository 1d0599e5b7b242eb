"""The user's own images with depth maps, in two folders beside each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection as CollectionOf
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from kexp.choice import Count, Positive, choice
from kexp.data.base import Collection, DataSet, Examples
from kexp.data.folder import Listing, found_folder
from kexp.data.images import MAX_PIXELS, SUFFIXES, decoded, square
from kexp.errors import ConfigError, DataError

IMAGES, DEPTHS = "images", "depths"
DEPTH_SUFFIXES = (".npy", ".png")
SIXTEEN_BITS = ("I;16", "I;16B", "I")
"""The modes in which Pillow reads a PNG with 16 bits a pixel."""


class _Refused(Exception):
    """Why one depth map cannot be used."""


@choice
class DepthFolder(DataSet):
    """Images in `path/images` and their depths in `path/depths`, in files of the same name.

    Only the endings differ: `images/desk.jpg` belongs to `depths/desk.png` or `depths/desk.npy`. A
    PNG holds 16 bits a pixel, depth in units of `depth_scale` metres; an .npy file holds floating-
    point numbers, in metres, of shape (h, w) or (h, w, 1). 0, NaN and ∞ say that the depth of a
    pixel is unknown. An image and its depth have one size, and the image is stored upright. Both
    are cut to the central square and brought to side × side pixels, colours by bicubic resampling
    and depths by those at the centres of the new pixels, so that none is made up between two
    surfaces; `side=null` keeps the size, of which there may be only one then. Split by file.
    """

    targets: ClassVar[tuple[str, ...]] = ("depth regression",)

    path: str = ""
    side: Count | None = 64
    depth_scale: Positive = 0.001

    def where(self, folder: Path) -> str:
        """The folder found; `DataMissing` where there is none."""
        return str(self._find(folder))

    def load(self, folder: Path) -> Collection:
        """Images, uint8 (n, h, w, 3), and depths in metres, float32 (n, h, w, 1), NaN: unknown.

        Files that cannot be used are named together in one `DataError`, images before depths.
        """
        root = self._find(folder)
        pairs, faults = _pairs(root)
        images, depths = [], []
        read = decoded([image for image, _ in pairs], "rgb", None, upright="its depth")
        for pixels, (_, file) in zip(read, pairs, strict=True):
            try:
                depth = self._depth(file, pixels.shape[:2])
            except (_Refused, OSError, ValueError, SyntaxError) as error:
                faults.append(f"  {str(file)!r}: {error}")
                continue
            images.append(pixels if self.side is None else self._square(pixels))
            depths.append(depth)
        if faults:
            listed = "\n".join(faults)
            raise DataError(f"{len(faults)} files cannot be used; mend or remove them:\n{listed}")
        _check_one_size(images)
        names = [image.relative_to(root).as_posix() for image, _ in pairs]
        return Collection(Examples(np.stack(images), names=names, depths=np.stack(depths)))

    def _find(self, folder: Path) -> Path:
        if not self.path:
            raise ConfigError(
                f"data=depth_folder needs data.path=DIR, a folder with {IMAGES} and {DEPTHS} in it"
            )
        root = found_folder(self.path, folder)
        missing = [name for name in (IMAGES, DEPTHS) if not (root / name).is_dir()]
        if missing:
            raise DataError(
                f"data.path={self.path!r} must hold the folders {IMAGES!r} and {DEPTHS!r}: there "
                f"is no {' and no '.join(map(repr, missing))} in {str(root)!r}"
            )
        return root

    def _square(self, pixels: np.ndarray) -> np.ndarray:
        assert self.side is not None
        return np.array(square(Image.fromarray(pixels), self.side))

    def _depth(self, file: Path, shape: tuple[int, ...]) -> np.ndarray:
        """The depth map for an image of a shape (h, w). Raises `_Refused`."""
        if file.stat().st_size == 0:
            raise _Refused("is empty")
        is_png = file.suffix.lower() == ".png"
        metres = _read_png(file) * self.depth_scale if is_png else _read_npy(file)
        if metres.shape != shape:
            found, expected = (f"{h}×{w}" for h, w in (metres.shape, shape))
            raise _Refused(f"has {found} pixels, but its image has {expected}")
        with np.errstate(over="ignore"):
            metres = metres.astype(np.float32)
        metres = np.where((metres == 0) | np.isinf(metres), np.float32(np.nan), metres)
        if (metres < 0).any():
            raise _Refused(f"holds negative depths, such as {np.nanmin(metres):g}")
        metres = metres if self.side is None else _centres(metres, self.side)
        if np.isnan(metres).all():
            where = "" if self.side is None else " in the central square"
            raise _Refused(f"has no pixel of known depth{where}: all are 0, NaN or infinite")
        return metres[..., None]


def _pairs(root: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Image and depth files of one stem, sorted by it, and a line for each file left over."""
    images, folders = _by_stem(root, IMAGES, SUFFIXES)
    depths, more = _by_stem(root, DEPTHS, DEPTH_SUFFIXES)
    both = sorted(images.keys() & depths.keys())
    if not both:
        deeper = (folders and not images) or (more and not depths)
        must = f"; images must lie directly in {IMAGES!r}, and depths in {DEPTHS!r}"
        raise DataError(
            f"no image in {str(root / IMAGES)!r} has a depth of the same name in "
            f"{str(root / DEPTHS)!r}: expected NAME.png or NAME.npy for NAME.jpg, say"
            + (must if deeper else "")
        )
    faults = [
        *_left_over(images, depths, f"has no depth {DEPTHS}/{{0}}.png or {DEPTHS}/{{0}}.npy"),
        *_left_over(depths, images, f"has no image {IMAGES}/{{0}}.*"),
    ]
    return [(images[stem][0], depths[stem][0]) for stem in both], faults


def _by_stem(
    root: Path, name: str, suffixes: CollectionOf[str]
) -> tuple[dict[str, list[Path]], list[Path]]:
    """The files of a subfolder by their names without ending, and the folders passed over."""
    listing = Listing(root, suffixes, name)
    found: defaultdict[str, list[Path]] = defaultdict(list)
    folders, files = listing.entries(root / name)
    for file in files:
        found[file.stem].append(file)
    listing.skip(f"folders in {name}", folders)
    listing.close()
    return found, folders


def _left_over(files: dict, partners: dict, why: str) -> Iterator[str]:
    for stem, same in sorted(files.items()):
        if len(same) > 1:
            yield f"  {str(same[1])!r}: has the same name as {same[0].name}"
        if stem not in partners:
            yield f"  {str(same[0])!r}: {why.format(stem)}"


def _read_png(file: Path) -> np.ndarray:
    """A PNG's values, shape (h, w)."""
    with file.open("rb") as stream:
        image = Image.open(stream, formats=("PNG",))
        if image.width * image.height > MAX_PIXELS:
            raise _Refused(f"{image.width}×{image.height} pixels are more than {MAX_PIXELS:,}")
        if image.mode not in SIXTEEN_BITS:
            raise _Refused(f"must have 16 bits a pixel and one channel, got the mode {image.mode}")
        return np.asarray(image).astype(np.float64)


def _read_npy(file: Path) -> np.ndarray:
    """An array's values, shape (h, w)."""
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    if array.dtype.kind != "f" or array.size > MAX_PIXELS:
        raise _Refused(
            f"must hold floating-point numbers, {MAX_PIXELS:,} at most, in metres, got "
            f"{array.size:,} of {array.dtype}"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise _Refused(f"must have the shape (h, w) or (h, w, 1), got {array.shape}")
    return np.asarray(array, np.float64)


def _centres(depth: np.ndarray, side: int) -> np.ndarray:
    """The central square of (h, w) as side × side of its pixels, those at the new ones' centres."""
    short = min(depth.shape)
    at = ((2 * np.arange(side) + 1) * short) // (2 * side)
    top, left = ((size - short) // 2 for size in depth.shape)
    return depth[top + at[:, None], left + at]


def _check_one_size(images: list[np.ndarray]) -> None:
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        some = ", ".join(f"{h}×{w}" for h, w in sizes[:4])
        raise DataError(
            f"images must have one size, got {some}; data.side=64 brings them to 64×64 pixels"
        )
