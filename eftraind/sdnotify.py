"""Messages to systemd's service manager; does nothing where there is none.

Owns the datagram to $NOTIFY_SOCKET. A failed notification is ignored on purpose: it must never
take the service down.
"""

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Tells the service manager how the service is doing."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = address
        self.watchdog_s = watchdog_s
        """seconds within which `watchdog` must be called, None: no watchdog"""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Notifier":
        """As systemd describes it: NOTIFY_SOCKET, and WATCHDOG_USEC if WATCHDOG_PID is us."""
        watchdog = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(
            environ.get("NOTIFY_SOCKET") or None,
            int(watchdog) / 1e6 if watchdog.isdigit() and ours else None,
        )

    def ready(self, status: str = "") -> None:
        self._send("READY=1" + (f"\nSTATUS={status}" if status else ""))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def watchdog(self) -> None:
        """Feed the watchdog; call it only after real progress."""
        self._send("WATCHDOG=1")

    def reloading(self, monotonic_s: float) -> None:
        """The configuration is being read again, since this moment of CLOCK_MONOTONIC."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * 1e6)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def extend_timeout(self, duration_s: float) -> None:
        """Ask for this much more time to start or stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(duration_s * 1e6)}")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        address = self._address
        if address.startswith("@"):  # systemd writes an abstract address with a leading @
            address = "\0" + address[1:]
        with contextlib.suppress(OSError):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), address)
