"""Convolutions as products of matrices, for programs that a backend's own serve badly.

XLA's convolutions on a CPU take ten times as long inside a loop, and those of many runs at once
are grouped ones, which are slow on most devices. The same shifted images side by side, times the
kernel as a matrix, are a convolution too, and products are fast everywhere. So is the greater of
two images, whose gradient is a choice; that of XLA's pooling is a scatter.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops


@contextlib.contextmanager
def as_products(model: keras.Model, wanted: bool) -> Iterator[None]:
    """Inside, plain convolutions and poolings of `model` are compiled so, if that is `wanted`.

    Where several values of a window are its maximum they share the slope, where Keras's pooling
    gives all of it to one of them.
    """
    with contextlib.ExitStack() as undone:

        def change(layer: Any, name: str, function: Any) -> None:
            setattr(layer, name, function)
            undone.callback(delattr, layer, name)

        for layer in model._flatten_layers() if wanted else ():
            if is_plain_convolution(layer):
                change(layer, "convolution_op", functools.partial(_convolved, layer.padding))
            elif _is_plain_pooling(layer):
                change(layer, "call", functools.partial(_pooled, layer.pool_size))
        yield


def is_plain_convolution(layer: Any) -> bool:
    """Whether it is two-dimensional, without strides, dilation or groups, channels last."""
    return (
        isinstance(layer, keras.layers.Conv2D)
        and type(layer).convolution_op is keras.layers.Conv2D.convolution_op
        and tuple(layer.strides) == tuple(layer.dilation_rate) == (1, 1)
        and layer.groups == 1
        and layer.padding in ("same", "valid")
        and layer.data_format == "channels_last"
    )


def _is_plain_pooling(layer: Any) -> bool:
    """Whether it takes the maximum over windows that do not overlap."""
    return (
        isinstance(layer, keras.layers.MaxPooling2D)
        and type(layer).call is keras.layers.MaxPooling2D.call
        and tuple(layer.strides) == tuple(layer.pool_size)
        and layer.padding == "valid"
        and layer.data_format == "channels_last"
    )


def _convolved(padding: str, inputs: Any, kernel: Any) -> Any:
    """Convolution of (n, h, w, c) with a kernel (k, l, c, d)."""
    kernel = ops.cast(ops.convert_to_tensor(kernel), inputs.dtype)
    rows, columns, channels, filters = kernel.shape
    if padding == "same":
        edges = [((size - 1) // 2, size // 2) for size in (rows, columns)]
        inputs = ops.pad(inputs, [(0, 0), *edges, (0, 0)])
    count, height, width = (
        inputs.shape[0],
        inputs.shape[1] - rows + 1,
        inputs.shape[2] - columns + 1,
    )
    corners = [(i, j) for i in range(rows) for j in range(columns)]
    shifted = [inputs[:, i : i + height, j : j + width] for i, j in corners]
    patches = ops.reshape(ops.concatenate(shifted, axis=-1), (-1, rows * columns * channels))
    result = ops.matmul(patches, ops.reshape(kernel, (-1, filters)))
    return ops.reshape(result, (count, height, width, filters))


def _pooled(size: tuple[int, int], inputs: Any) -> Any:
    """Maxima of (n, h, w, c) over windows; what is left over at the edges counts nowhere.

    Taken two by two: the gradient of a maximum over an axis looks for its own result among the
    values, and finds none where XLA has computed one of the two with another rounding.
    """
    count, height, width, channels = inputs.shape
    rows, columns = height // size[0], width // size[1]
    whole = inputs[:, : rows * size[0], : columns * size[1]]
    windows = ops.reshape(whole, (count, rows, size[0], columns, size[1], channels))
    highest = functools.reduce(ops.maximum, [windows[:, :, i] for i in range(size[0])])
    return functools.reduce(ops.maximum, [highest[:, :, :, j] for j in range(size[1])])
