"""A board as the planner sees it: what its fabric holds and how it reaches its memory.

Every figure has a source, stated beside it; a figure of which nobody knows better is an assumption
and its source says so. This module reads no files (`eftraind.boards` does) and costs nothing.
"""

from dataclasses import dataclass, field
from typing import Any

from eftraind import config
from eftraind.config import optional, required
from eftraind.config.fields import option
from eftraind.errors import ConfigError
from eftraind.plan.outcome import Resources


@dataclass(frozen=True)
class Fabric:
    """On-chip resources of the device."""

    dsp: int = required("DSP slices", 1, 100_000)
    bram36: int = required("block RAMs of 36 Kbit", 1, 100_000)
    uram: int = required("UltraRAM blocks of 288 Kbit, 0 if the part has none", 0, 100_000)
    lut: int = required("6-input look-up tables", 1, 10_000_000)
    source: str = required("where these figures come from")


@dataclass(frozen=True)
class Ports:
    """High-performance ports between fabric and memory; each reads and writes at the same time."""

    count: int = required("ports a design may use", 1, 16)
    width_bits: int = required("data width of a port", 32, 1024)
    max_clock_mhz: float = required("fastest clock of a port", 1, 2000)
    burst_beats: int = required("longest burst the memory side keeps whole", 1, 256)
    outstanding: int = required("reads a port keeps in flight", 1, 256)
    read_latency_ns: float = required("address to first word of an idle memory", 1, 10_000)
    write_latency_ns: float = required("last word to write response", 1, 10_000)
    source: str = required("where these figures come from")

    @property
    def bytes_per_beat(self) -> int:
        return self.width_bits // 8


@dataclass(frozen=True)
class Memory:
    """DRAM of the processing system."""

    peak_mb_s: float = required("data rate times width, in 1e6 bytes per second", 1, 1e6)
    usable_share: float = required("share of the peak that mixed traffic reaches", 0.05, 1)
    size_mib: int = required("DRAM in MiB", 1, 1 << 24)
    cma_mib: int = required("contiguous memory for accelerators in MiB", 1, 1 << 24)
    source: str = required("where these figures come from")

    @property
    def usable_bytes_per_s(self) -> float:
        return self.peak_mb_s * self.usable_share * 1e6

    @property
    def cma_bytes(self) -> int:
        return self.cma_mib << 20


@dataclass(frozen=True)
class Clocks:
    """Clocks of the fabric that the planner may choose from."""

    mhz: tuple[float, ...] = required("clocks to consider, in MHz", 1, 2000)
    source: str = required("where these figures come from")


@dataclass(frozen=True)
class Sensors:
    """What the board can say about its power; without rails it can say nothing."""

    source: str = required("where this comes from")
    rails: tuple[str, ...] = option(
        (), "NAME = CHIP or CHIP, as in the file `name` of hwmon or IIO; * stands for anything"
    )


@dataclass(frozen=True)
class Budget:
    """Shares of the fabric that a design may take; what tools usually still place and route."""

    dsp: float = optional(0.80, "share of the DSP slices", 0.01, 1)
    bram36: float = optional(0.75, "share of the block RAM", 0.01, 1)
    lut: float = optional(0.70, "share of the look-up tables", 0.01, 1)

    def holds(self, need: Resources, fabric: Fabric) -> bool:
        return not self.excess(need, fabric)

    def excess(self, need: Resources, fabric: Fabric) -> str:
        """What does not fit, with need and budget; empty if all does."""
        for name, used, have, share in (
            ("DSP", need.dsp, fabric.dsp, self.dsp),
            ("BRAM36", need.bram36, fabric.bram36, self.bram36),
            ("LUT", need.lut or 0, fabric.lut, self.lut),
        ):
            if used > have * share:
                return f"{used} {name}, the budget is {int(have * share)} ({share:.0%} of {have})"
        return ""


@dataclass(frozen=True)
class Board:
    """One board; one YAML file."""

    name: str = required("the name on the command line, that of the file")
    title: str = required("the name on the box")
    part: str = required("the part that vendor tools are given")
    family: str = required("zynq7000 or zynqmp")
    fabric: Fabric = required("a section")
    ports: Ports = required("a section")
    memory: Memory = required("a section")
    clocks: Clocks = required("a section")
    power: Sensors = required("a section")
    budget: Budget = field(default_factory=Budget, metadata={"doc": "a section"})


FAMILIES = ("zynq7000", "zynqmp")


def from_mapping(data: Any) -> Board:
    """Raises ConfigError: unknown key, missing key, wrong type, out of bounds."""
    board: Board = config.record(Board, data, "")
    if board.family not in FAMILIES:
        raise ConfigError(f"family is {board.family!r}", remedy=f"one of: {', '.join(FAMILIES)}")
    if board.ports.width_bits % 32:
        raise ConfigError(
            f"ports.width_bits is {board.ports.width_bits}", remedy="give whole 32-bit words"
        )
    if board.memory.cma_mib > board.memory.size_mib:
        raise ConfigError(
            f"memory.cma_mib is {board.memory.cma_mib}, more than size_mib",
            remedy=f"at most {board.memory.size_mib}",
        )
    return board
