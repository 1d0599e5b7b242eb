"""Depth from a single image: rendered scenes, folders, what is unknown, and how it is measured."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import lsq_linear
from skimage import data as skimage_data

import kexp
from kexp import yardsticks
from kexp.cli import main
from kexp.config.fitting import fitting
from kexp.data import Collection, DepthFolder, Digits, Examples, Scenes, Splits
from kexp.data.base import replace_depths
from kexp.data.images import KexpDataWarning
from kexp.data.rendering import Box, Camera, Scene, Sphere, Texture, render
from kexp.data.scenes import NEAREST, scene
from kexp.errors import DataError, DataMissing
from kexp.losses import Loss, Quadratic, ScaleShiftInvariant
from kexp.streams import Streams
from kexp.tasks import Batch, Depth
from tests.conftest import history, the_run, tiny

FEW = Scenes(examples=12, side=16, validation_size=3, test_size=3)


def splits_of(data: Any) -> Splits:
    task = Depth()
    return task.prepared(data.split(task.adapted(data.load(Path())), Streams(0)))


# Rendering


def texture(value: float = 0.5) -> Texture:
    colour = np.full(3, value)
    return Texture("plain", colour, colour, 1.0, np.zeros(3), np.zeros((16, 16, 16)))


def looking_ahead(*things: Any, wall: float = 10.0, half_width: float = 0.5) -> Scene:
    """A camera 1 m above the floor that looks along Z, in a room 3 m high, lit from above."""
    x, y, z = np.eye(3)
    camera = Camera(y, x, -y, z, half_width)
    room = Box(np.array([0, 1.5, 0]), np.array([wall, 1.5, wall]), (1.0, 0.0), texture(), room=True)
    return Scene(camera, [room, *things], y, ambient=0.4)


def met_by_faces(box: Box, origin: np.ndarray, ray: np.ndarray) -> list[float]:
    """Where a ray crosses the six rectangles of a box, face by face."""
    c, s = box.turn
    axes = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    found = []
    for axis, sign in itertools.product(range(3), (-1, 1)):
        normal = sign * axes[axis]
        through = box.centre + box.half[axis] * normal
        t = float((through - origin) @ normal / (ray @ normal))
        inside = np.abs(axes @ (origin + t * ray - box.centre)) <= box.half * (1 + 1e-9)
        if t > 0 and np.delete(inside, axis).all():
            found.append(t)
    return found


def met(surface: Any, origin: np.ndarray, ray: np.ndarray) -> list[float]:
    """Every t > 0 at which a ray crosses a surface, by formulas other than the renderer's."""
    if isinstance(surface, Box):
        return met_by_faces(surface, origin, ray)
    away = origin - surface.centre
    roots = np.roots([ray @ ray, 2 * ray @ away, away @ away - surface.radius**2])
    return [float(r.real) for r in roots if abs(r.imag) < 1e-12 and r.real > 0]


@pytest.mark.parametrize("number", range(6))
def test_depth_is_that_of_the_nearest_crossing(number: int) -> None:
    made, side = scene(0, number), 24
    depth = render(made, side)[1]
    camera, rng = made.camera, np.random.default_rng(number)
    for row, column in rng.integers(side, size=(40, 2)):
        across, along = (((2 * i + 1) / side - 1) * camera.half_width for i in (column, row))
        ray = camera.ahead + across * camera.right + along * camera.down
        crossings = [t for surface in made.surfaces for t in met(surface, camera.origin, ray)]
        assert depth[row, column, 0] == pytest.approx(min(crossings), rel=1e-5)


def test_depth_is_along_the_optical_axis() -> None:
    """A wall across the view has one depth everywhere; along the rays it would not."""
    depth = render(looking_ahead(wall=4.0, half_width=0.2), 16)[1]
    np.testing.assert_allclose(depth, 4.0, rtol=1e-6)


def test_the_nearest_surface_wins_and_nothing_behind_is_seen() -> None:
    far, near = (Sphere(np.array([0, 1, z]), 0.5, texture()) for z in (5.0, 3.0))
    behind = Sphere(np.array([0, 1, -3.0]), 1.0, texture())
    for things in ((far, near, behind), (near, behind, far)):
        depth = render(looking_ahead(*things), 33)[1]
        assert depth[16, 16, 0] == pytest.approx(2.5, rel=1e-6)
    assert render(looking_ahead(behind), 33)[1][16, 16, 0] == pytest.approx(10.0)


