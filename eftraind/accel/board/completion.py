"""The end of a run: by interrupt where the design has one, by looking otherwise.

Owns the deadline. Whatever woke it, the kernel's own status decides: wakes can be stale and can get
lost. Only the interrupt of pynq is asynchronous; nothing outside this module knows of its loop.
"""

import asyncio
from typing import Any

from eftraind.accel.window import Fabric
from eftraind.clock import Clock
from eftraind.errors import DeviceTimeout
from eftraind.registers import INTERRUPT_DONE, Control, Ctrl

FIRST_LOOK_S = 0.0005
LONGEST_LOOK_S = 0.05


class Completion:
    """`interrupt` is pynq's, made while `loop` was current; None: looks again and again."""

    def __init__(
        self,
        clock: Clock,
        deadline_s: float,
        loop: asyncio.AbstractEventLoop,
        interrupt: Any = None,
    ) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self._loop = loop
        self._interrupt = interrupt
        self.wakes = self.stale_wakes = self.missed = 0
        """Wakes by interrupt, those before anything was done, and runs found done without one."""

    def __call__(self, fabric: Fabric) -> None:
        """Returns when the run is done. Raises DeviceTimeout at the deadline."""
        until_s = self._clock.monotonic_s() + self._deadline_s
        patience_s = FIRST_LOOK_S if self._interrupt is None else LONGEST_LOOK_S
        while True:
            woken = self._wait(patience_s)
            done = fabric.read(Control.INTERRUPT_STATUS) & INTERRUPT_DONE
            self.wakes += woken
            self.stale_wakes += woken and not done
            self.missed += bool(done) and not woken and self._interrupt is not None
            if done:
                break
            if self._clock.monotonic_s() >= until_s:
                raise DeviceTimeout(
                    f"a run of the kernel did not end within {self._deadline_s:g} s",
                    remedy="the engine is restarted and the bitstream loaded again; if it "
                    "stays, see dmesg and the clock",
                )
            patience_s = min(2 * patience_s, LONGEST_LOOK_S)
        fabric.write(Control.INTERRUPT_STATUS, INTERRUPT_DONE)
        if not fabric.read(Control.CTRL) & Ctrl.DONE:
            raise DeviceTimeout(
                "the kernel's interrupt came without a finished run", remedy="restart the engine"
            )

    def _wait(self, patience_s: float) -> bool:
        """Whether an interrupt woke it."""
        if self._interrupt is None:
            self._clock.sleep(patience_s)
            return False
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._interrupt.wait(), patience_s))
        except asyncio.TimeoutError:
            return False
        return True
