"""Keras layers of kexp's own. Importing this package imports Keras."""

from kexp.layers.stochastic import Dropout, GaussianDropout, SpatialDropout

__all__ = ["Dropout", "GaussianDropout", "SpatialDropout"]
