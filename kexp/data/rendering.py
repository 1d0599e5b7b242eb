"""Pictures of rooms with boxes and spheres, and the depth of every pixel: a small ray caster.

World coordinates are in metres: X to the right, Y up, Z ahead; the floor is Y = 0. All vectors
have their three components first, shape (3, …). A ray is `origin + t · direction`, where the
direction's part along the camera's axis is 1: so t is the depth of what it meets, measured along
the optical axis, not along the ray.

There are only sums, products, quotients and square roots, component by component: no machine
rounds those otherwise, and a scene is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

NOISE_SIDE = 16
LIFT = 1e-4
"""Metres from a surface at which its shadow rays start, so that it does not shade itself."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at `origin` with orthonormal axes, each (3,).

    Its view reaches `half_width` to each side at depth 1: the tangent of half the angle of view.
    """

    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    ahead: np.ndarray
    half_width: float

    def rays(self, side: int) -> np.ndarray:
        """Directions through the pixels' centres, from the top left, shape (3, side, side)."""
        at = ((2 * np.arange(side) + 1) / side - 1) * self.half_width
        across, along = at[None, None, :], at[None, :, None]
        right, down, ahead = (axis[:, None, None] for axis in (self.right, self.down, self.ahead))
        return ahead + across * right + along * down


@dataclass(frozen=True)
class Texture:
    """Two colours (3,), mixed by a pattern that fills space, of `scale` metres from `phase` on."""

    kind: str
    first: np.ndarray
    second: np.ndarray
    scale: float
    phase: np.ndarray
    lattice: np.ndarray

    def colour(self, points: np.ndarray) -> np.ndarray:
        """The colours of points (3, n), in [0, 1], shape (3, n)."""
        weight = PATTERNS[self.kind](points / self.scale + self.phase[:, None], self.lattice)
        return self.first[:, None] * (1 - weight) + self.second[:, None] * weight


def checks(at: np.ndarray, _lattice: np.ndarray) -> np.ndarray:
    """0 or 1 in cubes of side 1."""
    cell = np.floor(at)
    return (cell[0] + cell[1] + cell[2]) % 2


def stripes(at: np.ndarray, _lattice: np.ndarray) -> np.ndarray:
    """0 or 1 in layers of thickness 1, all of them oblique."""
    return np.floor(at[0] + 0.5 * at[1] + 0.25 * at[2]) % 2


