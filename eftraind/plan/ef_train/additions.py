"""What the paper's model leaves out: pools, BN, fully connected layers, host time.

Formulas of ours, from the structure of the authors' released kernel (which loops run, how many
channels a cycle, what overlaps what). Cycles of one phase for a whole batch. Where a constant is
an assumption or a calibration, its docstring says so.
"""

from eftraind.graph import Layer
from eftraind.plan.ef_train.buffers import Buffers
from eftraind.plan.ef_train.cycles import Kernel, ceil_div
from eftraind.plan.outcome import Phase

BN_SUM_CYCLES, BN_SCALE_CYCLES = 8, 12
"""Iterations that the two passes of BN spend on the channels of one tile at one pixel. Tm/p of
them carry data; the rest hides the latency of the adders."""

FC_TILE_CYCLES = 24
"""One T x T tile of a fully connected layer in FP and BP: a multiplication (3), four levels of
adders and the accumulation (4 each), one to store. The unit is not pipelined across tiles. The
latencies are assumed, those of FP32 operators at 100 MHz."""

FC_GRADIENT_CYCLES = 8
"""The same in WU: a multiplication and an accumulation. Assumed."""

EFFECTIVE_START_CYCLES = 100
"""t_start in a whole training step. Calibrated on the five end-to-end throughputs that the paper
prints; the 400 cycles of its equations make small networks 15 to 25 % slower than printed. The
likely reason: the ARM core starts the next transfer while the array still computes."""

LOGIT_CYCLES = 900
"""Softmax and loss of one class of one image on the uncached ARM core, in cycles of 100 MHz.
Calibrated: what AlexNet at batch 128 takes beyond convolutions and pools, over 1,000 classes."""

LAUNCH_CYCLES = 500
"""Some twenty uncached register writes that start one phase of one layer. Assumed."""


def pool_rows(layer: Layer, buffer: Buffers) -> int:
    """The most output rows whose tile fits the buffers; at least one."""
    rows = layer.output_shape[1]
    while rows > 1 and not _pool_fits(layer, buffer, rows):
        rows -= 1
    return rows


def _pool_fits(layer: Layer, buffer: Buffers, rows: int) -> bool:
    source, out = _pool_words(layer, rows)
    return source <= buffer.ifm_words and out <= buffer.ofm_words


def _pool_words(layer: Layer, rows: int) -> tuple[int, int]:
    """Pixels under a tile of so many output rows, and in it."""
    cols = layer.output_shape[2]
    high = (rows - 1) * layer.stride[0] + layer.kernel[0]
    wide = (cols - 1) * layer.stride[1] + layer.kernel[1]
    return high * wide, rows * cols


def pool(layer: Layer, phase: Phase, batch: int, kernel: Kernel, buffer: Buffers) -> int:
    """FP overlaps loading the next tile with comparing and storing this one, BP overlaps loading
    and scattering with storing. Half of the lanes work; each image begins and ends alone."""
    rows = pool_rows(layer, buffer)
    source, out = _pool_words(layer, rows)
    beats = ceil_div(kernel.t, kernel.stream_words)
    compare = 2 * layer.kernel[0] * layer.kernel[1] * out
    tiles = ceil_div(layer.output_shape[0], kernel.t) * ceil_div(layer.output_shape[1], rows)
    if phase is Phase.FP:
        before, after = kernel.start_cycles + beats * source, compare + beats * out
    else:
        before, after = kernel.start_cycles + beats * out + compare, beats * source
    image = before + (tiles - 1) * max(before, after) + after
    return batch * (image + pool_index_words(layer) // kernel.stream_words + kernel.start_cycles)


def pool_index_words(layer: Layer) -> int:
    """Of one image: where each maximum was, one word for eight channels."""
    if layer.kind != "maxpool":
        return 0
    channels, rows, cols = layer.output_shape
    return ceil_div(channels, 8) * rows * cols


def batchnorm(layer: Layer, batch: int, kernel: Kernel) -> int:
    """FP and BP alike: two passes over the map, the first tile by tile, the second image by
    image."""
    channels, rows, cols = layer.output_shape
    tiles, beats = ceil_div(channels, kernel.t), ceil_div(kernel.t, kernel.stream_words)
    pixel = max(BN_SUM_CYCLES, beats) + max(BN_SCALE_CYCLES, beats)
    return batch * (tiles * (rows * cols * pixel + kernel.start_cycles) + kernel.start_cycles)


def linear(layer: Layer, phase: Phase, batch: int, kernel: Kernel) -> int:
    """Weights stream in once a phase; the input vector comes anew for each tile of outputs. The
    write-back of WU is not overlapped."""
    t, words, start = kernel.t, kernel.stream_words, kernel.start_cycles
    outs, ins = layer.output_shape[0], layer.weight_shape[1] * layer.kernel[0] * layer.kernel[1]
    if phase is Phase.BP:
        outs, ins = ins, outs
    tiles, inputs = ceil_div(outs, t), ceil_div(ins, t)
    weight_beats = ceil_div(t * t, words)
    vector = start + ceil_div(ins, words)
    if phase is Phase.WU:
        image = vector + start + ceil_div(t, words) + inputs * FC_GRADIENT_CYCLES
        return tiles * (batch * image + inputs * weight_beats)
    image = vector + inputs * FC_TILE_CYCLES + ceil_div(t, words)
    weights = inputs * max(0, weight_beats - FC_TILE_CYCLES)
    return tiles * (batch * image + weights) + batch * start


def host(classes: int, launches: int, batch: int) -> int:
    """The ARM core between launches, and the loss, in cycles of 100 MHz."""
    return batch * classes * LOGIT_CYCLES + launches * LAUNCH_CYCLES
