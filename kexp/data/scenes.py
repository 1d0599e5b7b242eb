"""Scenes made on the spot: rooms with boxes and spheres, and how far away everything is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from kexp.choice import Count, ProperShare, Whole, choice
from kexp.data.base import Collection, DataSet, Examples
from kexp.data.rendering import (
    NOISE_SIDE,
    PATTERNS,
    Box,
    Camera,
    Scene,
    Sphere,
    Surface,
    Texture,
    cross,
    render,
    unit_vector,
)

NEAREST = 0.3
"""Metres: the camera is no nearer to any surface of a scene."""


@choice
class Scenes(DataSet):
    """Rooms with boxes and spheres, drawn at random and rendered, with the exact depth.

    `examples` rooms of 4 to 10 metres with 3 to 7 things in them, which throw shadows under one
    distant light. Where the camera stands and looks, sizes, textures and light are all random, so
    that neither place in the image nor brightness nor size alone tells the depth, which is in
    metres along the optical axis. `draw` numbers the data set: another number is other scenes,
    whatever the seed of the run; a data set of more `examples` begins with those of a smaller one.
    """

    targets: ClassVar[tuple[str, ...]] = ("depth regression",)

    examples: Annotated[int, Field(ge=3)] = 500
    side: Annotated[int, Field(ge=8)] = 64
    draw: Whole = 0
    validation_size: Count | ProperShare = 0.2
    test_size: Count | ProperShare = 0.2

    def load(self, folder: Path) -> Collection:
        """Images, uint8 (n, side, side, 3), and depths in metres, float32 (n, side, side, 1)."""
        made = [render(scene(self.draw, number), self.side) for number in range(self.examples)]
        images, depths = (np.stack(part) for part in zip(*made, strict=True))
        return Collection(Examples(images, depths=depths))

    def where(self, folder: Path) -> str:
        """They are nowhere."""
        return "scenes are made on the spot"


def scene(draw: int, number: int) -> Scene:
    """One scene of a draw."""
    return _Drawing(np.random.default_rng([draw, number, 2])).scene()


class _Drawing:
    """Draws a scene. Distances are in metres."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self._lattice = rng.random((NOISE_SIDE,) * 3)

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return low + (high - low) * self._rng.random()

    def scene(self) -> Scene:
        """A room, the camera in it, and things before the camera."""
        half = np.array([self.between(2, 5), self.between(1.2, 2), self.between(2, 5)])
        turn = self._turn()
        room = Box(np.array([0.0, half[1], 0.0]), half, turn, self._texture(), room=True)
        floor = Box(np.zeros(3), half * np.array([1, 1e-3, 1]), turn, self._texture())
        camera = self._camera(room)
        things = [self._thing(camera) for _ in range(self._rng.integers(3, 8))]
        light = unit_vector(self.between(-1, 1), self.between(0.5, 1.5), self.between(-1, 1))
        return Scene(camera, [room, floor, *things], light, ambient=self.between(0.3, 0.6))

    def _camera(self, room: Box) -> Camera:
        """Somewhere in the room, looking to its middle, more or less, and mostly down."""
        reach = min(room.half[0], room.half[2]) - 2 * NEAREST
        place = self._turn()
        away = reach * self.between(0.6, 1)
        origin = np.array([away * place[0], self.between(0.8, 2), away * place[1]])
        sideways = self.between(-0.35, 0.35)
        ahead = unit_vector(
            -place[0] - sideways * place[1],
            self.between(-0.6, 0.1),
            -place[1] + sideways * place[0],
        )
        level = unit_vector(ahead[2], self.between(-0.1, 0.1), -ahead[0])
        along = level[0] * ahead[0] + level[1] * ahead[1] + level[2] * ahead[2]
        right = unit_vector(*(level - along * ahead))
        return Camera(origin, right, cross(right, ahead), ahead, self.between(0.5, 0.8))

    def _thing(self, camera: Camera) -> Surface:
        """A box or a sphere, mostly on the floor, in the view and clear of the camera."""
        size = self.between(0.15, 0.6)
        depth = NEAREST + 1.8 * size + self.between(0.3, 3.5)
        across = self.between(-0.9, 0.9) * camera.half_width * depth
        x, _, z = camera.origin + depth * camera.ahead + across * camera.right
        above = self.between(0, 1.2) if self._rng.random() < 0.25 else 0.0
        if self._rng.random() < 0.5:
            return Sphere(np.array([x, size + above, z]), size, self._texture())
        half = size * np.array([self.between(0.5, 1), self.between(0.4, 1.2), self.between(0.5, 1)])
        return Box(np.array([x, half[1] + above, z]), half, self._turn(), self._texture())

    def _turn(self) -> tuple[float, float]:
        """Cosine and sine of a random angle."""
        while True:
            x, y = self.between(-1, 1), self.between(-1, 1)
            if 0.01 < x * x + y * y < 1:
                length = float(np.sqrt(x * x + y * y))
                return x / length, y / length

    def _texture(self) -> Texture:
        """A pattern of two colours that differ in brightness or hue."""
        first = np.array([self.between(0.1, 1) for _ in range(3)])
        second = first * self.between(0.25, 0.9)
        second = second + 0.15 * np.array([self.between(-1, 1) for _ in range(3)])
        return Texture(
            kind=list(PATTERNS)[self._rng.integers(len(PATTERNS))],
            first=first,
            second=np.clip(second, 0, 1),
            scale=self.between(0.15, 0.7),
            phase=np.array([self.between(0, NOISE_SIDE) for _ in range(3)]),
            lattice=self._lattice,
        )
