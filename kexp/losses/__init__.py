"""Losses L(y, ŷ): one class per loss, grouped by the kind of target they are for."""

from kexp.losses.base import Loss
from kexp.losses.classification import CrossEntropy, Focal, LabelSmoothing
from kexp.losses.regression import Absolute, Charbonnier, Huber, Quadratic

__all__ = [
    "Absolute",
    "Charbonnier",
    "CrossEntropy",
    "Focal",
    "Huber",
    "LabelSmoothing",
    "Loss",
    "Quadratic",
]
