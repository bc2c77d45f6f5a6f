"""Bursts on AXI ports in front of one DRAM, event by event: the hardware of the simulator.

A port keeps a bounded number of bursts in flight and has a data bus in each direction; the DRAM
serves one burst at a time and takes the ports in turn. Knows no layer and no command.
"""

import heapq
from collections import deque
from collections.abc import Callable

from eftraind.plan.board import Board


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
