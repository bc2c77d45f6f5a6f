"""An event-level simulator of our kernel: plain and slow, to hold the closed form against.

It walks every loop of a command one pass at a time, cuts each transfer into bursts, and lets the
bursts queue for the DRAM first come, first served. It shares with the cost model the command, the
tiling, the design, the board, and which operand of a streaming command takes which channel in how
many blocks (`map_cost`); it shares no timing, and counts rows, taps and words on its own.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from eftraind.isa import Command, Flag, Op
from eftraind.plan import map_cost, window
from eftraind.plan.board import Board
from eftraind.plan.bursts import Dram, Events, Port
from eftraind.plan.design import Design
from eftraind.plan.job import Job
from eftraind.plan.machine import (
    COMMAND_WORDS,
    DECODE_CYCLES,
    STATUS_WORDS,
    Channel,
    channel_words,
)
from eftraind.plan.tiling import Tiling

Pieces = dict[Channel, list[int]]
"""Contiguous pieces, in words, that each channel moves."""


@dataclass
class Pass:
    """One filling of the array: what it needs first, how long it computes, what it leaves, and how
    long that takes to get ready for its store."""

    loads: Pieces = field(default_factory=dict)
    cycles: int = 0
    """Until its last operands have gone in."""
    drain: int = 0
    """From there until its last result is out."""
    followed: bool = False
    """The next pass does not wait for that."""
    stores: Pieces = field(default_factory=dict)
    unload: int = 0


class Kernel:
    """The load, compute and store units, and the ports they use."""

    def __init__(self, design: Design, board: Board) -> None:
        self._events = Events()
        dram = Dram(self._events, board, design.clock_mhz)
        self._ports = {
            channel: Port(self._events, dram, board, design.clock_mhz, rate, channel.writes)
            for channel, rate in channel_words(design).items()
        }
        self._burst_words = {
            channel: rate * board.ports.burst_beats
            for channel, rate in channel_words(design).items()
        }
        self.words_moved = 0

    def run(self, passes: Iterator[Pass], at_once: bool = False) -> float:
        """Cycles of a command: fetched, decoded, all its passes, its status written. `at_once`: a
        pass is stored while the next is loaded, with no stage between."""
        self._together(0, {Channel.WEIGHTS: [COMMAND_WORDS]}, Pass())
        self._together(DECODE_CYCLES, {}, Pass())
        computing, finished = Pass(), Pass()
        out = 0.0  # when the results of the pass before have come out
        for coming in passes:
            done = self._events.now + computing.cycles + computing.drain
            busy = computing.cycles + (0 if computing.followed else computing.drain)
            self._together(busy, coming.loads, computing if at_once else finished, out)
            finished, out, computing = computing, done, coming
        if not at_once:
            self._together(computing.cycles + computing.drain, {}, finished, out)
        self._together(0, {}, computing)
        self._together(0, {}, Pass(stores={Channel.OUT: [STATUS_WORDS]}))
        return self._events.now

    def _together(self, cycles: int, loads: Pieces, leaving: Pass, results: float = 0.0) -> None:
        """One round: all three units start now, the store not before its `results` are out and
        unloaded, and the
        next round waits for all of them. A store that reads (a mask, old sums) begins to write when
        the first of those words are there."""
        start, stores = self._events.now, leaving.stores
        self._events.at(start + cycles, lambda: None)
        reads = {channel: part for channel, part in stores.items() if not channel.writes}
        writes = {channel: part for channel, part in stores.items() if channel.writes}
        self._move(loads)
        wait = max((self._ports[channel].latency for channel in reads), default=0.0)
        store = max(start, results) + leaving.unload
        self._events.at(store, lambda: self._move(reads))
        self._events.at(store + wait, lambda: self._move(writes))
        self._events.run()

    def _move(self, pieces: Pieces) -> None:
        for channel, parts in pieces.items():
            longest = self._burst_words[channel]
            for piece in parts:
                self.words_moved += piece
                for first in range(0, piece, longest):
                    self._ports[channel].burst(min(longest, piece - first))


def simulate(
    job: Job, tiling: Tiling | None, design: Design, board: Board, *, inside: bool = False
) -> tuple[float, int]:
    """Cycles of a command and the words it moved; `tiling` for convolutions only. `inside`: all of
    it in the window."""
    kernel = Kernel(*window.inside(design, board)) if inside else Kernel(design, board)
    if tiling is None:
        passes = _stream_passes(job, design)
    elif job.command.op is Op.CONV_WU:
        passes = _gradient_passes(job, tiling, design)
    else:
        passes = _map_passes(job, tiling, design)
    cycles = kernel.run(passes, at_once=map_cost.at_once(job))
    return cycles, kernel.words_moved - COMMAND_WORDS - STATUS_WORDS


def _stream_passes(job: Job, design: Design) -> Iterator[Pass]:
    moved = map_cost.traffic(job, design)
    number = map_cost.blocks(job, moved, design)
    for index in range(number):
        one = Pass()
        if not map_cost.at_once(job):
            one.cycles, one.drain = _share(moved.work, index, number), design.pipeline_cycles
        for channel, words in moved.loads.items():
            one.loads[channel] = [_share(words, index, number)]
        for channel, words in moved.stores.items():
            one.stores[channel] = [_share(words, index, number)]
        yield one
        if not map_cost.overlaps(job):
            yield from (Pass(), Pass())


def _share(whole: int, index: int, number: int) -> int:
    return whole * (index + 1) // number - whole * index // number


def _chunks(whole: int, part: int) -> list[int]:
    return [min(part, whole - start) for start in range(0, whole, part)]


@dataclass(frozen=True)
class _Nest:
    """The bounds of a convolution's loops."""

    m: list[int]
    n: list[int]
    """T-lane tiles of each array-wide step."""
    images: list[int]
    rows: list[tuple[int, int]]
    """First row and height of each tile."""
    cols: list[tuple[int, int]]
    """First column and width."""
    lanes: int

    @classmethod
    def of(cls, c: Command, tiling: Tiling, design: Design) -> "_Nest":
        t, backwards = design.t, c.op is Op.CONV_BP
        outs, ins = (c.n, c.m) if backwards else (c.m, c.n)
        high, wide = (c.rows_in, c.cols_in) if backwards else (c.rows_out, c.cols_out)
        return cls(
            m=_chunks(-(-outs // t), design.array_m // t),
            n=[1] if c.groups > 1 else _chunks(-(-ins // t), design.array_n // t),
            images=_chunks(c.images, tiling.images),
            rows=list(zip(range(0, high, tiling.rows), _chunks(high, tiling.rows), strict=True)),
            cols=list(zip(range(0, wide, tiling.cols), _chunks(wide, tiling.cols), strict=True)),
            lanes=t if backwards or c.lanes >= t else c.lanes,
        )

    def boxes(self) -> list["_Box"]:
        return [_Box(*row, *col) for row in self.rows for col in self.cols]


class _Box(NamedTuple):
    """A tile of the map that is walked."""

    row: int
    height: int
    col: int
    width: int


def _map_passes(job: Job, tiling: Tiling, design: Design) -> Iterator[Pass]:
    """FP and BP, written out."""
    c = job.command
    loop = _Nest.of(c, tiling, design)
    reads = sum(bool(c.flags & flag) for flag in (Flag.MASK, Flag.ACCUMULATE))
    if job.gathers:
        reads += 1
    for group in range(0, len(loop.m), tiling.group):
        visit = 0
        for images in loop.images:
            for box in loop.boxes():
                loaded = images * _source_pixels(c, box)
                busy = _sweep_cycles(c, images, box, design)
                clear = _clear_cycles(c, images, box, design)
                fresh = not tiling.stays or visit < tiling.rounds
                for m in loop.m[group : group + tiling.group]:
                    out = [images * box.height * box.width * design.t] * m
                    for step, n in enumerate(loop.n):
                        source = m if c.groups > 1 else n
                        one = Pass(
                            cycles=busy + (clear if step == 0 else 0),
                            drain=design.pipeline_cycles,
                            followed=design.traits.follows and len(loop.n) > 1 and not clear,
                        )
                        one.loads[Channel.IN] = [loaded * loop.lanes] * source
                        if fresh:
                            one.loads[Channel.WEIGHTS] = _weight_pieces(c, m, n, loop.lanes, design)
                        if step == len(loop.n) - 1:
                            if reads and c.op is Op.CONV_BP:
                                one.stores[Channel.JOINED] = out * reads
                            one.stores[Channel.OUT] = out
                        yield one
                visit += 1


def _gradient_passes(job: Job, tiling: Tiling, design: Design) -> Iterator[Pass]:
    """WU, written out."""
    c = job.command
    loop = _Nest.of(c, tiling, design)
    visits = [(images, box) for images in loop.images for box in loop.boxes()]
    for m in loop.m:
        for step, n in enumerate(loop.n):
            for number, (images, box) in enumerate(visits):
                last = number == len(visits) - 1
                cycles, levels = _outer_cycles(c, images, box, step == 0, last, design)
                one = Pass(
                    cycles=cycles,
                    drain=design.pipeline_cycles + levels * design.sum_cycles,
                    followed=design.traits.follows and not last,
                )
                source = m if c.groups > 1 else n
                one.loads[Channel.IN] = [images * _source_pixels(c, box) * loop.lanes] * source
                one.loads[Channel.WEIGHTS] = [images * box.height * box.width * design.t] * m
                if last:
                    rows = 1 if c.groups > 1 else n * loop.lanes
                    one.unload = (
                        0 if design.traits.straight else c.kernel_rows * c.kernel_cols * rows
                    )
                    pieces = _weight_pieces(c, m, n, loop.lanes, design)
                    if job.steps:  # weights and velocities, each read and written
                        pieces = pieces + pieces
                    if job.steps or c.flags & Flag.ACCUMULATE:
                        one.stores[Channel.JOINED] = pieces
                    one.stores[Channel.OUT] = pieces
                yield one


def _weight_pieces(c: Command, m: int, n: int, lanes: int, design: Design) -> list[int]:
    """One piece for each square tile: neighbours in one direction only lie side by side."""
    taps = c.kernel_rows * c.kernel_cols
    if c.groups > 1:
        return [taps * design.t] * m
    return [taps * lanes * design.t] * (m * n)


def _source_pixels(c: Command, box: _Box) -> int:
    """Pixels of the source map between the first and the last that some pixel of the box meets."""
    high = c.rows_out if c.op is Op.CONV_BP else c.rows_in
    wide = c.cols_out if c.op is Op.CONV_BP else c.cols_in
    rows = _met(
        c, range(box.row, box.row + box.height), c.kernel_rows, c.stride_rows, c.pad_top, high
    )
    cols = _met(
        c, range(box.col, box.col + box.width), c.kernel_cols, c.stride_cols, c.pad_left, wide
    )
    return rows * cols


def _met(c: Command, lines: range, kernel: int, stride: int, pad: int, most: int) -> int:
    met = set()
    for line in lines:
        for tap in range(kernel):
            if c.op is Op.CONV_BP:
                place, rest = divmod(line + pad - tap, stride)
            else:
                place, rest = line * stride + tap - pad, 0
            if rest == 0 and 0 <= place < most:
                met.add(place)
    return max(met) - min(met) + 1 if met else 0


def _fold(c: Command, design: Design) -> int:
    if c.op is Op.CONV_BP or c.lanes >= design.t:
        return 1
    return design.array_n // c.lanes


def _sweep_cycles(c: Command, images: int, box: _Box, design: Design) -> int:
    """Every tap sweeps over the pixels it meets; no sum is met again before it is written."""
    strides = (1, 1) if c.op is Op.CONV_FP else (c.stride_rows, c.stride_cols)
    fold, cycles = _fold(c, design), 0
    rows, cols = range(box.row, box.row + box.height), range(box.col, box.col + box.width)
    for tap_row in range(c.kernel_rows):
        for tap_col in range(0, c.kernel_cols, fold):
            lines = sum((line + c.pad_top - tap_row) % strides[0] == 0 for line in rows)
            wide = sum((col + c.pad_left - tap_col) % strides[1] == 0 for col in cols)
            sweep = images * lines * math.ceil(wide / design.pixels)
            cycles += max(sweep, design.revisit)
    return cycles


def _clear_cycles(c: Command, images: int, box: _Box, design: Design) -> int:
    """Some pixels of a stride's map are met by no tap: all are set to zero first, as many of a row
    and a phase at once as the array takes; phases all have the room of the longest."""
    if c.op is Op.CONV_FP:
        return 0
    unmet = c.kernel_rows < c.stride_rows or c.kernel_cols < c.stride_cols
    phases = min(c.stride_cols, box.width)
    row = phases * math.ceil(box.width / (phases * design.pixels))
    return images * box.height * row if unmet else 0


def _outer_cycles(
    c: Command, images: int, box: _Box, with_bias: bool, last: bool, design: Design
) -> tuple[int, int]:
    """Iterations, and the loops of additions at the end, whose pipelines run empty."""
    taps = c.kernel_rows * math.ceil(c.kernel_cols / _fold(c, design))
    if with_bias and c.flags & Flag.BIAS:
        taps += 1
    partials = 1
    while partials * taps < design.revisit:
        partials *= 2
    pixels = images * box.height * math.ceil(box.width / design.pixels)
    cycles = math.ceil(pixels / partials) * partials * taps
    levels = 0
    while last and partials > 1:
        partials //= 2
        levels += 1
        cycles += partials * taps * design.array_n
    return cycles, levels
