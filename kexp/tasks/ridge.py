"""Linear regression with a ridge penalty: by descent, and the whole path in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from kexp import ridge, yardsticks
from kexp.choice import choice
from kexp.data import Collection, DataSet, Examples, Splits
from kexp.dropouts import NoDropout
from kexp.errors import DataError
from kexp.losses import Quadratic
from kexp.models import Linear
from kexp.regularizers import L2, Zero
from kexp.streams import Streams
from kexp.tasks.base import Batch, EpochData, Task

STRENGTHS = (0.0, *np.logspace(-7, 3, 101))
"""The strengths λ of the path, in the convention of the objective: ½ mean r² + λ Σθ²."""

MOST_EXHIBITS = 500


@choice
class Ridge(Task):
    """Regression from features to a number; its record holds the whole ridge path in closed form.

    Features and values are standardised by the training split, so that errors are in units of the
    values' standard deviation. The training itself is gradient descent like any other; the closed
    form θ̂ = (XᵀX + 2NλI)⁻¹Xᵀy has the same minimum for `model=linear loss=mse regularizer=l2`
    (with N training examples), and the record says how far from it the training ended.
    """

    target: ClassVar[str] = "regression"
    yardsticks: ClassVar[tuple[str, ...]] = ("mse", "mae")

    def check(self, data: DataSet, loss: Any) -> None:
        """Refuse label noise."""
        if data.label_noise:
            raise ValueError("data.label_noise flips class labels; for values use data.outliers")

    def check_splits(self, splits: Splits, smallest_side: int) -> None:
        """Refuse features and values that are not finite."""
        for part in _parts(splits).values():
            for what, numbers in (("features", part.inputs), ("the value", part.values)):
                wrong = np.argwhere(~np.isfinite(numbers))
                if wrong.size:
                    row, column = wrong[0]
                    raise DataError(
                        f"{what} must be finite, got {numbers[row, column]} "
                        f"for the example {part.name(row)}"
                    )

    def shapes(self, collection: Collection) -> tuple[tuple, int]:
        """(features,), and one output."""
        return tuple(collection.train.inputs.shape[1:]), 1

    def epoch(self, train: Examples, streams: Streams, epoch: int) -> EpochData:
        """Every example once, in the order of the stream `order` at this epoch."""
        order = streams.rng("order", epoch).permutation(len(train)).astype(np.int32)
        return EpochData(train.inputs, _targets(train), order)

    def batches(self, examples: Examples, streams: Streams, split: str) -> Sequence[Batch]:
        """The whole split."""
        truth = None if examples.targets is None else examples.values
        return [Batch(examples.inputs, _targets(examples), truth)]

    def measure(self, predictions: list[np.ndarray], batches: Sequence[Batch]) -> dict[str, float]:
        """MSE and MAE, in units of the training values' variance and standard deviation."""
        prediction, y = np.concatenate(predictions), np.concatenate([b.y for b in batches])
        return {
            name: float(np.mean(yardsticks.REGRESSION[name](prediction, y)))
            for name in self.yardsticks
        }

    def trivial(self, splits: Splits, batches: Sequence[Batch]) -> dict[str, list[np.ndarray]]:
        """The mean of the training values."""
        mean = _targets(splits.train).mean()
        return {"mean of the training values": [np.full_like(b.y, mean) for b in batches]}

    def exhibits(
        self, predictions: list[np.ndarray], batches: Sequence[Batch]
    ) -> dict[str, np.ndarray]:
        """The first predictions beside the true values, in standard deviations."""
        truth = [b.y if b.truth is None else b.truth for b in batches]
        return {
            "outputs": np.concatenate(predictions)[:MOST_EXHIBITS, 0].astype(np.float32),
            "targets": np.concatenate(truth)[:MOST_EXHIBITS, 0].astype(np.float32),
        }

    def fitted(self, prediction: np.ndarray, y: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether the prediction is nearer to the outlier than to the true value."""
        outlier = y != truth
        return np.abs(prediction - y)[outlier] < np.abs(prediction - truth)[outlier]

    def closing(
        self, splits: Splits, kernels: list[np.ndarray], e: Any
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The path: strengths, errors, degrees of freedom, bias and variance, distance to it."""
        bias = not isinstance(e.model, Linear) or e.model.bias
        x, y = splits.train.inputs, _targets(splits.train)[:, 0]
        path = ridge.ridge_path(x, y, _sums(STRENGTHS, len(x)), bias)
        errors = {name: _errors(path, part) for name, part in _parts(splits).items()}
        best = int(np.argmin(errors["validation"]))
        found = {
            "ridge": {
                "strengths": list(STRENGTHS),
                "degrees_of_freedom": path.degrees_of_freedom.tolist(),
                "train_mse": errors["train"].tolist(),
                "validation_mse": errors["validation"].tolist(),
                **_decomposition(splits.train, y, bias),
                "best_strength": STRENGTHS[best],
                "best_validation_mse": float(errors["validation"][best]),
                "test_mse_at_best": float(errors["test"][best]),
                **_beside_closed_form(e, x, y, kernels),
            }
        }
        return found, {}


def _targets(examples: Examples) -> np.ndarray:
    return examples.values if examples.targets is None else examples.targets


def _parts(splits: Splits) -> dict[str, Examples]:
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


def _sums(strengths: Any, samples: int) -> np.ndarray:
    """λ of ½ mean r² + λ Σθ² as the one of Σr² + λ Σθ²: 2N times as much."""
    return 2.0 * samples * np.asarray(strengths)


def _errors(path: ridge.RidgePath, part: Examples) -> np.ndarray:
    """The mean squared error of a split for each strength, shape (m,)."""
    return np.mean(np.square(path.predict(part.inputs) - _targets(part)), axis=0)


def _decomposition(train: Examples, y: np.ndarray, bias: bool) -> dict[str, Any]:
    """Squared bias and variance of the path at the training inputs.

    About the true expectation where it is known and no value is an outlier. Else about the
    least-squares fit, with the noise variance of its residuals; nothing where there are too few
    examples for that.
    """
    if train.expected is not None and train.targets is None:
        expected, about = train.expected[:, 0], "the true expectation"
        variance = float(np.mean(np.square(train.values[:, 0] - expected)))
    else:
        about = "the least-squares fit, which makes the bias too large on average"
        try:
            variance = ridge.residual_variance(train.inputs, y, bias)
        except ValueError:
            return {"squared_bias": None, "variance": None, "noise_variance": None, "about": None}
        expected = ridge.ridge_path(train.inputs, y, [0.0], bias).predict(train.inputs)[:, 0]
    strengths = _sums(STRENGTHS, len(y))
    squared_bias, spread = ridge.bias_variance(train.inputs, expected, variance, strengths, bias)
    return {
        "squared_bias": squared_bias.tolist(),
        "variance": spread.tolist(),
        "noise_variance": variance,
        "about": about,
    }


def _beside_closed_form(
    e: Any, x: np.ndarray, y: np.ndarray, kernels: list[np.ndarray]
) -> dict[str, Any]:
    """The trained θ and θ̂ of the same objective, per standard deviations, and ‖θ − θ̂‖; if any."""
    penalised = isinstance(e.regularizer, L2) and e.regularizer.kernels != "convolution"
    same = isinstance(e.model, Linear) and isinstance(e.loss, Quadratic)
    same &= isinstance(e.dropout, NoDropout) and not getattr(e.optimizer, "weight_decay", 0)
    if not same or not (penalised or isinstance(e.regularizer, Zero)):
        return {"coefficients": None, "closed_form": None, "distance": None}
    strength = e.regularizer.strength if penalised else 0.0
    trained = kernels[0][:, 0]
    exact = ridge.ridge_path(x, y, _sums([strength], len(x)), e.model.bias).coefficients[0]
    return {
        "coefficients": trained.tolist(),
        "closed_form": exact.tolist(),
        "distance": float(np.linalg.norm(trained - exact)),
    }
