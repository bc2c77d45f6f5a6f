"""Closed-form cost of CONV_FP, CONV_BP and CONV_WU on our kernel, for one tiling.

The loops, outer to inner: M_on group, image, row tile, m tile, n tile; one pass each. A pass reads
one input tile; weights (WU: gradients to be added to) come with the first image's first row tile
and stay, unless not even one m tile's fit: then every pass loads its own. FP and BP store after
the last n tile of an m tile; WU stores each gradient tile once, after the last image's last row
tile. `plan.rounds` adds the passes up; the simulator runs the same loops without this module.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from eftraind.errors import ConfigError
from eftraind.isa import Command, Flag, Op
from eftraind.plan.design import Design
from eftraind.plan.machine import Channel, Machine
from eftraind.plan.outcome import Tile
from eftraind.plan.rounds import Round, Total, Words
from eftraind.plan.shape import ConvShape, RowTile, row_tiles
from eftraind.plan.tiles import tiles

ROW_CHOICES = 6
"""Tr is tried for this many numbers of row tiles, from the fewest that fit: more only add halo."""


T = TypeVar("T")
Runs = list[tuple[T, int]]
"""A sequence, equal neighbours counted."""


def neighbours(runs: Runs[T]) -> Iterator[tuple[int, T, T | None, T | None]]:
    """(times, item, the one before, the one after), equal cases counted.

    >>> list(neighbours([("a", 3), ("b", 1)]))
    [(1, 'a', None, 'a'), (1, 'a', 'a', 'a'), (1, 'a', 'a', 'b'), (1, 'b', 'a', None)]
    """
    for index, (item, count) in enumerate(runs):
        before = runs[index - 1][0] if index else None
        after = runs[index + 1][0] if index + 1 < len(runs) else None
        if count == 1:
            yield 1, item, before, after
            continue
        yield 1, item, before, item
        if count > 2:
            yield count - 2, item, item, item
        yield 1, item, item, after


def _steps(channels: int, lanes: int, t: int) -> Runs[int]:
    """T-lane tiles of each array-wide step over a channel dimension."""
    whole, rest = divmod(tiles(channels, t), lanes // t)
    return [(lanes // t, whole)] * (whole > 0) + [(rest, 1)] * (rest > 0)


def _groups(shape: ConvShape, tile: Tile, design: Design) -> Runs[Runs[int]]:
    """The m tiles of each M_on group; all in one if weights do not stay."""
    steps = _steps(shape.out_channels, design.array_m, design.t)
    number = sum(count for _, count in steps)
    size = tile.m_on // design.array_m or number
    whole = steps[0][0]
    last = number - (-(-number // size) - 1) * size
    ragged = len(steps) == 2
    ending = [(whole, last - ragged)] * (last > ragged) + steps[1:]
    full = -(-number // size) - 1
    groups: Runs[Runs[int]] = [([(whole, size)], full)] * (full > 0)
    return [*groups, (ending, 1)]


def choices(c: Command, design: Design) -> list[Tile]:
    """Tilings that fit the buffers. Raises ConfigError, with need and budget, if none does."""
    shape = ConvShape.of(c)
    m_on = _m_on(c, shape, design)
    found: list[Tile] = []
    for number in range(1, shape.out_rows + 1):
        tr = -(-shape.out_rows // number)
        if not _rows_fit(c, shape, tr, design) or any(tile.tr == tr for tile in found):
            continue
        found.append(Tile(design.array_m, design.array_n, tr, shape.out_cols, m_on))
        if len(found) == ROW_CHOICES:
            break
    if not found:
        need_in, need_out = _bank_words(c, shape, 1, design)
        raise ConfigError(
            f"layer {c.layer}: one row of {shape.out_cols} pixels takes {need_in} words of an "
            f"input bank and {need_out} of an output bank, the design has {design.ifm_depth} and "
            f"{design.ofm_depth}",
            remedy="take deeper buffers or a narrower map",
        )
    return found


def _bank_words(c: Command, shape: ConvShape, tr: int, design: Design) -> tuple[int, int]:
    """Words of an input and of an output bank that a tile of `tr` rows takes."""
    rows = max(tile.loaded for tile, _ in row_tiles(shape, tr))
    lanes = min(shape.lanes, design.t) if not shape.backwards else design.t
    per_bank = max(1, design.array_n // lanes) if lanes < design.t else 1
    return -(-rows * shape.in_cols // per_bank), tr * shape.out_cols


def _rows_fit(c: Command, shape: ConvShape, tr: int, design: Design) -> bool:
    need_in, need_out = _bank_words(c, shape, tr, design)
    return need_in <= design.ifm_depth and need_out <= design.ofm_depth


def copies(c: Command, shape: ConvShape, tr: int, design: Design) -> int:
    """Partial sums of one gradient: WU comes back to a tap's word after all taps of a pixel; when
    those are fewer than the accumulator's latency, pixels take turns among copies."""
    if c.op is not Op.CONV_WU:
        return 1
    pixels = tr * -(-shape.out_cols // design.pixels)
    return min(-(-design.accumulate_cycles // shape.taps(design)), pixels)


def _m_on(c: Command, shape: ConvShape, design: Design) -> int:
    """Output channels whose weights stay on chip; 0: none, weights are loaded for every pass."""
    n_tiles = 1 if shape.depthwise else math.ceil(shape.in_channels / design.array_n)
    m_tiles = math.ceil(shape.out_channels / design.array_m)
    words = shape.taps(design) * copies(c, shape, shape.out_rows, design)
    fitting = 0
    for group in range(1, m_tiles + 1):
        if words * -(-group * n_tiles // 2) <= design.weight_depth:
            fitting = group
    if fitting == 0 and c.op is Op.CONV_WU:
        need = words * -(-n_tiles // 2)
        raise ConfigError(
            f"layer {c.layer}: gradients of {design.array_m} output channels take {need} words of "
            f"a weight bank, the design has {design.weight_depth}",
            remedy="take deeper weight buffers",
        )
    return fitting * design.array_m


def cost(c: Command, tile: Tile, design: Design, machine: Machine) -> Total:
    """Cycles, words and what holds the command up."""
    shape = ConvShape.of(c)
    total = Total()
    total.command(machine)
    walk = _Walk(c, shape, tile, design)
    walk.add(total, machine)
    return total


class _Visit(NamedTuple):
    """All passes over one row tile of one image, for one group of m tiles."""

    rows: RowTile
    first: bool
    last: bool
    """First, last of all visits for these m tiles."""
    group: "Runs[int]"
    """T-lane tiles of each m tile."""


class _Walk:
    """The rounds of a command, equal ones counted together.

    Each loop is a list of runs of equal turns, so what a round loads (the next pass) and stores
    (the pass before) is exact, at the cost of at most three kinds a run and loop.
    """

    def __init__(self, c: Command, shape: ConvShape, tile: Tile, design: Design) -> None:
        self._c = c
        self._shape = shape
        self._design = design
        self._resident = tile.m_on > 0
        self._rows = row_tiles(shape, tile.tr)
        self._groups = _groups(shape, tile, design)
        n_tiles = _steps(shape.in_channels, design.array_n, design.t)
        self._n: Runs[int] = [(1, 1)] if shape.depthwise else n_tiles
        self._lanes = design.t if shape.backwards else min(shape.lanes, design.t)
        self._wu = c.op is Op.CONV_WU
        self._copies = copies(c, shape, tile.tr, design)

    def add(self, total: Total, machine: Machine) -> None:
        first = self._visits(self._groups[0][0], 0)[0][0]
        final = self._visits(self._groups[-1][0], self._shape.images - 1)[-1][0]
        m, n = first.group[0][0], self._n[0][0]
        total.alone(machine, Round(0, load=self._loads(first, m, n, new_m=True)))
        rounds: Counter[Round] = Counter()
        for times, visit, before, after in self._all_visits():
            for count, one in self._passes(visit, before, after):
                rounds[one] += times * count
        for one, times in rounds.items():
            total.add(machine, one, times)
        m, n = final.group[-1][0], self._n[-1][0]
        total.alone(machine, Round(0, store=self._stores(final, m, n)))

    def _visits(self, group: "Runs[int]", image: int) -> "Runs[_Visit]":
        """The visits of one image; the first and the last of the images are marked."""
        opens, closes = image == 0, image == self._shape.images - 1
        visits: Runs[_Visit] = []
        for index, (rows, count) in enumerate(self._rows):
            head = opens and index == 0
            tail = closes and index == len(self._rows) - 1
            if head and tail and count == 1:
                visits.append((_Visit(rows, True, True, group), 1))
                continue
            if head:
                visits.append((_Visit(rows, True, False, group), 1))
            plain = count - head - tail
            if plain:
                visits.append((_Visit(rows, False, False, group), plain))
            if tail:
                visits.append((_Visit(rows, False, True, group), 1))
        return visits

    def _all_visits(self) -> Iterator[tuple[int, _Visit, _Visit | None, _Visit | None]]:
        """(times, visit, the one before, the one after)."""
        end = self._shape.images - 1
        images = [(image, 1) for image in range(end + 1)]
        if end > 2:
            images = [(0, 1), (1, end - 1), (end, 1)]
        for many, group, ahead, behind in neighbours(self._groups):
            for times, image, earlier, later in neighbours(images):
                before = after = None
                if earlier is not None:
                    before = self._visits(group, earlier)[-1][0]
                elif ahead is not None:
                    before = self._visits(ahead, end)[-1][0]
                if later is not None:
                    after = self._visits(group, later)[0][0]
                elif behind is not None:
                    after = self._visits(behind, 0)[0][0]
                for count, visit, left, right in neighbours(self._visits(group, image)):
                    yield many * times * count, visit, left or before, right or after

    def _passes(
        self, visit: _Visit, before: _Visit | None, after: _Visit | None
    ) -> Iterator[tuple[int, Round]]:
        """The rounds of a visit: what the pass after needs, what the pass before left."""
        n_first, n_last = self._n[0][0], self._n[-1][0]
        compute = self._compute(visit)
        for many, m, m_before, m_after in neighbours(visit.group):
            for count, _, n_before, n_after in neighbours(self._n):
                load: Words = ()
                store: Words = ()
                if n_after is not None:
                    load = self._loads(visit, m, n_after, new_m=False)
                elif m_after is not None:
                    load = self._loads(visit, m_after, n_first, new_m=True)
                elif after is not None:
                    load = self._loads(after, after.group[0][0], n_first, new_m=True)
                if n_before is not None:
                    store = self._stores(visit, m, n_before) if self._wu else ()
                elif m_before is not None:
                    store = self._stores(visit, m_before, n_last)
                elif before is not None:
                    store = self._stores(before, before.group[-1][0], n_last)
                yield many * count, Round(compute, load, store)

    def _compute(self, visit: _Visit) -> int:
        """A word of the output buffer (WU: of the weight buffer) is met again only after the
        accumulator's latency: small tiles are padded up to it, WU keeps copies instead."""
        shape, design = self._shape, self._design
        fold, cycles = shape.fold(design), 0
        for tile_rows, row_taps in zip(visit.rows.by_phase, shape.row_taps(), strict=True):
            for cols, col_taps in zip(shape.cols_by_phase(), shape.col_taps(), strict=True):
                pixels = tile_rows * -(-cols // design.pixels)
                taps = row_taps * -(-col_taps // fold)
                if pixels and taps:
                    least = 1 if self._wu else design.accumulate_cycles
                    cycles += taps * max(pixels, least)
        summing = (self._copies - 1) * shape.taps(design) if self._wu and visit.last else 0
        return cycles + summing + design.pipeline_cycles

    def _weights(self, m: int, n: int) -> int:
        shape, t = self._shape, self._design.t
        lanes = 1 if shape.depthwise else self._lanes
        return shape.kernel[0] * shape.kernel[1] * m * t * n * lanes

    def _loads(self, visit: _Visit, m: int, n: int, *, new_m: bool) -> Words:
        shape, rows = self._shape, visit.rows
        in_tiles = m if shape.depthwise else n
        loads = [(Channel.IN, rows.loaded * shape.in_cols * in_tiles * self._lanes)]
        if self._wu:
            if new_m:
                out = rows.rows * shape.out_cols * m * self._design.t
                loads.append((Channel.EXTRA, out))
            if visit.first and self._c.flags & Flag.ACCUMULATE:
                loads.append((Channel.WEIGHTS, self._weights(m, n)))
        elif visit.first or not self._resident:
            loads.append((Channel.WEIGHTS, self._weights(m, n)))
        return tuple(loads)

    def _stores(self, visit: _Visit, m: int, n: int) -> Words:
        if self._wu:
            return ((Channel.WEIGHTS_OUT, self._weights(m, n)),) if visit.last else ()
        out = visit.rows.rows * self._shape.out_cols * m * self._design.t
        stores = [(Channel.OUT, out)]
        reads = sum(bool(self._c.flags & flag) for flag in (Flag.MASK, Flag.ACCUMULATE))
        if reads and self._shape.backwards:
            stores.append((Channel.EXTRA, reads * out))
        return tuple(stores)
