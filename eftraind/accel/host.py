"""The half that all devices share: buffers, slot table, checks, typed errors.

Owns no arithmetic: `reference` and `cpu` add only `_execute`, `window` the way to the kernel.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.accel.device import Capabilities, Nanoseconds, check_command
from eftraind.errors import NonFiniteError, ProgramError
from eftraind.isa import Program, Slot, Status
from eftraind.plan.tiles import slot_needs


class HostDevice(ABC):
    """Buffers that the host sees as arrays, slot table and checks."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._capabilities = capabilities
        self._buffers: list[npt.NDArray[np.uint32]] = []
        self._table: dict[Slot, int] = {}
        self._programs: list[Program] = []
        self._needs: list[Mapping[Slot, int]] = []
        self._fitting: set[int] = set()
        """Programs whose needs were compared with the buffers bound now."""

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def allocate(self, size_words: int) -> int:
        # 64-byte alignment: one full vector register or cache line.
        raw = np.zeros(size_words + 16, dtype=np.uint32)
        skip = (-raw.ctypes.data // 4) % 16
        self._buffers.append(raw[skip : skip + size_words])
        return len(self._buffers) - 1

    def bind(self, slot: Slot, buffer: int) -> None:
        if not 0 <= buffer < len(self._buffers):
            raise ProgramError(f"slot {slot.name}: no buffer {buffer}", remedy="allocate it first")
        self._table[slot] = buffer
        self._fitting.clear()
        self._bound_hook(slot, self._buffers[buffer])

    def bound(self, slot: Slot) -> int:
        try:
            return self._table[slot]
        except KeyError:
            raise ProgramError(
                f"slot {slot.name} names no buffer", remedy="bind it before running"
            ) from None

    def write(self, buffer: int, data: npt.NDArray[Any], offset: int = 0) -> None:
        flat = np.ascontiguousarray(data).reshape(-1).view(np.uint32)
        self._touch(buffer, writes=True)
        self._span(buffer, offset, flat.size)[:] = flat

    def write_rows(self, buffer: int, rows: npt.NDArray[Any], data: npt.NDArray[Any]) -> None:
        whole = self._buffers[buffer]
        self._touch(buffer, writes=True)
        width = data.shape[1]
        view = whole[: whole.size // width * width].reshape(-1, width)
        view[rows] = data.view(np.uint32)

    def read(self, buffer: int, offset: int, count: int, dtype: Any = np.float32) -> Any:
        self._touch(buffer, writes=False)
        return self._span(buffer, offset, count).view(dtype).copy()

    def load(self, program: Program) -> int:
        if program.lanes != self._capabilities.lanes:
            raise ProgramError(
                f"program {program.name} is compiled for T = {program.lanes}, "
                f"device {self._capabilities.name} has T = {self._capabilities.lanes}",
                remedy="compile it for this device",
            )
        for command in program.commands:
            check_command(command, program.lanes, self._capabilities.ops)
        self._programs.append(program)
        self._needs.append(slot_needs(program.commands, program.lanes))
        return len(self._programs) - 1

    def run(self, handle: int, first: int, count: int) -> Nanoseconds:
        program = self._programs[handle]
        if handle not in self._fitting:
            self._check_fits(handle, program)
        done, status, nanoseconds = self._execute(handle, first, count)
        if done < count:
            self._raise_for(program, first + done, Status(status))
        return nanoseconds

    def _check_fits(self, handle: int, program: Program) -> None:
        """Compare every slot's need with what is bound; it holds until something else is bound."""
        for slot, words in self._needs[handle].items():
            size = self._buffers[self.bound(slot)].size
            if size < words:
                raise ProgramError(
                    f"program {program.name} needs {words} words in slot {slot.name}, "
                    f"its buffer has {size}",
                    remedy="bind a larger buffer",
                )
        self._fitting.add(handle)

    def close(self) -> None:
        self._buffers.clear()
        self._table.clear()

    def _span(self, buffer: int, offset: int, count: int) -> npt.NDArray[np.uint32]:
        whole = self._buffers[buffer]
        if offset < 0 or count < 0 or offset + count > whole.size:
            raise ProgramError(
                f"words {offset}..{offset + count} lie outside buffer {buffer} of {whole.size}",
                remedy="check the program's offsets",
            )
        return whole[offset : offset + count]

    def _touch(self, buffer: int, *, writes: bool) -> None:
        """Called before the host looks into a buffer or writes it: a device whose memory is not the
        host's own makes both agree."""
        return

    def _raise_for(self, program: Program, index: int, status: Status) -> None:
        command = program.commands[index]
        names = program.layer_names
        layer = names[command.layer] if command.layer < len(names) else str(command.layer)
        where = f"{program.name} command {index} ({command.op.name}, layer {layer})"
        if status is Status.NONFINITE:
            raise NonFiniteError(
                f"{where} produced NaN or Inf", remedy="lower train.learning_rate or check inputs"
            )
        raise ProgramError(f"{where}: {status.name}", remedy="compile the network again")

    @abstractmethod
    def _bound_hook(self, slot: Slot, memory: npt.NDArray[np.uint32]) -> None:
        """Called at each slot-table write; a native device mirrors the table."""

    @abstractmethod
    def _execute(self, handle: int, first: int, count: int) -> tuple[int, int, Nanoseconds]:
        """Run checked commands up to the first whose status is not OK: how many went well, that
        status (OK if all did), and each command's time."""