def clouds(at: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Values of a periodic lattice (16, 16, 16), joined smoothly (Perlin's value noise)."""
    cell = np.floor(at)
    low = cell.astype(np.int64) % NOISE_SIDE
    high = (low + 1) % NOISE_SIDE
    t = at - cell
    t = t * t * (3 - 2 * t)

    def along_x(y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return lattice[low[0], y, z] * (1 - t[0]) + lattice[high[0], y, z] * t[0]

    def along_y(z: np.ndarray) -> np.ndarray:
        return along_x(low[1], z) * (1 - t[1]) + along_x(high[1], z) * t[1]

    return along_y(low[2]) * (1 - t[2]) + along_y(high[2]) * t[2]


def plain(at: np.ndarray, _lattice: np.ndarray) -> np.ndarray:
    """0 everywhere."""
    return np.zeros_like(at[0])


PATTERNS = {"checks": checks, "stripes": stripes, "clouds": clouds, "plain": plain}


class Surface(Protocol):
    """What a ray can meet."""

    @property
    def texture(self) -> Texture:
        """What it looks like."""
        ...

    def meet(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The smallest t > 0 of each ray at which it meets the surface; ∞ where it does not."""
        ...

    def normal(self, points: np.ndarray) -> np.ndarray:
        """Outward unit normals at points (3, n) of the surface, shape (3, n)."""
        ...


@dataclass(frozen=True)
class Sphere:
    """A sphere of `centre` (3,) and `radius` in metres."""

    centre: np.ndarray
    radius: float
    texture: Texture

    def meet(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The nearer root of |origin + t · direction − centre|² = radius²."""
        away = origin - _as(self.centre, origin)
        a, half = dot(direction, direction), dot(away, direction)
        inside = half * half - a * (dot(away, away) - self.radius**2)
        t = (-half - np.sqrt(np.maximum(inside, 0))) / a
        return np.where((inside > 0) & (t > 0), t, np.inf)

    def normal(self, points: np.ndarray) -> np.ndarray:
        """From the centre outwards."""
        return (points - self.centre[:, None]) / self.radius


@dataclass(frozen=True)
class Box:
    """A box turned about the vertical, with its `half` extents (3,); `turn` is (cos, sin).

    A `room` is a box seen from inside.
    """

    centre: np.ndarray
    half: np.ndarray
    turn: tuple[float, float]
    texture: Texture
    room: bool = False

    def meet(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Where a ray enters all three pairs of parallel faces; of a room, where it leaves one."""
        half = _as(self.half, origin)
        o = self._turned(origin - _as(self.centre, origin))
        d = self._turned(direction)
        d = np.where(d == 0, 1e-30, d)
        ends = (-half - o) / d, (half - o) / d
        enters = np.maximum.reduce(np.minimum(*ends))
        leaves = np.minimum.reduce(np.maximum(*ends))
        if self.room:
            return leaves
        return np.where((enters <= leaves) & (enters > 0), enters, np.inf)

    def normal(self, points: np.ndarray) -> np.ndarray:
        """That of the face that a point is nearest to."""
        local = self._turned(points - self.centre[:, None]) / self.half[:, None]
        face = np.abs(local).argmax(axis=0) == np.arange(3)[:, None]
        return self._turned(np.where(face, np.sign(local), 0.0), back=True)

    def _turned(self, vectors: np.ndarray, back: bool = False) -> np.ndarray:
        """Vectors in the box's own axes, or `back` from these."""
        (c, s), (x, y, z) = self.turn, vectors
        s = -s if back else s
        return np.stack([c * x + s * z, y, c * z - s * x])


@dataclass(frozen=True)
class Scene:
    """Surfaces, of which the first is the room, under a distant light.

    `light` is the unit vector (3,) towards it; `ambient` is the share of light that is everywhere.
    """

    camera: Camera
    surfaces: Sequence[Surface]
    light: np.ndarray
    ambient: float


def render(scene: Scene, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The image, uint8 (side, side, 3), and the depth in metres, float32 (side, side, 1)."""
    rays = scene.camera.rays(side).reshape(3, -1)
    origin = np.broadcast_to(scene.camera.origin[:, None], rays.shape)
    every = np.stack([surface.meet(origin, rays) for surface in scene.surfaces])
    nearest, depth = every.argmin(axis=0), every.min(axis=0)
    points = origin + depth * rays
    shades = np.empty_like(points)
    for number, surface in enumerate(scene.surfaces):
        seen = np.flatnonzero(nearest == number)
        shades[:, seen] = _shaded(scene, surface, points[:, seen], rays[:, seen])
    pixels = np.rint(255 * np.sqrt(np.clip(shades, 0, 1))).astype(np.uint8)
    image = np.ascontiguousarray(pixels.T).reshape(side, side, 3)
    return image, depth.astype(np.float32).reshape(side, side, 1)


def _shaded(scene: Scene, surface: Surface, points: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Colour times light: ambient, and Lambert's cosine where no object is in the way."""
    normal = surface.normal(points)
    normal = np.where(dot(normal, rays) > 0, -normal, normal)
    light = np.broadcast_to(scene.light[:, None], points.shape)
    cosine = np.maximum(dot(normal, light), 0)
    start = points + LIFT * normal
    for other in scene.surfaces[1:]:
        cosine = np.where(other.meet(start, light) < np.inf, 0, cosine)
    brightness = scene.ambient + (1 - scene.ambient) * cosine
    return surface.texture.colour(points) * brightness


def dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The product of vectors (3, …), shape (…)."""
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def unit_vector(*components: float) -> np.ndarray:
    """The vector (3,) over its length."""
    vector = np.array(components)
    return vector / np.sqrt(dot(vector, vector))


def cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The vector product of two vectors (3,)."""
    (a, b, c), (x, y, z) = one, other
    return np.array([b * z - c * y, c * x - a * z, a * y - b * x])


def _as(vector: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A vector (3,) with as many axes as `like`."""
    return vector.reshape(3, *(1,) * (like.ndim - 1))
