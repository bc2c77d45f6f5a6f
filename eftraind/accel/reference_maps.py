"""What the reference device does for commands on maps: load, convolve, pool, combine, drop.

Each unpacks its operands from the tiled image, calls the definition in `nn`, and packs the result.
"""

import numpy as np

from eftraind.accel import reference_learn
from eftraind.accel.reference_memory import F32, Memory, window
from eftraind.isa import Command, Flag, Op, Status
from eftraind.nn import ops, pointwise
from eftraind.plan.reshape import (
    pack_depthwise,
    pack_vector,
    pack_weights,
    unpack_depthwise,
    unpack_map,
    unpack_weights,
)
from eftraind.plan.tiles import conv_weight_words, map_words, tiles


def load(memory: Memory, c: Command) -> Status:
    u8 = bool(c.flags & Flag.U8)
    words = map_words(c.n, c.rows_in, c.cols_in, memory.t, c.lanes) // (4 if u8 else 1)
    pool = memory.rest(c.src)
    pool = pool[: pool.size // words * words].reshape(-1, words)
    index = memory.words(c.aux, c.images).view(np.int32)
    if index.min() < 0 or index.max() >= len(pool):
        return Status.OUT_OF_RANGE
    raw = pool[index].view(np.uint8 if u8 else np.float32).astype(np.float32)
    count = tiles(c.n, memory.t)
    x = unpack_map(raw.reshape(c.images, count, c.rows_in, c.cols_in, c.lanes), c.n)
    affine = memory.words(c.weights, 2 * count * c.lanes).reshape(2, -1)
    scale, shift = affine[:, : c.n, None, None]
    memory.store(c.dst, x * scale + shift, c.lanes)
    return Status.OK


def _weights(memory: Memory, c: Command) -> F32:
    words = memory.words(c.weights, conv_weight_words(c, memory.t))
    if c.groups > 1:
        shape = (tiles(c.m, memory.t), c.kernel_rows, c.kernel_cols, memory.t)
        return unpack_depthwise(words.reshape(shape), c.m)
    counts = (tiles(c.m, memory.t), tiles(c.n, memory.t))
    blocks = words.reshape(*counts, c.kernel_rows, c.kernel_cols, c.lanes, memory.t)
    return unpack_weights(blocks, c.m, c.n)


def conv_fp(memory: Memory, c: Command) -> Status:
    forward = ops.depthwise_forward if c.groups > 1 else ops.conv_forward
    w, sweep = _weights(memory, c), window(c)
    y = forward(memory.x(c, c.src), w, sweep.stride, sweep.pad, (c.rows_out, c.cols_out))
    if c.flags & Flag.BIAS:
        bias = memory.words(c.weights.plus(conv_weight_words(c, memory.t)), c.m)
        y = y + bias[:, None, None]
    memory.activated(c, c.dst, y)
    return Status.OK


def conv_bp(memory: Memory, c: Command) -> Status:
    backward = ops.depthwise_backward if c.groups > 1 else ops.conv_backward
    dy = memory.map(c.src, c.images, (c.m, c.rows_out, c.cols_out))
    w, sweep = _weights(memory, c), window(c)
    memory.backward(c, backward(dy, w, sweep.stride, sweep.pad, (c.rows_in, c.cols_in)))
    return Status.OK


def conv_wu(memory: Memory, c: Command) -> Status:
    x, dy = memory.x(c, c.src), memory.map(c.aux, c.images, (c.m, c.rows_out, c.cols_out))
    if c.groups > 1:
        dw = ops.depthwise_weight_gradient(x, dy, *window(c))
        gradient = pack_depthwise(dw, memory.t).ravel()
    else:
        dw = ops.conv_weight_gradient(x, dy, *window(c))
        gradient = pack_weights(dw, memory.t, c.lanes).ravel()
    if c.flags & Flag.BIAS:
        gradient = np.concatenate([gradient, pack_vector(ops.bias_gradient(dy), memory.t)])
    if c.flags & Flag.STEP:
        return reference_learn.step(memory, c, gradient)
    memory.deposit(c.dst, gradient, add=bool(c.flags & Flag.ACCUMULATE))
    return Status.OK


def bias_wu(memory: Memory, c: Command) -> Status:
    gradient = ops.bias_gradient(memory.x(c, c.src))
    memory.store_vectors(c.dst, gradient, add=bool(c.flags & Flag.ACCUMULATE))
    return Status.OK


def pool_fp(memory: Memory, c: Command) -> Status:
    x, out = memory.x(c, c.src), (c.rows_out, c.cols_out)
    if c.op is Op.POOL_FP:
        y = ops.maxpool_forward(x, *window(c), out)
    else:
        counts = not c.flags & Flag.EXCLUDE_PAD
        y = ops.avgpool_forward(x, *window(c), out, count_padding=counts)
    memory.store(c.dst, y)
    return Status.OK


def pool_bp(memory: Memory, c: Command) -> Status:
    dy = memory.map(c.src, c.images, (c.n, c.rows_out, c.cols_out))
    if c.op is Op.POOL_BP:
        dx = ops.maxpool_backward(dy, memory.x(c, c.aux), *window(c))
    else:
        size, counts = (c.rows_in, c.cols_in), not c.flags & Flag.EXCLUDE_PAD
        dx = ops.avgpool_backward(dy, *window(c), size, count_padding=counts)
    memory.backward(c, dx)
    return Status.OK


def add_fp(memory: Memory, c: Command) -> Status:
    memory.activated(c, c.dst, memory.x(c, c.src) + memory.x(c, c.aux))
    return Status.OK


def pass_bp(memory: Memory, c: Command) -> Status:
    memory.backward(c, memory.x(c, c.src))
    return Status.OK


def concat_fp(memory: Memory, c: Command) -> Status:
    """Every piece also zeroes the padded lanes behind channel m."""
    whole = memory.map(c.dst, c.images, (c.m, c.rows_in, c.cols_in))
    whole[:, c.axis : c.axis + c.n] = memory.x(c, c.src)
    memory.store(c.dst, whole)
    return Status.OK


def concat_bp(memory: Memory, c: Command) -> Status:
    whole = memory.map(c.src, c.images, (c.m, c.rows_in, c.cols_in))
    memory.backward(c, whole[:, c.axis : c.axis + c.n])
    return Status.OK


def _dropped(memory: Memory, c: Command) -> F32:
    seed = int(memory.rest(c.aux if c.op is Op.DROP_FP else c.extra)[0])
    x = memory.x(c, c.src)
    shape = (c.images, c.n, c.rows_in, c.cols_in)
    keep = pointwise.dropout_keep(seed, c.layer, c.axis, shape, c.scalar)
    return pointwise.dropout(x, keep, c.scalar)


def drop_fp(memory: Memory, c: Command) -> Status:
    memory.store(c.dst, _dropped(memory, c))
    return Status.OK


def drop_bp(memory: Memory, c: Command) -> Status:
    memory.backward(c, _dropped(memory, c))
    return Status.OK


HANDLERS = {
    Op.LOAD: load,
    Op.CONV_FP: conv_fp,
    Op.CONV_BP: conv_bp,
    Op.CONV_WU: conv_wu,
    Op.BIAS_WU: bias_wu,
    Op.POOL_FP: pool_fp,
    Op.POOL_BP: pool_bp,
    Op.AVG_FP: pool_fp,
    Op.AVG_BP: pool_bp,
    Op.ADD_FP: add_fp,
    Op.PASS_BP: pass_bp,
    Op.CONCAT_FP: concat_fp,
    Op.CONCAT_BP: concat_bp,
    Op.DROP_FP: drop_fp,
    Op.DROP_BP: drop_bp,
}
