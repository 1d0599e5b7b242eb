"""Data flows one way: a file imports only from the layers before its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kexp

ROOT = Path(kexp.__file__).parent

LAYERS = (
    ("errors", "lazy", "choice", "streams"),
    ("measures", "yardsticks", "ridge", "eigenspace", "resampling", "store"),
    ("losses", "regularizers", "dropouts", "norms", "layers", "models", "noise", "robustness"),
    ("optimizers", "schedules", "data", "backends", "environment"),
    ("tasks",),
    ("objective", "progress", "program", "training"),
    ("analysis",),
    ("tracking",),
    ("experiment",),
    ("summary", "recording", "runner"),
    ("config",),
    ("sweeps", "api", "reference"),
    ("doctor", "cli", "__main__"),
)
"""From the bottom up; within a layer a module may import those named before it."""

ORDER = {name: (i, j) for i, layer in enumerate(LAYERS) for j, name in enumerate(layer)}
FILES = sorted(ROOT.rglob("*.py"))


def module_of(file: Path) -> str:
    """`losses` for `kexp/losses/base.py`; empty for the package itself."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when a module is imported: no bodies of functions, no imports for types alone."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        yield statement
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from statements(handler.body)


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every module-level import."""
    for statement in statements(ast.parse(source).body):
        if isinstance(statement, ast.Import):
            yield from ((statement.lineno, alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, "relative import"
            for alias in statement.names:
                yield statement.lineno, f"{statement.module}.{alias.name}"


def kexp_imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and name of the parts of kexp that a file imports."""
    for line, name in imported(file.read_text(encoding="utf-8")):
        first, _, rest = name.partition(".")
        if first == "kexp" and rest.split(".")[0] != "__version__":
            yield line, rest.split(".")[0]


def test_every_module_has_a_layer() -> None:
    found = {module_of(file) for file in FILES} - {""}
    assert found == set(ORDER), "a new module needs a place in LAYERS"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_point_down(file: Path) -> None:
    own = module_of(file)
    wrong = [
        f"line {line}: kexp.{own or '__init__'} imports kexp.{name}"
        for line, name in kexp_imports(file)
        if name != own and (not own or ORDER[name] >= ORDER[own])
    ]
    assert not wrong


def test_analysis_knows_only_records() -> None:
    """Comparing runs needs no code of what was compared."""
    for file in (ROOT / "analysis").glob("*.py"):
        names = {name for _, name in kexp_imports(file)}
        assert names <= {"measures", "store", "errors", "analysis"}, file.name


def test_only_training_imports_a_framework() -> None:
    """At module level, Keras is imported by the files that train, and TensorFlow by one engine."""
    found = {
        file.relative_to(ROOT).as_posix()
        for file in FILES
        for _, name in imported(file.read_text(encoding="utf-8"))
        if name.split(".")[0] in ("keras", "tensorflow", "jax", "torch")
    }
    assert {path.split("/")[0] for path in found} <= {"layers", "objective.py", "training"}


def test_the_check_itself() -> None:
    source = "import a\nif TYPE_CHECKING:\n    import b\ndef f():\n    import c\n"
    source += (
        "try:\n    import d\nexcept ImportError:\n    from e import f\nclass C:\n    import g\n"
    )
    assert [name for _, name in imported(source)] == ["a", "d", "e.f", "g"]


def test_importing_is_light() -> None:
    """Help, lists, config faults and comparisons never wait for TensorFlow or Keras."""
    light = ("", "cli", "api", "sweeps", "runner", "doctor", "config", "analysis", "tracking")
    modules = [
        ".".join(("kexp", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for file in FILES
        if module_of(file) in light and file.stem != "__main__"
    ]
    code = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "kexp" in loaded
    assert not {"tensorflow", "keras", "jax", "torch", "tensorboard", "mlflow"} & set(loaded)
