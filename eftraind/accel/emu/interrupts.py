"""The emulated AXI interrupt controller, and the uio device that Linux shows of it.

Owns latching, enabling and acknowledging as the vendor's controller does, level-sensitive: an input
that is still high when it is acknowledged latches again. A pseudo-terminal stands in for /dev/uio.
"""

import contextlib
import os
import threading
import tty
from enum import IntEnum

ENABLE_BYTES = 4
"""What uio drivers take to enable the interrupt, and give when it comes."""


class Register(IntEnum):
    """Offsets, as in the controller's documentation (PG099)."""

    STATUS = 0x00
    PENDING = 0x04
    ENABLE = 0x08
    ACKNOWLEDGE = 0x0C
    SET_ENABLE = 0x10
    CLEAR_ENABLE = 0x14
    MASTER = 0x1C


class Uio:
    """One wake for each time that the line is high while enabled; each wake disables it."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave
        os.set_blocking(self._master, False)
        self._enabled = False
        self.wakes = 0

    def settle(self, line: bool) -> None:
        """Look at the line, and at what the driver wrote."""
        with contextlib.suppress(BlockingIOError):
            self._enabled |= bool(os.read(self._master, 1024))
        if line and self._enabled:
            self._enabled = False
            self.wakes += 1
            os.write(self._master, self.wakes.to_bytes(ENABLE_BYTES, "little"))

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


class Controller:
    """One input, one output."""

    def __init__(self, uio: Uio) -> None:
        self._uio = uio
        self._input = False
        self._status = self._enable = self._master = 0
        self._lock = threading.RLock()

    def drive(self, level: bool) -> None:
        """The input line has this level."""
        with self._lock:
            self._input = level
            self._settle()

    def pulse(self) -> None:
        """Latch without a cause: a glitch on the line."""
        with self._lock:
            self._status |= 1
            self._settle()

    def read(self, offset: int) -> int:
        with self._lock:
            self._settle()
            values = {
                Register.STATUS: self._status,
                Register.PENDING: self._status & self._enable,
                Register.ENABLE: self._enable,
                Register.MASTER: self._master,
            }
            return values.get(Register(offset), 0)

    def write(self, offset: int, value: int) -> None:
        with self._lock:
            if offset == Register.ENABLE:
                self._enable = value
            elif offset == Register.ACKNOWLEDGE:
                self._status &= ~value
            elif offset == Register.SET_ENABLE:
                self._enable |= value
            elif offset == Register.CLEAR_ENABLE:
                self._enable &= ~value
            elif offset == Register.MASTER:
                self._master = value
            self._settle()

    def _settle(self) -> None:
        self._status |= int(self._input)
        self._uio.settle(bool(self._master & 1 and self._status & self._enable))
