"""Activations and dropout in plain numpy: the definition. Maps are NCHW float32.

The derivative of an activation is told from its output, so that nobody keeps its input.
"""

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U32 = npt.NDArray[np.uint32]


def activate(x: F32, kind: str, slope: float = 0.0) -> F32:
    """kind: none, relu, relu6 or leaky (slope * x where x is negative).

    >>> activate(np.float32([-2, 3, 8]), "leaky", 0.5).tolist()
    [-1.0, 3.0, 8.0]
    """
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "relu6":
        return np.clip(x, 0, 6)
    if kind == "leaky":
        return np.where(x > 0, x, np.float32(slope) * x)
    return x


def derivative(y: F32, kind: str, slope: float = 0.0) -> F32:
    """Of the activation whose output is y; at a kink the lower branch counts, as in PyTorch.

    >>> derivative(np.float32([0, 3, 6]), "relu6").tolist()
    [0.0, 1.0, 0.0]
    """
    if kind == "relu":
        return (y > 0).astype(np.float32)
    if kind == "relu6":
        return ((y > 0) & (y < 6)).astype(np.float32)
    if kind == "leaky":
        return np.where(y > 0, np.float32(1), np.float32(slope))
    return np.ones_like(y)


def undone(grad: F32, y: F32, kind: str, slope: float = 0.0) -> F32:
    """The gradient before the activation whose output is y. Where the derivative is 0 so is the
    gradient, even one that is NaN or infinite, as in PyTorch. Leaky slopes are multiplied with.

    >>> undone(np.float32([np.nan, 2]), np.float32([0, 1]), "relu").tolist()
    [0.0, 2.0]
    """
    slopes = derivative(y, kind, slope)
    if kind == "leaky":
        return grad * slopes
    return np.where(slopes > 0, grad, np.float32(0))


def _mixed(h: U32) -> U32:
    """lowbias32 (Wellons): every input bit reaches every output bit; a bijection of uint32."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


def dropout_keep(
    seed: int, layer: int, first: int, shape: tuple[int, int, int, int], rate: float
) -> npt.NDArray[np.bool_]:
    """Which elements of a map [images, channels, rows, cols] dropout keeps; `first` is the number
    of its first image in the batch, so that a batch may come in pieces.

    In uint32 arithmetic, wrapping:

        mix(h) = h ^= h >> 16; h *= 0x7feb352d; h ^= h >> 15; h *= 0x846ca68b; h ^= h >> 16
        index  = (((first + image) * channels + channel) * rows + row) * cols + col
        key    = mix(seed ^ ((layer + 1) * 0x9e3779b9))
        kept   = mix(key + index) >= threshold, threshold = floor(rate * 2^32)

    `channels` are the true ones, without padded lanes; `rate` is a float32, widened to double for
    the threshold. The key is mixed before the index is added: seeds that differ in low bits would
    otherwise give the same mask in another order.

    >>> dropout_keep(7, 2, 0, (1, 1, 2, 4), 0.5).astype(int).tolist()
    [[[[1, 1, 1, 1], [1, 1, 0, 1]]]]
    """
    size = int(np.prod(shape[1:]))
    index = np.arange(first * size, (first + shape[0]) * size, dtype=np.uint64).astype(np.uint32)
    layered = np.array([(layer + 1) * 0x9E3779B9 & 0xFFFFFFFF], dtype=np.uint32)
    key = _mixed(np.array([seed & 0xFFFFFFFF], dtype=np.uint32) ^ layered)
    threshold = int(float(np.float32(rate)) * 2.0**32)
    return (_mixed(key + index) >= threshold).reshape(shape)


def dropout(x: F32, keep: npt.NDArray[np.bool_], rate: float) -> F32:
    """Forward and backward alike: what is kept grows so that the expectation stays."""
    scale = np.float32(1) / (np.float32(1) - np.float32(rate))
    return np.where(keep, x * scale, np.float32(0))
