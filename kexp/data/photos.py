"""The photographs that ship inside scikit-image and scikit-learn: always there, no network."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

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
        import skimage.data
        import sklearn.datasets

        first = Path(skimage.data.__file__).parent
        second = Path(sklearn.datasets.__file__).parent / "images"
        files = [first / name for name in SCIKIT_IMAGE] + [second / name for name in SCIKIT_LEARN]
        names = [file.stem for file in files]
        return Collection(Examples(read_images(files, self.colour), names=names))
