"""kexp works from a wheel, in another directory, with its config inside the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import read, the_run, tiny

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_f10_wheel_in_another_directory(folder: Path) -> None:
    site, work = folder / "site", folder / "work"
    work.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, str(ROOT)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import kexp, kexp.config.places as p; print(kexp.__file__, p.conf_dir())"
    assert all(place.startswith(str(site)) for place in python("-c", where).split())
    python("-m", "kexp", "run", *tiny("mnist_convnet", folder))
    assert read(the_run(folder), "status.json")["state"] == "finished"
    assert "crossentropy" in python("-m", "kexp", "list", "losses")
