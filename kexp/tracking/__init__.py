"""Tracking: a copy of the record in TensorBoard or MLflow. Plain files stay the truth."""

from kexp.tracking.base import NoTracker, Sink, Tracker
from kexp.tracking.live import tracked
from kexp.tracking.mlflow import Mlflow
from kexp.tracking.tensorboard import TensorBoard

__all__ = ["Mlflow", "NoTracker", "Sink", "TensorBoard", "Tracker", "tracked"]
