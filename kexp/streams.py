"""Named random streams: everything random in a run is a function of (seed, name, index).

Two runs with the same seed therefore share the split, the batch order, the noise and the
initial weights of every layer they have in common, whatever else differs between them. That
pairing is what makes the effect of a choice a difference within a seed. And because a stream
is computed from its name rather than advanced, a resumed run needs no saved random state.
"""

from __future__ import annotations

import hashlib

import numpy as np


class Streams:
    """The random streams of one seed.

    >>> Streams(0).rng("order", 3).integers(10) == Streams(0).rng("order", 3).integers(10)
    True
    """

    def __init__(self, seed: int):
        self.seed = seed

    def rng(self, name: str, *index: int) -> np.random.Generator:
        """A NumPy generator for the stream `name` (for example `"order"`) at `index`."""
        return np.random.Generator(np.random.Philox(self._sequence(name, index)))

    def integer(self, name: str, *index: int) -> int:
        """A seed in [0, 2**31) for a library that wants one integer."""
        return int(self._sequence(name, index).generate_state(1)[0] >> 1)

    def _sequence(self, name: str, index: tuple[int, ...]) -> np.random.SeedSequence:
        digest = hashlib.sha256(name.encode()).digest()
        words = [self.seed, int.from_bytes(digest[:8], "little"), len(index), *index]
        return np.random.SeedSequence(words)
