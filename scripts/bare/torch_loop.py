"""What a user would write with PyTorch alone: a plain training loop, channels last.

    PYTHONPATH=scripts python -m bare.torch_loop convnet --data mnist.npz --epochs 3

Prints the same as `bare.keras_fit`. The data are tensors from the beginning and batches are picked
by number, which is faster than a `DataLoader`.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import torch
from bare.inputs import Patches, arguments, digits, photographs, psnr, unit
from torch import nn


def main() -> None:
    """Train, and print how long the epochs took."""
    asked = arguments(__doc__)
    seconds: list[float] = []
    if asked.task == "denoise":
        denoise(asked, seconds)
        examples = asked.patches
    else:
        arrays = digits(asked.data, asked.train_size)
        for seed in range(asked.runs):
            torch.manual_seed(seed)
            classify(network(asked.task), arrays, asked.epochs, seconds)
        examples = int(len(arrays[0]) * 0.9)
    print(json.dumps({"examples": examples, "seconds": seconds}))


def classify(
    model: nn.Module, arrays: tuple[np.ndarray, ...], epochs: int, seconds: list[float]
) -> None:
    """Train on nine tenths, with validation after each epoch and the test at the end."""
    (x, x_test), (y, y_test) = map(images, arrays[::2]), map(labels, arrays[1::2])
    split = int(len(x) * 0.9)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        began = time.perf_counter()
        model.train()
        for picked in torch.randperm(split).split(128):
            step(model, optimizer, nn.functional.cross_entropy, x[picked], y[picked])
        seconds.append(time.perf_counter() - began)
        print("validation", evaluated(model, x[split:], y[split:]))
    print("test", evaluated(model, x_test, y_test))


def denoise(asked: Any, seconds: list[float]) -> None:
    """Train the denoiser, with the PSNR on validation after each epoch and on test at the end."""
    train, validation, test = photographs(asked.data)
    patches = Patches(train)
    torch.manual_seed(0)
    model = network("denoise")
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    @torch.no_grad()
    def measured(photos: Any) -> float:
        pairs = [(clean, patches.noisy(clean)) for clean in (unit(p[None]) for p in photos)]
        found = [(clean, model(images(noisy)).permute(0, 2, 3, 1)) for clean, noisy in pairs]
        return float(np.mean([psnr(clean, denoised.numpy()) for clean, denoised in found]))

    for _ in range(asked.epochs):
        began = time.perf_counter()
        for _ in range(asked.patches // 16):
            noisy, clean = map(images, patches.batch())
            step(model, optimizer, nn.functional.mse_loss, noisy, clean)
        seconds.append(time.perf_counter() - began)
        print("validation", measured(validation))
    print("test", measured(test))


def step(model: nn.Module, optimizer: Any, loss: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    """One step of gradient descent."""
    optimizer.zero_grad(set_to_none=True)
    loss(model(x), y).backward()
    optimizer.step()


@torch.no_grad()
def evaluated(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """NLL and accuracy."""
    model.eval()
    logits = torch.cat([model(part) for part in x.split(1024)])
    accuracy = (logits.argmax(1) == y).float().mean()
    return float(nn.functional.cross_entropy(logits, y)), float(accuracy)


def images(array: np.ndarray) -> torch.Tensor:
    """(n, h, w, c) as a tensor (n, c, h, w) that lies in memory channels last."""
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def labels(array: np.ndarray) -> torch.Tensor:
    """Class numbers as PyTorch wants them."""
    return torch.from_numpy(array.astype(np.int64))


def network(task: str) -> nn.Module:
    """The network of a task: the one that `bare.keras_fit` has."""
    model = {"convnet": convnet, "mlp": mlp, "denoise": Denoiser}[task]()
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    if isinstance(model, Denoiser):
        nn.init.zeros_(model.noise[-1].weight)
    return model.to(memory_format=torch.channels_last)


def convnet() -> nn.Module:
    """Keras's MNIST example."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(1600, 10),
    )


def mlp() -> nn.Module:
    """784-128-10."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)
    )


class Denoiser(nn.Module):
    """A DnCNN of 6 convolutions of 32 channels, without norm."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 32, 32, 32, 32, 32]
        hidden = [
            part
            for a, b in zip(widths, widths[1:], strict=False)
            for part in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())
        ]
        self.noise = nn.Sequential(*hidden, nn.Conv2d(32, 1, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input less its estimated noise."""
        return x - self.noise(x)


if __name__ == "__main__":
    main()
