"""The emulated programmable logic: csim behind its registers, an interrupt line, and faults.

Owns what goes wrong on purpose. A fault changes what the host sees; the kernel itself is never
changed.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from eftraind.accel.csim import Machine
from eftraind.accel.emu.interrupts import Controller
from eftraind.accel.emu.memory import Cma
from eftraind.registers import (
    REGISTER_SPACE_BYTES,
    Control,
    Ctrl,
    Header,
    argument_offsets,
)


@dataclass
class Faults:
    """What goes wrong from now on; nothing, unless told."""

    hang: bool = False
    """A run never ends."""
    lost_interrupt: bool = False
    """The line never reaches the controller."""
    late_s: float = 0.0
    """Seconds from start until the run happens."""
    stale_wake: bool = False
    """The controller wakes the host at each start, before anything is done."""
    flip_word: int | None = None
    """Address of a word of which each run flips a bit, after it ended."""
    wrong_digest: bool = False
    """The kernel is of another protocol."""
    stuck_clock: bool = False
    """Writes to the clock's dividers have no effect; to be set before the board is opened."""


class Logic:
    """The kernel's registers, as the bus sees them."""

    def __init__(self, library: Path, cma: Cma, controller: Controller, faults: Faults) -> None:
        self._cma = cma
        self._controller = controller
        self._faults = faults
        self._machine = Machine(library, cma.address, cma.dram)
        self._offsets = argument_offsets()
        self._lock = threading.RLock()
        self._busy = False
        self._hung = False
        self._timer: threading.Timer | None = None

    def read(self, offset: int) -> int:
        with self._lock:
            if offset == Control.CTRL and (self._busy or self._hung):
                return Ctrl.START
            value = self._machine.read(offset) if offset < REGISTER_SPACE_BYTES else 0
            self._drive()
            return value

    def write(self, offset: int, value: int) -> None:
        with self._lock:
            if offset >= REGISTER_SPACE_BYTES:
                return
            if offset == Control.CTRL and value & Ctrl.START:
                self._start()
                return
            self._machine.write(offset, value)
            self._drive()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        self._machine.close()

    def _start(self) -> None:
        if self._faults.stale_wake:
            self._controller.pulse()
        if self._faults.hang:
            self._hung = True
        elif self._faults.late_s:
            self._busy = True
            self._timer = threading.Timer(self._faults.late_s, self._run)
            self._timer.start()
        else:
            self._run()

    def _run(self) -> None:
        with self._lock:
            self._busy = False
            self._machine.write(Control.CTRL, Ctrl.START)
            if self._faults.wrong_digest:
                self._flip(self._report_address() + 4 * Header.DIGEST)
            if self._faults.flip_word is not None:
                self._flip(self._faults.flip_word)
            self._drive()

    def _drive(self) -> None:
        if not self._faults.lost_interrupt:
            self._controller.drive(self._machine.interrupt())

    def _flip(self, address: int) -> None:
        self._cma.dram[(address - self._cma.address) // 4] ^= 1 << 22

    def _report_address(self) -> int:
        low = self._offsets["control"]
        base = self._machine.read(low) | self._machine.read(low + 4) << 32
        return base + 16 * self._machine.read(self._offsets["report"])