def test_up_is_up_and_right_is_right() -> None:
    box = Box(np.array([1.0, 1.8, 4.0]), np.full(3, 0.3), (1.0, 0.0), texture())
    depth = render(looking_ahead(box, half_width=0.7), 32)[1][..., 0]
    rows, columns = np.nonzero(np.isclose(depth, 3.7))  # of its front
    assert rows.size > 9 and (rows < 16).all() and (columns > 16).all()
    for number in range(20):
        camera = scene(1, number).camera
        axes = np.array([camera.right, camera.down, camera.ahead])
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert camera.down[1] < -0.7 and camera.ahead @ -camera.origin > 0


def test_light_falls_off_with_the_cosine_and_things_throw_shadows() -> None:
    floating = Box(np.array([0, 0.6, 4.0]), np.array([0.5, 0.05, 0.5]), (1.0, 0.0), texture())
    (empty, far), (full, near) = (render(looking_ahead(*t), 64) for t in ((), (floating,)))
    floor, wall = empty[-1, 32, 0], empty[32, 32, 0]
    assert floor == round(255 * 0.5**0.5) and wall == round(255 * (0.4 * 0.5) ** 0.5)
    behind = np.isclose(far, near)[..., 0]
    assert full[-1, 32, 0] == floor and ((full[..., 0] < empty[..., 0]) & behind).any()


# Scenes


def test_scenes_are_the_same_everywhere() -> None:
    assert Scenes(examples=3, side=16).load(Path()).checksum == CHECKSUM
    few, more = (Scenes(examples=n, side=16).load(Path()).train for n in (3, 5))
    assert np.array_equal(few.inputs, more.inputs[:3])
    assert np.array_equal(few.depths, more.depths[:3])
    other = Scenes(examples=3, side=16, draw=1).load(Path()).train
    assert not (few.depths == other.depths).any()


CHECKSUM = "6fe5afcb94aab52ffdf0ef6763f60f1f831c52fae0036703a9da4c9e6f6f2fcf"


def test_depths_of_scenes_are_finite_and_scenes_differ() -> None:
    part = Scenes(examples=60, side=16).load(Path()).train
    assert part.inputs.shape == (60, 16, 16, 3) and part.inputs.dtype == np.uint8
    assert part.depths.shape == (60, 16, 16, 1) and part.depths.dtype == np.float32
    assert np.isfinite(part.depths).all() and NEAREST < part.depths.min() < 1
    assert 5 < part.depths.max() < 15
    assert len(np.unique(part.depths.reshape(60, -1), axis=0)) == 60
    assert (part.inputs.std(axis=(1, 2)) > 2).any(axis=-1).all()


def test_no_single_cue_tells_the_depth() -> None:
    """Neither height in the image nor brightness nor saturation."""
    part = Scenes(examples=60, side=16).load(Path()).train
    inverse, colour = 1 / part.depths[..., 0], part.inputs / 255
    rows = np.broadcast_to(np.arange(16)[:, None], inverse.shape)
    cues = (rows, colour.mean(axis=-1), colour.max(axis=-1) - colour.min(axis=-1))
    assert all(np.corrcoef(cue.ravel(), inverse.ravel())[0, 1] ** 2 < 0.5 for cue in cues)


# A folder


