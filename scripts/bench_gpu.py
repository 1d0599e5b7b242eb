"""Many small networks on one GPU: kexp's vectorised engine beside Keras `fit` and PyTorch.

    python scripts/bench_gpu.py [--models convnet mlp denoise] [--replicas 1 4 16 64 256]
        [--fit jax torch …] [--arithmetic float32|tf32|bfloat16] [--peak-tflops X] [-o JSON]

Each row is measured in a process of its own, which is told how long it may take; one that fails or
runs out of memory is reported, and the others go on. Without a GPU everything runs on the CPU, and
is said to; `--replicas 1 2 --steps 4 --batch 8` tries it out in a minute or two.

    kexp          K replicas as one JAX program, convolutions as products of matrices
    kexp grouped  the same, with the backend's own convolutions, grouped by `vmap`
    fit BACKEND   Keras `fit` on arrays in memory; K runs would follow one another
    torch         a PyTorch loop: data on the device, channels last, fused Adam, the steps captured
                  as a CUDA graph; K runs would follow one another

Of each, images/s of all replicas together (the median of `repeats` after a warm-up), microseconds
per step of all replicas, the share of the chip's peak that the arithmetic of the layers amounts to,
and the peak of the device's memory. Ratios are to the first `fit` and to `torch` within a round.
Batches are of 128 images, or of 16 patches of 40×40. The arithmetic is the same for all: `tf32`
lets products of float32 matrices round their inputs, `bfloat16` has layers compute in it.

Needs numpy, keras, jax (and torch) and what kexp itself depends on, no TensorFlow and no network.
Trains on MNIST if it is in KEXP_DATA_DIR, else on the embedded digits; patches are of embedded
photographs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from timing import DATA, MNIST, installed, machine, processor, surroundings

MODELS = ("convnet", "mlp", "denoise")
BACKENDS = ("jax", "torch", "tensorflow")
ARITHMETIC = ("float32", "tf32", "bfloat16")
UNROLLED = 10
"""Steps in one CUDA graph."""

EPOCHS = 3
"""In one call of `fit`, of `steps` steps each."""

PRODUCTS = {
    "convnet": ((26 * 26, 9 * 1, 32), (11 * 11, 9 * 32, 64), (1, 1600, 10)),
    "mlp": ((1, 784, 128), (1, 128, 10)),
    "denoise": ((1600, 9, 32), *4 * ((1600, 9 * 32, 32),), (1600, 9 * 32, 1)),
}
"""Each layer as a product of matrices for one image: rows, inner length, columns."""

PEAKS = {
    "B200": (75, 1125, 2250),
    "H200 NVL": (60, 417, 835),
    "H200": (67, 494, 989),
    "H100 NVL": (60, 417, 835),
    "H100 PCIe": (51, 378, 756),
    "H100": (67, 494, 989),
    "A100": (19.5, 156, 312),
    "L40S": (91.6, 183, 362),
    "L4": (30.3, 60, 121),
    "A10G": (31.5, 35, 70),
    "A10": (31.2, 62.5, 125),
    "V100": (15.7, None, None),
    "T4": (8.1, None, None),
}
"""TFLOP/s in float32, tf32 and bfloat16 by NVIDIA's data sheets, dense; the first name that is in
the device's counts."""


class Part(NamedTuple):
    """One row: a network, a way to train it, and how many replicas at once."""

    model: str
    way: str
    replicas: int


def main() -> None:
    """Measure every part in a process of its own, or the one that this process is for."""
    options = asked()
    if options.part:
        model, way, replicas = options.part
        print(json.dumps(measured(Part(model, way, int(replicas)), options)))
        return
    rounds = [
        {part: in_own_process(part, options) for part in parts(options)}
        for _ in range(options.rounds)
    ]
    rows = [summed_up(part, rounds, options) for part in rounds[0]]
    devices = {row["device"] for row in rows if "device" in row}
    print(f"\n{', '.join(sorted(devices)) or 'nothing was measured'}; {options.arithmetic}")
    if any(row.get("platform") == "cpu" for row in rows):
        print("No GPU was used: these are figures of the CPU.")
    print(table(rows))
    found = {"machine": machine(), "options": vars(options), "rows": rows}
    if options.output:
        options.output.write_text(json.dumps(found, indent=2, default=str) + "\n")


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    present = [backend for backend in BACKENDS if installed(backend)]
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 4, 16, 64, 256])
    parser.add_argument("--fit", nargs="*", choices=present, default=present[:2])
    parser.add_argument("--arithmetic", choices=ARITHMETIC, default="tf32")
    parser.add_argument("--steps", type=int, default=400, help="in one measurement")
    parser.add_argument("--batch", type=int, help="of every network")
    parser.add_argument("--repeats", type=int, default=3, help="measurements in one process")
    parser.add_argument("--rounds", type=int, default=1, help="how often all is gone through")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one row")
    parser.add_argument("--peak-tflops", type=float, help="of the device, for this arithmetic")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def parts(options: argparse.Namespace) -> list[Part]:
    """All rows, in order."""
    found = []
    for model in options.models:
        found += [Part(model, f"fit {backend}", 1) for backend in options.fit]
        found += [Part(model, "torch", 1)] if installed("torch") else []
        ways = ("kexp",) if model == "mlp" else ("kexp", "kexp grouped")
        if installed("jax"):
            found += [Part(model, way, count) for count in options.replicas for way in ways]
    return found


