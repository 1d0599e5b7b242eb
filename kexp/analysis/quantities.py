"""What is compared: a yardstick's gap, validation, test, onset or cost, as one number per run."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kexp.errors import ConfigError
from kexp.measures import YARDSTICKS, Yardstick
from kexp.store import Record

PARTS = {
    "gap": ("last", "gap"),
    "train": ("last", "probe"),
    "validation": ("last", "validation"),
    "best": ("best", "validation"),
    "test": ("test", "last"),
    "test_best": ("test", "best"),
    "onset": ("onset",),
    "cost": ("cost",),
    "noise": ("robustness", "noise", "mean"),
    "occlusion": ("robustness", "occlusion", "mean"),
    "fgsm": ("robustness", "fgsm", "mean"),
    "pgd": ("robustness", "pgd", "mean"),
}
"""Where in summary.json the parts are found; `test` is of the last weights, `test_best` of the
best ones. Those of robustness are means over strengths; `pgd@0.1` is at one of them."""

PERTURBATIONS = {"noise": "noise", "occlusion": "occlusion", "fgsm": "FGSM", "pgd": "PGD"}
"""The parts of robustness, and what they are called."""

MEMORISATION = Yardstick("memorisation", "memorisation", unit="%")
"""The share of corrupted targets that were learned by heart: a number of its own, not a part."""

STRENGTH = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
"""A strength as it is written in a key."""

TITLES = {"best": "best validation", "test_best": "test (best weights)"}


@dataclass(frozen=True)
class Quantity:
    """One number of a run: `part` is one of `PARTS`, `yardstick` what it is measured by."""

    part: str
    yardstick: Yardstick

    @property
    def key(self) -> str:
        """`gap.nll`, say."""
        return ".".join(dict.fromkeys((self.part, self.yardstick.name)))

    @property
    def title(self) -> str:
        """`NLL gap`, say."""
        if self.yardstick is MEMORISATION:
            return self.yardstick.label
        if self.part == "test":
            return f"test {self.yardstick.label}"
        kind, _, strength = self.part.partition("@")
        if kind in PERTURBATIONS:
            at = f" of {strength}" if strength else ""
            return f"{self.yardstick.label} under {PERTURBATIONS[kind]}{at}"
        return f"{self.yardstick.label} {TITLES.get(self.part, self.part)}"

    @property
    def axis(self) -> str:
        """The title with the unit, for an axis."""
        unit = "epoch" if self.part == "onset" else self.yardstick.unit
        return f"{self.title} ({unit})" if unit else self.title

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is the better one; gaps and costs are better when small."""
        if self.part in ("gap", "cost"):
            return False
        return self.part == "onset" or self.yardstick.higher_is_better

    @property
    def scale(self) -> float:
        """What to multiply values by for an axis: 100 for a share shown in percent."""
        return 100.0 if self.yardstick.unit == "%" and self.part != "onset" else 1.0

    def of(self, record: Record) -> float | None:
        """The value of a run; None where its summary has none."""
        value: Any = record.summary
        for name in (*place(self.part), self.yardstick.name):
            value = value.get(name) if isinstance(value, dict) else None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if number and math.isfinite(value) else None

    def show(self, value: float | None) -> str:
        """The value with a unit and a sensible number of digits."""
        if self.part == "onset":
            return "–" if value is None else f"{value:.3g}"
        return self.yardstick.show(value)

    def change(self, value: float, unit: bool = True) -> str:
        """A difference with its sign, and its unit unless `unit` is false: `−0.12 pp`."""
        name = {"%": "pp"}.get(self.yardstick.unit, self.yardstick.unit)
        if self.part == "onset":
            name = "epochs"
        text = signed(self.scale * value)
        return f"{text} {name}" if unit and name else text


def place(part: str) -> tuple[str, ...]:
    """Where in summary.json a part is found."""
    kind, _, strength = part.partition("@")
    return ("robustness", kind, strength) if strength else PARTS.get(part, ("last",))


def signed(value: float) -> str:
    """A number with its sign (a true minus) and three significant digits."""
    if not math.isfinite(value):
        return {math.inf: "+∞", -math.inf: "−∞"}.get(value, "–")
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    text = f"{abs(value):.{min(max(digits, 0), 6)}f}" if abs(value) >= 1e-6 else f"{abs(value):.2e}"
    return f"{'+' if value > 0 else '−'}{text}"


def measured_by(records: Sequence[Record]) -> list[str]:
    """The yardsticks that most of these runs were measured by, in the order of the first."""
    counted = Counter(y for r in records for y in r.summary.get("last", {}).get("gap", {}))
    return [y for y, n in counted.items() if y in YARDSTICKS and 2 * n > len(records)]


