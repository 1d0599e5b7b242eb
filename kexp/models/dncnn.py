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

    `depth` ≥ 2 convolutions of `width` channels; the first and the last carry no norm; dropout
    stands before the last. The last convolution starts at zero, so that an untrained network
    returns its input. `model.depth=17 model.width=64 norm=batch` is the network of Zhang et al.
    2017. The image may have any size.
    """

    target: ClassVar[str] = "regression"

    depth: Annotated[int, Field(ge=2)] = 6
    width: Count = 32

    def check(self, norm: NormChoice) -> None:
        """Raise `ValueError` where the norm does not fit the width."""
        norm.check_width("model.width", self.width)

    def build(
        self,
        input_shape: tuple[int | None, int | None, int],
        outputs: int,
        dropout: DropoutChoice,
        norm: NormChoice,
    ) -> Any:
        """A `keras.Model` from noisy images (n, h, w, c) to clean ones of the same shape."""
        layers = keras.layers
        x = inputs = keras.Input(input_shape, name="image")
        for i in range(1, self.depth):
            x = layers.Conv2D(self.width, 3, padding="same", name=f"conv_{i}")(x)
            x = norm(x, name=f"norm_{i}") if i > 1 else x
            x = layers.ReLU(name=f"relu_{i}")(x)
        x = dropout(x, name="dropout")
        last = layers.Conv2D(
            outputs, 3, padding="same", kernel_initializer="zeros", name=f"conv_{self.depth}"
        )
        return keras.Model(inputs, layers.Subtract(name="clean")([inputs, last(x)]), name="dncnn")
