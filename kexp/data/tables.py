"""Data in rows of features: scikit-learn's embedded tables, and polynomials made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from kexp.choice import Count, NonNegative, ProperShare, Whole, choice
from kexp.data.base import Collection, DataSet, Examples


@choice
class Diabetes(DataSet):
    """442 patients: ten measurements, and the progress of the disease a year later, 25 to 346.

    Ships inside scikit-learn. Efron, Hastie, Johnstone and Tibshirani 2004.
    """

    targets: ClassVar[tuple[str, ...]] = ("regression",)
    inputs: ClassVar[str] = "features"

    validation_size: Count | ProperShare = 0.2

    def load(self, folder: Path) -> Collection:
        """Features (442, 10) in their own units, values (442, 1)."""
        from sklearn.datasets import load_diabetes

        features, values = load_diabetes(return_X_y=True, scaled=False)
        return Collection(Examples(_column(features), values=_column(values)))


@choice
class BreastCancer(DataSet):
    """569 tumours: thirty measurements of cell nuclei, and whether the tumour is benign (1).

    Ships inside scikit-learn. Street, Wolberg and Mangasarian 1993.
    """

    targets: ClassVar[tuple[str, ...]] = ("classification", "binary")
    inputs: ClassVar[str] = "features"

    validation_size: Count | ProperShare = 0.2

    def load(self, folder: Path) -> Collection:
        """Features (569, 30) in their own units, labels (569,): 0 malignant, 1 benign."""
        from sklearn.datasets import load_breast_cancer

        table = load_breast_cancer()
        labels = table.target.astype(np.int32)
        return Collection(
            Examples(_column(table.data), labels), classes=[str(n) for n in table.target_names]
        )


@choice
class Polynomial(DataSet):
    """Noisy values of a polynomial, with the powers of x as features: ridge's textbook example.

    `examples` points x uniform in [−1, 1], y = Σ_k truth_k xᵏ + noise · N(0, 1), and the features
    x, x², …, x^degree. A `degree` above that of the truth can overfit. `draw` numbers the data set:
    another number is another draw of x and noise, whatever the seed of the run.
    """

    targets: ClassVar[tuple[str, ...]] = ("regression",)
    inputs: ClassVar[str] = "features"

    examples: Count = 100
    degree: Count = 12
    truth: list[float] = Field(default_factory=lambda: [0.0, 1.0, 0.0, -2.0], min_length=1)
    noise: NonNegative = 0.2
    draw: Whole = 0
    validation_size: Count | ProperShare = 0.3
    test_size: Count | ProperShare = 0.3

    def load(self, folder: Path) -> Collection:
        """Features (n, degree), values (n, 1) and their expectation without noise."""
        rng = np.random.default_rng([self.draw, 1])
        x = rng.uniform(-1, 1, self.examples)
        expected = np.polynomial.Polynomial(self.truth)(x)
        values = expected + self.noise * rng.standard_normal(self.examples)
        features = np.power.outer(x, np.arange(1, self.degree + 1))
        return Collection(
            Examples(_column(features), values=_column(values), expected=_column(expected))
        )


def _column(values: np.ndarray) -> np.ndarray:
    """float32 with one row per example."""
    return values.reshape(len(values), -1).astype(np.float32)
