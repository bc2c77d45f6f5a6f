"""An event-level simulator of our kernel: plain and slow, to hold the closed form against.

It walks every loop of a command one pass at a time, cuts each transfer into bursts, and lets the
bursts queue for the DRAM first come, first served. It shares with the cost model the command, the
tile, the design, the board, and which operand of a streaming command takes which channel
(`map_cost.traffic`); it shares no timing, and counts rows, taps and words on its own.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from eftraind.isa import Command, Flag, Op
from eftraind.plan import map_cost
from eftraind.plan.board import Board
from eftraind.plan.design import Design
from eftraind.plan.machine import (
    COMMAND_WORDS,
    DECODE_CYCLES,
    STATUS_WORDS,
    Channel,
    channel_words,
)
from eftraind.plan.outcome import Tile

Pieces = dict[Channel, list[int]]
"""Contiguous pieces, in words, that each channel moves."""


@dataclass
class Pass:
    """One filling of the array: what it needs first, how long it computes, what it leaves."""

    loads: Pieces = field(default_factory=dict)
    cycles: int = 0
    stores: Pieces = field(default_factory=dict)


class Events:
    """Time, and what is to happen when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, time: float, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._queue, (time, self._number, action))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._queue:
            self.now, _, action = heapq.heappop(self._queue)
            action()


class Dram:
    """Serves one burst at a time; ports with waiting bursts take turns."""

    def __init__(self, events: Events, board: Board, clock_mhz: float) -> None:
        self._events = events
        self._words_per_cycle = board.memory.usable_bytes_per_s / 4e6 / clock_mhz
        self._queues: list[deque[tuple[int, Callable[[float], None]]]] = []
        self._turn = 0
        self._busy = False

    def attach(self) -> int:
        """A new port's number."""
        self._queues.append(deque())
        return len(self._queues) - 1

    def request(self, port: int, words: int, served: Callable[[float], None]) -> None:
        """`served` is called when service begins, with the time when it will end."""
        self._queues[port].append((words, served))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = False
        for step in range(len(self._queues)):
            port = (self._turn + step) % len(self._queues)
            if self._queues[port]:
                self._turn = port + 1
                self._busy = True
                words, served = self._queues[port].popleft()
                end = self._events.now + words / self._words_per_cycle
                served(end)
                self._events.at(end, self._next)
                return


class Port:
    """One AXI port in one direction: a data bus, and a bounded number of bursts in flight."""

    def __init__(
        self, events: Events, dram: Dram, board: Board, clock_mhz: float, rate: float, writes: bool
    ) -> None:
        self._events = events
        self._dram = dram
        self._number = dram.attach()
        self._rate = rate
        self._writes = writes
        self._limit = board.ports.outstanding
        nanoseconds = board.ports.write_latency_ns if writes else board.ports.read_latency_ns
        self.latency = nanoseconds * clock_mhz / 1e3
        self._waiting: deque[int] = deque()
        self._in_flight = 0
        self._bus_free = 0.0

    def burst(self, words: int) -> None:
        self._waiting.append(words)
        self._issue()

    def _issue(self) -> None:
        while self._waiting and self._in_flight < self._limit:
            words = self._waiting.popleft()
            self._in_flight += 1
            (self._write if self._writes else self._read)(words)

    def _read(self, words: int) -> None:
        """Half of the latency leads to the controller, half back."""
        half = self.latency / 2

        def served(end: float) -> None:
            bus = max(self._bus_free, self._events.now + half)
            self._bus_free = max(bus + words / self._rate, end + half)
            self._events.at(self._bus_free, self._finish)

        def arrived() -> None:
            self._dram.request(self._number, words, served)

        self._events.at(self._events.now + half, arrived)

    def _write(self, words: int) -> None:
        self._bus_free = max(self._bus_free, self._events.now) + words / self._rate

        def served(end: float) -> None:
            self._events.at(end + self.latency, self._finish)

        def arrived() -> None:
            self._dram.request(self._number, words, served)

        self._events.at(self._bus_free, arrived)

    def _finish(self) -> None:
        self._in_flight -= 1
        self._issue()


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

    def run(self, passes: Iterator[Pass]) -> float:
        """Cycles of a command: fetched, decoded, all its passes, its status written."""
        self._together(0, {Channel.WEIGHTS: [COMMAND_WORDS]}, {})
        self._together(DECODE_CYCLES, {}, {})
        computing: Pass | None = None
        finished: Pieces = {}
        for coming in passes:
            self._together(computing.cycles if computing else 0, coming.loads, finished)
            finished = computing.stores if computing else {}
            computing = coming
        if computing:
            self._together(computing.cycles, {}, finished)
            self._together(0, {}, computing.stores)
        self._together(0, {}, {Channel.WEIGHTS_OUT: [STATUS_WORDS]})
        return self._events.now

    def _together(self, cycles: int, loads: Pieces, stores: Pieces) -> None:
        """One round: all three units start now, and the next round waits for all of them. A store
        that reads (a mask, old sums) begins to write when the first of those words are there."""
        start = self._events.now
        self._events.at(start + cycles, lambda: None)
        reads = {channel: part for channel, part in stores.items() if not channel.writes}
        writes = {channel: part for channel, part in stores.items() if channel.writes}
        self._move(loads)
        self._move(reads)
        wait = max((self._ports[channel].latency for channel in reads), default=0.0)
        self._events.at(start + wait, lambda: self._move(writes))
        self._events.run()

    def _move(self, pieces: Pieces) -> None:
        for channel, parts in pieces.items():
            longest = self._burst_words[channel]
            for piece in parts:
                self.words_moved += piece
                for first in range(0, piece, longest):
                    self._ports[channel].burst(min(longest, piece - first))


