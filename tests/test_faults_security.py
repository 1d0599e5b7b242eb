"""Rows 64 and 67 of the fault table: model files from elsewhere, and servers."""

from __future__ import annotations

import ast
import base64
import functools
import io
import json
import marshal
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import kexp
from kexp import runner
from kexp.errors import StoreError
from kexp.models import saved
from tests.conftest import the_run, tiny

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("sound")
    kexp.run(*tiny("mnist_convnet", folder, "norm=batch", "training.epochs=1"), quiet=True)
    return the_run(folder)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that is there only if something was executed."""
    return tmp_path / "canary"


def rewritten(source: Path, target: Path, **changed: Callable[[bytes], bytes]) -> Path:
    """A copy of a model file with some of its members changed (`config` or `weights`)."""
    names = {CONFIG: "config", WEIGHTS: "weights"}
    with zipfile.ZipFile(source / "model.keras") as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            change = changed.get(names.get(member.filename, ""), bytes)
            new.writestr(member.filename, change(old.read(member)))
    return target


def with_layer(layer: dict[str, Any], content: bytes) -> bytes:
    """A description whose first hidden layer is another one."""
    config = json.loads(content)
    old = config["config"]["layers"][1]
    config["config"]["layers"][1] = {**old, "registered_name": None, "build_config": {}, **layer}
    return json.dumps(config).encode()


def lambda_code(canary: Path) -> list[Any]:
    """The code of a function that makes the canary, as Keras writes Lambda layers."""
    code = compile(f"lambda x: [open({str(canary)!r}, 'w'), x][1]", "canary", "eval")
    inner = next(part for part in code.co_consts if hasattr(part, "co_code"))
    return [base64.b64encode(marshal.dumps(inner)).decode(), None, None]


def hostile(canary: Path) -> dict[str, dict[str, Any]]:
    """Layers that would run code, load other files or fetch something."""
    run = {"module": "builtins", "class_name": "function", "registered_name": "function"}
    return {
        "keras.layers.Lambda": {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"function": {"class_name": "__lambda__", "config": lambda_code(canary)}},
        },
        "__lambda__": {"class_name": "__lambda__", "config": {"value": "x"}, "module": None},
        "os.system": {"module": "os", "class_name": "system", "config": f"touch {canary}"},
        "subprocess.Popen": {"module": "subprocess", "class_name": "Popen", "config": {}},
        "builtins.function": {**run, "config": "exec"},
        "keras.src.utils.file_utils.get_file": {
            "module": "keras.src.utils.file_utils",
            "class_name": "get_file",
            "config": {"fname": str(canary), "origin": "http://127.0.0.1:9/"},
        },
        "keras.src.models.cloning.clone_model": {
            "module": "keras.src.models.cloning",
            "class_name": "clone_model",
            "config": {},
        },
        "keras.layers.TFSMLayer": {
            "module": "keras.layers",
            "class_name": "TFSMLayer",
            "config": {"filepath": "/tmp", "call_endpoint": "serve"},
        },
        "keras.layers.TorchModuleWrapper": {
            "module": "keras.layers",
            "class_name": "TorchModuleWrapper",
            "config": {"module": base64.b64encode(pickle.dumps(1)).decode()},
        },
        "keras.layers.StringLookup": {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"vocabulary": "/etc/passwd"},
        },
        "tests.trouble.Trouble": {"module": "tests.trouble", "class_name": "Trouble", "config": {}},
        "a name that is none": {"module": "os", "class_name": ["system"], "config": {}},
        "a module that is none": {"module": ["os"], "class_name": "system", "config": {}},
        "keras.initializers.get": {
            "module": "keras.initializers",
            "class_name": "get",
            "config": {},
        },
    }


@pytest.mark.parametrize("name", list(hostile(Path())))
def test_f64_what_runs_code_is_refused(
    name: str, sound: Path, tmp_path: Path, canary: Path
) -> None:
    layer = hostile(canary)[name]
    file = rewritten(sound, tmp_path / "model.keras", config=functools.partial(with_layer, layer))
    told = f"{layer['module']}.{layer['class_name']}" if layer["module"] else layer["class_name"]
    with pytest.raises(StoreError, match="is not loaded") as error:
        kexp.load_model(file)
    assert told in str(error.value) and str(file) in str(error.value)
    assert "keras.saving.load_model" in str(error.value)
    assert not canary.exists()


def test_f64_a_known_name_does_not_stand_for_another_class(sound: Path, tmp_path: Path) -> None:
    """That `kexp>Dropout` is registered lets no other class of that name in."""
    for module, registered in (("os", "kexp>Dropout"), ("keras.layers", "kexp>Dropout")):
        layer = {"module": module, "class_name": "Dropout", "registered_name": registered}
        change = functools.partial(with_layer, {**layer, "config": {"rate": 0.5}})
        with pytest.raises(StoreError, match=f"{module}.Dropout"):
            kexp.load_model(rewritten(sound, tmp_path / "model.keras", config=change))


def test_f64_a_class_deep_inside_is_found(sound: Path, tmp_path: Path, canary: Path) -> None:
    def change(content: bytes) -> bytes:
        config = json.loads(content)
        dense = config["config"]["layers"][-1]["config"]
        dense["kernel_regularizer"] = [{"deep": hostile(canary)["os.system"]}]
        return json.dumps(config).encode()

    with pytest.raises(StoreError, match="os.system"):
        kexp.load_model(rewritten(sound, tmp_path / "model.keras", config=change))
    assert not canary.exists()


def linked(kind: str, elsewhere: Path, content: bytes) -> bytes:
    """Weights one of which is not where it says."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        found: list[str] = []
        file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
        name = found[0]
        value = file[name][()]
        del file[name]
        match kind:
            case "external link":
                file[name] = h5py.ExternalLink(str(elsewhere), "/secret")
            case "soft link":
                file[name] = h5py.SoftLink("/nowhere")
            case "external storage":
                size = value.nbytes
                file.create_dataset(
                    name, value.shape, value.dtype, external=[(str(elsewhere), 0, size)]
                )
            case "virtual":
                layout = h5py.VirtualLayout(value.shape, value.dtype)
                layout[...] = h5py.VirtualSource(str(elsewhere), "secret", value.shape)
                file.create_virtual_dataset(name, layout)
            case "circle":
                file[name] = file["/"]
            case "bomb":
                file.create_dataset(name, (2**40,), np.float32, chunks=(2**16,), compression=9)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("external link", "weights that are a link"),
        ("soft link", "weights that are a link"),
        ("external storage", "weights that are in another file"),
        ("virtual", "weights that are in another file"),
        ("circle", "more than 500 weights"),
        ("bomb", "weights of 4,398,0"),
    ],
)
def test_f64_weights_from_elsewhere_are_refused(
    kind: str, told: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "MOST_WEIGHTS", 500)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(bytes(2**16))
    change = functools.partial(linked, kind, elsewhere)
    file = rewritten(sound, tmp_path / "model.keras", weights=change)
    with pytest.raises(StoreError, match=told):
        kexp.load_model(file)


