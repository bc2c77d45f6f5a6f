"""Loss and weight updates in plain numpy: the definition. Float32 in and out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


def softmax(logits: F32) -> F32:
    """Row-wise, with the maximum subtracted first."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)


def cross_entropy(
    logits: F32,
    labels: npt.NDArray[Any],
    divisor: float,
    *,
    smoothing: float = 0.0,
    class_weights: F32 | None = None,
) -> tuple[F32, F32]:
    """Loss per image, undivided, and the gradient of their sum divided by `divisor`.

    With target t[k] = ((1 - smoothing) * [k is the label] + smoothing / classes) * weight, the
    weight the label's in the first term and k's in the second, as in PyTorch:

        loss = -sum over k of t[k] * log softmax[k]
        gradient[k] = (sum of t) * softmax[k] - t[k]
    """
    classes = logits.shape[1]
    weights = np.ones(classes, np.float32) if class_weights is None else class_weights
    rows = np.arange(len(labels))
    target = np.tile(weights * np.float32(smoothing / classes), (len(labels), 1))
    target[rows, labels] += np.float32(1 - smoothing) * weights[labels]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    losses = -(target * log_softmax).sum(axis=1)
    gradient = target.sum(axis=1, keepdims=True) * softmax(logits) - target
    return losses.astype(np.float32), (gradient / np.float32(divisor)).astype(np.float32)


@dataclass(frozen=True)
class Rates:
    """What an update reads at run time; `isa.Hyper` says what each is."""

    rate: float
    momentum: float = 0.0
    decay: float = 0.0
    clip: float = float("inf")
    beta2: float = 0.999
    epsilon: float = 1e-8
    correction1: float = 1.0
    correction2: float = 1.0


def clip_scale(sum_of_squares: float, clip: float) -> float:
    """What gradients are multiplied by so that their norm is at most `clip`, as in PyTorch."""
    return min(1.0, clip / (float(np.sqrt(sum_of_squares)) + 1e-6))


def sgd(w: F32, g: F32, v: F32, rates: Rates) -> tuple[F32, F32]:
    """New weights and velocity: v = momentum*v + g + decay*w; w = w - rate*v (Sutskever 2013)."""
    v = np.float32(rates.momentum) * v + g + np.float32(rates.decay) * w
    return w - np.float32(rates.rate) * v, v


def nesterov(w: F32, g: F32, v: F32, rates: Rates) -> tuple[F32, F32]:
    """The velocity of `sgd`; the step looks one velocity ahead."""
    g = g + np.float32(rates.decay) * w
    v = np.float32(rates.momentum) * v + g
    step: F32 = g + np.float32(rates.momentum) * v
    return w - np.float32(rates.rate) * step, v


def adam(w: F32, g: F32, v: F32, second: F32, rates: Rates) -> tuple[F32, F32, F32]:
    """New weights, first and second moments (Kingma 2015); decay is added to the gradient.

    m = beta1*m + (1-beta1)*g; s = beta2*s + (1-beta2)*g^2;
    w = w - rate * (m / correction1) / (sqrt(s / correction2) + epsilon)
    """
    g = g + np.float32(rates.decay) * w
    beta1, beta2 = np.float32(rates.momentum), np.float32(rates.beta2)
    v = beta1 * v + (np.float32(1) - beta1) * g
    second = beta2 * second + (np.float32(1) - beta2) * g * g
    root = np.sqrt(second / np.float32(rates.correction2)) + np.float32(rates.epsilon)
    return w - np.float32(rates.rate) * (v / np.float32(rates.correction1)) / root, v, second
