"""From a command line to checked choices, before TensorFlow is imported."""

from kexp.config.build import build
from kexp.config.compose import Composer

__all__ = ["Composer", "build"]