def no_array(kind: str, content: bytes) -> bytes:
    """Weights with something among them that is none."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        file["odd"] = h5py.Empty("f4") if kind == "empty" else np.dtype("f4")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["empty", "type"])
def test_f64_weights_that_are_no_arrays_are_told(kind: str, sound: Path, tmp_path: Path) -> None:
    change = functools.partial(no_array, kind)
    file = rewritten(sound, tmp_path / "model.keras", weights=change)
    with pytest.raises(StoreError, match="no sound Keras file"):
        kexp.load_model(file)


def test_f64_a_file_is_read_as_what_it_was_checked_as(sound: Path, tmp_path: Path) -> None:
    """HDF5 before the zip: Keras would read it by its name, and the check its end."""
    content = b"\x89HDF\r\n\x1a\n" + (sound / "model.keras").read_bytes()
    for name in ("model.h5", "model.hdf5", "model.KERAS", "model"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match="no model at"):
            kexp.load_model(tmp_path / name)


def archive(**members: bytes) -> bytes:
    """A zip file of such members; `__` stands for a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


NO_MODELS = {
    "empty": b"",
    "text": b"hello",
    "HTML": b"<!doctype html><html></html>",
    "pickle": pickle.dumps({"a": 1}),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "other members": archive(a=b""),
    "no weights": archive(config__json=b"{}", metadata__json=b"{}"),
    "no HDF5": archive(config__json=b"{}", metadata__json=b"{}", model__weights__h5=b"x"),
    "no JSON": archive(config__json=b"{", metadata__json=b"{}", model__weights__h5=b"x"),
    "deep": archive(config__json=b"[" * 10**5, metadata__json=b"{}", model__weights__h5=b"x"),
    "bomb": archive(config__json=bytes(2**25), metadata__json=b"{}", model__weights__h5=b"x"),
}


