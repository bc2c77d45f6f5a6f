"""The only reader of time, so that tests and replays can bring their own.

Durations and deadlines use the monotonic clock; wall time is only ever shown or stored,
never compared, because most boards boot without a battery clock.
"""

import time


class Clock:
    """The machine's clocks."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        """Seconds since the epoch, as the machine believes."""
        return time.time()

    def sleep(self, duration_s: float) -> None:
        time.sleep(duration_s)


class FakeClock(Clock):
    """A clock that moves only when told; `sleep` advances it at once."""

    def __init__(self, monotonic_s: float = 1000.0, wall_s: float = 1.7e9) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def wall_s(self) -> float:
        return self._wall_s

    def sleep(self, duration_s: float) -> None:
        self.advance(duration_s)

    def advance(self, duration_s: float) -> None:
        self._monotonic_s += duration_s
        self._wall_s += duration_s

    def step_wall(self, delta_s: float) -> None:
        """Jump the wall clock alone, as NTP or a dead battery does."""
        self._wall_s += delta_s
