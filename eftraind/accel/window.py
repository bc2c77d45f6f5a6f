"""The host's half of the kernel's protocol (`docs/kernel.md`), for any fabric that holds a kernel.

Owns host block, programs, report, tickets, and which side holds the newest words of each buffer, so
that caches are flushed and invalidated where they must be and nowhere else. How registers are
reached, where memory lies and how the end of a run shows is the fabric's.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eftraind.accel.device import Capabilities, Nanoseconds
from eftraind.accel.host import HostDevice
from eftraind.errors import DeviceError, DeviceLost, DeviceUnavailable, ProgramError
from eftraind.isa import COMMAND_WORDS, SLOT_COUNT, Program, Slot, Status
from eftraind.registers import (
    ABORT_BEAT,
    BEAT_WORDS,
    COMMAND_BEATS,
    HEADER_BEATS,
    HOST_BLOCK_BEATS,
    Control,
    Ctrl,
    Entry,
    Fault,
    Feature,
    Header,
    KernelSizes,
    Slots,
    argument_offsets,
)
from eftraind.registers import digest as kernel_digest

MOST_COMMANDS = 4096
"""Of one run; a longer one is split."""
PORTS = ("features", "weights", "results", "control")
_BEAT_BYTES = 4 * BEAT_WORDS
_STEPS_OF_A_COMMAND = 100  # what fetching and checking one is taken for when time is shared


class Block(Protocol):
    """Contiguous memory that host and kernel share, zeroed, at a beat."""

    words: npt.NDArray[np.uint32]
    address: int
    """As the kernel's ports see it."""

    def flush(self) -> None:
        """What the host wrote becomes visible to the kernel."""

    def invalidate(self) -> None:
        """What the kernel wrote becomes visible to the host."""


class Fabric(Protocol):
    """What the kernel is in."""

    def allocate(self, size_words: int) -> Block: ...
    def window(self) -> tuple[int, int]:
        """Address and beats of a window that holds every block so far."""

    def read(self, offset: int) -> int: ...
    def write(self, offset: int, value: int) -> None: ...
    def complete(self) -> None:
        """Wait for the run that was started. Raises DeviceError if it does not end."""

    def close(self) -> None: ...


class Newest(Enum):
    """Which side's view of a buffer is the newest."""

    BOTH = "both"
    HOST = "host"
    KERNEL = "kernel"


@dataclass(frozen=True)
class Report:
    """What a run left behind."""

    status: int
    """`isa.Status` or `registers.Fault`"""
    index: int
    header: npt.NDArray[np.int32]
    entries: npt.NDArray[np.int32]
    """[commands that ran or were refused, words of `registers.Entry`]"""


