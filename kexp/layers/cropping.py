"""Cutting feature maps to the size of others."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="kexp")
class CropLike(keras.layers.Layer):
    """The top left part of maps (n, h, w, c), of the size of others that are not larger.

    Called with both, `[maps, like]`; undoes the rounding up of a pooling with padding.
    """

    def call(self, inputs: list[Any]) -> Any:
        """`maps[:, :h, :w]` with h and w of `like`."""
        maps, like = inputs
        height, width = keras.ops.shape(like)[1:3]
        return maps[:, :height, :width]

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple:
        """The channels of the one with the sides of the other."""
        maps, like = input_shape
        return (maps[0], *like[1:3], maps[3])
