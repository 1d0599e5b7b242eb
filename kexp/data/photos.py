"""The photographs that ship inside dependencies: always there, no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from kexp.choice import Count, ProperShare, choice
from kexp.data.base import Collection, DataSet, Examples
from kexp.data.images import Colour, read_images

SCIKIT_IMAGE = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
SCIKIT_LEARN = ("china.jpg", "flower.jpg")


COLOURED = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")

TILE = 128
"""Side of the tiles of photographs in colour, in pixels."""


@choice
class Photos(DataSet):
    """13 real photographs, 300 to 741 pixels a side, that ship inside two dependencies.

    Split by photograph: 3 for test, 2 for validation, 8 for training unless told otherwise.
    """

    targets: ClassVar[tuple[str, ...]] = ("image regression",)

    colour: Colour = "grey"
    validation_size: Count | ProperShare = 2
    test_size: Count | ProperShare = 3

    def load(self, folder: Path) -> Collection:
        """The photographs as uint8 images."""
        files = _files(SCIKIT_IMAGE)
        names = [file.stem for file in files]
        return Collection(Examples(read_images(files, self.colour), names=names))


@choice
class ColourPhotos(DataSet):
    """110 tiles of 128×128 pixels out of 8 real photographs in colour, inside dependencies too.

    The photographs of `data=photos` that are in colour, and one that ships inside Matplotlib.
    Split by tile: 22 for test, 11 for validation, 77 for training unless told otherwise. So what
    is measured are unseen parts of scenes of which other parts were seen. (8 photographs are too
    few to learn from what colour things are in others.)
    """

    targets: ClassVar[tuple[str, ...]] = ("colour regression",)

    def load(self, folder: Path) -> Collection:
        """The tiles as uint8 images (110, 128, 128, 3), photograph by photograph."""
        import matplotlib

        portrait = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
        files = [*_files(COLOURED), portrait]
        tiles: list[np.ndarray] = []
        names: list[str] = []
        for file, image in zip(files, read_images(files, "rgb"), strict=True):
            for top in range(0, image.shape[0] - TILE + 1, TILE):
                for left in range(0, image.shape[1] - TILE + 1, TILE):
                    tiles.append(image[top : top + TILE, left : left + TILE])
                    names.append(f"{file.stem} {top},{left}")
        return Collection(Examples(np.stack(tiles), names=names))


def _files(names: Sequence[str]) -> list[Path]:
    """Photographs of scikit-image by name, and those of scikit-learn."""
    import skimage.data
    import sklearn.datasets

    first = Path(skimage.data.__file__).parent
    second = Path(sklearn.datasets.__file__).parent / "images"
    return [first / name for name in names] + [second / name for name in SCIKIT_LEARN]
