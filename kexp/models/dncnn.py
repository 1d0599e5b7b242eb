"""The residual denoiser of Zhang et al. 2017 (DnCNN), in any depth and width."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from kexp.choice import Count, choice
from kexp.dropouts import DropoutChoice
from kexp.lazy import keras
from kexp.models.base import Model
from kexp.norms import NormChoice


@choice
class DnCNN(Model):
    """Residual denoiser: convolutions 3×3 estimate the noise, which is taken from the input.

    `depth` ≥ 2 convolutions of `width` channels; the first and the last carry no norm; the
    last dropout stands before the last of them, which starts at zero, so that an untrained
    network returns its input. `model.depth=17 model.width=64 norm=batch` is the network of Zhang
    et al. 2017. The image may have any size.
    """

    targets: ClassVar[tuple[str, ...]] = ("image regression",)

    depth: Annotated[int, Field(ge=2)] = 6
    width: Count = 32

    def check(self, norm: NormChoice) -> None:
        """Raise `ValueError` where the norm does not fit the width."""
        norm.check_width("model.width", self.width)

    def build(
        self,
        input_shape: tuple[int | None, ...],
        outputs: int,
        dropout: DropoutChoice,
        norm: NormChoice,
    ) -> Any:
        """A `keras.Model` from noisy images (n, h, w, c) to clean ones of the same shape."""
        layers = keras.layers
        x = inputs = keras.Input(input_shape, name="image")
        x = dropout(x, "dropout_input", "input")
        for i in range(1, self.depth):
            convolution = layers.Conv2D(self.width, 3, padding="same", name=f"conv_{i}")
            x = dropout.connected(convolution, "input" if i == 1 else "hidden")(x)
            x = norm(x, name=f"norm_{i}") if i > 1 else x
            x = layers.ReLU(name=f"relu_{i}")(x)
            if i < self.depth - 1:
                x = dropout(x, f"dropout_{i}", "hidden")
        x = dropout(x, "dropout", "last")
        last = layers.Conv2D(
            outputs, 3, padding="same", kernel_initializer="zeros", name=f"conv_{self.depth}"
        )
        noise = dropout.connected(last, "last")(x)
        clean = layers.Subtract(dtype=keras.config.floatx(), name="clean")([inputs, noise])
        return keras.Model(inputs, clean, name="dncnn")
