"""Some rows of an array of images: a view that copies none until it is asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class Rows:
    """The images `base[index]` of an array (n, h, w, c), in that order, with `index` of shape (m,).

    The splits of a data set, of every seed, are rows of one array: so that is in memory once, on
    a device once, or, as a memory map, not in memory at all. An int gives an image, a slice or an
    array gives `Rows` of the same base, `np.asarray` gives the images themselves.
    """

    def __init__(self, base: np.ndarray, index: np.ndarray):
        self.base, self.index = base, index

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, h, w, c)."""
        return (len(self.index), *self.base.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """That of the base."""
        return self.base.dtype

    @property
    def ndim(self) -> int:
        """That of the base."""
        return self.base.ndim

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.base[i] for i in self.index)

    def __getitem__(self, key: Any) -> Any:
        chosen = self.index[key]
        return self.base[chosen] if np.ndim(chosen) == 0 else Rows(self.base, chosen)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows can only become an array by a copy")
        return np.asarray(self.base[self.index], dtype)


def is_mapped(inputs: Any) -> bool:
    """Whether images stay on disk: those of a memory map, as an array, as rows or in a list."""
    array = inputs.base if isinstance(inputs, Rows) else inputs
    return isinstance(array[0] if isinstance(array, list) else array, np.memmap)
