"""Tasks: data + model + kind of target + yardsticks. One file per task."""

from kexp.tasks.base import Batch, EpochData, Task
from kexp.tasks.classification import Binary, MnistConvnet
from kexp.tasks.colorize import Colorize
from kexp.tasks.deblur_sr import DeblurSr
from kexp.tasks.denoise import Denoise
from kexp.tasks.depth import Depth
from kexp.tasks.eigenspace import Eigenspace
from kexp.tasks.images import ImageRegression
from kexp.tasks.ridge import Ridge

__all__ = [
    "Batch",
    "Binary",
    "Colorize",
    "DeblurSr",
    "Denoise",
    "Depth",
    "Eigenspace",
    "EpochData",
    "ImageRegression",
    "MnistConvnet",
    "Ridge",
    "Task",
]
