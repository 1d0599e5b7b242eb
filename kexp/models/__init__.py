"""Networks. Each takes dropout and norm as objects and places them itself."""

from kexp.models.base import Model, fresh_model, seed_weights
from kexp.models.convnet import Convnet
from kexp.models.dncnn import DnCNN

__all__ = ["Convnet", "DnCNN", "Model", "fresh_model", "seed_weights"]
