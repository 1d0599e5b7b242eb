"""Fully connected networks: none, one or several hidden layers."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from kexp.choice import Count, choice
from kexp.dropouts import DropoutChoice
from kexp.lazy import keras
from kexp.models.base import Model
from kexp.norms import NoNorm, NormChoice


@choice
class Linear(Model):
    """One dense layer: linear regression, or the logistic regression of a classification.

    The input is flattened. `bias: false` leaves the intercept out; where there is one it is never
    penalised. Dropout stands before the layer, on the inputs; there is no place for a norm.
    """

    targets: ClassVar[tuple[str, ...]] = ("classification", "binary", "regression")
    inputs: ClassVar[tuple[str, ...]] = ("images", "features")

    bias: bool = True

    def check(self, norm: NormChoice) -> None:
        """Refuse any norm."""
        if not isinstance(norm, NoNorm):
            raise ValueError(
                "model=linear has no hidden layer to normalise: use norm=none or model=mlp"
            )

    def build(
        self,
        input_shape: tuple[int | None, ...],
        outputs: int,
        dropout: DropoutChoice,
        norm: NormChoice,
    ) -> Any:
        """A `keras.Model` from inputs of any shape to outputs (n, outputs)."""
        inputs = keras.Input(input_shape, name="input")
        x = _flat(inputs)
        x = dropout(dropout(x, "dropout_input", "input"), "dropout", "last")
        dense = keras.layers.Dense(
            outputs, use_bias=self.bias, dtype=keras.config.floatx(), name="logits"
        )
        return keras.Model(inputs, dropout.connected(dense, "input", "last")(x), name="linear")


@choice
class MLP(Model):
    """Fully connected network: dense, norm, ReLU per hidden layer; then one dense layer.

    The input is flattened. With `hidden=[1024,1024]` on MNIST it is a network of Srivastava et al.
    2014, who put dropout on every hidden layer and on the input: `dropout.places=[hidden,last]`.
    """

    targets: ClassVar[tuple[str, ...]] = ("classification", "binary", "regression")
    inputs: ClassVar[tuple[str, ...]] = ("images", "features")

    hidden: list[Count] = Field(default_factory=lambda: [128], min_length=1)

    def check(self, norm: NormChoice) -> None:
        """Raise `ValueError` where the norm does not fit a layer's width, or needs images."""
        for width in self.hidden:
            norm.check_width("model.hidden", width)
        norm.check_positions("model=mlp", self.hidden)

    def build(
        self,
        input_shape: tuple[int | None, ...],
        outputs: int,
        dropout: DropoutChoice,
        norm: NormChoice,
    ) -> Any:
        """A `keras.Model` from inputs of any shape to outputs (n, outputs)."""
        layers = keras.layers
        inputs = keras.Input(input_shape, name="input")
        x = dropout(_flat(inputs), "dropout_input", "input")
        for i, width in enumerate(self.hidden, start=1):
            dense = layers.Dense(width, name=f"dense_{i}")
            x = dropout.connected(dense, "input" if i == 1 else "hidden")(x)
            x = norm(x, name=f"norm_{i}")
            x = layers.ReLU(name=f"relu_{i}")(x)
            if i < len(self.hidden):
                x = dropout(x, f"dropout_{i}", "hidden")
        x = dropout(x, "dropout", "last")
        logits = dropout.connected(
            layers.Dense(outputs, dtype=keras.config.floatx(), name="logits"), "last"
        )
        return keras.Model(inputs, logits(x), name="mlp")


def _flat(inputs: Any) -> Any:
    return inputs if len(inputs.shape) == 2 else keras.layers.Flatten(name="flatten")(inputs)
