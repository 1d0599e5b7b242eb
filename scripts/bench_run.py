"""`kexp run` beside the bare Keras script that a user would otherwise write, interleaved.

    python scripts/bench_run.py [--task mnist_convnet|denoise|all] [--epochs N] [--repeats N]

Both sides train the same network on the same data for the same epochs, each in a process of its
own. Two ratios are printed, each as the median over the repeats: training images per second
(from the second epoch on, so without tracing; more than 1 means that kexp is faster) and the
wall time of the whole process (less than 1 means that kexp is faster, although it measures
probe and validation by every yardstick). Needs MNIST, or train400.npz and bsd68.npz for the
denoiser, in KEXP_DATA_DIR; without them the embedded digits and photographs are used.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE_CLOCK = """
import json, time
class Clock(keras.callbacks.Callback):
    def __init__(self): super().__init__(); self.seconds = []
    def on_epoch_begin(self, epoch, logs=None): self.began = time.perf_counter()
    def on_train_batch_end(self, batch, logs=None): self.last = time.perf_counter()
    def on_epoch_end(self, epoch, logs=None): self.seconds.append(self.last - self.began)
clock = Clock()
"""

BARE_MNIST = (
    """
import sys
import keras, numpy as np
from keras import layers
source, epochs = sys.argv[1], int(sys.argv[2])
size = int(sys.argv[3]) if len(sys.argv) > 3 else None
"""
    + BARE_CLOCK
    + """
if source == "digits":
    from kexp.data import Digits
    part = Digits().load(None).train
    x, y = part.inputs[:1438], part.labels[:1438]
    x_test, y_test = part.inputs[1438:], part.labels[1438:]
else:
    with np.load(source) as f:
        x, y = f["x_train"][..., None], f["y_train"]
        x_test, y_test = f["x_test"][..., None], f["y_test"]
x, y = x[:size], y[:size]
x, x_test = x.astype("float32") / 255, x_test.astype("float32") / 255
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.Input((28, 28, 1)),
    layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2),
    layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2),
    layers.Flatten(), layers.Dropout(0.5), layers.Dense(10),
])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
model.fit(x, y, batch_size=128, epochs=epochs, validation_split=0.1, verbose=0, callbacks=[clock])
print(model.evaluate(x_test, y_test, verbose=0))
print(json.dumps({"examples": int(len(x) * 0.9), "seconds": clock.seconds}))
"""
)

BARE_DENOISE = (
    """
import sys
import keras, numpy as np
from keras import layers
source, epochs, patches = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
"""
    + BARE_CLOCK
    + """
if source == "photos":
    from kexp.data import Photos
    images = Photos().load(None).train.inputs
    train, validation, test = images[:8], images[8:10], images[10:]
else:
    with np.load(source + "/train400.npz") as f:
        images = f["x"][..., None]
    train, validation = images[12:], images[:12]
    with np.load(source + "/bsd68.npz") as f:
        test = [f[name][..., None] for name in f.files if f[name].dtype == np.uint8]
rng = np.random.default_rng(0)
def noisy(clean):
    return clean + rng.standard_normal(clean.shape, dtype="float32") * np.float32(25 / 255)
class Patches(keras.utils.PyDataset):
    def __len__(self):
        return patches // 16
    def __getitem__(self, index):
        batch = np.empty((16, 40, 40, 1), "float32")
        for row in range(16):
            image = train[rng.integers(len(train))]
            top, left = (rng.integers(side - 39) for side in image.shape[:2])
            batch[row] = image[top:top + 40, left:left + 40] / np.float32(255)
        return noisy(batch), batch
keras.utils.set_random_seed(0)
x = inputs = keras.Input((None, None, 1))
for _ in range(5):
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
x = layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros")(x)
model = keras.Model(inputs, layers.Subtract()([inputs, x]))
model.compile(keras.optimizers.Adam(1e-3), "mse")
def psnr(images):
    values = []
    for image in images:
        clean = image[None] / np.float32(255)
        error = model.predict_on_batch(noisy(clean)) - clean
        values.append(-10 * np.log10(np.mean(error ** 2)))
    return np.mean(values)
for epoch in range(epochs):
    model.fit(Patches(), epochs=epoch + 1, initial_epoch=epoch, verbose=0, callbacks=[clock])
    print("validation", psnr(validation))
print("test", psnr(test))
print(json.dumps({"examples": patches, "seconds": clock.seconds}))
"""
)


def main() -> None:
    """Run the benchmark and print a line per task, then all figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--task", choices=("mnist_convnet", "denoise", "all"), default="all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--patches", type=int, default=6400, help="per epoch, for the denoiser")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    tasks = ("mnist_convnet", "denoise") if options.task == "all" else (options.task,)
    results = {task: compare(task, options) for task in tasks}
    print(json.dumps(results, indent=2))


def compare(task: str, options: argparse.Namespace) -> dict:
    """Both sides in turn, `repeats` times; their medians and the ratios."""
    bare_command, kexp_overrides = _commands(task, options)
    rounds = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as results:
            bare = _bare(bare_command)
            kexp = _kexp([*kexp_overrides, f"paths.results={results}"], Path(results))
        rounds.append({"bare": bare, "kexp": kexp})
    middle = statistics.median
    found = {
        "training_speed_ratio": middle(r["kexp"]["speed"] / r["bare"]["speed"] for r in rounds),
        "wall_time_ratio": middle(r["kexp"]["wall"] / r["bare"]["wall"] for r in rounds),
        "rounds": rounds,
    }
    print(
        f"{task}: training {found['training_speed_ratio']:.2f} x the images/s of the bare script, "
        f"whole run {found['wall_time_ratio']:.2f} x its wall time",
        flush=True,
    )
    return found


def _commands(task: str, options: argparse.Namespace) -> tuple[list[str], list[str]]:
    data = Path(os.environ.get("KEXP_DATA_DIR", "."))
    epochs, patches = str(options.epochs), str(options.patches)
    overrides = [f"task={task}", f"training.epochs={epochs}"]
    if task == "mnist_convnet":
        real = (data / "mnist.npz").is_file()
        source = str(data / "mnist.npz") if real else "digits"
        extra = ["data=mnist" if real else "data=digits"]
        return [sys.executable, "-c", BARE_MNIST, source, epochs], overrides + extra
    real = (data / "train400.npz").is_file()
    source = str(data) if real else "photos"
    extra = ["data=bsd" if real else "data=photos", f"task.patches_per_epoch={patches}"]
    return [sys.executable, "-c", BARE_DENOISE, source, epochs, patches], overrides + extra


def _bare(command: list[str]) -> dict[str, float]:
    wall, output = timed(command)
    told = json.loads(output.strip().splitlines()[-1])
    return {"wall": wall, "speed": _speed(told["examples"], told["seconds"])}


def _kexp(overrides: list[str], results: Path) -> dict[str, float]:
    wall, _ = timed([sys.executable, "-m", "kexp", "run", *overrides])
    (summary,) = results.rglob("summary.json")
    throughput = json.loads(summary.read_text())["throughput"]
    return {
        "wall": wall,
        "speed": _speed(throughput["examples_per_epoch"], throughput["epoch_seconds"]),
        "measuring": throughput["measuring_seconds"],
    }


def _speed(examples: int, seconds: list[float]) -> float:
    """Images per second, without the first epoch where there are more."""
    return examples / statistics.median(seconds[1:] or seconds)


def timed(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} … failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started, done.stdout


if __name__ == "__main__":
    main()
