"""Closed-form cost of CONV_FP, CONV_BP and CONV_WU on our kernel.

FP and BP walk, outer to inner: groups of output tiles whose weights stay, images, areas, output
tiles, input tiles. WU walks output tiles, input tiles, images, areas: one tile of the gradient
stays on chip while all images pass. Each innermost turn is a pass of the pipeline in
`plan.rounds`. The simulator runs the same loops without this module.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any

from eftraind.isa import Command, Flag, Op
from eftraind.plan.design import RUN, Design
from eftraind.plan.job import Job
from eftraind.plan.machine import Channel, Machine
from eftraind.plan.rounds import Round, Total, Words
from eftraind.plan.runs import Runs, Turn, first_turn, last_turn, nest, parts, turns
from eftraind.plan.shape import Area, ConvShape, areas
from eftraind.plan.tiles import tiles
from eftraind.plan.tiling import Tiling, partial_sums

Loops = list[Runs[Any]]


def cost(job: Job, tiling: Tiling, design: Design, machine: Machine) -> Total:
    """Cycles, words and what holds the command up."""
    c, walk = job.command, _walk(job, tiling, design)
    total = Total()
    total.command(machine)
    first, final = walk.ends()
    total.alone(machine, walk.round(after=first))
    rounds: Counter[Round] = Counter()
    drains: Counter[Round] = Counter()
    for times, turn, before, after in walk.passes():
        if not design.traits.overlaps and after and walk.opens(after):
            drains[walk.round(after=after)] += times
            after = None
        if not design.traits.overlaps and c.op is Op.CONV_WU and before:
            drains[walk.round(before=before)] += times
            before = None
        rounds[walk.round(turn, before, after)] += times
    for one, times in rounds.items():
        total.add(machine, one, times)
    for one, times in drains.items():
        total.alone(machine, one, times)
    total.alone(machine, walk.round(before=final))
    return total


def iterations(c: Command, tiling: Tiling, design: Design) -> tuple[int, int]:
    """(iterations of the array, passes): what the kernel itself counts and reports."""
    walk = _walk(Job(c), tiling, design)
    turns = [(times, walk.iterations(turn)) for times, turn, _, _ in walk.passes()]
    return sum(times * one for times, one in turns), sum(times for times, _ in turns)


def emptied(c: Command, tiling: Tiling, design: Design) -> int:
    """Passes after which the array's pipeline runs empty."""
    walk = _walk(Job(c), tiling, design)
    followed = sum(
        times for times, turn, _, after in walk.passes() if after and walk.followed(turn)
    )
    return iterations(c, tiling, design)[1] - followed


def _walk(job: Job, tiling: Tiling, design: Design) -> "_Map | _Gradient":
    kind = _Gradient if job.command.op is Op.CONV_WU else _Map
    return kind(job, tiling, design)


