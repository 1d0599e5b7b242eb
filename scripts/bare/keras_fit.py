"""What a user would write with Keras alone: a model, `compile`, `fit`, `evaluate`.

    PYTHONPATH=scripts python -m bare.keras_fit convnet --data mnist.npz --epochs 3

The last line printed is JSON: training examples per epoch, and the seconds that each epoch's steps
took.
"""

from __future__ import annotations

import json
import time
from typing import Any

import keras
import numpy as np
from bare.inputs import Patches, arguments, digits, photographs, psnr, unit
from keras import layers


class Clock(keras.callbacks.Callback):
    """Seconds from the beginning of each epoch to the end of its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start."""
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Remember when, as validation follows."""
        self._last = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop."""
        self.seconds.append(self._last - self._began)


class Batches(keras.utils.PyDataset):
    """An epoch of patches."""

    def __init__(self, patches: Patches, steps: int):
        super().__init__()
        self._patches, self._steps = patches, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._patches.batch()


def main() -> None:
    """Train, and print how long the epochs took."""
    asked, clock = arguments(__doc__), Clock()
    if asked.task == "denoise":
        denoise(asked, clock)
        examples = asked.patches
    else:
        x, y, x_test, y_test = digits(asked.data, asked.train_size)
        for seed in range(asked.runs):
            keras.utils.set_random_seed(seed)
            model = compiled(asked.task)
            model.fit(
                x,
                y,
                batch_size=128,
                epochs=asked.epochs,
                validation_split=0.1,
                verbose=0,
                callbacks=[clock],
            )
            print("test", model.evaluate(x_test, y_test, verbose=0))
        examples = int(len(x) * 0.9)
    print(json.dumps({"examples": examples, "seconds": clock.seconds}))


def denoise(asked: Any, clock: Clock) -> None:
    """Train the denoiser, with the PSNR on validation after each epoch and on test at the end."""
    train, validation, test = photographs(asked.data)
    patches = Patches(train)
    batches = Batches(patches, asked.patches // 16)
    keras.utils.set_random_seed(0)
    model = compiled("denoise")

    def measured(images: Any) -> float:
        pairs = [(clean, patches.noisy(clean)) for clean in (unit(i[None]) for i in images)]
        return np.mean([psnr(clean, model.predict_on_batch(noisy)) for clean, noisy in pairs])

    for epoch in range(asked.epochs):
        model.fit(batches, epochs=epoch + 1, initial_epoch=epoch, verbose=0, callbacks=[clock])
        print("validation", measured(validation))
    print("test", measured(test))


def compiled(task: str) -> keras.Model:
    """The network of a task, ready for `fit`."""
    if task == "denoise":
        model, loss = denoiser(), "mse"
    else:
        model = convnet() if task == "convnet" else mlp()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = None if task == "denoise" else ["accuracy"]
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=metrics)
    return model


def convnet() -> keras.Model:
    """Keras's MNIST example."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )


def mlp() -> keras.Model:
    """784-128-10."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )


def denoiser() -> keras.Model:
    """A DnCNN of 6 convolutions of 32 channels, without norm."""
    x = inputs = keras.Input((None, None, 1))
    for _ in range(5):
        x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros")(x)
    return keras.Model(inputs, layers.Subtract()([inputs, x]))


if __name__ == "__main__":
    main()