class KernelDevice(HostDevice):
    """The kernel in a fabric. `clock_hz`, if known, turns its cycles into time."""

    def __init__(
        self,
        fabric: Fabric,
        capabilities_of: Callable[[KernelSizes], Capabilities],
        clock_hz: float | None = None,
    ) -> None:
        self.fabric = fabric
        self._clock_hz = clock_hz
        self._ticket = 0
        self._offsets = argument_offsets()
        self._window = (0, 0)
        self._blocks: list[Block] = []
        self._newest: list[Newest] = []
        self._code: list[Block] = []
        self._table: dict[Slot, int] = {}
        self._host_block = fabric.allocate(HOST_BLOCK_BEATS * BEAT_WORDS)
        self._host_block_changed = True
        self._report = fabric.allocate((HEADER_BEATS + MOST_COMMANDS) * BEAT_WORDS)
        self._report.flush()
        self.last_report: Report | None = None
        self.sizes = self._ask()
        super().__init__(capabilities_of(self.sizes))

    def allocate(self, size_words: int) -> int:
        block = self.fabric.allocate(size_words)
        self._blocks.append(block)
        self._newest.append(Newest.HOST)  # its zeros are in the host's cache
        self._buffers.append(block.words[:size_words])
        return len(self._buffers) - 1

    def load(self, program: Program) -> int:
        handle = super().load(program)
        words = np.ascontiguousarray(program.words(), dtype=np.int32)
        block = self.fabric.allocate(max(1, len(words)) * COMMAND_WORDS)
        block.words.view(np.int32)[: words.size] = words.ravel()
        block.flush()
        self._code.append(block)
        return handle

    def abort(self) -> None:
        """End the run before its next command; may be called by another thread."""
        _beats(self._host_block, ABORT_BEAT, 1)[0, 0] = 1
        self._host_block.flush()

    def close(self) -> None:
        self.fabric.close()
        super().close()

    # which side is the newest

    def _touch(self, buffer: int, *, writes: bool) -> None:
        if self._newest[buffer] is Newest.KERNEL:
            self._blocks[buffer].invalidate()
            self._newest[buffer] = Newest.BOTH
        if writes:
            self._newest[buffer] = Newest.HOST

    def _used(self, handle: int) -> Iterator[int]:
        return (self._table[slot] for slot in self._needs[handle] if slot in self._table)

    def _hand_over(self, handle: int) -> None:
        for buffer in self._used(handle):
            if self._newest[buffer] is Newest.HOST:
                self._blocks[buffer].flush()
                self._newest[buffer] = Newest.BOTH

    def _take_back(self, handle: int) -> None:
        for buffer in self._used(handle):
            self._newest[buffer] = Newest.KERNEL

    # what the kernel reads besides

    def _bound_hook(self, slot: Slot, memory: npt.NDArray[np.uint32]) -> None:
        assert 0 < slot < SLOT_COUNT
        entry = _beats(self._host_block, slot, 1)[0]
        entry[Slots.BEAT] = self._beat(self._blocks[self._table[slot]])
        entry[Slots.WORDS] = memory.size
        self._host_block_changed = True

    def _beat(self, block: Block) -> int:
        return (block.address - self._window[0]) // _BEAT_BYTES

    def _settle_window(self) -> None:
        """Tell the kernel of memory that was allocated since the last run."""
        window = self.fabric.window()
        if window == self._window:
            return
        self._window = base, beats = window
        for name in PORTS:
            self.fabric.write(self._offsets[name], base & 0xFFFFFFFF)
            self.fabric.write(self._offsets[name] + 4, base >> 32)
        self.fabric.write(self._offsets["window_beats"], beats)
        self.fabric.write(self._offsets["host_block"], self._beat(self._host_block))
        self.fabric.write(self._offsets["report"], self._beat(self._report))
        for slot, buffer in self._table.items():
            self._bound_hook(slot, self._buffers[buffer])

    def _ask(self) -> KernelSizes:
        """The build's sizes, by a run without commands."""
        header = self._run(self._report, 0, 0).header
        if int(header[Header.DIGEST]) & 0xFFFFFFFF != kernel_digest():
            raise DeviceUnavailable(
                f"the kernel speaks protocol {int(header[Header.DIGEST]) & 0xFFFFFFFF:08x}, "
                f"this version needs {kernel_digest():08x}",
                remedy="use the bitstream that was built for this version of eftraind",
            )
        lanes, depth = int(header[Header.LANES]), int(header[Header.DEPTH])
        return KernelSizes(
            lanes=lanes & 0xFFFF,
            pixels=lanes >> 16,
            feature_depth=depth & 0xFFFF,
            output_depth=depth >> 16,
            weight_tiles=int(header[Header.WEIGHT_TILES]),
            features=Feature(int(header[Header.FEATURES])),
        )

    # runs

    def _run(self, code: Block, first: int, count: int) -> Report:
        """One run of `count` commands from `first` of `code` on: three arguments, start, done,
        report."""
        self._ticket = (self._ticket + 1) & 0x7FFFFFFF
        self._settle_window()
        if self._host_block_changed:
            self._host_block.flush()
            self._host_block_changed = False
        self.fabric.write(self._offsets["program"], self._beat(code) + first * COMMAND_BEATS)
        self.fabric.write(self._offsets["count"], count)
        self.fabric.write(self._offsets["ticket"], self._ticket)
        self.fabric.write(Control.CTRL, Ctrl.START)
        self.fabric.complete()
        self._report.invalidate()
        header = _beats(self._report, 0, HEADER_BEATS).ravel().copy()
        if header[Header.TICKET] != self._ticket:
            raise DeviceLost("the kernel left no report", remedy="check the window's size")
        index, status = int(header[Header.INDEX]), int(header[Header.STATUS])
        ran = index + (1 if status and count else 0)
        entries = _beats(self._report, HEADER_BEATS, min(ran, count)).copy()
        self.last_report = Report(status, index, header, entries)
        return self.last_report

    def _execute(self, handle: int, first: int, count: int) -> tuple[int, int, Nanoseconds]:
        total = len(self._programs[handle].commands)
        if first < 0 or count < 0 or first + count > total:
            raise DeviceError(f"no commands {first}..{first + count}", remedy="check the range")
        nanoseconds = np.zeros(count, dtype=np.int64)
        self._clear_abort()
        self._hand_over(handle)
        code = self._code[handle]
        try:
            for start in range(0, count, MOST_COMMANDS):
                began = time.perf_counter_ns()
                report = self._run(code, first + start, min(MOST_COMMANDS, count - start))
                times = self._times(report, time.perf_counter_ns() - began)
                nanoseconds[start : start + len(times)] = times
                if report.status:
                    done = start + report.index
                    self._judge(self._programs[handle], first + done, report.status)
                    return done, report.status, nanoseconds
        finally:
            self._take_back(handle)
        return count, Status.OK, nanoseconds

    def _clear_abort(self) -> None:
        word = _beats(self._host_block, ABORT_BEAT, 1)
        if word[0, 0]:
            word[0, 0] = 0
            self._host_block_changed = True

    def _times(self, report: Report, spent_ns: int) -> npt.NDArray[Any]:
        """Nanoseconds of each command: of its cycles, or a share of the run's by its steps."""
        if self._clock_hz and report.header[Header.FEATURES] & Feature.COUNTER:
            cycles = report.entries[:, Entry.CYCLES].view(np.uint32)
            return cycles.astype(np.float64) * (1e9 / self._clock_hz)
        shares = report.entries[:, Entry.STEPS].astype(np.float64) + _STEPS_OF_A_COMMAND
        return np.asarray(spent_ns * shares / max(shares.sum(), 1))

    def _judge(self, program: Program, index: int, status: int) -> None:
        """Errors that `isa.Status` has no word for; the others are the caller's."""
        if status in Status._value2member_map_:
            return
        fault = Fault(status)
        command = program.commands[index] if index < len(program.commands) else None
        where = f"{program.name} command {index}" + (f" ({command.op.name})" if command else "")
        if fault in (Fault.ABORTED, Fault.BAD_WINDOW):
            raise DeviceError(f"{where}: {fault.name}", remedy="run it again")
        raise ProgramError(f"{where}: {fault.name}", remedy="compile the network for this build")


def _beats(block: Block, first: int, count: int) -> npt.NDArray[np.int32]:
    words = block.words[first * BEAT_WORDS : (first + count) * BEAT_WORDS]
    return words.view(np.int32).reshape(count, BEAT_WORDS)
