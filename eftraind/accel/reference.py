"""The reference device: numpy, plain and slow. It is the living definition of every command.

`reference_maps` and `reference_learn` say what each command does, `reference_memory` how it sees
memory, for any T.
"""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eftraind.accel import reference_learn, reference_maps
from eftraind.accel.device import Capabilities, Nanoseconds
from eftraind.accel.host import HostDevice
from eftraind.accel.reference_memory import Memory
from eftraind.isa import Command, Op, Slot, Status, digest

Handler = Callable[[Memory, Command], Status]


class ReferenceDevice(HostDevice):
    """Any T; one thread; no speed."""

    def __init__(self, lanes: int = 16) -> None:
        self._handlers: dict[Op, Handler] = {**reference_maps.HANDLERS, **reference_learn.HANDLERS}
        ops = frozenset(self._handlers)
        super().__init__(Capabilities("reference", lanes, 1, ops, "numpy", digest()))
        self._memory = Memory(lanes, lambda slot: self._buffers[self.bound(slot)])

    def _bound_hook(self, slot: Slot, memory: npt.NDArray[np.uint32]) -> None:
        """The table is read anew by every command."""

    def _execute(self, handle: int, first: int, count: int) -> tuple[int, int, Nanoseconds]:
        nanoseconds = np.zeros(count, dtype=np.int64)
        commands = self._programs[handle].commands[first : first + count]
        for index, command in enumerate(commands):
            began = time.perf_counter_ns()
            # What is not finite is found by the commands that check, not by numpy's warnings.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                status = self._handlers[command.op](self._memory, command)
            nanoseconds[index] = time.perf_counter_ns() - began
            if status != Status.OK:
                return index, status, nanoseconds
        return count, Status.OK, nanoseconds
