"""How fast a design on a board moves words: port rates, latencies, the share of a busy DRAM.

The model behind it: each channel is an AXI master that keeps several bursts in flight; the memory
controller serves one burst at a time and takes the channels in turn, so on a busy DRAM all slow
down alike, a wide channel's bursts being longer. All times are cycles of the kernel's clock; a word
has 32 bits. Knows no layer and no command.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from eftraind.errors import ConfigError
from eftraind.plan.board import Board
from eftraind.plan.design import Design


class Channel(Enum):
    """What the kernel's AXI masters carry; results read and write at the same time."""

    IN = "ifm"
    WEIGHTS = "weights"
    JOINED = "masks"
    """Read by the port for results: masks, old sums, velocities."""
    OUT = "ofm"

    @property
    def writes(self) -> bool:
        return self is Channel.OUT


COMMAND_WORDS = 32
STATUS_WORDS = 4
DECODE_CYCLES = 24
"""Slots and bounds of one command are checked, its tile counts computed."""


@dataclass(frozen=True)
class Stream:
    """Words on one channel. A store that waits begins when its operand's first words are there;
    `after`: cycles before anything of it is asked for."""

    channel: Channel
    words: int
    waits: bool = False
    after: float = 0.0
    """Cycles before it is asked for."""


@dataclass(frozen=True)
class Machine:
    """Rates in words a cycle, latencies in cycles."""

    rates: dict[Channel, float]
    burst_words: dict[Channel, int]
    in_flight: dict[Channel, int]
    """Words that a channel may have asked for and not received, or sent and not seen stored."""
    read_latency: float
    write_latency: float
    dram: float

    @classmethod
    def of(cls, design: Design, board: Board) -> "Machine":
        """Raises ConfigError if the design needs more ports, or faster ones, than the board has."""
        ports, clock = board.ports, design.clock_mhz
        words = channel_words(design)
        _check_ports(words, board, clock)
        latency = ports.read_latency_ns * clock / 1e3
        share = min(1.0, ports.outstanding * ports.burst_beats / (latency + ports.burst_beats))
        return cls(
            rates={channel: rate * share for channel, rate in words.items()},
            burst_words={channel: rate * ports.burst_beats for channel, rate in words.items()},
            in_flight={
                channel: rate * ports.burst_beats * ports.outstanding
                for channel, rate in words.items()
            },
            read_latency=latency,
            write_latency=ports.write_latency_ns * clock / 1e3,
            dram=board.memory.usable_bytes_per_s / 4 / (clock * 1e6),
        )

    def ends(self, streams: Sequence[Stream]) -> list[float]:
        """When each stream has ended, if all are asked for at time 0, or `after` it.

        A stream is a fluid through the DRAM. It begins half a read's latency, or a write's first
        burst, after it was asked for, and streams that together exceed the DRAM share it in
        proportion to their channels. A read flows no faster than its channel. A write's words may
        queue at the memory, as many as may be in flight, and catch up. No stream ends sooner than
        alone, nor a read sooner than if it first waited for its turn.
        """
        begins = [self._begin(stream) for stream in streams]
        rates = [self.rates[stream.channel] for stream in streams]
        words = [float(stream.words) for stream in streams]
        paced = _flow(begins, words, rates, rates, self.dram)
        queued = paced
        if any(stream.channel.writes for stream in streams):
            caps = [
                self.dram if stream.channel.writes else rate
                for stream, rate in zip(streams, rates, strict=True)
            ]
            queued = _flow(begins, words, rates, caps, self.dram)
        return [
            self._write_end(stream, queued[index], paced[index])
            if stream.channel.writes
            else self._read_end(stream, queued[index], streams)
            for index, stream in enumerate(streams)
        ]

    def _write_end(self, stream: Stream, queued: float, paced: float) -> float:
        """Queued words let the channel run ahead of the DRAM, by so much and no more."""
        ahead = self.in_flight[stream.channel] / self.rates[stream.channel]
        return max(max(queued, paced - ahead) + self.write_latency, self._alone(stream))

    def _read_end(self, stream: Stream, flowed: float, streams: Sequence[Stream]) -> float:
        """A burst that had to wait is served at the DRAM's pace and then takes its channel's; what
        was asked for before others came waits little."""
        alone = self._alone(stream)
        end = flowed + self.read_latency / 2
        last = self._first_burst(stream) * (1 / self.rates[stream.channel] - 1 / self.dram)
        if end > alone and last > 0 and not any(other.after > stream.after for other in streams):
            end += min(end - alone, last)
        return max(end, alone + self._turn(stream, streams))

    def latest(self, streams: Sequence[Stream]) -> float:
        """A cheap bound: no stream ends later."""
        if not streams:
            return 0.0
        slowest = max(self._alone(stream) + self._turn(stream, streams) for stream in streams)
        return slowest + sum(stream.words for stream in streams) / self.dram

    def _begin(self, stream: Stream) -> float:
        if not stream.channel.writes:
            return stream.after + self.read_latency / 2
        first = stream.after + self._first_burst(stream) / self.rates[stream.channel]
        return first + (self.read_latency if stream.waits else 0.0)

    def _alone(self, stream: Stream) -> float:
        """End of a stream that has the DRAM to itself; a write's last burst follows its bus."""
        moving = stream.after + stream.words / min(self.rates[stream.channel], self.dram)
        if not stream.channel.writes:
            return self.read_latency + moving
        last = self._first_burst(stream) / self.dram
        return last + moving + self.write_latency + (self.read_latency if stream.waits else 0.0)

    def _first_burst(self, stream: Stream) -> int:
        return min(stream.words, self.burst_words[stream.channel])

    def _turn(self, stream: Stream, streams: Sequence[Stream]) -> float:
        """Reads are asked for in order; each waits for the first bursts of those before it."""
        before = streams[: streams.index(stream)]
        words = sum(self._first_burst(other) for other in before if not other.channel.writes)
        return words / self.dram

    @property
    def command_cycles(self) -> float:
        """Fetch, decode, and write the status of one command; nothing overlaps it."""
        fetch = self.ends([Stream(Channel.WEIGHTS, COMMAND_WORDS)])[0]
        status = self.ends([Stream(Channel.OUT, STATUS_WORDS)])[0]
        return fetch + DECODE_CYCLES + status