def write(folder: Path, name: str, image: np.ndarray, depth: np.ndarray) -> None:
    """An image and its depth: a PNG of 16 bits, or .npy where the depth is in floats."""
    for part in ("images", "depths"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    if depth.dtype == np.uint16:
        Image.fromarray(depth).save(folder / "depths" / f"{name}.png")
    else:
        np.save(folder / "depths" / f"{name}.npy", depth)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_depths_of_a_folder(tmp_path: Path) -> None:
    depth = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100
    write(tmp_path, "a", noise(4, 6, 3), depth)
    metres = np.array([[np.nan, 1.5], [np.inf, 0.0]])
    write(tmp_path, "b", np.kron(noise(2, 2, 3, seed=1), np.ones((2, 3, 1), np.uint8)), depth)
    np.save(tmp_path / "depths" / "b.npy", np.kron(metres, np.ones((2, 3)))[..., None])
    (tmp_path / "depths" / "b.png").unlink()
    part = DepthFolder(path=str(tmp_path), side=None, depth_scale=0.002).load(tmp_path).train
    assert part.names == ["images/a.png", "images/b.png"]
    assert part.inputs.shape == (2, 4, 6, 3) and part.depths.shape == (2, 4, 6, 1)
    assert part.depths.dtype == np.float32 and np.isnan(part.depths[0, 0, 0, 0])
    np.testing.assert_allclose(part.depths[0].ravel()[1:], 0.2 * np.arange(1, 24), rtol=1e-6)
    known = ~np.isnan(part.depths[1, ..., 0])
    assert known.sum() == 6 and known[:2, 3:].all() and (part.depths[1, ..., 0][known] == 1.5).all()


def test_the_central_square_is_resized_without_mixing_depths(tmp_path: Path) -> None:
    depth = np.arange(1, 73, dtype=np.uint16).reshape(6, 12)
    write(tmp_path, "a", noise(6, 12, 3), depth)
    write(tmp_path, "b", noise(9, 6, 3), np.repeat(depth[:3, :6], 3, axis=0))
    part = DepthFolder(path=str(tmp_path), side=2, depth_scale=1.0).load(tmp_path).train
    assert part.inputs.shape == (2, 2, 2, 3)
    assert part.depths[0, ..., 0].tolist() == [
        [depth[1, 4], depth[1, 7]],
        [depth[4, 4], depth[4, 7]],
    ]
    large = DepthFolder(path=str(tmp_path), side=18, depth_scale=1.0).load(tmp_path).train
    assert np.array_equal(large.depths[0, ::3, ::3, 0], depth[:, 3:9])


def test_all_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    good = np.full((4, 4), 7, np.uint16)
    for seed, name in enumerate(("fine", "size", "none", "minus", "whole", "grey", "bits", "torn")):
        write(tmp_path, name, noise(4, 4, 3, seed=seed), good)
    depths = tmp_path / "depths"
    Image.fromarray(good[:3]).save(depths / "size.png")
    Image.fromarray(0 * good).save(depths / "none.png")
    for name, values in {"minus": -np.ones((4, 4)), "whole": np.ones((4, 4), int)}.items():
        (depths / f"{name}.png").unlink()
        np.save(depths / f"{name}.npy", values)
    Image.fromarray(noise(4, 4)).save(depths / "grey.png")
    Image.fromarray(noise(4, 4, 3)).save(depths / "bits.png")
    (depths / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(noise(4, 4, 3, seed=20)).save(tmp_path / "images" / "alone.png")
    np.save(depths / "lost.npy", np.ones((4, 4)))
    Image.fromarray(noise(4, 4, 3)).save(tmp_path / "images" / "fine.bmp")
    with pytest.raises(DataError) as told:
        DepthFolder(path=str(tmp_path), side=None).load(tmp_path)
    said = str(told.value)
    assert said.startswith("10 files cannot be used; mend or remove them:\n")
    for part in (
        "size.png': has 3×4 pixels, but its image has 4×4",
        "none.png': has no pixel of known depth: all are 0, NaN or infinite",
        "minus.npy': holds negative depths, such as -1",
        "whole.npy': must hold floating-point numbers",
        "grey.png': must have 16 bits a pixel and one channel, got the mode L",
        "bits.png': must have 16 bits a pixel and one channel, got the mode RGB",
        "torn.png': ",
        "alone.png': has no depth depths/alone.png or depths/alone.npy",
        "lost.npy': has no image images/lost.*",
        "fine.png': has the same name as fine.bmp",
    ):
        assert part in said, said
    with pytest.raises(DataError, match="in the central square"):
        write(tmp_path / "edge", "x", noise(2, 6, 3), np.array([[9, 0, 0, 0, 0, 0]] * 2, np.uint16))
        DepthFolder(path=str(tmp_path / "edge"), side=2).load(tmp_path)


def turned(file: Path, orientation: int) -> None:
    """Write an image again, its pixels as they are, with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(file).save(file, exif=exif)


def test_images_stored_turned_are_refused_as_their_depths_are_not(tmp_path: Path) -> None:
    for seed, name in enumerate(("round", "mirror", "fine")):
        write(tmp_path, name, noise(4, 4, 3, seed=seed), np.full((4, 4), 7, np.uint16))
    for name, orientation in {"round": 3, "mirror": 2, "fine": 1}.items():
        turned(tmp_path / "images" / f"{name}.png", orientation)
    (tmp_path / "images" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    np.save(tmp_path / "depths" / "torn.npy", np.ones((4, 4)))
    with pytest.raises(DataError, match="3 of 4 images cannot be used") as told:
        DepthFolder(path=str(tmp_path), side=None).load(tmp_path)
    for name, orientation in {"round": 3, "mirror": 2}.items():
        assert (
            f"{name}.png': is stored turned (EXIF orientation {orientation}), which its depth is "
            "not; save it upright"
        ) in str(told.value)
    assert "torn.png': is" in str(told.value)


def test_what_is_passed_over_is_told(tmp_path: Path) -> None:
    flat = np.full((4, 4), 7, np.uint16)
    for name in ("images", "depths"):
        (tmp_path / name / "kitchen").mkdir(parents=True)
    said = "say; images must lie directly in 'images', and depths in 'depths'"
    with pytest.warns(KexpDataWarning, match="skipped"), pytest.raises(DataError, match=said):
        DepthFolder(path=str(tmp_path)).load(tmp_path)
    write(tmp_path, "a", noise(4, 4, 3), flat)
    for name in ("images", "depths"):
        (tmp_path / name / "notes.txt").write_text("no image")
    with pytest.warns(KexpDataWarning) as caught:
        part = DepthFolder(path=str(tmp_path), side=None).load(tmp_path).train
    assert part.names == ["images/a.png"]
    shown = "\n".join(str(warning.message) for warning in caught)
    for name in ("images", "depths"):
        assert f"1 folders in {name} skipped in " in shown and f"'{name}/kitchen'" in shown
        assert f"1 files that are no {name} skipped in " in shown


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="does not exist"):
        DepthFolder(path=str(tmp_path / "x")).load(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="must hold the folders 'images' and 'depths': .* 'depths'"):
        DepthFolder(path=str(tmp_path)).load(tmp_path)
    (tmp_path / "depths").mkdir()
    with pytest.raises(DataError, match="no image in .* has a depth of the same name"):
        DepthFolder(path=str(tmp_path)).load(tmp_path)
    write(tmp_path, "a", noise(4, 4, 3), np.ones((4, 4), np.uint16))
    write(tmp_path, "b", noise(4, 6, 3), np.ones((4, 6), np.uint16))
    with pytest.raises(DataError, match="one size, got 4×4, 4×6; data.side=64 brings"):
        DepthFolder(path=str(tmp_path), side=None).load(tmp_path)


@pytest.fixture(scope="module")
def motorcycle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real photograph with measured depth, in tiles; of 7 % of its pixels it is unknown."""
    folder = tmp_path_factory.mktemp("motorcycle")
    left, _, disparity = skimage_data.stereo_motorcycle()
    depth = 994.978 * 0.193001 / (disparity + 31.086)  # metres, Middlebury 2014's calibration
    for i, (top, at) in enumerate(itertools.product((0, 160, 320), range(0, 640, 160))):
        cut = np.s_[top : top + 160, at : at + 160]
        write(folder, f"tile{i:02}", left[cut], depth[cut].astype(np.float32))
    return folder


@pytest.mark.parametrize(
    "loss", ["ssi_trimmed", *(pytest.param(o, marks=pytest.mark.slow) for o in ("mse", "ssi"))]
)
def test_a_photograph_of_which_some_depths_are_unknown(
    loss: str, motorcycle: Path, tmp_path: Path
) -> None:
    part = DepthFolder(path=str(motorcycle), side=20).load(tmp_path).train
    unknown = np.isnan(part.depths) | ~np.isfinite(part.depths)
    assert 0.03 < unknown.mean() < 0.15 and 1 < np.nanmin(part.depths) < np.nanmax(part.depths) < 6
    options = ("data=depth_folder", f"data.path={motorcycle}", "data.side=20", f"loss={loss}")
    base = [o for o in tiny("depth", tmp_path, *options) if not o.startswith("data.examples")]
    summary = kexp.run(*base, quiet=True)
    assert all(np.isfinite(v) for split in summary["test"].values() for v in split.values())
    assert len(history(the_run(tmp_path))) == 2


# Yardsticks


def pair(seed: int = 0, shape: tuple[int, ...] = (5, 8, 6, 1)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.uniform(0.1, 1, shape).astype(np.float32)
    prediction = (3 * y + rng.normal(0, 0.5, shape) - 7).astype(np.float32)
    y[rng.random(shape) < 0.2] = np.nan
    return prediction, y


def test_alignment_is_least_squares_over_known_pixels() -> None:
    prediction, y = pair()
    found = yardsticks.aligned_inverse_depth(prediction, y)
    for p, t, aligned in zip(prediction.astype(float), y.astype(float), found, strict=True):
        known = ~np.isnan(t)
        design = np.column_stack([p[known], np.ones(known.sum())])
        (s, shift), *_ = np.linalg.lstsq(design, t[known], rcond=None)
        assert s > 0
        np.testing.assert_allclose(aligned, s * p + shift, rtol=1e-9)


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_the_scale_is_not_negative(scale: float) -> None:
    prediction, y = pair()
    found = yardsticks.aligned_inverse_depth(scale * prediction, y)
    for p, t, aligned in zip(scale * prediction.astype(float), y, found, strict=True):
        known = ~np.isnan(t)
        design = np.column_stack([p[known], np.ones(known.sum())])
        best = lsq_linear(design, t[known], bounds=([0, -np.inf], np.inf), tol=1e-14)
        np.testing.assert_allclose(aligned[known], design @ best.x, rtol=1e-5)


def test_a_constant_prediction_is_the_mean() -> None:
    y = pair()[1]
    for value in (0.0, 0.3, -1e6):
        aligned = yardsticks.aligned_inverse_depth(np.full_like(y, value), y)
        expected = np.nanmean(y.astype(float), axis=(1, 2, 3), keepdims=True)
        np.testing.assert_allclose(aligned, np.broadcast_to(expected, y.shape), rtol=1e-6)


def test_depth_yardsticks_are_their_formulas() -> None:
    prediction, y = pair(3)
    found = Depth().measure([prediction[:2], prediction[2:]], [Batch(y, y[:2]), Batch(y, y[2:])])
    errors, shares = [], []
    aligned = yardsticks.aligned_inverse_depth(prediction, y)
    for inverse, t in zip(aligned, y.astype(float), strict=True):
        near, far = 1 / np.nanmax(t), 1 / np.nanmin(t)
        with np.errstate(divide="ignore"):
            guess = np.where(inverse > 0, 1 / np.maximum(inverse, 1e-300), np.inf)
        guess = np.clip(guess, near / 2, far * 2)[~np.isnan(t)]
        true = 1 / t[~np.isnan(t)]
        errors.append(np.mean(np.abs(true - guess) / true))
        shares.append(np.mean([max(a / b, b / a) < 1.25 for a, b in zip(true, guess, strict=True)]))
    assert found["abs_rel"] == pytest.approx(np.mean(errors), rel=1e-6)
    assert found["delta1"] == pytest.approx(np.mean(shares), rel=1e-9)
    assert 0 < found["abs_rel"] < 1 and 0 < found["delta1"] < 1


def test_a_perfect_prediction_up_to_scale_and_shift() -> None:
    y = pair()[1]
    exact = np.where(np.isnan(y), 55, 4 * y - 3).astype(np.float32)
    measured = Depth().measure([exact], [Batch(exact, y)])
    assert measured["abs_rel"] < 1e-5 and measured["delta1"] == 1
    wrong = exact.copy()
    wrong[0, 0, 0] = np.nan
    y[0, 0, 0] = 0.5
    assert np.isnan(Depth().measure([wrong], [Batch(wrong, y)])["abs_rel"])


# The task


def test_inverse_depth_is_in_the_unit_of_the_training_split() -> None:
    task, raw = Depth(), FEW.split(FEW.load(Path()), Streams(0))
    splits = task.prepared(raw)
    near = np.quantile(np.asarray(raw.train.depths), 0.01)
    for name in ("train", "probe", "validation", "test"):
        expected = near / np.asarray(getattr(raw, name).depths)
        np.testing.assert_allclose(getattr(splits, name).depths, expected, rtol=1e-6)
    assert splits.train.depths.max() == pytest.approx(1, abs=0.3)


def test_images_are_mirrored_with_their_depths() -> None:
    splits, streams = splits_of(FEW), Streams(0)
    data = Depth().epoch(splits.train, streams, 1)
    x, y = np.asarray(splits.train.inputs), splits.train.depths
    turned = [not np.array_equal(a, b) for a, b in zip(data.x, x, strict=True)]
    assert 0 < sum(turned) < len(x)
    for i, mirrored in enumerate(turned):
        step = -1 if mirrored else 1
        assert np.array_equal(data.x[i], x[i][:, ::step])
        assert np.array_equal(data.y[i], y[i][:, ::step])
    again, other = (Depth().epoch(splits.train, streams, epoch) for epoch in (1, 2))
    assert np.array_equal(again.x, data.x) and not np.array_equal(other.x, data.x)
    assert np.array_equal(Depth(augment=False).epoch(splits.train, streams, 1).x, x)


def test_outliers_are_uniform_in_inverse_depth_and_leave_the_unknown() -> None:
    rng = np.random.default_rng(0)
    depths = 1 / rng.uniform(0.1, 1, (10, 40, 40, 1)).astype(np.float32)
    depths[rng.random(depths.shape) < 0.2] = np.nan
    noisy = replace_depths(depths, 0.3, np.random.default_rng(1))
    unknown = np.isnan(depths)
    assert np.array_equal(np.isnan(noisy), unknown) and noisy.dtype == np.float32
    changed = (noisy != depths) & ~unknown
    assert changed[~unknown].mean() == pytest.approx(0.3, abs=0.01)
    inverse = 1 / noisy[changed]
    low, high = 1 / np.nanquantile(depths, (0.99, 0.01))
    assert low <= inverse.min() < inverse.max() <= high * (1 + 1e-6)
    assert inverse.mean() == pytest.approx((low + high) / 2, rel=0.02)
    assert inverse.std() == pytest.approx((high - low) / 12**0.5, rel=0.02)


def test_the_places_of_outliers_are_the_same_whatever_the_number_of_images() -> None:
    rng = np.random.default_rng(0)
    depths = rng.uniform(1, 9, (6, 8, 8, 1)).astype(np.float32)
    depths[rng.random(depths.shape) < 0.2] = np.nan
    few, more = (replace_depths(depths[:n], 0.3, np.random.default_rng(1)) for n in (2, 6))
    places = [(noisy != depths[: len(noisy)]) & ~np.isnan(noisy) for noisy in (few, more)]
    assert places[0].any() and np.array_equal(places[0], places[1][:2])


def test_outliers_are_in_training_alone_and_memorisation_is_told() -> None:
    data = Scenes(examples=12, side=16, validation_size=3, test_size=3, outliers=0.2)
    splits, task = splits_of(data), Depth()
    assert splits.validation.targets is None and splits.test.targets is None
    (batch,) = task.batches(splits.probe, Streams(0), "probe")
    assert (batch.y != batch.truth).mean() == pytest.approx(0.2, abs=0.05)
    scaled = {"followed": 5 * batch.y - 2, "ignored": 0.1 * batch.truth + 3}
    assert task.memorisation([scaled["followed"]], [batch]) > 0.99
    assert task.memorisation([scaled["ignored"]], [batch]) == 0
    (clean,) = task.batches(splits.test, Streams(0), "test")
    assert task.memorisation([clean.y], [clean]) is None


def test_memorisation_where_every_pixel_is_an_outlier_or_unknown() -> None:
    truth = pair()[1]
    y = np.where(np.isnan(truth), np.nan, truth + 0.5)
    fitted = Depth().fitted(truth, y, truth)
    assert fitted.shape == (int((~np.isnan(truth)).sum()),) and not fitted.any()


def test_what_to_beat_is_the_mean_scene(folder: Path) -> None:
    splits, task = splits_of(FEW), Depth()
    batches = task.batches(splits.test, Streams(0), "test")
    mean, same = task.trivial(splits, batches).values()
    np.testing.assert_allclose(mean[0][1], splits.train.depths.mean(axis=0), rtol=1e-5)
    assert len(np.unique(same[0])) == 1
    baselines = kexp.run(*tiny("depth", folder), quiet=True)["baselines"]
    assert list(baselines) == list(task.trivial(splits, batches))
    measured = [values["abs_rel"] for values in baselines.values()]
    assert 0 < measured[0] < measured[1] < 1


def test_the_mean_scene_leaves_out_what_is_unknown() -> None:
    splits = splits_of(FEW)
    inverse = splits.train.depths.copy()
    inverse[0, 3, 4], inverse[:, 5, 6] = np.nan, np.nan
    train = Examples(splits.train.inputs, depths=inverse)
    whole = Splits(train, train, splits.validation, splits.test)
    batches = Depth().batches(splits.test, Streams(0), "test")
    mean = next(iter(Depth().trivial(whole, batches).values()))[0][0]
    np.testing.assert_allclose(mean[3, 4], inverse[1:, 3, 4].mean(), rtol=1e-5)
    np.testing.assert_allclose(mean[5, 6], np.nanmean(inverse), rtol=1e-5)


def test_pictures_are_aligned_and_black_where_unknown() -> None:
    splits = splits_of(FEW)
    truth = splits.test.depths.copy()
    truth[:, 0, 0] = np.nan
    batch = Batch(splits.test.inputs, truth)
    e = Depth().exhibits([7 - 0 * truth + 3 * np.nan_to_num(truth)], [batch])
    assert {a.shape for a in e.values()} == {(3, 16, 16, 3)}
    assert {a.dtype for a in e.values()} == {np.dtype(np.uint8)}
    same = np.abs(e["outputs"][:, 1:].astype(int) - e["targets"][:, 1:])
    assert same.max() <= 1 and (e["targets"][:, 0, 0] == 0).all()
    assert (e["outputs"][:, 0, 0] == 0).all() and e["targets"].max() == 255


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (["data.label_noise=0.1"], "for depths use data.outliers"),
        (["loss=ssim"], "loss=ssim is for image regression, but task=depth is depth regression"),
        (["model=dncnn"], "model can be unet, unet_deep"),
        (["data=photos"], "data can be depth_folder, scenes"),
        (["data=depth_folder"], "data.path must be given"),
        (
            ["data.side=8", "data.examples=9", "model.levels=4"],
            "images of 8×8 are too small for this model",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    choices: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = (f"paths.results={folder / 'results'}", f"paths.data={folder / 'data'}")
    assert main(["run", "task=depth", *choices, *places]) in (1, 2)
    assert said in capsys.readouterr().err


def test_data_without_depths_are_refused() -> None:
    with pytest.raises(DataError, match="have no depths; choose data=scenes or data=depth_folder"):
        Depth().adapted(Digits(side=8).load(Path()))
    images, depths = np.zeros((2, 4, 4, 3), np.uint8), np.ones((2, 4, 4, 1), np.float32)
    depths[1] = np.nan
    with pytest.raises(DataError, match="no depth is known in the example number 1"):
        Depth().adapted(Collection(Examples(images, depths=depths)))
    depths[1] = -1
    with pytest.raises(DataError, match="got -1 to -1 in the example number 1"):
        Depth().adapted(Collection(Examples(images, depths=depths)))
    with pytest.raises(DataError, match="of one size"):
        Depth().adapted(Collection(Examples(images, depths=depths[:, :3])))
    with pytest.raises(ValueError, match=r"2×2 at least, got data\.side=1"):
        Depth().check(DepthFolder(path="x", side=1), ScaleShiftInvariant())


class Plain(Loss):
    """A user's loss that does not say what it is of partly known depths."""

    targets = ("depth regression",)

    def __call__(self, y: Any, y_hat: Any) -> Any:
        return Quadratic()(y, y_hat)


def test_unknown_depths_are_refused_where_the_loss_is_not_of_the_known() -> None:
    task, splits = Depth(), splits_of(FEW)
    depths = splits.test.depths.copy()
    depths[0, 1, 1] = np.nan
    partly = dataclasses.replace(splits, test=dataclasses.replace(splits.test, depths=depths))
    task.check_loss(splits, Plain())
    task.check_loss(partly, Quadratic())
    said = r"0\.0013 of the depths of the test split are unknown, and the loss Plain would be NaN"
    with pytest.raises(DataError, match=said):
        task.check_loss(partly, Plain())


def test_a_run_with_unknown_depths_ends_early_where_the_loss_is_not_of_the_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        depth = np.full((16, 16), 700, np.uint16)
        depth[:number] = 0
        write(tmp_path / "mine", f"{number}", noise(16, 16, 3, seed=number), depth)
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "plain.yaml").write_text("_target_: tests.test_depth.Plain\n")
    options = ("data=depth_folder", f"data.path={tmp_path / 'mine'}", "data.side=16", "loss=plain")
    base = [o for o in tiny("depth", tmp_path, *options) if not o.startswith("data.examples")]
    where = ("--config-dir", str(tmp_path / "conf"), "--module", "tests.test_depth")
    assert main(["run", *where, *base, "data.validation_size=1", "data.test_size=1"]) == 1
    said = capsys.readouterr().err
    assert "unknown, and the loss Plain would be NaN: it must define of_known(y, y_hat)" in said


# Every choice

LOSSES = fitting("loss", "depth regression")
PAIRS = list(itertools.product(("none", "l2"), ("none", "standard"), ("none", "batch")))
QUICK = {"ssi": PAIRS[0], "ssi_trimmed": PAIRS[3], "mse": PAIRS[5], "adaptive": PAIRS[6]}
"""Of the other choices, every pair is once with one of these losses."""

COVERING = [
    *((loss, *others) for loss, others in QUICK.items()),
    *(
        pytest.param((loss, *PAIRS[i % len(PAIRS)]), marks=pytest.mark.slow)
        for i, loss in enumerate(sorted(set(LOSSES) - set(QUICK)))
    ),
]


def trains(folder: Path, loss: str, regularizer: str, dropout: str, norm: str) -> None:
    choices = (f"loss={loss}", f"regularizer={regularizer}", f"dropout={dropout}", f"norm={norm}")
    summary = kexp.run(*tiny("depth", folder, *choices, "training.epochs=1"), quiet=True)
    values = {**summary["last"]["validation"], **summary["test"]["last"]}
    assert all(np.isfinite(v) for v in values.values()) and 0 < values["abs_rel"] < 2
    assert (summary["last"]["penalty"] > 0) == (regularizer == "l2")


@pytest.mark.parametrize("choices", COVERING, ids="-".join)
def test_every_loss_trains(choices: tuple[str, ...], folder: Path) -> None:
    trains(folder, *choices)


def test_every_pair_of_the_other_choices_is_among_the_quick() -> None:
    for one, other in itertools.combinations(range(3), 2):
        assert len({(choices[one], choices[other]) for choices in QUICK.values()}) == 4
    assert len(COVERING) == len(LOSSES) and set(QUICK) < set(LOSSES)


@pytest.mark.full
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("others", PAIRS, ids="-".join)
def test_every_combination_trains(loss: str, others: tuple[str, ...], folder: Path) -> None:
    trains(folder, loss, *others)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["layer", "group", "instance", "decorrelated"])
@pytest.mark.parametrize("loss", ["ssi", "mse"])
def test_every_norm_trains(norm: str, loss: str, folder: Path) -> None:
    needed = {"group": ("norm.groups=4",), "decorrelated": ("norm.group_size=4",)}.get(norm, ())
    options = (f"norm={norm}", f"loss={loss}", *needed)
    summary = kexp.run(*tiny("depth", folder, *options), quiet=True)
    assert np.isfinite(summary["test"]["last"]["abs_rel"])