class _Walk(ABC):
    """What both walks share: sizes in words."""

    def __init__(self, job: Job, tiling: Tiling, design: Design) -> None:
        self.job = job
        self.c = c = job.command
        self.tiling = tiling
        self.design = design
        self.shape = shape = ConvShape.of(c)
        self.images = turns(parts(shape.images, tiling.images))
        self.areas = turns(areas(shape, tiling.rows, tiling.cols))
        self.in_steps = [(1, 1)] if shape.depthwise else self._steps(shape.in_channels, False)
        self.out_steps = self._steps(shape.out_channels, True)
        self.computing: dict[tuple[int, Area], int] = {}
        self._lanes = design.t if shape.backwards else min(shape.lanes, design.t)

    def round(self, turn: Any = None, before: Any = None, after: Any = None) -> Round:
        """Compute `turn`, load for the pass after, store what the pass before left."""
        drain = self.design.pipeline_cycles + (self.folding_cycles(turn) if turn else 0)
        behind = self._behind(turn, before) if turn and before else None
        empties = 0 if after and self.followed(turn) else drain
        compute = self.iterations(turn) + empties if turn else 0
        return Round(
            compute,
            self.loads(after) if after else (),
            self.stores(before) if before else (),
            self.load_waits(after) if after and not self.design.traits.blocks else 0,
            self.store_runs(before) if before and not self.design.traits.streams else 0,
            drain if behind else 0,
            behind,
            self.store_wait(before) if before else 0,
        )

    def _behind(self, turn: Any, before: Any) -> Round | None:
        """The round of the pass before, if its results to store come out in this one. It stored
        nothing itself: else its pass was not followed."""
        if not self.followed(before) or not self.stores(before):
            return None
        return Round(self.iterations(before), self.loads(turn))

    def followed(self, turn: Any) -> bool:
        """The next pass enters the array before this one's results are out."""
        traits = self.design.traits
        return bool(turn and traits.follows and traits.overlaps and not self.empties(turn))

    def folding_cycles(self, turn: Any) -> int:
        """Of other loops' pipelines, which run empty as well."""
        return 0

    @abstractmethod
    def empties(self, turn: Any) -> bool:
        """The array's pipeline runs empty after the pass."""

    @abstractmethod
    def iterations(self, turn: Any) -> int:
        """Of the array, for one pass."""

    @abstractmethod
    def loads(self, turn: Any) -> Words:
        """Words that each channel brings before a pass."""

    @abstractmethod
    def stores(self, turn: Any) -> Words:
        """Words that go out after it."""

    @abstractmethod
    def load_waits(self, turn: Any) -> int:
        """Transfers that a load waits for to start."""

    def store_runs(self, turn: Any) -> int:
        return 0

    def store_wait(self, turn: Any) -> int:
        return 0

    def _steps(self, channels: int, out: bool) -> Runs[int]:
        """T-lane tiles of each array-wide step over a channel dimension."""
        lanes = self.design.array_m if out else self.design.array_n
        return parts(tiles(channels, self.design.t), lanes // self.design.t)

    def source_words(self, images: int, area: Area, channel_tiles: int) -> int:
        return images * area.loaded * channel_tiles * self._lanes

    def out_words(self, images: int, area: Area, channel_tiles: int) -> int:
        return images * area.outs * channel_tiles * self.design.t

    def weight_words(self, m: int, n: int) -> int:
        lanes = 1 if self.shape.depthwise else self._lanes
        return self.shape.kernel[0] * self.shape.kernel[1] * m * self.design.t * n * lanes


class _Map(_Walk):
    """FP and BP. A turn is (image, area, output step, input step) of one group."""

    def __init__(self, job: Job, tiling: Tiling, design: Design) -> None:
        super().__init__(job, tiling, design)
        self._clears = 0 in self.shape.row_taps() or 0 in self.shape.col_taps()
        number = sum(count for _, count in self.out_steps)
        self._groups: Runs[Loops] = []
        whole = self.out_steps[0][0]
        for size, count in parts(number, tiling.group):
            self._groups += [(self._loops([(whole, size)]), count)] if count else []
        if len(self.out_steps) == 2:
            self._end_ragged(whole)

    def _end_ragged(self, whole: int) -> None:
        """The last output step is narrower: it ends the last group."""
        loops, count = self._groups.pop()
        size = loops[2][0][1]
        if count > 1:
            self._groups.append((loops, count - 1))
        steps: Runs[int] = [(whole, size - 1)] * (size > 1) + [self.out_steps[1]]
        self._groups.append((self._loops(steps), 1))

    def _loops(self, steps: Runs[int]) -> Loops:
        return [self.images, self.areas, steps, turns(self.in_steps)]

    def ends(self) -> tuple[Any, Any]:
        return first_turn(self._groups[0][0]), last_turn(self._groups[-1][0])

    def passes(self) -> Iterator[tuple[int, Any, Any, Any]]:
        for place, (loops, count) in enumerate(self._groups):
            before = self._groups[place - 1][0] if place else None
            after = self._groups[place + 1][0] if place + 1 < len(self._groups) else None
            inner = list(nest(loops))
            for index, times in ((0, 1), (1, count - 2), (2, 1)) if count > 1 else ((0, 1),):
                left = loops if index else before
                right = loops if index < 2 and count > 1 else after
                if count == 2 and index == 1:
                    continue
                for many, turn, ahead, behind in inner:
                    ahead = ahead or (last_turn(left) if left else None)
                    behind = behind or (first_turn(right) if right else None)
                    yield times * many, turn, ahead, behind

    def opens(self, turn: Any) -> bool:
        """The pass is the first of an output tile."""
        return bool(turn[3].place == 0)

    def empties(self, turn: Any) -> bool:
        """Of a command that clears output pixels, or stores after every pass: there the store would
        wait for the results as well."""
        return self._clears or bool(turn[3].place == 0 and turn[3].last)

    def _fresh(self, turn: Any) -> bool:
        image, area = turn[0], turn[1]
        visit = image.place * sum(count for _, count in self.areas) + area.place
        return bool(visit < self.tiling.rounds)

    def loads(self, turn: Any) -> Words:
        image, area, m, n = turn
        channel_tiles = m if self.shape.depthwise else n.value
        loads = [(Channel.IN, self.source_words(image.value, area.value, channel_tiles))]
        if not self.tiling.stays or self._fresh(turn):
            loads.append((Channel.WEIGHTS, self.weight_words(m, n.value)))
        return tuple(loads)

    def load_waits(self, turn: Any) -> int:
        image, area, m, n = turn
        channel_tiles = m if self.shape.depthwise else n.value
        return int(image.value * area.value.rows.loaded * channel_tiles) - 1

    def store_runs(self, turn: Any) -> int:
        """Of those that read: RUN pixels of a channel tile, over rows that are whole."""
        image, area, m, n = turn
        if all(channel.writes for channel, _ in self.stores(turn)):
            return 0
        if self.tiling.cols == self.shape.out_cols:
            return int(image.value * m * -(-area.value.outs // RUN))
        return int(image.value * area.value.rows.outs * m * -(-area.value.cols.outs // RUN))

    def stores(self, turn: Any) -> Words:
        """After the last input step; with MASK or ACCUMULATE, joined with what is read beside. Sums
        for a BN_SUM take the normalisation's input."""
        image, area, m, n = turn
        if not n.last:
            return ()
        out = self.out_words(image.value, area.value, m)
        reads = sum(bool(self.c.flags & flag) for flag in (Flag.MASK, Flag.ACCUMULATE))
        reads += self.job.gathers
        if reads and self.shape.backwards:
            return ((Channel.JOINED, reads * out), (Channel.OUT, out))
        return ((Channel.OUT, out),)

    def iterations(self, turn: Any) -> int:
        """The first input step also clears output pixels that no tap of their phase meets."""
        visit = turn[0].value, turn[1].value
        if visit not in self.computing:
            self.computing[visit] = self._sweeps(*visit)
        cycles = self.computing[visit]
        if turn[3].place == 0 and self._clears:
            cycles += visit[0] * visit[1].words(self.design.pixels)
        return cycles

    def _sweeps(self, images: int, area: Area) -> int:
        """Tap by tap over the tile's pixels; a sum is met again only after `revisit` cycles, so
        short sweeps are padded."""
        shape, design = self.shape, self.design
        fold, cycles = shape.fold(design), 0
        for rows, row_taps in zip(area.rows.by_phase, shape.row_taps(), strict=True):
            for cols, col_taps in zip(area.cols.by_phase, shape.col_taps(), strict=True):
                pixels = images * rows * -(-cols // design.pixels)
                taps = row_taps * -(-col_taps // fold)
                cycles += taps * max(pixels, design.revisit)
        return cycles


class _Gradient(_Walk):
    """WU. A turn is (output step, input step, image, area)."""

    def __init__(self, job: Job, tiling: Tiling, design: Design) -> None:
        super().__init__(job, tiling, design)
        self._loops: Loops = [self.out_steps, turns(self.in_steps), self.images, self.areas]

    def ends(self) -> tuple[Any, Any]:
        return first_turn(self._loops), last_turn(self._loops)

    def passes(self) -> Iterator[tuple[int, Any, Any, Any]]:
        return nest(self._loops)

    def opens(self, turn: Any) -> bool:
        """The pass is the first of a gradient tile."""
        return bool(turn[2].place == 0 and turn[3].place == 0)

    def empties(self, turn: Any) -> bool:
        """The last of a gradient tile: its partial sums are added up."""
        return _last_visit(turn[2], turn[3])

    def folding_cycles(self, turn: Any) -> int:
        """Each level of adding up partial sums is a loop that reads what the one before wrote."""
        if not self.empties(turn):
            return 0
        levels = partial_sums(self._taps(turn), self.design).bit_length() - 1
        return levels * self.design.sum_cycles

    def _taps(self, turn: Any) -> int:
        bias = bool(self.c.flags & Flag.BIAS) and turn[1].place == 0
        return self.shape.taps(self.design) + bias

    def loads(self, turn: Any) -> Words:
        """x on the port for features, dy on the one for weights."""
        m, n, image, area = turn
        channel_tiles = m if self.shape.depthwise else n.value
        return (
            (Channel.IN, self.source_words(image.value, area.value, channel_tiles)),
            (Channel.WEIGHTS, self.out_words(image.value, area.value, m)),
        )

    def load_waits(self, turn: Any) -> int:
        m, n, image, area = turn
        channel_tiles = max(m, n.value)
        return (
            int(image.value * max(area.value.rows.loaded, area.value.rows.outs) * channel_tiles) - 1
        )

    def stores(self, turn: Any) -> Words:
        m, n, image, area = turn
        if not _last_visit(image, area):
            return ()
        words = self.weight_words(m, n.value)
        if self.job.steps:
            return ((Channel.JOINED, 2 * words), (Channel.OUT, 2 * words))
        if self.c.flags & Flag.ACCUMULATE:
            return ((Channel.JOINED, words), (Channel.OUT, words))
        return ((Channel.OUT, words),)

    def store_runs(self, turn: Any) -> int:
        m, n, image, area = turn
        if all(channel.writes for channel, _ in self.stores(turn)):
            return 0
        runs = -(-self.weight_words(m, n.value) // (RUN * self.design.t))
        return 2 * runs if self.job.steps else runs

    def store_wait(self, turn: Any) -> int:
        """The gradient moves into a buffer for what is stored, a row of output lanes a cycle."""
        m, n, image, area = turn
        if self.design.traits.straight or not _last_visit(image, area):
            return 0
        return int(self.weight_words(m, n.value) // (m * self.design.t))

    def iterations(self, turn: Any) -> int:
        """Words of dy are taken a few at a time, each group tap by tap, into partial sums, which
        the last visit adds up pairwise, a row of lanes at a time. The bias is one more tap of the
        first input step."""
        design, taps = self.design, self._taps(turn)
        _, _, image, area = turn
        partials = partial_sums(taps, design)
        words: int = image.value * area.value.words(design.pixels)
        cycles = -(-words // partials) * partials * taps
        folding = taps * (partials - 1) * design.array_n if _last_visit(image, area) else 0
        return cycles + folding


def _last_visit(image: Turn, area: Turn) -> bool:
    return image.last and area.last