@pytest.mark.parametrize("name", list(NO_MODELS))
def test_f64_what_is_no_model_is_told(name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    file.write_bytes(NO_MODELS[name])
    with pytest.raises(StoreError, match="no sound Keras file|is not loaded") as error:
        kexp.load_model(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_f64_a_truncated_model_is_told(sound: Path, tmp_path: Path) -> None:
    content = (sound / "model.keras").read_bytes()
    for size in range(0, len(content), len(content) // 12 + 1):
        (tmp_path / "model.keras").write_bytes(content[:size])
        with pytest.raises(StoreError, match="no sound Keras file"):
            kexp.load_model(tmp_path)


def test_f64_a_description_that_does_not_fit_is_told(sound: Path, tmp_path: Path) -> None:
    def change(content: bytes) -> bytes:
        return content.replace(b'"filters": 8', b'"filters": 7')

    with pytest.raises(StoreError, match="cannot be loaded"):
        kexp.load_model(rewritten(sound, tmp_path / "model.keras", config=change))


def test_f64_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no model at .*model\.keras"):
        kexp.load_model(tmp_path)


def test_f64_own_layers_must_have_been_imported(sound: Path, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")

    @keras.saving.register_keras_serializable("mine", "Twice")
    class Twice(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    layers = [keras.layers.Input((4,)), Twice(), keras.layers.Dense(1)]
    keras.Sequential(layers).save(tmp_path / "model.keras")
    assert kexp.load_model(tmp_path).count_params() == 5
    keras.saving.get_custom_objects().clear()
    try:
        with pytest.raises(StoreError, match="Twice.*import them first"):
            kexp.load_model(tmp_path)
    finally:
        _register_again()
    assert kexp.load_model(sound)


def _register_again() -> None:
    """Tell Keras of kexp's layers once more."""
    import kexp.layers as own
    from kexp.lazy import keras

    for name in own.__all__:
        keras.saving.register_keras_serializable("kexp", name)(getattr(own, name))


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("mnist_convnet", ("norm=batch", "dropout=standard", "regularizer=l2")),
        ("mnist_convnet", ("norm=decorrelated", "dropout=gaussian", "regularizer=max_norm")),
        pytest.param("mnist_convnet", ("norm=group", "dropout=spatial"), marks=pytest.mark.slow),
        pytest.param("mnist_convnet", ("dropout=dropconnect",), marks=pytest.mark.slow),
        pytest.param("mnist_convnet", ("norm=layer",), marks=pytest.mark.slow),
        pytest.param("denoise", ("norm=instance", "loss=adaptive"), marks=pytest.mark.slow),
        ("denoise", ("norm=batch",)),
        ("binary", ()),
        ("ridge", ()),
    ],
)
def test_f64_every_model_of_ours_is_read_and_predicts_as_when_trained(
    task: str, overrides: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[np.ndarray] = []
    write = runner.write_result

    def predicting(to: Any, model: Any, *rest: Any) -> None:
        trained.append(model.predict_on_batch(inputs_of(model)))
        write(to, model, *rest)

    monkeypatch.setattr(runner, "write_result", predicting)
    kexp.run(*tiny(task, folder, *overrides, "training.epochs=1"), quiet=True)
    shutil.move(the_run(folder), folder / "moved")
    model = kexp.load_model(folder / "moved")
    found = model.predict_on_batch(inputs_of(model))
    assert np.ptp(found) > 0
    np.testing.assert_allclose(found, trained[0], rtol=1e-5, atol=1e-6)


def inputs_of(model: Any) -> np.ndarray:
    """Three random inputs of a model's shape."""
    shape = [size or 16 for size in model.input_shape[1:]]
    return np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)


def test_f64_nothing_in_kexp_turns_safe_mode_off_or_loads_pickles() -> None:
    """Read off every line of Python that is shipped."""
    forbidden = (
        "safe_mode=False",
        "enable_unsafe_deserialization",
        "allow_pickle=True",
        "pickle.load",
        "joblib.load",
        "torch.load",
        "read_pickle",
        "yaml.load(",
        "yaml.unsafe_load",
    )
    root = Path(kexp.__file__).parents[1]
    files = [f for top in ("kexp", "hydra_plugins", "scripts") for f in (root / top).rglob("*.py")]
    assert len(files) > 100
    found = {
        (str(file.relative_to(root)), word)
        for file in files
        for word in forbidden
        if word in file.read_text(encoding="utf-8")
    }
    # With a loader of our own, which knows plain data only.
    assert {name for name, word in found if word == "yaml.load("} <= {
        os.path.join("kexp", "store", "reading.py"),
        os.path.join("kexp", "config", "options.py"),
    }
    assert {(name, word) for name, word in found if word != "yaml.load("} == set()


WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.bind", "socket.connect"):
        with open(os.environ["SOCKETS_SEEN"], "a") as file:
            file.write(f"{event} {arguments[1]!r}\\n")

sys.addaudithook(watch)
"""


SWEEP = ["sweep", *tiny("binary", Path(), "training.epochs=1", "seed=0,1", "paths.results=new")]


@pytest.mark.parametrize(
    "words",
    [
        [*SWEEP, "track=tensorboard"],
        pytest.param([*SWEEP, "track=mlflow"], marks=pytest.mark.slow),
        pytest.param(["export", "tensorboard", "results"], marks=pytest.mark.slow),
        ["compare", "results"],
        ["effects", "results"],
        ["report", "results"],
        pytest.param(["doctor"], marks=pytest.mark.slow),
    ],
    ids=lambda words: " ".join([words[0], words[-1]]),
)
def test_f67_nothing_but_this_machine_can_reach_or_is_reached(
    words: list[str], tmp_path: Path, sound: Path
) -> None:
    """No process of a command, workers included, opens a port to others or calls another host."""
    if any("mlflow" in word or "tensorboard" in word for word in words):
        pytest.importorskip("mlflow")
        pytest.importorskip("tensorboard")
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    shutil.copytree(sound.parents[1], tmp_path / "results")
    seen = tmp_path / "seen"
    seen.touch()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "watch"), "SOCKETS_SEEN": str(seen)}
    done = subprocess.run(
        [sys.executable, "-m", "kexp", *words],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for line in seen.read_text().splitlines():
        assert ast.literal_eval(line.partition(" ")[2])[0] in ("127.0.0.1", "::1"), line


def test_f67_the_watch_sees_a_server(tmp_path: Path) -> None:
    """What the test above relies on."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    seen = tmp_path / "seen"
    code = "import socket; socket.create_server(('127.0.0.1', 0)).close()"
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "SOCKETS_SEEN": str(seen)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert seen.read_text() == "socket.bind ('127.0.0.1', 0)\n"
