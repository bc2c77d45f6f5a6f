"""Forward, backward and weight gradient of every layer in plain numpy: the definition.

Every device is judged by these functions. Clarity before speed; float32 in and out. Maps are NCHW,
weights [m, n, kernel rows, kernel cols]; `stride` is (rows, cols) and `pad` is (top, left): what
lies beyond the bottom and right edge follows from the output size.
"""

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


def conv_forward(x: F32, w: F32, stride: Pair, pad: Pair, out: Pair) -> F32:
    """y[b,m,r,c] = sum over n,i,j of x[b,n,r*S+i-P,c*S+j-P] * w[m,n,i,j]."""
    windows = _windows(x, (w.shape[2], w.shape[3]), stride, pad, out)
    return np.ascontiguousarray(
        np.tensordot(windows, w, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    )


def conv_backward(dy: F32, w: F32, stride: Pair, pad: Pair, rows_cols: Pair) -> F32:
    """Gradient of the input map of size rows_cols: the exact adjoint of `conv_forward`."""
    kernel = (w.shape[2], w.shape[3])
    out = (dy.shape[2], dy.shape[3])
    shape = (dy.shape[0], w.shape[1], *rows_cols)
    framed = _frame(np.zeros(shape, np.float32), kernel, stride, pad, out, 0.0)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            part = np.einsum("bmrc,mn->bnrc", dy, w[:, :, i, j], optimize=True)
            rows = slice(i, i + (out[0] - 1) * stride[0] + 1, stride[0])
            cols = slice(j, j + (out[1] - 1) * stride[1] + 1, stride[1])
            framed[:, :, rows, cols] += part
    inner = framed[:, :, pad[0] : pad[0] + rows_cols[0], pad[1] : pad[1] + rows_cols[1]]
    return np.ascontiguousarray(inner)


def conv_weight_gradient(x: F32, dy: F32, kernel: Pair, stride: Pair, pad: Pair) -> F32:
    """dw[m,n,i,j] = sum over b,r,c of dy[b,m,r,c] * x[b,n,r*S+i-P,c*S+j-P]."""
    windows = _windows(x, kernel, stride, pad, (dy.shape[2], dy.shape[3]))
    return np.ascontiguousarray(np.tensordot(dy, windows, ((0, 2, 3), (0, 2, 3))))


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
    inner = framed[:, :, pad[0] : pad[0] + x.shape[2], pad[1] : pad[1] + x.shape[3]]
    return np.ascontiguousarray(inner)


def softmax(logits: F32) -> F32:
    """Row-wise, with the maximum subtracted first."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)


def cross_entropy(logits: F32, labels: npt.NDArray[Any], divisor: int) -> tuple[F32, F32]:
    """Loss per image, undivided, and the gradient of their sum divided by `divisor`."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    rows = np.arange(len(labels))
    losses = log_sum - shifted[rows, labels]
    gradient = softmax(logits)
    gradient[rows, labels] -= 1
    return losses.astype(np.float32), (gradient / np.float32(divisor)).astype(np.float32)


def sgd(w: F32, g: F32, v: F32, rate: float, momentum: float, decay: float) -> tuple[F32, F32]:
    """New weights and velocity: v = momentum*v + g + decay*w; w = w - rate*v (Sutskever 2013)."""
    v = np.float32(momentum) * v + g + np.float32(decay) * w
    return (w - np.float32(rate) * v).astype(np.float32), v.astype(np.float32)
