"""Try the properties of `tests/fuzz` with many cases: `python -m scripts.fuzz --examples 20000`.

Prints a table of the cases truly tried and of the faults, each kind of these with the smallest case
that shows it. Exit code 1 where there was any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.properties import PROPERTIES

SHOWN = 600
"""Characters of a case that are shown."""


def main() -> int:
    """Try what was asked for; 1 where a property does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000, help="cases of each property")
    parser.add_argument("--only", action="append", choices=PROPERTIES, metavar="NAME")
    asked = parser.parse_args()
    names = asked.only or list(PROPERTIES)
    print(f"{'property':<32}{'cases':>8}{'faults':>8}{'seconds':>9}")
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            PROPERTIES[name].fuzz(Path(folder), asked.examples)
        found = PROPERTIES[name]
        spent = time.monotonic() - began
        print(f"{name:<32}{found.tried:>8,}{found.faults.total():>8,}{spent:>9.1f}", flush=True)
        for fault, count in found.faults.most_common():
            print(f"  {count} × {fault}\n    {found.smallest[fault][:SHOWN]}", flush=True)
    return int(any(PROPERTIES[name].faults for name in names))


if __name__ == "__main__":
    sys.exit(main())
