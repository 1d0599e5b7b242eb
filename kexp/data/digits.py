"""scikit-learn's handwritten digits: always there, no network."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from kexp.choice import Count, ProperShare, choice
from kexp.data.base import Collection, DataSet, Examples


@choice
class Digits(DataSet):
    """1,797 real handwritten digits that ship inside scikit-learn (Alpaydin and Kaynak 1998).

    8×8 pixels with 17 grey levels, enlarged bilinearly to `side` × `side` (28, as in MNIST).
    """

    targets: ClassVar[tuple[str, ...]] = (
        "classification",
        "binary",
        "image regression",
        "projection",
    )

    side: Count = 28
    validation_size: Count | ProperShare = 0.2

    def load(self, folder: Path) -> Collection:
        """The digits as uint8 images of one channel."""
        from skimage.transform import resize
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = resize(digits.images / 16, (1797, self.side, self.side), order=1)
        pixels = np.round(255 * images).astype(np.uint8)[..., None]
        labels = digits.target.astype(np.int32)
        return Collection(Examples(pixels, labels), classes=[str(k) for k in range(10)])
