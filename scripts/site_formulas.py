"""A hook of MkDocs: formulas in ```math fences become MathML, made when the site is built.

Every browser draws MathML itself, so the site needs no script for it and no network. On GitHub
the same fences are drawn by GitHub.
"""

from __future__ import annotations

from typing import Any

from pymdownx.superfences import SuperFencesException

from kexp.analysis.report.formula import mathml


def on_config(config: Any) -> Any:
    """Have `pymdownx.superfences` give fences that are called math to `formula`."""
    fence = {"name": "math", "class": "math", "format": formula}
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def formula(source: str, *_: Any, **__: Any) -> str:
    """A fence as a block of MathML. `SuperFencesException` where it cannot be had."""
    made = mathml(source, display="block")
    if made is None or "\\" in made:  # a command that is not known is left as it stands
        raise SuperFencesException(f"no MathML can be made of the formula {source!r}")
    return f'<div class="formula">{made}</div>'
