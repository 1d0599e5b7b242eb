"""TeX formulas as MathML, and nothing but MathML."""

from __future__ import annotations

import re
from xml.etree import ElementTree

LONGEST = 2_000
PRESENTATION = frozenset(
    "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle mpadded mphantom merror menclose "
    "msub msup msubsup munder mover munderover mmultiscripts mprescripts none mtable mtr "
    "mtd".split()
)
ATTRIBUTES = frozenset(
    "display displaystyle scriptlevel mathvariant stretchy fence form separator accent accentunder "
    "largeop movablelimits symmetric lspace rspace minsize maxsize width height depth voffset "
    "linethickness columnalign rowalign columnspacing rowspacing notation".split()
)
HARMLESS = re.compile(r"[\w.,%+ -]*")
NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"


def mathml(tex: str, display: str = "inline") -> str | None:
    """A formula as a `math` element; None where it cannot be had as presentation MathML alone.

    `display="block"` sets limits above and below their sums.
    """
    import latex2mathml.converter

    if not tex.strip() or len(tex) > LONGEST:
        return None
    try:
        made = latex2mathml.converter.convert(tex, display=display)
        if "<!" in made or "<?" in made:
            return None
        root = ElementTree.fromstring(made)
    except Exception:  # a converter of foreign text may fail in any way; the text is shown then
        return None
    if not all(_cleaned(element) for element in root.iter()) or root.tag != "math":
        return None
    root.attrib = {"display": display, "displaystyle": "true"}
    return ElementTree.tostring(root, encoding="unicode")


def _cleaned(element: ElementTree.Element) -> bool:
    """Whether an element is MathML; it is left with harmless attributes only."""
    element.tag = str(element.tag).removeprefix(NAMESPACE)
    element.attrib = {
        name: value
        for name, value in element.attrib.items()
        if name in ATTRIBUTES and HARMLESS.fullmatch(value)
    }
    return element.tag in PRESENTATION
