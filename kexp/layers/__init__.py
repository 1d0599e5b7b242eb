"""Keras layers of kexp's own. Importing this package imports Keras."""

from kexp.layers.cropping import CropLike
from kexp.layers.decorrelated import DecorrelatedBatchNormalization
from kexp.layers.dropconnect import DropConnectConv2D, DropConnectDense
from kexp.layers.stochastic import Dropout, GaussianDropout, SpatialDropout

__all__ = [
    "CropLike",
    "DecorrelatedBatchNormalization",
    "DropConnectConv2D",
    "DropConnectDense",
    "Dropout",
    "GaussianDropout",
    "SpatialDropout",
]
