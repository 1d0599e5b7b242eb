"""The linear autoencoder, whose span is that of principal component analysis at best."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from kexp.choice import Count, choice
from kexp.dropouts import DropoutChoice
from kexp.errors import ConfigError
from kexp.lazy import keras
from kexp.models.base import Model
from kexp.norms import NormChoice


@choice
class Eigenspace(Model):
    """Linear autoencoder: dense to `components` coefficients, norm, dense back to the image.

    Nothing in it is nonlinear but what norm and dropout do to the coefficients. With `loss=mse`
    its minimum has the span of the first principal components (Bourlard and Kamp 1988; Baldi and
    Hornik 1989). Dropout stands on the coefficients, the `last` place, or on the `input`.
    """

    targets: ClassVar[tuple[str, ...]] = ("projection",)

    components: Count = 20

    def check(self, norm: NormChoice) -> None:
        """Raise `ValueError` where the norm does not fit the coefficients, or needs images."""
        norm.check_width("model.components", self.components)
        norm.check_positions("model=eigenspace", [self.components])

    def check_data(self, examples: int, shape: tuple[int | None, ...]) -> None:
        """Refuse more components than training images less one, or values of an image."""
        values = math.prod(side or 1 for side in shape)
        most = max(1, min(examples - 1, values))  # less their mean, n images span n − 1 directions
        if self.components > most:
            raise ConfigError(
                f"model.components={self.components} is more than principal components can be had: "
                f"there are {examples} training images of {values} values each; use "
                f"model.components={most} or less"
            )

    def build(
        self,
        input_shape: tuple[int | None, ...],
        outputs: int,
        dropout: DropoutChoice,
        norm: NormChoice,
    ) -> Any:
        """A `keras.Model` from images (n, h, w, c) to images of the same shape."""
        layers, exact = keras.layers, keras.config.floatx()
        values = math.prod(side or 1 for side in input_shape)
        inputs = keras.Input(input_shape, name="image")
        x = dropout(layers.Flatten(name="flatten")(inputs), "dropout_input", "input")
        x = dropout.connected(layers.Dense(self.components, name="encoder"), "input")(x)
        x = dropout(norm(x, name="norm"), "dropout", "last")
        decoder = dropout.connected(layers.Dense(values, dtype=exact, name="decoder"), "last")
        image = layers.Reshape(input_shape, dtype=exact, name="reconstruction")
        return keras.Model(inputs, image(decoder(x)), name="eigenspace")
