"""Equations 15-27 of the paper: cycles of one phase of one convolution for a whole batch.

Written from the equations, checked against the totals that the paper and its authors' script
print. Two readings are fixed by those totals: the last, smaller group of M_on channels is costed
as it is (rounding it up would miss Table 6 by 15 %), and the first layer streams only the channels
there are.
"""

from dataclasses import dataclass

from eftraind.plan.ef_train.work import Work
from eftraind.plan.outcome import Phase, Tile

START_CYCLES = 400
"""t_start: to start a DMA again at 100 MHz, measured by the authors on both boards."""


@dataclass(frozen=True)
class Kernel:
    """What sets the pace of a design of the paper's kernel."""

    t: int
    """Tm = Tn"""
    stream_words: int
    """p: 32-bit words in a stream beat; 4 on ZCU102, 1 on PYNQ-Z1."""
    start_cycles: int = START_CYCLES
    pixels: int = 1
    """Pixels that the array takes each cycle; the paper's takes one."""
    released: bool = False
    """As in the authors' script: the first pre-load of the first image is t_IFM, not t_LOAD."""


@dataclass(frozen=True)
class Times:
    """Cycles to move or compute one tile (equations 15-17, 20-23)."""

    compute: int
    ifm: int
    weights: int
    out: int
    loss: int
    """WU: loading the loss tile into the OFM buffer."""

    @property
    def exposed(self) -> int:
        """Of a tile's store, beyond the computation that hides it (t_STORE - t_COMP)."""
        return max(0, self.out - self.compute)


def ceil_div(a: int, b: int) -> int:
    """
    >>> ceil_div(7, 3)
    3
    """
    return -(-a // b)


def times(work: Work, tile: Tile, kernel: Kernel, m_on: int) -> Times:
    words, start = kernel.stream_words, kernel.start_cycles
    lanes = min(tile.tn, work.n) if work.first else tile.tn
    weight_beats = ceil_div(tile.tm * tile.tn, words) * work.taps
    if work.phase is Phase.BP:
        weights = ceil_div(m_on * tile.tn, words) * work.taps + start
    else:
        weights = weight_beats
    map_beats = ceil_div(tile.tm, words) * tile.tr * tile.tc
    return Times(
        compute=tile.tr * ceil_div(tile.tc, kernel.pixels) * work.taps,
        ifm=start + ceil_div(lanes, words) * work.rows_in(tile.tr) * work.cols_in,
        weights=weights,
        out=weight_beats if work.phase is Phase.WU else map_beats,
        loss=start + map_beats,
    )


def phase_cycles(work: Work, tile: Tile, batch: int, kernel: Kernel) -> int:
    """Cycles of `work` for `batch` images, all groups of M_on channels together."""
    whole, rest = divmod(work.m, tile.m_on)
    cost = _weight_update if work.phase is Phase.WU else _propagation
    cycles = whole * cost(work, tile, batch, kernel, tile.m_on) if whole else 0
    return cycles + (cost(work, tile, batch, kernel, rest) if rest else 0)


def _propagation(work: Work, tile: Tile, batch: int, kernel: Kernel, m_on: int) -> int:
    """FP and BP of one group (equations 15-20): weights come in with the first image only."""
    t = times(work, tile, kernel, m_on)
    load, store = max(t.ifm, t.weights), max(t.compute, t.out)
    inputs, rows = ceil_div(work.n, tile.tn), ceil_div(work.r, tile.tr)
    outputs = ceil_div(m_on, tile.tm)
    steady = (inputs - 1) * max(t.ifm, t.compute)
    filling = (inputs - 1) * max(load, t.compute)
    first_load = t.ifm if kernel.released else load
    end = t.out + kernel.start_cycles
    tile_cycles = steady + t.ifm + store
    image = (outputs * rows - 1) * tile_cycles + steady + t.ifm + t.compute + end
    first = filling + first_load + t.compute + end
    if work.phase is Phase.BP:  # one load brings the whole strip of M_on channels
        first += (outputs * rows - 1) * tile_cycles
    else:
        first += outputs * (rows - 1) * tile_cycles
        first += (outputs - 1) * (filling + first_load + store)
    return (batch - 1) * image + first


def _weight_update(work: Work, tile: Tile, batch: int, kernel: Kernel, m_on: int) -> int:
    """WU of one group (equations 21-27): gradients stay on chip until the last image."""
    t = times(work, tile, kernel, m_on)
    load = max(t.ifm, t.loss)
    inputs, rows = ceil_div(work.n, tile.tn), ceil_div(work.r, tile.tr)
    outputs = ceil_div(m_on, tile.tm)
    if tile.tr < work.r:
        steady = (rows - 1) * max(load, t.compute) + load
        strip, last_strip = steady + t.compute, steady + max(t.compute, t.out)
        strips = outputs * inputs
        return ((batch - 1) * strips + 1) * strip + (strips - 1) * last_strip + t.out
    one = max(t.ifm, t.compute)
    image = (inputs - 1) * one + load + t.compute
    last = (inputs - 1) * (one + t.out) + load + t.compute + t.out
    return outputs * ((batch - 1) * image + last)