def in_own_process(part: Part, options: argparse.Namespace) -> dict[str, Any]:
    """What a part measured, or why it could not."""
    words = [sys.executable, __file__, *sys.argv[1:], "--part", *map(str, part)]
    backend = part.way.removeprefix("fit ") if part.way.startswith("fit ") else "jax"
    environment = surroundings(KERAS_BACKEND=backend)
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, env=environment, timeout=options.limit
        )
        found = (
            json.loads(done.stdout.splitlines()[-1])
            if done.returncode == 0
            else {"failed": reason(done.stderr, done.returncode)}
        )
    except subprocess.TimeoutExpired:
        found = {"failed": f"not done after {options.limit:g} s; --limit gives it longer"}
    told = found.get("failed") or f"{found['images_per_second']:,.0f} images/s"
    print(f"{part.model}, {part.way}, K = {part.replicas}: {told}", flush=True)
    return found


def reason(said: str, code: int) -> str:
    """Why a process failed, in one line."""
    short = ("RESOURCE_EXHAUSTED", "out of memory", "OutOfMemory")
    if any(word in said for word in short):
        return "out of memory"
    lines = [line for line in said.splitlines() if line and not line.startswith(" ")]
    return lines[-1][:200] if lines and code > 0 else f"ended with {code}"


def measured(part: Part, options: argparse.Namespace) -> dict[str, Any]:
    """Images/s, device and peak memory of a part, in this process."""
    batch = options.batch or (16 if part.model == "denoise" else 128)
    if part.way == "torch":
        take, described = by_torch(part.model, batch, options)
    elif part.way.startswith("fit"):
        take, described = by_fit(part.model, batch, options)
    else:
        take, described = by_kexp(part, batch, options)
    started = time.perf_counter()
    take()
    warm, seconds = time.perf_counter() - started, []
    for _ in range(options.repeats):
        started = time.perf_counter()
        steps = take()
        seconds.append((time.perf_counter() - started) / steps)
    step = statistics.median(seconds)
    return {
        "images_per_second": part.replicas * batch / step,
        "microseconds_per_step": 1e6 * step,
        "all_microseconds_per_step": [1e6 * value for value in seconds],
        "warm_up_seconds": warm,
        **described(),
    }


Taking = tuple[Callable[[], int], Callable[[], dict[str, Any]]]
"""Something that takes steps and tells how many; and something that describes the device then."""


def by_kexp(part: Part, batch: int, options: argparse.Namespace) -> Taking:
    """K replicas with their own weights, orders and streams, as one program."""
    described = described_by("jax", options.arithmetic)
    from kexp.models import seed_weights
    from kexp.streams import Streams
    from kexp.training.vector_engine import VectorEngine

    objective, optimizer = problem(part.model, options.arithmetic)
    products = part.way == "kexp"
    engine = VectorEngine(objective, optimizer, replicas=part.replicas, products=products)
    data = examples(part.model)
    rng = np.random.default_rng(0)
    for number, seat in enumerate(engine.seats):
        seed_weights(objective.model, Streams(number))
        seat.begin()
        seat.set_streams(lambda name, number=number: number)
        seat.load(data)
    shape = (part.replicas, options.steps, batch)
    orders = rng.integers(len(data.y), size=shape, dtype=np.int32)
    rates = np.full(options.steps, 1e-3, np.float32)

    def take() -> int:
        done = 0
        while done < options.steps:
            wanted = {seat: (order[done:], rates[done:]) for seat, order in enumerate(orders)}
            done += len(engine.steps(wanted)[0])
        return done

    return take, described


