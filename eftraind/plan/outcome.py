"""What a cost model says: cycles, bytes and tiles of each layer and phase, and their sums.

The vocabulary that all cost models share and all reports read. Every figure here is modelled,
none is measured; this module computes sums and ratios and knows no kernel, board or network.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Phase(str, Enum):
    """FP, BP and WU as in the EF-Train paper; OTHER: what belongs to no layer (loss, host time)."""

    FP = "FP"
    BP = "BP"
    WU = "WU"
    OTHER = "other"


@dataclass(frozen=True)
class Tile:
    """Channels and pixels of one tile: `m_on` output channels stay on chip together."""

    tm: int
    tn: int
    tr: int
    tc: int
    m_on: int


@dataclass(frozen=True)
class LayerCost:
    """Modelled cost of one phase of one layer for a whole batch."""

    layer: str
    kind: str
    """Of the layer (`graph_layers`), or what an entry of phase OTHER stands for."""
    phase: Phase
    cycles: int
    operations: int
    """Floating-point operations that count for GFLOPS: two per multiply-accumulate of a
    convolution, 0 elsewhere (EF-Train counts so)."""
    read_bytes: int
    written_bytes: int
    bound_by: str
    """What sets the pace: compute, ifm, weights, ofm, dram, drain, command or host."""
    tile: Tile | None = None
    """None where nothing is tiled."""

    @property
    def moved_bytes(self) -> int:
        return self.read_bytes + self.written_bytes


@dataclass(frozen=True)
class Resources:
    """On-chip resources of a design."""

    dsp: int
    bram36: int
    uram: int = 0
    lut: int | None = None
    """None: this model does not say."""


@dataclass(frozen=True)
class Schedule:
    """One training step of `batch` images on one design, as modelled."""

    kernel: str
    board: str
    network: str
    batch: int
    t: int
    clock_mhz: float
    resources: Resources
    layers: tuple[LayerCost, ...]
    memory_bytes: int
    """DRAM: maps, weights, gradients."""
    macs: int | None = None
    """Multiply-accumulates a cycle of the array; None: T x T."""

    @property
    def cycles(self) -> int:
        return sum(cost.cycles for cost in self.layers)

    @property
    def operations(self) -> int:
        return sum(cost.operations for cost in self.layers)

    @property
    def seconds(self) -> float:
        """Of one step."""
        return self.cycles / (self.clock_mhz * 1e6)

    @property
    def seconds_per_image(self) -> float:
        return self.seconds / self.batch

    @property
    def gflops(self) -> float:
        return self.operations / self.seconds / 1e9

    @property
    def peak_gflops(self) -> float:
        """Of the array, every cycle."""
        return 2 * (self.macs or self.t * self.t) * self.clock_mhz / 1e3

    def of_phase(self, phase: Phase) -> tuple[LayerCost, ...]:
        return tuple(cost for cost in self.layers if cost.phase is phase)


def gflops(costs: Iterable[LayerCost], clock_mhz: float) -> float:
    """Of some costs together; raises ZeroDivisionError if they take no time."""
    chosen = tuple(costs)
    seconds = sum(cost.cycles for cost in chosen) / (clock_mhz * 1e6)
    return sum(cost.operations for cost in chosen) / seconds / 1e9
