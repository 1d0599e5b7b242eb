"""Plain files are the truth: one folder per run, everything in it written atomically."""

from kexp.store.folder import RunFolder
from kexp.store.names import identity, run_name
from kexp.store.reading import Record, find_runs, read_run

__all__ = ["Record", "RunFolder", "find_runs", "identity", "read_run", "run_name"]