def channel_words(design: Design) -> dict[Channel, int]:
    """Words a cycle of each channel."""
    return {
        Channel.IN: design.feature_words,
        Channel.WEIGHTS: design.weight_words,
        Channel.JOINED: design.result_words,
        Channel.OUT: design.result_words,
    }


def _check_ports(words: dict[Channel, int], board: Board, clock_mhz: float) -> None:
    """Reads and writes of a port are independent, so each direction has all ports."""
    width = board.ports.width_bits // 32
    for writes in (False, True):
        need = sum(-(-rate // width) for channel, rate in words.items() if channel.writes is writes)
        if need > board.ports.count:
            raise ConfigError(
                f"the design's {'write' if writes else 'read'} channels take {need} ports of "
                f"{board.name}, it has {board.ports.count}",
                remedy="give its channels fewer words a cycle",
            )
    if clock_mhz > board.ports.max_clock_mhz:
        raise ConfigError(
            f"{clock_mhz} MHz is above the ports' {board.ports.max_clock_mhz} MHz on {board.name}",
            remedy="take a slower clock",
        )


def _flow(
    begins: list[float], words: list[float], weights: list[float], caps: list[float], dram: float
) -> list[float]:
    """Ends of fluids that begin at given times and share `dram`."""
    ends = [0.0] * len(begins)
    waiting = sorted(range(len(begins)), key=lambda i: -begins[i])
    left = list(words)
    active: list[int] = []
    now = 0.0
    while waiting or active:
        if not active:
            now = max(now, begins[waiting[-1]])
        while waiting and begins[waiting[-1]] <= now:
            active.append(waiting.pop())
        speeds = _shares(active, weights, caps, dram)
        step = min(left[i] / speeds[i] for i in active)
        if waiting:
            step = min(step, begins[waiting[-1]] - now)
        now += step
        for i in active:
            left[i] -= step * speeds[i]
            ends[i] = now
        active = [i for i in active if left[i] > 1e-9]
    return ends


def _shares(
    active: list[int], weights: list[float], caps: list[float], dram: float
) -> dict[int, float]:
    """Words a cycle of each: in proportion to its weight, what one cannot take goes to others."""
    speeds: dict[int, float] = {}
    rest = list(active)
    while rest:
        unit = (dram - sum(speeds.values())) / sum(weights[i] for i in rest)
        full = [i for i in rest if caps[i] <= weights[i] * unit]
        if not full:
            return speeds | {i: weights[i] * unit for i in rest}
        speeds |= {i: caps[i] for i in full}
        rest = [i for i in rest if i not in full]
    return speeds
