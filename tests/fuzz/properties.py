"""All properties, by name."""

from tests.fuzz import arrays, files, overrides, runs, searches
from tests.fuzz.harness import PROPERTIES

__all__ = ["PROPERTIES", "arrays", "files", "overrides", "runs", "searches"]
