"""Batch normalisation in plain numpy: the definition. Maps are NCHW, vectors one value a channel.

Sums are taken in double precision, statistics in two passes: the variance of a large mean with a
small spread survives.
"""

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
AXES = (0, 2, 3)


def _spread(v: F32) -> F32:
    """A vector that meets a map's channels."""
    return v[None, :, None, None]


def statistics(x: F32) -> tuple[F32, F32]:
    """Mean and biased variance per channel, over images, rows and columns.

    >>> mean, variance = statistics(np.float32([[[[1e4, 1e4 + 2]]]]))
    >>> mean.tolist(), variance.tolist()
    ([10001.0], [1.0])
    """
    mean = x.mean(axis=AXES, dtype=np.float64)
    variance = np.square(x - mean[None, :, None, None]).mean(axis=AXES, dtype=np.float64)
    return mean.astype(np.float32), variance.astype(np.float32)


def inverse_deviation(variance: F32, epsilon: float) -> F32:
    """1 / sqrt(variance + epsilon)"""
    return np.asarray(1 / np.sqrt(variance + np.float32(epsilon)), dtype=np.float32)


def follow(running: F32, batch: F32, share: float) -> F32:
    """Running statistics, moved towards a batch's."""
    return np.asarray(running + np.float32(share) * (batch - running), dtype=np.float32)


def unbiased(variance: F32, count: int) -> F32:
    """Of `count` values a channel, as running statistics want it; of one value it is 0."""
    return np.asarray(variance * np.float32(count / max(count - 1, 1)), dtype=np.float32)


def normalised(x: F32, mean: F32, inverse: F32) -> F32:
    """xhat"""
    return (x - _spread(mean)) * _spread(inverse)


def forward(x: F32, gamma: F32, beta: F32, mean: F32, inverse: F32) -> F32:
    """gamma * xhat + beta"""
    return _spread(gamma) * normalised(x, mean, inverse) + _spread(beta)


def sums(x: F32, dy: F32, mean: F32, inverse: F32) -> tuple[F32, F32]:
    """Sums of dy * xhat and of dy per channel: the gradients of gamma and beta."""
    along = (dy * normalised(x, mean, inverse)).sum(axis=AXES, dtype=np.float64)
    return along.astype(np.float32), dy.sum(axis=AXES, dtype=np.float64).astype(np.float32)


def backward(
    dy: F32, x: F32, gamma: F32, mean: F32, inverse: F32, dy_sums: tuple[F32, F32], count: int
) -> F32:
    """Gradient of x through batch statistics of `count` values a channel:
    gamma * inverse * (dy - sum(dy) / count - xhat * sum(dy * xhat) / count)."""
    along, plain = (_spread(v / np.float32(count)) for v in dy_sums)
    centred = dy - plain - normalised(x, mean, inverse) * along
    return _spread(gamma * inverse) * centred


def frozen_backward(dy: F32, gamma: F32, inverse: F32) -> F32:
    """Gradient of x where mean and deviation do not depend on it."""
    return _spread(gamma * inverse) * dy
