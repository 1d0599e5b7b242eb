"""Reading the model of a run, whoever wrote it: nothing in the file is executed.

Keras's safe mode refuses Lambda layers, but there have been ways around it: layers that read
other files, functions of Keras itself that download or turn safe mode off, weights that link to
files elsewhere or claim to be enormous (CVE-2025-1550, -8747, -9906, -12058; CVE-2026-0897,
-1669). So a file is read only if it is made of what networks like kexp's are made of, and Keras's
safe mode stays on besides.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kexp.errors import StoreError
from kexp.lazy import keras

LARGEST_CONFIG, LARGEST_WEIGHTS = 16 * 2**20, 4 * 2**30
"""What a model's description and its weights may unpack to, in bytes."""

MOST_WEIGHTS = 100_000
"""Of so many arrays and groups at most, so that groups in a circle end."""

MEMBERS = {
    "metadata.json": LARGEST_CONFIG,
    "config.json": LARGEST_CONFIG,
    "model.weights.h5": LARGEST_WEIGHTS,
}

LAYERS = """
    Activation Add Average AveragePooling1D AveragePooling2D BatchNormalization Concatenate Conv1D
    Conv2D Conv2DTranspose Cropping2D Dense DepthwiseConv2D Dropout ELU Flatten GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling2D
    GroupNormalization Identity InputLayer LayerNormalization LeakyReLU MaxPooling1D MaxPooling2D
    Maximum Minimum Multiply PReLU ReLU Rescaling Reshape SeparableConv2D Softmax SpatialDropout2D
    Subtract UnitNormalization UpSampling2D ZeroPadding2D
""".split()
"""Layers that compute from their inputs and weights alone: they run, load and fetch nothing."""

PARTS = {
    "keras": {"DTypePolicy", "Sequential"},
    "keras.src.models.functional": {"Functional"},
    "keras.layers": set(LAYERS),
    None: {"__keras_tensor__"},
}
WHOLE = ("keras.initializers", "keras.regularizers", "keras.constraints")
"""What a description may name, by module; of `WHOLE`, every class."""


def load_model(run: str | os.PathLike) -> Any:
    """The trained `keras.Model` of a run, with its best weights, not compiled.

    `run` is the folder of a run or a `.keras` file. Layers of the user's own must have been
    imported, so that Keras knows them.

    Raises:
        StoreError: there is no such file, it is damaged, or it holds anything but layers that
            are known to compute only; nothing of it has been executed then.
    """
    import kexp.layers  # noqa: F401  known to Keras once imported

    path = Path(run)
    path = path / "model.keras" if path.is_dir() else path
    if not path.is_file() or path.suffix != ".keras":  # by which Keras chooses how to read it
        raise StoreError(f"there is no model at {path}; a finished run has model.keras")
    try:
        faults = list(_faults(path))
    except Exception as error:  # readers of zip, JSON and HDF5 raise almost anything
        raise StoreError(f"{path} is no sound Keras file: {_in_short(error)}") from error
    if faults:
        raise StoreError(
            f"{path} is not loaded, it holds {', '.join(dict.fromkeys(faults))}. Layers of your "
            "own: import them first. Where you trust who wrote it: keras.saving.load_model"
        )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras makes of a description that does not fit
        raise StoreError(f"{path} cannot be loaded: {_in_short(error)}") from error


def _faults(path: Path) -> Iterator[str]:
    """What is in a file that is in no model like kexp's, in words."""
    with zipfile.ZipFile(path) as file:
        members = {member.filename: member.file_size for member in file.infolist()}
        if len(members) < len(file.infolist()) or members.keys() != MEMBERS.keys():
            yield f"other files than {', '.join(MEMBERS)}: {', '.join(sorted(members))}"
            return
        for name, size in members.items():
            if size > MEMBERS[name]:
                yield f"{name} of {size:,} bytes, more than {MEMBERS[name]:,}"
                return
        yield from _unknown_classes(json.loads(file.read("config.json")))
        yield from _links(file.read("model.weights.h5"))


def _unknown_classes(part: Any) -> Iterator[str]:
    """The classes and functions that a description names and that are not known to be harmless."""
    if isinstance(part, list):
        for value in part:
            yield from _unknown_classes(value)
    if isinstance(part, dict):
        if "class_name" in part and not _known(part):
            yield f"{part.get('module') or part.get('registered_name')}.{part['class_name']}"
        for value in part.values():
            yield from _unknown_classes(value)


def _known(part: dict[str, Any]) -> bool:
    """Whether Keras would make a harmless object, or one of a class that was imported before."""
    module, name, registered = (part.get(k) for k in ("module", "class_name", "registered_name"))
    if not isinstance(name, str) or not isinstance(module, (str, type(None))):
        return False
    if module is None or module.split(".")[0] == "keras":
        if registered not in (None, name):  # which Keras would look up first
            return False
        whole = module in WHOLE and isinstance(getattr(_submodule(module), name, None), type)
        return whole or name in PARTS.get(module, ())
    found = keras.saving.get_registered_object(registered) if registered else None
    return found is not None and (found.__module__, found.__name__) == (module, name)


def _submodule(name: str) -> Any:
    """`keras.initializers`, by its name."""
    return getattr(keras, name.removeprefix("keras."))


def _links(content: bytes) -> Iterator[str]:
    """Weights that are in another place than this file, or unpack to more than they may."""
    import h5py

    unpacked, seen = 0, 0
    with h5py.File(io.BytesIO(content), "r") as file:
        below = [(file, name) for name in file]
        while below:
            group, name = below.pop()
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                yield f"weights that are a link: {group.name.rstrip('/')}/{name}"
                continue
            if (seen := seen + 1) > MOST_WEIGHTS:
                yield f"more than {MOST_WEIGHTS:,} weights"
                return
            item = group[name]
            if isinstance(item, h5py.Group):
                below += [(item, name) for name in item]
            elif item.external or item.is_virtual:
                yield f"weights that are in another file: {item.name}"
            else:
                unpacked += item.size * item.dtype.itemsize
    if unpacked > LARGEST_WEIGHTS:
        yield f"weights of {unpacked:,} bytes, more than {LARGEST_WEIGHTS:,}"


def _in_short(error: BaseException) -> str:
    """Type and first line of an error."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
