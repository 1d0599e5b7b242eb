"""The reference of choices: a page made from docstrings and formulas, a picture of the losses.

`scripts/reference.py` writes both into `docs/`; `kexp list losses --plot FILE` draws the picture.
"""

from kexp.reference.page import GROUPS, PICTURE, page
from kexp.reference.robust import curves, draw_losses, robust_losses

__all__ = ["GROUPS", "PICTURE", "curves", "draw_losses", "page", "robust_losses"]
