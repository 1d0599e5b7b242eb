"""Losses L(y, ŷ): one class per loss, grouped by the kind of target they are for."""

from kexp.losses.barron import Adaptive, General
from kexp.losses.base import Loss
from kexp.losses.classification import (
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    GeneralizedCrossEntropy,
    Hinge,
    LabelSmoothing,
    SymmetricCrossEntropy,
)
from kexp.losses.image import MsSsim, ScaleShiftInvariant, Ssim
from kexp.losses.redescending import Cauchy, GemanMcClure, Tukey, Welsch
from kexp.losses.regression import Absolute, Charbonnier, Huber, LogCosh, Quadratic, Quantile

__all__ = [
    "Absolute",
    "Adaptive",
    "BinaryCrossEntropy",
    "Cauchy",
    "Charbonnier",
    "CrossEntropy",
    "Focal",
    "GemanMcClure",
    "General",
    "GeneralizedCrossEntropy",
    "Hinge",
    "Huber",
    "LabelSmoothing",
    "LogCosh",
    "Loss",
    "MsSsim",
    "Quadratic",
    "Quantile",
    "ScaleShiftInvariant",
    "Ssim",
    "SymmetricCrossEntropy",
    "Tukey",
    "Welsch",
]
