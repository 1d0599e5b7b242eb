"""Data sets: real ones, verified; embedded ones that are always there; and the user's folders."""

from kexp.data.archive import Archive
from kexp.data.base import Collection, DataSet, Examples, Splits
from kexp.data.depth_folder import DepthFolder
from kexp.data.digits import Digits
from kexp.data.folder import Folder
from kexp.data.mnist import Mnist
from kexp.data.photos import ColourPhotos, Photos
from kexp.data.scenes import Scenes
from kexp.data.tables import BreastCancer, Diabetes, Polynomial

__all__ = [
    "Archive",
    "BreastCancer",
    "Collection",
    "ColourPhotos",
    "DataSet",
    "DepthFolder",
    "Diabetes",
    "Digits",
    "Examples",
    "Folder",
    "Mnist",
    "Photos",
    "Polynomial",
    "Scenes",
    "Splits",
]
