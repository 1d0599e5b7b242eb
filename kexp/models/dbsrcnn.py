"""The network of Albluwi et al. 2018 for joint deblurring and super-resolution (DBSRCNN)."""

from __future__ import annotations

from typing import Any, ClassVar

from kexp.choice import Count, choice
from kexp.dropouts import DropoutChoice
from kexp.lazy import keras
from kexp.models.base import Model
from kexp.norms import NormChoice


@choice
class DBSRCNN(Model):
    """DBSRCNN: convolutions 9-5-5-5-5; the third sees the maps of the first two, side by side.

    `width` channels each (32 in the paper: 105,921 parameters for one channel), with ReLU after
    all but the last; a norm stands before the ReLU. Unlike in the paper, convolutions keep the
    size, so that the output has that of the input, whatever it is.
    """

    targets: ClassVar[tuple[str, ...]] = ("image regression",)

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
        """A `keras.Model` from degraded images (n, h, w, c) to images (n, h, w, outputs)."""
        layers = keras.layers

        def convolved(x: Any, number: int) -> Any:
            side = 9 if number == 1 else 5
            layer = layers.Conv2D(self.width, side, padding="same", name=f"conv_{number}")
            x = dropout.connected(layer, "input" if number == 1 else "hidden")(x)
            return layers.ReLU(name=f"relu_{number}")(norm(x, name=f"norm_{number}"))

        inputs = keras.Input(input_shape, name="image")
        first = convolved(dropout(inputs, "dropout_input", "input"), 1)
        second = convolved(dropout(first, "dropout_1", "hidden"), 2)
        x = layers.Concatenate(name="join")([first, second])
        x = convolved(dropout(x, "dropout_2", "hidden"), 3)
        x = convolved(dropout(x, "dropout_3", "hidden"), 4)
        x = dropout(x, "dropout", "last")
        last = layers.Conv2D(outputs, 5, padding="same", dtype=keras.config.floatx(), name="output")
        return keras.Model(inputs, dropout.connected(last, "last")(x), name="dbsrcnn")
