"""Rounds: the kernel's pipeline of load, compute and store, as a closed form.

A command is a sequence of passes. In round i the kernel computes pass i, loads what pass i + 1
needs and stores what pass i - 1 finished; the round lasts as long as the longest of the three, as
ping-pong buffers demand. So a command takes its first load, the sum over its rounds of the
longest, and its last store. This module adds up rounds; what a pass needs is told by its callers.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from eftraind.plan.machine import Channel, Machine, Stream

Words = tuple[tuple[Channel, int], ...]


@dataclass(frozen=True)
class Round:
    """What one round does. A store may read too: a mask, or what it adds to."""

    compute: int
    load: Words = ()
    store: Words = ()
    load_waits: int = 0
    """How often the load waits for the memory again before it is through."""
    store_runs: int = 0
    """Runs in which a store first reads, then writes; 0: both at once."""
    drain: int = 0
    """From the end of computing in the round `behind` until the results to store are out."""
    behind: "Round | None" = None
    """The round before, if its pass was followed."""
    store_wait: int = 0
    """Cycles before a store begins: a gradient is unloaded first."""


@dataclass
class Total:
    """Cycles and words of a command, and how many cycles each cause holds up."""

    cycles: float = 0.0
    read_words: int = 0
    written_words: int = 0
    held_by: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def bound_by(self) -> str:
        return max(sorted(self.held_by), key=lambda cause: self.held_by[cause])

    def add(self, machine: Machine, one: Round, times: int = 1) -> None:
        """`times` equal rounds."""
        if not times:
            return
        cycles, cause = round_cycles(machine, one)
        self._count(one, times)
        self.cycles += times * cycles
        self.held_by[cause] += times * cycles

    def alone(self, machine: Machine, one: Round, times: int = 1) -> None:
        """The first load or the last store: nothing runs beside it."""
        cycles, _ = round_cycles(machine, one)
        self._count(one, times)
        self.cycles += times * cycles
        self.held_by["drain"] += times * cycles

    def command(self, machine: Machine) -> None:
        self.cycles += machine.command_cycles
        self.held_by["command"] += machine.command_cycles

    def _count(self, one: Round, times: int) -> None:
        for channel, words in (*one.load, *one.store):
            if channel.writes:
                self.written_words += times * words
            else:
                self.read_words += times * words


def round_cycles(machine: Machine, one: Round) -> tuple[float, str]:
    """Cycles of one round and what holds it up."""
    waits = any(words and not channel.writes for channel, words in one.store)
    streams = [Stream(channel, words) for channel, words in one.load if words]
    loads, after = len(streams), _out_after(machine, one)
    streams += [
        Stream(channel, words, waits and channel.writes, after + one.store_wait)
        for channel, words in one.store
        if words
    ]
    longest, cause = float(one.compute), "compute"
    late = [one.load_waits * machine.read_latency, _run_cycles(machine, one)]
    if machine.latest(streams) + max(late) <= longest:
        return longest, cause
    alone = [machine.ends([stream])[0] for stream in streams]
    for index, (stream, end, unshared) in enumerate(
        zip(streams, machine.ends(streams), alone, strict=True)
    ):
        end += late[0] if index < loads else late[1]
        unshared += late[0] if index < loads else late[1]
        if end > longest:
            longest, cause = end, "dram" if end > 1.1 * unshared else stream.channel.value
    return longest, cause


def _out_after(machine: Machine, one: Round) -> float:
    """When in this round the results to store are out: a round that waits for its load has seen
    them come."""
    if one.behind is None:
        return 0.0
    lasts, _ = round_cycles(machine, one.behind)
    return max(0.0, one.drain - (lasts - one.behind.compute))


def _run_cycles(machine: Machine, one: Round) -> float:
    """What a store takes longer that reads and writes by turns."""
    if not one.store_runs:
        return 0.0
    reading = sum(
        words / machine.rates[channel] for channel, words in one.store if not channel.writes
    )
    return reading + (one.store_runs - 1) * machine.read_latency