def problem(model: str, arithmetic: str) -> tuple[Any, Any]:
    """kexp's objective for a network, and Adam."""
    from kexp.dropouts import NoDropout, Standard
    from kexp.losses import CrossEntropy, Quadratic
    from kexp.models import MLP, Convnet, DnCNN, fresh_model
    from kexp.norms import NoNorm
    from kexp.objective import Objective
    from kexp.optimizers import Adam
    from kexp.regularizers import Zero
    from kexp.streams import Streams

    choice = {"convnet": Convnet, "mlp": MLP, "denoise": DnCNN}[model]()
    denoise = model == "denoise"
    shapes = ((None, None, 1), 1) if denoise else ((28, 28, 1), 10)
    dropout = NoDropout() if denoise else Standard()
    precision = "mixed_bfloat16" if arithmetic == "bfloat16" else "float32"
    network = fresh_model(choice, shapes, dropout, NoNorm(), Streams(0), precision)
    objective = Objective(network, Quadratic() if denoise else CrossEntropy(), Zero())
    optimizer = Adam().build()
    optimizer.build(objective.trainable)
    return objective, optimizer


def by_fit(model: str, batch: int, options: argparse.Namespace) -> Taking:
    """Keras `fit` on the backend of this process; a measurement is one call, of some epochs."""
    import keras

    if options.arithmetic == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    described = described_by(keras.backend.backend(), options.arithmetic)
    from bare.keras_fit import compiled

    network = compiled(model)
    x, y = plain(model, options.steps * batch)

    def take() -> int:
        network.fit(x, y, batch_size=batch, epochs=EPOCHS, verbose=0)
        return EPOCHS * options.steps

    return take, described


