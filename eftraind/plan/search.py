"""The planner for our kernel: a design for a board and a network, and the schedule it gives.

Searches T, the array's shape, its operators, buffers, port widths and clock under a budget of the
board's resources. Shapes are tried in the order of what they could reach at best, which ends the
search early; nothing is random, so the same question has the same answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.isa import Program
from eftraind.plan import energy, operators, window
from eftraind.plan.board import Board, Budget
from eftraind.plan.cost import CONVOLUTIONS
from eftraind.plan.design import AS_WRITTEN, SPECIFIED, Design, Traits, resources
from eftraind.plan.outcome import Resources, Schedule
from eftraind.plan.shape import ConvShape
from eftraind.plan.step import costed, schedule, training_program
from eftraind.plan.tiles import tiles

DEPTHS = (512, 1024, 2048, 4096)
WEIGHT_TILES = (64, 128, 256, 512)
OBJECTIVES = ("throughput", "latency", "energy")
NO_MORE_THAN = 1.01
"""A shape that could at best be this much faster is not worth trying."""


@dataclass(frozen=True)
class Limits:
    """Which designs a kernel's sources can be built for."""

    lanes: tuple[int, ...] = (4, 8, 16)
    """T: a power of two, at most 16."""
    across: tuple[int, ...] = (1, 2)
    """T-lane tiles side by side, out and in."""
    pixels: tuple[int, ...] = (1, 2, 3, 4)
    ports: tuple[int, ...] = (1, 2)
    """Ports that one channel may take."""
    traits: Traits = SPECIFIED
    windows: bool = True
    """Whether on-chip memory may hold a whole step."""

    def shapes(self) -> Iterator[tuple[int, int, int, int]]:
        """(T, output lanes, input lanes, pixels)"""
        for t, m, n, pixels in product(self.lanes, self.across, self.across, self.pixels):
            yield t, m * t, n * t, pixels


PLANNED = Limits()
"""The kernel as specified."""
WRITTEN = Limits(across=(1,), ports=(1,), traits=AS_WRITTEN, windows=False)
"""The kernel as its sources in hls are so far."""


@dataclass(frozen=True)
class Found:
    """A design and what it makes of a network."""

    design: Design
    schedule: Schedule
    limit: str
    """What keeps the array from being larger."""


def plan(
    graph: Graph,
    board: Board,
    batch: int,
    objective: str = "throughput",
    budget: Budget | None = None,
    limits: Limits = PLANNED,
) -> Found:
    """The best design for a training step of `batch` images.

    throughput: least time for the step; latency: least time for a step of one image; energy: least
    modelled joules for the step. Raises ConfigError, with need and budget, if nothing fits.
    """
    if objective not in OBJECTIVES:
        raise ConfigError(f"no objective {objective!r}", remedy=f"one of: {', '.join(OBJECTIVES)}")
    search = _Search(graph, board, batch, objective, budget or board.budget, limits)
    return search.run()


