"""The convolutional classifier of Keras's MNIST example."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from kexp.choice import Count, choice
from kexp.dropouts import DropoutChoice
from kexp.lazy import keras
from kexp.models.base import Model
from kexp.norms import NormChoice


@choice
class Convnet(Model):
    """Convolution 3×3, norm, ReLU and 2×2 max pooling per stage; dropout; one dense layer.

    With filters (32, 64), 28×28×1 inputs and 10 classes: 34,826 parameters, as in Keras's
    example. The last dropout stands before the flattening, which for element-wise dropout is
    the same as after it, and lets spatial dropout see feature maps.
    """

    targets: ClassVar[tuple[str, ...]] = ("classification", "binary")

    filters: list[Count] = Field(default_factory=lambda: [32, 64], min_length=1)
    kernel_size: Count = 3

    def check(self, norm: NormChoice) -> None:
        """Raise `ValueError` where the norm does not fit a stage's width."""
        for width in self.filters:
            norm.check_width("model.filters", width)

    def smallest_side(self) -> int:
        """The side that leaves one pixel after the last pooling."""
        side = 1
        for _ in self.filters:
            side = 2 * side + self.kernel_size - 1
        return side

    def build(
        self,
        input_shape: tuple[int | None, ...],
        outputs: int,
        dropout: DropoutChoice,
        norm: NormChoice,
    ) -> Any:
        """A `keras.Model` from images (n, h, w, c) to logits (n, outputs)."""
        layers = keras.layers
        x = inputs = keras.Input(input_shape, name="image")
        x = dropout(x, "dropout_input", "input")
        for i, width in enumerate(self.filters, start=1):
            convolution = layers.Conv2D(width, self.kernel_size, name=f"conv_{i}")
            x = dropout.connected(convolution, "input" if i == 1 else "hidden")(x)
            x = norm(x, name=f"norm_{i}")
            x = layers.ReLU(name=f"relu_{i}")(x)
            x = layers.MaxPooling2D(2, name=f"pool_{i}")(x)
            if i < len(self.filters):
                x = dropout(x, f"dropout_{i}", "hidden")
        x = dropout(x, "dropout", "last")
        x = layers.Flatten(name="flatten")(x)
        logits = dropout.connected(
            layers.Dense(outputs, dtype=keras.config.floatx(), name="logits"), "last"
        )
        return keras.Model(inputs, logits(x), name="convnet")
