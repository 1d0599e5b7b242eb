"""Known vulnerabilities of the package versions that are tested.

    python scripts/audit.py [--must]

Asks the advisory services that pip-audit knows about every pin of constraints.txt. Where none can
be reached, nothing has been checked, and that is said; with `--must` it is a failure. Exit code 1
if a version is known to be vulnerable.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINS = Path(__file__).parents[1] / "constraints.txt"
SERVICES = ("osv", "pypi")


def main() -> None:
    """Print what is known, and exit with 1 if anything is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--must", action="store_true", help="fail where nothing can be checked")
    options = parser.parse_args()
    for service in SERVICES:
        checked = [one for one in asked(service) if "skip_reason" not in one]
        if checked:
            found = known(checked)
            print(f"{len(checked)} packages checked with {service}: {len(found)} vulnerabilities")
            print("\n".join(found))
            sys.exit(bool(found))
    print(f"no advisory service answers ({', '.join(SERVICES)}): nothing was checked")
    sys.exit(options.must)


def asked(service: str) -> list[dict[str, Any]]:
    """What a service says of each pin that applies here; nothing where it does not answer."""
    words = ["-r", str(PINS), "--no-deps", "--disable-pip", "-f", "json", "-s", service]
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return []
    return json.loads(done.stdout)["dependencies"] if done.stdout.startswith("{") else []


def known(packages: list[dict[str, Any]]) -> list[str]:
    """Package, version, advisory and the versions that mend it, a line each."""
    return [
        f"{one['name']} {one['version']}: {fault['id']}, mended in "
        f"{', '.join(fault['fix_versions']) or 'no version yet'}"
        for one in packages
        for fault in one["vulns"]
    ]


if __name__ == "__main__":
    main()
