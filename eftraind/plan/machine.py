"""How fast a design on a board moves words: port rates, latencies, the share of a busy DRAM.

The model behind it: a port sends bursts and keeps several in flight; the memory controller serves
the ports' bursts in the order they come, so ports share a busy DRAM in proportion to their widths.
All times are cycles of the kernel's clock; a word has 32 bits. Knows no layer and no command.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from eftraind.errors import ConfigError
from eftraind.plan.board import Board
from eftraind.plan.design import Design


class Channel(Enum):
    """The kernel's AXI masters. The first three read, the last two write."""

    IN = "ifm"
    WEIGHTS = "weights"
    EXTRA = "extra"
    OUT = "ofm"
    WEIGHTS_OUT = "weights out"

    @property
    def writes(self) -> bool:
        return self in (Channel.OUT, Channel.WEIGHTS_OUT)


COMMAND_WORDS = 32
DECODE_CYCLES = 24
"""Slots and bounds of one command are checked, its tile counts computed."""


@dataclass(frozen=True)
class Machine:
    """Rates in words a cycle, latencies in cycles."""

    rates: dict[Channel, float]
    read_latency: int
    write_latency: int
    dram: float

    @classmethod
    def of(cls, design: Design, board: Board) -> "Machine":
        """Raises ConfigError if the design needs more ports, or faster ones, than the board has."""
        ports, clock = board.ports, design.clock_mhz
        width = ports.width_bits // 32
        words = {
            Channel.IN: design.in_words,
            Channel.WEIGHTS: design.weight_words,
            Channel.EXTRA: design.extra_words,
            Channel.OUT: design.out_words,
            Channel.WEIGHTS_OUT: design.weight_words,
        }
        for kind, group in (
            ("read", (Channel.IN, Channel.WEIGHTS, Channel.EXTRA)),
            ("write", (Channel.OUT, Channel.WEIGHTS_OUT)),
        ):
            need = sum(-(-words[channel] // width) for channel in group)
            if need > ports.count:
                raise ConfigError(
                    f"the design's {kind} channels take {need} ports of {board.name}, it has "
                    f"{ports.count}",
                    remedy="give its channels fewer words a cycle",
                )
        if clock > ports.max_clock_mhz:
            raise ConfigError(
                f"{clock} MHz is above the ports' {ports.max_clock_mhz} MHz on {board.name}",
                remedy="take a slower clock",
            )
        latency = math.ceil(ports.read_latency_ns * clock / 1e3)
        in_flight = ports.outstanding * ports.burst_beats
        share = min(1.0, in_flight / (latency + ports.burst_beats))
        return cls(
            rates={channel: rate * share for channel, rate in words.items()},
            read_latency=latency,
            write_latency=math.ceil(ports.write_latency_ns * clock / 1e3),
            dram=board.memory.usable_bytes_per_s / 4 / (clock * 1e6),
        )

    def streams(self, words: Iterable[tuple[Channel, int]]) -> dict[Channel, float]:
        """Cycles until each stream has moved its words, if all start together.

        While a set of streams is active each slows down by (sum of their rates / DRAM), if that
        is above 1; sorted by their own durations the streams end one after another.
        """
        alone = sorted(
            ((count / self.rates[channel], channel) for channel, count in words if count),
            key=lambda item: item[0],
        )
        active = sum(self.rates[channel] for _, channel in alone)
        ends: dict[Channel, float] = {}
        time = before = 0.0
        for duration, channel in alone:
            time += (duration - before) * max(1.0, active / self.dram)
            before = duration
            active -= self.rates[channel]
            ends[channel] = time
        return ends

    @property
    def command_cycles(self) -> int:
        """Fetch, decode, and write the status of one command; nothing overlaps it."""
        fetch = self.read_latency + math.ceil(COMMAND_WORDS / self.rates[Channel.WEIGHTS])
        return fetch + DECODE_CYCLES + self.write_latency
