"""What the reference device does for commands that normalise, judge and learn.

NaN or Inf in what would stay in memory (statistics, norm, weights) is refused before it is
written.
"""

from collections.abc import Callable, Sequence

import numpy as np

from eftraind.accel.reference_memory import F32, Memory
from eftraind.isa import Command, Flag, Hyper, Op, Operand, Slot, Status
from eftraind.nn import learn, norm
from eftraind.plan.tiles import bias_words


def bn_stat(memory: Memory, c: Command) -> Status:
    """Padded lanes of mean and inverse deviation are 0."""
    if c.flags & Flag.FROZEN:
        mean, variance = memory.vectors(c.dst, 2, c.n)
    else:
        mean, variance = norm.statistics(memory.x(c, c.src))
    inverse = norm.inverse_deviation(variance, c.scalar)
    if not (np.isfinite(mean).all() and np.isfinite(inverse).all()):
        return Status.NONFINITE
    memory.store_vectors(c.extra, mean, inverse)
    if c.dst.slot != Slot.NONE and not c.flags & Flag.FROZEN:
        share = float(memory.words(c.aux, 1)[0])
        count = c.images * c.rows_in * c.cols_in
        batch = (mean, norm.unbiased(variance, count))
        running = memory.vectors(c.dst, 2, c.n)
        moved = [norm.follow(r, b, share) for r, b in zip(running, batch, strict=True)]
        memory.store_vectors(c.dst, *moved)
    return Status.OK


def bn_fp(memory: Memory, c: Command) -> Status:
    affine, statistics = memory.vectors(c.weights, 2, c.n), memory.vectors(c.aux, 2, c.n)
    memory.activated(c, c.dst, norm.forward(memory.x(c, c.src), *affine, *statistics))
    return Status.OK


def bn_sum(memory: Memory, c: Command) -> Status:
    statistics = memory.vectors(c.extra, 2, c.n)
    sums = norm.sums(memory.x(c, c.src), memory.x(c, c.aux), *statistics)
    memory.store_vectors(c.extra.plus(2 * bias_words(c.n, memory.t)), *sums)
    if c.dst.slot != Slot.NONE:
        memory.store_vectors(c.dst, *sums, add=bool(c.flags & Flag.ACCUMULATE))
    return Status.OK


def bn_bp(memory: Memory, c: Command) -> Status:
    gamma = memory.vectors(c.weights, 1, c.n)[0]
    mean, inverse, along, plain = memory.vectors(c.extra, 4, c.n)
    dy = memory.x(c, c.src)
    if c.flags & Flag.FROZEN:
        dx = norm.frozen_backward(dy, gamma, inverse)
    else:
        x = memory.x(c, c.aux)
        dx = norm.backward(dy, x, gamma, mean, inverse, (along, plain), c.count)
    memory.backward(c, dx)
    return Status.OK


def loss(memory: Memory, c: Command) -> Status:
    logits = memory.map(c.src, c.images, (c.m, 1, 1))[:, :, 0, 0]
    labels = memory.words(c.aux, c.images).view(np.int32)
    if labels.min() < 0 or labels.max() >= c.m:
        return Status.OUT_OF_RANGE
    if not np.isfinite(logits).all():
        return Status.NONFINITE
    divisor, weights = float(c.count), None
    if c.weights.slot != Slot.NONE:
        weights = memory.words(c.weights, c.m)
        divisor = float(memory.words(c.weights.plus(bias_words(c.m, memory.t)), 1)[0])
    losses, gradient = learn.cross_entropy(
        logits, labels, divisor, smoothing=c.scalar, class_weights=weights
    )
    memory.store(c.dst, gradient[:, :, None, None])
    extra = memory.words(c.extra, 2 * c.images)
    extra[: c.images] = losses
    extra[c.images :].view(np.int32)[:] = logits.argmax(axis=1)
    return Status.OK


def sum_of_squares(memory: Memory, c: Command) -> Status:
    g = memory.words(c.src, c.count).astype(np.float64)
    before = memory.words(c.dst, 1)[0] if c.flags & Flag.ACCUMULATE else 0.0
    total = np.float32(before + np.dot(g, g))
    if not np.isfinite(total):
        return Status.NONFINITE
    memory.words(c.dst, 1)[0] = total
    return Status.OK


def _rates(memory: Memory, place: Operand) -> learn.Rates:
    """The words of `Hyper` that a step reads."""
    words = memory.words(place, Hyper.CORRECTION2 + 1)
    return learn.Rates(*(float(value) for value in words))


def update(memory: Memory, c: Command) -> Status:
    g, w, v = (memory.words(place, c.count) for place in (c.src, c.dst, c.extra))
    rates = _rates(memory, c.aux)
    if c.weights.slot != Slot.NONE:
        squares = float(memory.words(c.weights, 1)[0])
        g = g * np.float32(learn.clip_scale(squares, rates.clip))
    if c.flags & Flag.ADAM:
        s = memory.words(c.extra.plus(c.axis), c.count)
        return _move([w, v, s], learn.adam(w, g, v, s, rates))
    return _move([w, v], _descent(c)(w, g, v, rates))


def step(memory: Memory, c: Command, gradient: F32) -> Status:
    """CONV_WU with STEP: `gradient` is whole, in the words' order."""
    w, v = (memory.words(place, gradient.size) for place in (c.dst, c.extra))
    return _move([w, v], _descent(c)(w, gradient, v, _rates(memory, c.weights)))


def _descent(c: Command) -> Callable[[F32, F32, F32, learn.Rates], tuple[F32, F32]]:
    return learn.nesterov if c.flags & Flag.NESTEROV else learn.sgd


def _move(targets: Sequence[F32], results: Sequence[F32]) -> Status:
    """Write what is finite in all results; the other words stay."""
    good = np.logical_and.reduce([np.isfinite(result) for result in results])
    for target, result in zip(targets, results, strict=True):
        target[good] = result[good]
    return Status.OK if good.all() else Status.NONFINITE


def copy(memory: Memory, c: Command) -> Status:
    memory.words(c.dst, c.count)[:] = memory.words(c.src, c.count)
    return Status.OK


HANDLERS = {
    Op.BN_STAT: bn_stat,
    Op.BN_FP: bn_fp,
    Op.BN_SUM: bn_sum,
    Op.BN_BP: bn_bp,
    Op.LOSS: loss,
    Op.NORM: sum_of_squares,
    Op.UPDATE: update,
    Op.COPY: copy,
}