def simulate(c: Command, tile: Tile | None, design: Design, board: Board) -> tuple[float, int]:
    """Cycles of a command and the words it moved; `tile` for convolutions only."""
    kernel = Kernel(design, board)
    if c.op in (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU):
        assert tile is not None
        passes = _conv_passes(c, tile, design)
    else:
        passes = _stream_passes(c, design)
    cycles = kernel.run(passes)
    return cycles, kernel.words_moved - COMMAND_WORDS - STATUS_WORDS


def _stream_passes(c: Command, design: Design) -> Iterator[Pass]:
    moved = map_cost.traffic(c, design)
    room_in, room_out = design.ifm_depth * design.array_n, design.ofm_depth * design.array_m
    number = 1
    for channel, words in moved.words.items():
        number = max(number, -(-words // (room_out if channel.writes else room_in)))
    for index in range(number):
        one = Pass(cycles=_share(moved.work, index, number) + design.pipeline_cycles)
        for channel, words in moved.words.items():
            part = _share(words, index, number)
            if part:
                (one.stores if channel.writes else one.loads)[channel] = [part]
        yield one


def _share(whole: int, index: int, number: int) -> int:
    return whole * (index + 1) // number - whole * index // number


def _chunks(channels: int, lanes: int, t: int) -> list[int]:
    """T-lane tiles of each array-wide step over the channels."""
    left = -(-channels // t)
    steps = []
    while left > 0:
        steps.append(min(left, lanes // t))
        left -= lanes // t
    return steps


def _conv_passes(c: Command, tile: Tile, design: Design) -> Iterator[Pass]:
    """The loops of a convolution, written out."""
    t, depthwise = design.t, c.groups > 1
    backwards, gradient = c.op is Op.CONV_BP, c.op is Op.CONV_WU
    outs, ins = (c.n, c.m) if backwards else (c.m, c.n)
    rows, cols = (c.rows_in, c.cols_in) if backwards else (c.rows_out, c.cols_out)
    lanes = t if backwards or c.lanes >= t else c.lanes
    m_steps = _chunks(outs, design.array_m, t)
    n_steps = [1] if depthwise else _chunks(ins, design.array_n, t)
    if tile.m_on:
        per_group = tile.m_on // design.array_m
    else:
        per_group = len(m_steps)
    reads = sum(bool(c.flags & flag) for flag in (Flag.MASK, Flag.ACCUMULATE)) if backwards else 0
    for group in range(0, len(m_steps), per_group):
        for image in range(c.images):
            for row in range(0, rows, tile.tr):
                height = min(tile.tr, rows - row)
                first = image == 0 and row == 0
                last = image == c.images - 1 and row + height == rows
                loaded = _rows_needed(c, row, height)
                busy = _array_cycles(c, row, height, design, last)
                for m in m_steps[group : group + per_group]:
                    out = [height * cols * t] * m
                    for step, n in enumerate(n_steps):
                        one = Pass(cycles=busy)
                        source = m if depthwise else n
                        map_cols = c.cols_out if backwards else c.cols_in
                        one.loads[Channel.IN] = [loaded * map_cols * lanes] * source
                        weights = _weight_pieces(c, m, n, lanes, t, depthwise)
                        if gradient:
                            if step == 0:
                                one.loads[Channel.EXTRA] = list(out)
                            if first and c.flags & Flag.ACCUMULATE:
                                one.loads[Channel.WEIGHTS] = list(weights)
                            if last:
                                one.stores[Channel.WEIGHTS_OUT] = list(weights)
                        else:
                            if first or not tile.m_on:
                                one.loads[Channel.WEIGHTS] = list(weights)
                            if step == len(n_steps) - 1:
                                one.stores[Channel.OUT] = list(out)
                                if reads:
                                    one.stores[Channel.EXTRA] = out * reads
                        yield one


def _weight_pieces(c: Command, m: int, n: int, lanes: int, t: int, depthwise: bool) -> list[int]:
    """One piece for each square tile: neighbours in one direction only lie side by side."""
    taps = c.kernel_rows * c.kernel_cols
    return [taps * t] * m if depthwise else [taps * lanes * t] * (m * n)


def _rows_needed(c: Command, row: int, height: int) -> int:
    """Rows of the source map that some pixel of these rows meets."""
    needed = set()
    for line in range(row, row + height):
        for tap in range(c.kernel_rows):
            if c.op is Op.CONV_BP:
                place, rest = divmod(line + c.pad_top - tap, c.stride_rows)
                if rest == 0 and 0 <= place < c.rows_out:
                    needed.add(place)
            else:
                place = line * c.stride_rows + tap - c.pad_top
                if 0 <= place < c.rows_in:
                    needed.add(place)
    return max(needed) - min(needed) + 1 if needed else 0


def _array_cycles(c: Command, row: int, height: int, design: Design, last: bool) -> int:
    """Tap by tap, line by line; a word of partial sums must not be met again too soon."""
    fold = 1
    if c.op is not Op.CONV_BP and c.lanes < design.t:
        fold = max(1, min(c.kernel_cols, design.array_n // c.lanes))
    if c.op is Op.CONV_BP:
        steps_r, steps_c, cols = c.stride_rows, c.stride_cols, c.cols_in
    else:
        steps_r, steps_c, cols = 1, 1, c.cols_out
    cycles = 0
    for phase_r in range(steps_r):
        lines = sum((line + c.pad_top) % steps_r == phase_r for line in range(row, row + height))
        taps_r = sum(tap % steps_r == phase_r for tap in range(c.kernel_rows))
        for phase_c in range(steps_c):
            wide = sum((col + c.pad_left) % steps_c == phase_c for col in range(cols))
            taps_c = sum(tap % steps_c == phase_c for tap in range(c.kernel_cols))
            pixels = lines * math.ceil(wide / design.pixels)
            if pixels == 0:
                continue
            if c.op is not Op.CONV_WU:
                pixels = max(pixels, design.accumulate_cycles)
            cycles += pixels * taps_r * math.ceil(taps_c / fold)
    if c.op is Op.CONV_WU and last:
        words = c.kernel_rows * math.ceil(c.kernel_cols / fold)
        copies = 1
        pixels = min(tile_pixels(c, height, design), design.accumulate_cycles)
        while copies * words < design.accumulate_cycles and copies < pixels:
            copies += 1
        cycles += (copies - 1) * words
    return cycles + design.pipeline_cycles


def tile_pixels(c: Command, height: int, design: Design) -> int:
    return height * math.ceil(c.cols_out / design.pixels)
