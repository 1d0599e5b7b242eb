"""Networks. Each takes dropout and norm as objects and places them itself."""

from kexp.models.base import Model, fresh_model, seed_weights
from kexp.models.convnet import Convnet
from kexp.models.dbsrcnn import DBSRCNN
from kexp.models.dncnn import DnCNN
from kexp.models.eigenspace import Eigenspace
from kexp.models.fully_connected import MLP, Linear
from kexp.models.unet import UNet

__all__ = [
    "DBSRCNN",
    "MLP",
    "Convnet",
    "DnCNN",
    "Eigenspace",
    "Linear",
    "Model",
    "UNet",
    "fresh_model",
    "seed_weights",
]