class _Search:
    def __init__(
        self,
        graph: Graph,
        board: Board,
        batch: int,
        objective: str,
        budget: Budget,
        limits: Limits = PLANNED,
    ) -> None:
        norms = any(layer.kind == "batchnorm" for layer in graph.layers)
        gathers = limits.traits.gathers and norms
        self._limits = replace(limits, traits=replace(limits.traits, gathers=gathers))
        self._graph = graph
        self._board = board
        self._batch = 1 if objective == "latency" else batch
        self._asked = batch
        self._objective = objective
        self._budget = budget
        self._programs: dict[int, Program] = {}

    def run(self) -> Found:
        best: tuple[float, Design] | None = None
        failure = ""
        for bound, design in self._shapes():
            if best is not None and self._score_bound(bound, design) * NO_MORE_THAN > best[0]:
                continue
            try:
                score = self._score(design)
            except ConfigError as error:
                failure = failure or str(error)
                continue
            if best is None or score < best[0]:
                best = score, design
        if best is None:
            raise ConfigError(
                f"no design for {self._graph.name} fits {self._board.name}: "
                + (failure or self._too_large()),
                remedy="another board, or a larger budget",
            )
        design = self._refined(*best)
        outcome = schedule(self._graph, self._board, self._asked, design)
        return Found(design, outcome, self._limit(design))

    def _program(self, t: int) -> Program:
        if t not in self._programs:
            fuse = self._limits.traits.fuses
            program = training_program(self._graph, self._board, self._batch, t, fuse=fuse)
            self._programs[t] = program
        return self._programs[t]

    def _score(self, design: Design) -> float:
        """Seconds, or joules."""
        outcome = costed(self._graph, self._board, self._batch, design, self._program(design.t))
        if self._objective == "energy":
            return energy.of_schedule(outcome, self._board.family, 1).step_joules
        return outcome.seconds

    def _score_bound(self, cycles: int, design: Design) -> float:
        """No design of this shape does better; of joules nothing is known beforehand."""
        return 0.0 if self._objective == "energy" else cycles / (design.clock_mhz * 1e6)

    def _limit(self, design: Design) -> str:
        """The next larger array and what it takes too much of, with the leanest operators."""
        larger: list[tuple[int, float, str]] = []
        for t, m, n, pixels in self._limits.shapes():
            macs = m * n * pixels
            if macs <= design.macs:
                continue
            other = replace(
                design, t=t, array_m=m, array_n=n, pixels=pixels, feature_depth=DEPTHS[0],
                output_depth=DEPTHS[0], weight_tiles=WEIGHT_TILES[0],
            )  # fmt: skip
            for lean in self._with_operators(other):
                need = resources(lean)
                excess = self._budget.excess(need, self._board.fabric)
                if excess:
                    what = f"{macs} multiply-accumulators would take {excess}"
                    larger.append((macs, self._fullest(need), what))
        return min(larger)[2] if larger else "the largest array that the kernel knows"

    def _shapes(self) -> list[tuple[int, Design]]:
        """(least cycles of the array, design with the buffers and ports tried first)."""
        clock = max(self._board.clocks.mhz)
        found = []
        for t, m, n, pixels in self._limits.shapes():
            design = self._smallest(t, m, n, pixels, clock)
            if design is None:
                continue
            found.append((self._least_cycles(design), self._filled(design)))
        found.sort(key=lambda item: item[0])
        return found

    def _smallest(self, t: int, m: int, n: int, pixels: int, clock: float) -> Design | None:
        """The shape with the operators that leave most of the scarcest resource, or None."""
        fitting: list[tuple[float, Design]] = []
        width = self._board.ports.width_bits // 32
        least = Design(
            t, m, n, pixels, clock, "fulldsp", "fulldsp", "fulldsp", DEPTHS[0], DEPTHS[0],
            WEIGHT_TILES[0], width, width, width, self._limits.traits,
        )  # fmt: skip
        for design in self._with_operators(least):
            need = resources(design)
            if self._budget.holds(need, self._board.fabric):
                fitting.append((self._fullest(need), design))
        return min(fitting, key=lambda item: item[0])[1] if fitting else None

    def _with_operators(self, design: Design) -> Iterator[Design]:
        for fmul, tree, acc in product(operators.FMUL, operators.FADD, operators.FADD):
            yield replace(design, fmul=fmul, fadd_tree=tree, fadd_sum=acc)

    def _fullest(self, need: Resources) -> float:
        fabric, budget = self._board.fabric, self._budget
        return max(need.dsp / fabric.dsp / budget.dsp, (need.lut or 0) / fabric.lut / budget.lut)

    def _filled(self, design: Design) -> Design:
        """The first of the wider ports and deeper buffers that fits, larger ones first."""
        return next(self._larger(design), design)

    def _larger(self, design: Design) -> Iterator[Design]:
        width = self._board.ports.width_bits // 32
        ports = sorted(product(self._limits.ports, repeat=3), key=lambda share: -sum(share))
        for feature, weight, result in ports:
            if feature + weight + result > self._board.ports.count:
                continue
            wider = replace(
                design,
                feature_words=feature * width,
                weight_words=weight * width,
                result_words=result * width,
            )
            for depth, taps in product(reversed(DEPTHS), reversed(WEIGHT_TILES)):
                deeper = replace(wider, feature_depth=depth, output_depth=depth, weight_tiles=taps)
                if self._can_be(deeper):
                    yield deeper

    def _refined(self, score: float, design: Design) -> Design:
        """Other buffers, ports and clocks for the chosen shape: each alone, one after another."""
        best = score, design
        for change in (self._ports_of, self._buffers_of, self._windows_of, self._clocks_of):
            for other in change(best[1]):
                if other == best[1] or not self._can_be(other):
                    continue
                try:
                    better = self._score(other)
                except ConfigError:
                    continue
                if better < best[0]:
                    best = better, other
        return best[1]

    def _can_be(self, design: Design) -> bool:
        """It fits, and half a feature buffer holds the taps of one output, as the kernel asks."""
        room = design.feature_depth >= 2 * design.weight_tiles
        return room and self._budget.holds(resources(design), self._board.fabric)

    def _ports_of(self, design: Design) -> list[Design]:
        width = self._board.ports.width_bits // 32
        shares = product(self._limits.ports, repeat=3)
        most = min(self._board.ports.count, 3 * max(self._limits.ports))
        return [
            replace(design, feature_words=f * width, weight_words=w * width, result_words=r * width)
            for f, w, r in shares
            if f + w + r == most
        ]

    def _buffers_of(self, design: Design) -> list[Design]:
        """For each depth of the weight buffer the deepest others that fit, features as deep as
        outputs or twice as deep."""
        found = []
        for taps, twice in product(WEIGHT_TILES, (1, 2)):
            for depth in sorted(DEPTHS, reverse=True):
                other = replace(
                    design, weight_tiles=taps, feature_depth=min(twice * depth, DEPTHS[-1]),
                    output_depth=depth,
                )  # fmt: skip
                if self._can_be(other):
                    found.append(other)
                    break
        return found

    def _windows_of(self, design: Design) -> list[Design]:
        """All of the step on chip, with buffers that leave room for it. Only LOAD goes by the
        ports then: that for weights, which brings its labels, may be narrow."""
        if not self._limits.windows:
            return []
        words = window.need_words(self._program(design.t), design)
        narrow = self._board.ports.width_bits // 32
        return [
            replace(
                design, window_words=words, feature_depth=depth, output_depth=depth,
                weight_tiles=taps, weight_words=port,
            )
            for depth, taps in product(DEPTHS, WEIGHT_TILES)
            for port in dict.fromkeys((design.weight_words, narrow))
        ]  # fmt: skip

    def _clocks_of(self, design: Design) -> list[Design]:
        if self._objective != "energy":
            return []
        return [replace(design, clock_mhz=clock) for clock in self._board.clocks.mhz]

    def _least_cycles(self, design: Design) -> int:
        """What the array alone takes for the convolutions."""
        cycles = 0
        for c in self._program(design.t).commands:
            if c.op not in CONVOLUTIONS:
                continue
            shape = ConvShape.of(c)
            m = -(-tiles(shape.out_channels, design.t) * design.t // design.array_m)
            n = -(-tiles(shape.in_channels, design.t) * design.t // design.array_n)
            taps = shape.kernel[0] * -(-shape.kernel[1] // shape.fold(design))
            area = shape.out_rows * -(-shape.out_cols // design.pixels)
            if shape.backwards:
                taps = -(-taps // (shape.stride[0] * shape.stride[1]))
            cycles += shape.images * m * (1 if shape.depthwise else n) * taps * area
        return cycles

    def _too_large(self) -> str:
        width = self._board.ports.width_bits // 32
        t = min(self._limits.lanes)
        least = Design(
            t, t, t, 1, 100, "meddsp", "fabric", "fabric", DEPTHS[0], DEPTHS[0], WEIGHT_TILES[0],
            width, width, width,
        )  # fmt: skip
        return f"the smallest takes {self._budget.excess(resources(least), self._board.fabric)}"
