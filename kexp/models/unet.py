"""The U-Net of Ronneberger et al. 2015, in any depth and width, for images of any size."""

from __future__ import annotations

from typing import Any, ClassVar

from kexp.choice import Count, choice
from kexp.dropouts import DropoutChoice
from kexp.lazy import keras, layers
from kexp.models.base import Model
from kexp.norms import NormChoice


@choice
class UNet(Model):
    """U-Net: each level sees half the resolution with twice the channels; skips join them again.

    `levels` ≥ 1 poolings by 2, and two convolutions 3×3 at every resolution, of `width` channels
    at the first; norm and ReLU after each. On the way up, maps are enlarged by repetition, cut to
    the size of those that they are joined with, and convolved. Unlike in the paper, convolutions
    keep the size, so that the output has that of the input, whatever it is.
    """

    targets: ClassVar[tuple[str, ...]] = (
        "image regression",
        "colour regression",
        "depth regression",
    )

    levels: Count = 2
    width: Count = 16

    def check(self, norm: NormChoice) -> None:
        """Raise `ValueError` where the norm does not fit a level's width."""
        norm.check_width("model.width", self.width)

    def smallest_side(self) -> int:
        """The side that leaves one pixel at the lowest level."""
        return 2**self.levels

    def build(
        self,
        input_shape: tuple[int | None, ...],
        outputs: int,
        dropout: DropoutChoice,
        norm: NormChoice,
    ) -> Any:
        """A `keras.Model` from images (n, h, w, c) to images (n, h, w, outputs)."""
        build = _Builder(dropout, norm)
        skips = []
        x = inputs = keras.Input(input_shape, name="image")
        x = dropout(x, "dropout_input", "input")
        for level in range(self.levels):
            x = build.convolved(x, self.width * 2**level, f"down_{level + 1}")
            skips.append(x)
            x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool_{level + 1}")(x)
            x = dropout(x, f"dropout_down_{level + 1}", "hidden")
        x = build.convolved(x, self.width * 2**self.levels, "bottom")
        for level in reversed(range(self.levels)):
            x = dropout(x, f"dropout_up_{level + 1}", "hidden")
            x = keras.layers.UpSampling2D(2, name=f"enlarge_{level + 1}")(x)
            x = layers.CropLike(name=f"crop_{level + 1}")([x, skips[level]])
            x = keras.layers.Concatenate(name=f"join_{level + 1}")([x, skips[level]])
            x = build.convolved(x, self.width * 2**level, f"up_{level + 1}")
        x = dropout(x, "dropout", "last")
        last = keras.layers.Conv2D(
            outputs, 3, padding="same", dtype=keras.config.floatx(), name="output"
        )
        return keras.Model(inputs, dropout.connected(last, "last")(x), name="unet")


class _Builder:
    """Adds pairs of convolutions to a network."""

    def __init__(self, dropout: DropoutChoice, norm: NormChoice):
        self._dropout, self._norm = dropout, norm
        self._place: Any = "input"

    def convolved(self, x: Any, width: int, name: str) -> Any:
        """`x` after two convolutions, each with norm and ReLU."""
        for part in ("a", "b"):
            layer = keras.layers.Conv2D(width, 3, padding="same", name=f"conv_{name}{part}")
            x = self._dropout.connected(layer, self._place)(x)
            x = self._norm(x, name=f"norm_{name}{part}")
            x = keras.layers.ReLU(name=f"relu_{name}{part}")(x)
            self._place = "hidden"
        return x
