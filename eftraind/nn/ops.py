"""Convolution and pooling in plain numpy, forward and backward: the definition.

Every device is judged by this package. Clarity before speed; float32 in and out. Maps are NCHW,
weights [m, n of a group, kernel rows, kernel cols]; `stride` is (rows, cols) and `pad` is (top,
left): what lies beyond the bottom and right edge follows from the output size.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

F32 = npt.NDArray[np.float32]
Pair = tuple[int, int]


def _frame(x: F32, kernel: Pair, stride: Pair, pad: Pair, out: Pair, fill: float) -> F32:
    """x inside a frame just large enough for every window of the output."""
    rows = (out[0] - 1) * stride[0] + kernel[0]
    cols = (out[1] - 1) * stride[1] + kernel[1]
    size = (max(rows, pad[0] + x.shape[2]), max(cols, pad[1] + x.shape[3]))
    framed = np.full((*x.shape[:2], *size), fill, dtype=np.float32)
    framed[:, :, pad[0] : pad[0] + x.shape[2], pad[1] : pad[1] + x.shape[3]] = x
    return framed


def _windows(x: F32, kernel: Pair, stride: Pair, pad: Pair, out: Pair, fill: float = 0.0) -> Any:
    """[images, channels, rows_out, cols_out, kernel rows, kernel cols], a view."""
    framed = _frame(x, kernel, stride, pad, out, fill)
    windows = sliding_window_view(framed, kernel, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1]][:, :, : out[0], : out[1]]


def _frame_for(
    dy: F32, channels: int, kernel: Pair, stride: Pair, pad: Pair, rows_cols: Pair
) -> F32:
    """Zeros to gather the gradient of a map of size rows_cols in."""
    x = np.zeros((dy.shape[0], channels, *rows_cols), dtype=np.float32)
    return _frame(x, kernel, stride, pad, (dy.shape[2], dy.shape[3]), 0.0)


def _taps(dy: F32, kernel: Pair, stride: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """Each kernel element with the rows and columns of the frame that it meets."""
    for i, j in np.ndindex(*kernel):
        rows = slice(i, i + (dy.shape[2] - 1) * stride[0] + 1, stride[0])
        cols = slice(j, j + (dy.shape[3] - 1) * stride[1] + 1, stride[1])
        yield i, j, rows, cols


def _inside(framed: F32, pad: Pair, rows_cols: Pair) -> F32:
    """The map without its frame."""
    rows, cols = (slice(p, p + size) for p, size in zip(pad, rows_cols, strict=True))
    return np.ascontiguousarray(framed[:, :, rows, cols])


def conv_forward(x: F32, w: F32, stride: Pair, pad: Pair, out: Pair) -> F32:
    """y[b,m,r,c] = sum over n,i,j of x[b,n,r*S+i-P,c*S+j-P] * w[m,n,i,j]."""
    windows = _windows(x, (w.shape[2], w.shape[3]), stride, pad, out)
    return np.ascontiguousarray(
        np.tensordot(windows, w, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    )


def conv_backward(dy: F32, w: F32, stride: Pair, pad: Pair, rows_cols: Pair) -> F32:
    """Gradient of the input map of size rows_cols: the exact adjoint of `conv_forward`."""
    kernel = (w.shape[2], w.shape[3])
    framed = _frame_for(dy, w.shape[1], kernel, stride, pad, rows_cols)
    for i, j, rows, cols in _taps(dy, kernel, stride):
        framed[:, :, rows, cols] += np.einsum("bmrc,mn->bnrc", dy, w[:, :, i, j], optimize=True)
    return _inside(framed, pad, rows_cols)


def conv_weight_gradient(x: F32, dy: F32, kernel: Pair, stride: Pair, pad: Pair) -> F32:
    """dw[m,n,i,j] = sum over b,r,c of dy[b,m,r,c] * x[b,n,r*S+i-P,c*S+j-P]."""
    windows = _windows(x, kernel, stride, pad, (dy.shape[2], dy.shape[3]))
    return np.ascontiguousarray(np.tensordot(dy, windows, ((0, 2, 3), (0, 2, 3))))


def depthwise_forward(x: F32, w: F32, stride: Pair, pad: Pair, out: Pair) -> F32:
    """y[b,n,r,c] = sum over i,j of x[b,n,r*S+i-P,c*S+j-P] * w[n,0,i,j]."""
    windows = _windows(x, (w.shape[2], w.shape[3]), stride, pad, out)
    return np.asarray(np.einsum("bnrcij,nij->bnrc", windows, w[:, 0]))


def depthwise_backward(dy: F32, w: F32, stride: Pair, pad: Pair, rows_cols: Pair) -> F32:
    """The exact adjoint of `depthwise_forward`."""
    kernel = (w.shape[2], w.shape[3])
    framed = _frame_for(dy, dy.shape[1], kernel, stride, pad, rows_cols)
    for i, j, rows, cols in _taps(dy, kernel, stride):
        framed[:, :, rows, cols] += dy * w[:, 0, i, j, None, None]
    return _inside(framed, pad, rows_cols)


def depthwise_weight_gradient(x: F32, dy: F32, kernel: Pair, stride: Pair, pad: Pair) -> F32:
    """dw[n,0,i,j] = sum over b,r,c of dy[b,n,r,c] * x[b,n,r*S+i-P,c*S+j-P]."""
    windows = _windows(x, kernel, stride, pad, (dy.shape[2], dy.shape[3]))
    return np.asarray(np.einsum("bnrc,bnrcij->nij", dy, windows))[:, None]


def bias_gradient(dy: F32) -> F32:
    return np.asarray(dy.sum(axis=(0, 2, 3)), dtype=np.float32)


def maxpool_forward(x: F32, kernel: Pair, stride: Pair, pad: Pair, out: Pair) -> F32:
    return np.ascontiguousarray(_windows(x, kernel, stride, pad, out, -np.inf).max(axis=(4, 5)))


def maxpool_backward(dy: F32, x: F32, kernel: Pair, stride: Pair, pad: Pair) -> F32:
    """Each dy goes to the first maximum of its window, in row-major order, as PyTorch does."""
    out = (dy.shape[2], dy.shape[3])
    windows = _windows(x, kernel, stride, pad, out, -np.inf)
    first = windows.reshape(*dy.shape, -1).argmax(axis=-1)
    b, n, r, c = np.indices(dy.shape)
    framed = np.zeros_like(_frame(x, kernel, stride, pad, out, 0.0))
    rows, cols = r * stride[0] + first // kernel[1], c * stride[1] + first % kernel[1]
    np.add.at(framed, (b, n, rows, cols), dy)
    return _inside(framed, pad, (x.shape[2], x.shape[3]))


def _window_sizes(rows_cols: Pair, kernel: Pair, stride: Pair, pad: Pair, out: Pair) -> F32:
    """[rows_out, cols_out]: how many elements of each window lie inside the map."""
    ones = np.ones((1, 1, *rows_cols), dtype=np.float32)
    inside = _windows(ones, kernel, stride, pad, out)[0, 0].sum(axis=(2, 3))
    return np.asarray(np.maximum(inside, 1))


def avgpool_forward(
    x: F32, kernel: Pair, stride: Pair, pad: Pair, out: Pair, *, count_padding: bool = True
) -> F32:
    """Mean of each window; what lies outside the map counts as zeros, or not at all."""
    sizes = _window_sizes((x.shape[2], x.shape[3]), kernel, stride, pad, out)
    sums = _windows(x, kernel, stride, pad, out).sum(axis=(4, 5))
    return np.ascontiguousarray(sums / (kernel[0] * kernel[1] if count_padding else sizes))


def avgpool_backward(
    dy: F32, kernel: Pair, stride: Pair, pad: Pair, rows_cols: Pair, *, count_padding: bool = True
) -> F32:
    """Each dy is spread evenly over its window: the exact adjoint of `avgpool_forward`."""
    sizes = _window_sizes(rows_cols, kernel, stride, pad, (dy.shape[2], dy.shape[3]))
    share = dy / (np.float32(kernel[0] * kernel[1]) if count_padding else sizes)
    framed = _frame_for(dy, dy.shape[1], kernel, stride, pad, rows_cols)
    for _, _, rows, cols in _taps(dy, kernel, stride):
        framed[:, :, rows, cols] += share
    return _inside(framed, pad, rows_cols)
