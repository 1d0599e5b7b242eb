"""What every network has in common, and initial weights that depend on names alone."""

from __future__ import annotations

from typing import Any, ClassVar

from kexp.dropouts import DropoutChoice
from kexp.lazy import keras
from kexp.norms import NormChoice
from kexp.streams import Streams


class Model:
    """A network as a config choice: parameters now, a `keras.Model` when built."""

    targets: ClassVar[tuple[str, ...]]
    """Kinds of target (see `kexp.tasks.Task.target`) that its output is for."""

    inputs: ClassVar[tuple[str, ...]] = ("images",)
    """What it takes: images, features or both."""

    def check(self, norm: NormChoice) -> None:
        """Raise `ValueError` where `norm` cannot be placed in this network."""

    def check_data(self, examples: int, shape: tuple[int | None, ...]) -> None:
        """Raise `ConfigError` where so many training examples of that shape are too few."""

    def smallest_side(self) -> int:
        """The smallest image side in pixels that the network takes."""
        return 1

    def build(
        self,
        input_shape: tuple[int | None, ...],
        outputs: int,
        dropout: DropoutChoice,
        norm: NormChoice,
    ) -> Any:
        """A `keras.Model` for inputs (n, *input_shape), with `outputs` outputs."""
        raise TypeError(f"{type(self).__name__} must define build(…)")


def seed_weights(model: Any, streams: Streams) -> None:
    """Draw all initial weights of a `keras.Model` again, each from a stream named by its path.

    A kernel then depends on the seed, its layer's name and its shape, not on which other layers
    the network has, so that variants of a network start from the same point.
    """
    for layer in model._flatten_layers(include_self=False):
        for variable in layer.variables:
            initializer = getattr(layer, f"{variable.name}_initializer", None)
            if hasattr(initializer, "seed"):
                seed = streams.integer(f"weights/{variable.path}")
                again = type(initializer).from_config({**initializer.get_config(), "seed": seed})
                variable.assign(again(variable.shape, dtype=variable.dtype))


def fresh_model(
    model: Model,
    shapes: tuple[tuple, int],
    dropout: DropoutChoice,
    norm: NormChoice,
    streams: Streams,
    precision: str = "float32",
) -> Any:
    """A `keras.Model` for input shape and number of outputs, with the seed's initial weights.

    Its layers compute in `precision`, the name of a Keras dtype policy. What Keras keeps of
    earlier models in this process is let go first.
    """
    keras.utils.clear_session()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        built = model.build(*shapes, dropout, norm)
    finally:
        keras.config.set_dtype_policy(before)
    seed_weights(built, streams)
    return built
