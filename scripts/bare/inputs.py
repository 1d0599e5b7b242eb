"""The arrays that the bare scripts train on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

TASKS = ("convnet", "mlp", "denoise")


def arguments(what: str | None) -> argparse.Namespace:
    """The command line that every bare script has."""
    parser = argparse.ArgumentParser(description=(what or "").split("\n")[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data", type=Path, help="mnist.npz, or the folder of train400.npz")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-size", type=int, help="images, validation among them")
    parser.add_argument("--patches", type=int, default=6400, help="per epoch, for denoise")
    parser.add_argument("--runs", type=int, default=1, help="one after the other, for digits")
    return parser.parse_args()


def digits(file: Path | None, size: int | None) -> tuple[np.ndarray, ...]:
    """Images (n, 28, 28, 1) in [0, 1] and labels (n,) to train on and to test on.

    Of MNIST, or of scikit-learn's digits where there is no file.
    """
    if file is None:
        from kexp.data import Digits

        part = Digits().load(Path()).train
        x, y = part.inputs[:1438], part.labels[:1438]
        x_test, y_test = part.inputs[1438:], part.labels[1438:]
    else:
        with np.load(file) as arrays:
            x, y = arrays["x_train"][..., None], arrays["y_train"]
            x_test, y_test = arrays["x_test"][..., None], arrays["y_test"]
    return unit(x[:size]), y[:size], unit(x_test), y_test


def photographs(folder: Path | None) -> tuple[Any, Any, Any]:
    """uint8 images (h, w, 1) for training, validation and test.

    DnCNN's 400 and BSD68, or 13 photographs of scikit-image where there is no folder.
    """
    if folder is None:
        from kexp.data import Photos

        images = Photos().load(Path()).train.inputs
        return images[:8], images[8:10], images[10:]
    with np.load(folder / "train400.npz") as file:
        images = file["x"][..., None]
    with np.load(folder / "bsd68.npz") as file:
        test = [file[name][..., None] for name in file.files if file[name].dtype == np.uint8]
    return images[12:], images[:12], test


class Patches:
    """Batches of 16 patches of 40×40 at random places, noisy and clean, in [0, 1]."""

    def __init__(self, images: Any):
        self._images = images
        self._rng = np.random.default_rng(0)

    def noisy(self, clean: np.ndarray) -> np.ndarray:
        """With Gaussian noise of a standard deviation of 25 grey levels."""
        noise = self._rng.standard_normal(clean.shape, dtype="float32")
        return clean + noise * np.float32(25 / 255)

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Noisy and clean patches, (16, 40, 40, 1) each."""
        clean = np.empty((16, 40, 40, 1), "float32")
        for row in range(16):
            image = self._images[self._rng.integers(len(self._images))]
            top, left = (self._rng.integers(side - 39) for side in image.shape[:2])
            clean[row] = unit(image[top : top + 40, left : left + 40])
        return self.noisy(clean), clean


def unit(images: np.ndarray) -> np.ndarray:
    """uint8 pixels as float32 in [0, 1]."""
    return images.astype("float32") / np.float32(255)


def psnr(clean: np.ndarray, denoised: np.ndarray) -> float:
    """In dB, for values in [0, 1]."""
    return float(-10 * np.log10(np.mean((denoised - clean) ** 2)))
