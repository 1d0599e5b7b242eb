"""Tasks: data + model + kind of target + yardsticks. One file per task."""

from kexp.tasks.base import Batch, EpochData, Task
from kexp.tasks.denoise import Denoise
from kexp.tasks.mnist_convnet import MnistConvnet

__all__ = ["Batch", "Denoise", "EpochData", "MnistConvnet", "Task"]