def by_torch(model: str, batch: int, options: argparse.Namespace) -> Taking:
    """PyTorch on the device, its steps captured as a CUDA graph where there is CUDA."""
    import torch
    from bare.torch_loop import images, labels, network

    described = described_by("torch", options.arithmetic)
    torch.backends.cudnn.benchmark = True
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    x, y = plain(model, None)
    x, y = images(x).to(device), (images(y) if model == "denoise" else labels(y)).to(device)
    steps = UNROLLED * -(-options.steps // UNROLLED)
    orders = torch.randint(len(x), (steps, batch), device=device)
    at = torch.zeros(1, dtype=torch.int64, device=device)
    net = network(model).to(device)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True, capturable=on_gpu)
    loss = torch.nn.functional.mse_loss if model == "denoise" else torch.nn.functional.cross_entropy
    half = options.arithmetic == "bfloat16"

    def several() -> None:
        for _ in range(UNROLLED):
            picked = orders.index_select(0, at)[0]
            at.add_(1).remainder_(steps)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False):
                value = loss(net(x.index_select(0, picked)), y.index_select(0, picked))
            value.backward()
            optimizer.step()

    again = captured(several) if on_gpu else several

    def take() -> int:
        for _ in range(steps // UNROLLED):
            again()
        if on_gpu:
            torch.cuda.synchronize()
        return steps

    return take, described


def captured(work: Callable[[], None]) -> Callable[[], None]:
    """The work as a CUDA graph, to be replayed."""
    import torch

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        work()  # what is allocated and chosen at the first call must not be captured
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def examples(model: str) -> Any:
    """What kexp trains on: an `EpochData`."""
    from kexp.data import Digits, Mnist, Photos
    from kexp.streams import Streams
    from kexp.tasks import Denoise, MnistConvnet

    if model == "denoise":
        return Denoise().epoch(Photos().load(DATA).train, Streams(0), 1)
    data = Mnist() if MNIST.is_file() else Digits()
    return MnistConvnet().epoch(data.load(DATA).train, Streams(0), 1)


def plain(model: str, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The same as float32 arrays, all of them or so many."""
    data = examples(model)
    rows = np.arange(len(data.y)) if data.rows is None else data.rows
    numbers = np.arange(len(rows) if count is None else count) % len(rows)
    x = np.asarray(data.x)[rows[numbers]]
    scaled = x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x
    return scaled, np.asarray(data.y)[numbers]


def described_by(backend: str, arithmetic: str) -> Callable[[], dict[str, Any]]:
    """Set how a backend multiplies float32; gives what describes its device afterwards."""
    if backend == "jax":
        import jax

        if arithmetic != "bfloat16" and jax.default_backend() != "cpu":
            how = "highest" if arithmetic == "float32" else "tensorfloat32"
            jax.config.update("jax_default_matmul_precision", how)
        return of_jax
    if backend == "torch":
        import torch

        torch.set_float32_matmul_precision("highest" if arithmetic == "float32" else "high")
        torch.backends.cudnn.allow_tf32 = arithmetic != "float32"
        return of_torch
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(arithmetic != "float32")
    return of_tensorflow


def of_jax() -> dict[str, Any]:
    """JAX's device, and the most memory that was in use."""
    import jax

    (device, *_) = jax.local_devices()
    if device.platform == "cpu":
        return of_cpu()
    stats = device.memory_stats() or {}
    return of_gpu(device.device_kind, stats.get("peak_bytes_in_use"))


def of_torch() -> dict[str, Any]:
    """PyTorch's device, and the most memory that was in use."""
    import torch

    if not torch.cuda.is_available():
        return of_cpu()
    return of_gpu(torch.cuda.get_device_name(), torch.cuda.max_memory_allocated())


def of_tensorflow() -> dict[str, Any]:
    """TensorFlow's device, and the most memory that was in use."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return of_cpu()
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return of_gpu(name, tf.config.experimental.get_memory_info("GPU:0")["peak"])


def of_gpu(name: str, peak: int | None) -> dict[str, Any]:
    """A GPU in the figures of a part."""
    return {"platform": "gpu", "device": name, "memory_mib": peak and peak / 2**20}


def of_cpu() -> dict[str, Any]:
    """The CPU in the figures of a part; memory is that of the whole process."""
    from kexp.environment import peak_memory_mib

    return {"platform": "cpu", "device": processor(), "memory_mib": peak_memory_mib()}


def flops(model: str) -> int:
    """Floating-point operations to train on one image: products of the layers alone.

    Twice the multiplications; forward, and backward to weights and to inputs; but nobody needs
    the gradient of the first layer's input.
    """
    forward = [2 * rows * inner * columns for rows, inner, columns in PRODUCTS[model]]
    return 3 * sum(forward) - forward[0]


def peak_tflops(device: str, arithmetic: str) -> float | None:
    """What a device can do at most, where it is known."""
    known = (peaks for name, peaks in PEAKS.items() if name.lower() in device.lower())
    return next(known, (None,) * 3)[ARITHMETIC.index(arithmetic)]


def summed_up(
    part: Part, rounds: list[dict[Part, dict[str, Any]]], options: argparse.Namespace
) -> dict[str, Any]:
    """A row: medians over the rounds of figures and of ratios within a round."""
    good = [one for one in rounds if "failed" not in one[part]]
    if not good:
        return {**part._asdict(), "failed": rounds[0][part]["failed"]}
    speeds = [one[part]["images_per_second"] for one in good]
    last = good[-1][part]
    peak = options.peak_tflops or peak_tflops(last["device"], options.arithmetic)
    speed = statistics.median(speeds)
    return {
        **part._asdict(),
        **last,
        "images_per_second": speed,
        "share_of_peak": peak and speed * flops(part.model) / (1e12 * peak),
        "times_fit": ratio(part, f"fit {options.fit[0]}" if options.fit else "", good),
        "times_torch": ratio(part, "torch", good),
        "rounds": speeds,
    }


def ratio(part: Part, way: str, rounds: list[dict[Part, dict[str, Any]]]) -> float | None:
    """The median over the rounds of a part's speed over that of another way, if that was run."""
    other = Part(part.model, way, 1)
    pairs = [(one[part], one[other]) for one in rounds if "failed" not in one.get(other, "failed")]
    ratios = [a["images_per_second"] / b["images_per_second"] for a, b in pairs]
    return statistics.median(ratios) if ratios else None


def table(rows: list[dict[str, Any]]) -> str:
    """All rows in Markdown."""
    lines = [
        "| network | way | K | images/s | µs/step | × fit | × torch | of peak | MiB |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        start = f"| {row['model']} | {row['way']} | {row['replicas']} |"
        if "failed" in row:
            lines.append(f"{start} {row['failed']} | | | | | |")
            continue
        shown = (
            f"{row['images_per_second']:,.0f}",
            f"{row['microseconds_per_step']:,.0f}",
            *("–" if v is None else f"{v:.2f}" for v in (row["times_fit"], row["times_torch"])),
            "–" if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}",
            "–" if row["memory_mib"] is None else f"{row['memory_mib']:,.0f}",
        )
        lines.append(f"{start} {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
