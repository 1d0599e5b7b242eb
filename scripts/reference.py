"""Write docs/reference.md and its picture from the docstrings of the choices."""

from __future__ import annotations

from pathlib import Path

from kexp.reference import PICTURE, draw_losses, page

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Write both, in the place of what is there."""
    (DOCS / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    (DOCS / "reference.md").write_text(page(), encoding="utf-8")
    draw_losses(DOCS / PICTURE)


if __name__ == "__main__":
    main()