def yardstick(records: Sequence[Record], metric: str | None = None) -> Yardstick:
    """The yardstick asked for, or else the study's, or the task's. Raises `ConfigError`."""
    known = measured_by(records)
    if metric is None:
        studies = (record.config.get("study") for record in records)
        named = (s.get("yardstick") for s in studies if isinstance(s, dict))
        monitors = (record.summary.get("monitor") for record in records)
        metric = next((str(m) for m in (*named, *monitors) if m in known), None)
        metric = metric or next(iter(known), "")
    if metric not in known:
        having = (
            f"these runs have {', '.join(known)}" if known else "these runs have none in common"
        )
        raise ConfigError(f"--metric {metric}: {having}")
    return YARDSTICKS[metric]


def usual(records: Sequence[Record], metric: str | None = None) -> list[Quantity]:
    """What effects are told of: gap, validation, test, onset and cost, and the test error.

    Where robustness was measured, also by the mean over strengths of each perturbation; where
    targets were corrupted, by the share of them that was learned by heart.
    """
    by = yardstick(records, metric)
    found = [Quantity(part, by) for part in ("gap", "validation", "test", "onset", "cost")]
    if by.name != "error" and "error" in measured_by(records):
        found.insert(3, Quantity("test", YARDSTICKS["error"]))
    found += perturbed(by, records)
    learned = Quantity(MEMORISATION.name, MEMORISATION)
    return [*found, learned] if any(learned.of(r) is not None for r in records) else found


def perturbed(by: Yardstick, records: Sequence[Record]) -> list[Quantity]:
    """A yardstick under each perturbation that some of these runs were measured under."""
    every = (Quantity(part, under_perturbation(by, records)) for part in PERTURBATIONS)
    return [quantity for quantity in every if any(quantity.of(r) is not None for r in records)]


def under_perturbation(by: Yardstick, records: Sequence[Record]) -> Yardstick:
    """The yardstick to tell robustness by: this one, or the task's where it is the fit."""
    robustness = (r.summary.get("robustness") for r in records)
    clean = next((of["clean"] for of in robustness if isinstance(of, dict) and "clean" in of), None)
    known = [name for name in clean if name in YARDSTICKS] if isinstance(clean, dict) else []
    return by if by.name in known or not known else YARDSTICKS[known[0]]


def of_study(records: Sequence[Record]) -> list[str]:
    """What the study that was run says it is about; empty if it says nothing."""
    for record in records:
        study = record.config.get("study")
        asked = study.get("quantities") if isinstance(study, dict) else None
        if isinstance(asked, list) and asked:
            known = ("", *measured_by(records))
            return [str(key) for key in asked if (of := parsed(str(key))) and of[1] in known]
    return []


def is_quantity(key: str) -> bool:
    """Whether a key such as `gap` or `test.error` means anything."""
    found = parsed(key)
    return found is not None and found[1] in ("", *YARDSTICKS)


def parsed(key: str) -> tuple[str, str] | None:
    """Part and name of the yardstick of a key: `("pgd@0.1", "error")` of `pgd@0.1.error`.

    The name is empty where the key has none; None where there is no such part.
    """
    found = re.fullmatch(rf"(?:({'|'.join(PERTURBATIONS)})@{STRENGTH}|(\w+))(?:\.([a-z]\w*))?", key)
    if found is None:
        return None
    kind, strength, plain, name = found.groups("")
    part = f"{kind}@{float(strength):g}" if kind else plain
    known = kind or part in PARTS or key == MEMORISATION.name
    return (part, name) if known else None


def has_yardstick(key: str) -> bool:
    """Whether a key names its yardstick."""
    found = parsed(key)
    return found is not None and bool(found[1])


def unmeasured(part: str, strengths: Mapping[str, Sequence[float]]) -> bool:
    """Whether a part is of a perturbation or a strength that runs are not measured under."""
    kind, _, strength = part.partition("@")
    known = [f"{value:g}" for value in strengths.get(kind, ())]
    return kind in PERTURBATIONS and (strength not in known if strength else not known)


def named(keys: Iterable[str], records: Sequence[Record], metric: str | None) -> list[Quantity]:
    """The quantities of keys such as `gap`, or `test.error`. Raises `ConfigError`."""
    by, known = yardstick(records, metric), measured_by(records)
    found = []
    for key in keys:
        if key == MEMORISATION.name:
            found.append(Quantity(key, MEMORISATION))
            continue
        part, name = parsed(key) or ("", "")
        if not part or (name and name not in known):
            raise ConfigError(
                f"--on {key}: nothing that runs are compared on; there are memorisation and "
                f"{', '.join(PARTS)}, also at one strength, as in pgd@0.1, each also of another "
                f"yardstick, as in test.{known[-1] if known else 'nll'} ({', '.join(known)})"
            )
        found.append(Quantity(part, YARDSTICKS[name] if name else by))
    return found
