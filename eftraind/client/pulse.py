"""How alive the connection is: its phase, and when it is to be opened, pinged or given up.

It is told what happens and what time it is. No sockets, no clock, no messages.
"""

import enum

from eftraind.client.results import Settings

_LOST_AFTER_HEARTBEATS = 3
_NEVER = float("inf")


class Phase(enum.Enum):
    IDLE = "no connection"
    GREETING = "waiting for WELCOME"
    READY = "connected"
    ENDED = "closed or failed"


class Pulse:
    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self._open_at = now
        self._greet_by = self._ready_since = self._heard_at = self._spoke_at = now
        self._heartbeat_s = 1.0
        self._failures = 0
        self.pinged_at = now
        self.phase = Phase.IDLE

    @property
    def connected(self) -> bool:
        """There is a socket, though the daemon may not have answered on it."""
        return self.phase in (Phase.GREETING, Phase.READY)

    # What happened...

    def opened(self, now: float) -> None:
        self.phase = Phase.GREETING
        self._greet_by = now + self._settings.hello_timeout_s

    def welcomed(self, now: float, heartbeat_s: float) -> None:
        self.phase = Phase.READY
        self._ready_since = self.pinged_at = now
        self._heartbeat_s = min(max(heartbeat_s, 0.01), 60.0)

    def heard(self, now: float) -> None:
        self._heard_at = now

    def spoke(self, now: float) -> None:
        self._spoke_at = now

    def pinged(self, now: float) -> None:
        self.pinged_at = now

    def broken(self, now: float) -> None:
        """A connection that never lasted a second is opened again later and later."""
        lasted = self.phase is Phase.READY and now - self._ready_since >= 1.0
        self._failures = 0 if lasted else self._failures + 1
        delay_s = self._settings.retry_min_s * 2.0 ** min(self._failures - 1, 10)
        self._open_at = now + (0.0 if lasted else min(delay_s, self._settings.retry_max_s))
        self.phase = Phase.IDLE

    def ended(self) -> None:
        self.phase = Phase.ENDED

    # What is due...

    def wants_connection(self, now: float) -> bool:
        return self.phase is Phase.IDLE and now >= self._open_at

    def ping_due(self, now: float) -> bool:
        return self.phase is Phase.READY and now >= self._ping_at()

    def lost(self, now: float) -> bool:
        """Silence that only a new connection can end."""
        return self.connected and now >= self._lost_at()

    def wake_at(self) -> float:
        if self.phase is Phase.IDLE:
            return self._open_at
        if self.phase is Phase.READY:
            return min(self._lost_at(), self._ping_at())
        return self._greet_by if self.phase is Phase.GREETING else _NEVER

    def _lost_at(self) -> float:
        if self.phase is Phase.GREETING:
            return self._greet_by
        return self._heard_at + _LOST_AFTER_HEARTBEATS * self._heartbeat_s

    def _ping_at(self) -> float:
        return max(self.pinged_at, min(self._heard_at, self._spoke_at)) + self._heartbeat_s
