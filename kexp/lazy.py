"""Modules that are imported when they are first used.

Importing Keras takes seconds, and fixes its backend. A choice such as a loss must be made, and
its faults told, before that; so the files that define choices name Keras through this.
"""

from __future__ import annotations

import importlib
from typing import Any


class Lazy:
    """Stands for a module; the first attribute asked for imports it."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


keras: Any = Lazy("keras")
layers: Any = Lazy("kexp.layers")
