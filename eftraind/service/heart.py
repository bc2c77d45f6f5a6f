"""How a process shows that it lives: bytes on a supervisor's pipe, messages to systemd.

Owns when READY, WATCHDOG, STATUS and EXTEND_TIMEOUT are sent. Nothing here runs by itself: it is
called by the loop that makes progress, so a loop that stalls is silent.
"""

import os

from eftraind.clock import Clock
from eftraind.sdnotify import Notifier

BEAT_S = 0.1
STATUS_S = 1.0
STARTING_EXTENSION_S = 60.0
"""Granted again with each sign of progress: one segment of the journal on the slowest card."""
STARTING, READY = b"s", b"."


class Heart:
    """`beat` from the loop, at any rate; what is sent is bounded here."""

    def __init__(self, fd: int | None, clock: Clock, notifier: Notifier | None = None) -> None:
        self._fd = fd
        self._clock = clock
        self._notifier = notifier or Notifier()
        self._feed_s = (self._notifier.watchdog_s or 4 * BEAT_S) / 4
        self._pipe_at_s = self._notify_at_s = self._status_at_s = 0.0
        self._announced = False
        self._status = ""
        self.orphaned = False
        """the supervisor is gone: end"""
        if fd is not None:
            os.set_blocking(fd, False)

    def starting(self) -> None:
        """Alive and getting on, but not ready yet."""
        self._write(STARTING)
        now_s = self._clock.monotonic_s()
        if now_s >= self._notify_at_s:
            self._notify_at_s = now_s + BEAT_S
            self._notifier.extend_timeout(STARTING_EXTENSION_S)

    def beat(self) -> None:
        """Alive and ready."""
        self._write(READY)
        now_s = self._clock.monotonic_s()
        if not self._announced:
            self._announced = True
            self._notifier.ready(self._status)
        elif now_s < self._notify_at_s:
            return
        self._notify_at_s = now_s + self._feed_s
        if self._notifier.watchdog_s is not None:
            self._notifier.watchdog()

    def say(self, status: str) -> None:
        """One line for `systemctl status`; sent when it changes, once a second at most."""
        now_s = self._clock.monotonic_s()
        if status == self._status or (self._announced and now_s < self._status_at_s):
            return
        self._status, self._status_at_s = status, now_s + STATUS_S
        if self._announced:
            self._notifier.status(status)

    def reloading(self) -> None:
        """The configuration is being read again; `reloaded` must follow."""
        self._notifier.reloading(self._clock.monotonic_s())

    def reloaded(self) -> None:
        self._notifier.ready(self._status)

    def stopping(self) -> None:
        self._notifier.stopping()

    def _write(self, byte: bytes) -> None:
        now_s = self._clock.monotonic_s()
        if self._fd is None or now_s < self._pipe_at_s:
            return
        self._pipe_at_s = now_s + BEAT_S
        try:
            os.write(self._fd, byte)
        except BlockingIOError:
            pass  # the supervisor is slow; it has enough bytes to read
        except OSError:
            self.orphaned = True
