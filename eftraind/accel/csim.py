"""The csim device: the HLS kernel, compiled by g++ as it stands, behind its registers and memory.

It is driven as the hardware is (`docs/kernel.md`): one window of memory at physical addresses, a
host block, programs, a report. It has no notion of time: `steps` says what the array did, and
nanoseconds are those of this machine, shared among the commands of a run by their steps.
"""

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.accel import kernel
from eftraind.accel.device import Capabilities, Nanoseconds
from eftraind.accel.host import HostDevice
from eftraind.accel.kernel_build import library as library_of
from eftraind.errors import DeviceError, DeviceUnavailable, ProgramError
from eftraind.isa import SLOT_COUNT, Op, Program, Slot, Status, digest
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

_REMEDY = "run `python -m eftraind.accel.kernel` or install the package again"
BASE_ADDRESS = 0x1000_0000
"""Physical address of the window; not 0, so that a forgotten base shows."""
MOST_COMMANDS = 4096
"""Of one run; a longer one is split."""
_ALIGN_BEATS = 4  # 64 bytes: a cache line
_STEPS_OF_A_COMMAND = 100  # what fetching and checking one is taken for when time is shared

_POINTER = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "eft_csim_digest": (ctypes.c_uint32, []),
    "eft_csim_open": (_POINTER, [ctypes.c_uint64, ctypes.c_uint64, _POINTER]),
    "eft_csim_read": (ctypes.c_uint32, [_POINTER, ctypes.c_uint32]),
    "eft_csim_write": (None, [_POINTER, ctypes.c_uint32, ctypes.c_uint32]),
    "eft_csim_interrupt": (ctypes.c_int, [_POINTER]),
    "eft_csim_close": (None, [_POINTER]),
}


def open_library(path: Path) -> ctypes.CDLL:
    """Raises DeviceUnavailable if the library is missing or built for another protocol."""
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise DeviceUnavailable(f"csim library: {error}", remedy=_REMEDY) from error
    found = library.eft_csim_digest()
    if found != kernel_digest():
        raise DeviceUnavailable(
            f"{path.name} speaks protocol {found:08x}, this version needs {kernel_digest():08x}",
            remedy=_REMEDY,
        )
    return library


def _capabilities(sizes: KernelSizes) -> Capabilities:
    return Capabilities(
        name="csim",
        lanes=sizes.lanes,
        threads=1,
        ops=frozenset(Op),
        detail="hls kernel, g++",
        isa_digest=digest(),
        build=kernel.description(sizes),
    )


@dataclass(frozen=True)
class Report:
    """What a run left behind."""

    status: int
    """`isa.Status` or `registers.Fault`"""
    index: int
    header: npt.NDArray[np.int32]
    entries: npt.NDArray[np.int32]
    """[commands that ran or were refused, words of `registers.Entry`]"""


class CsimDevice(HostDevice):
    """`memory_bytes` of emulated DRAM; only what is touched takes memory."""

    def __init__(
        self, lanes: int = 16, *, memory_bytes: int = 1 << 30, library: Path | None = None
    ) -> None:
        self._machine: int | None = None
        if library is None and lanes not in kernel.SIZES:
            raise DeviceUnavailable(
                f"no csim kernel with T = {lanes}", remedy=f"choose one of {tuple(kernel.SIZES)}"
            )
        self._library = open_library(library or library_of(lanes))
        raw = np.zeros(memory_bytes // 4 + 16, dtype=np.uint32)
        skip = (-raw.ctypes.data // 4) % 16
        self._memory = raw[skip : skip + memory_bytes // 64 * 16]
        self._next_beat = 0
        self._machine = self._library.eft_csim_open(
            BASE_ADDRESS, self._memory.nbytes, self._memory.ctypes.data
        )
        self._ticket = 0
        self._offsets = argument_offsets()
        self._host_block = self._take(HOST_BLOCK_BEATS)
        self._report = self._take(HEADER_BEATS + MOST_COMMANDS)
        self._program_beats: list[int] = []
        self._introduce()
        self.sizes = self._ask(lanes)
        super().__init__(_capabilities(self.sizes))
        self.last_report: Report | None = None

    def allocate(self, size_words: int) -> int:
        beat = self._take(-(-size_words // BEAT_WORDS))
        start = beat * BEAT_WORDS
        self._buffers.append(self._memory[start : start + size_words])
        return len(self._buffers) - 1

    def load(self, program: Program) -> int:
        handle = super().load(program)
        words = np.ascontiguousarray(program.words(), dtype=np.int32)
        beat = self._take(len(words) * COMMAND_BEATS)
        self._beats(beat, len(words) * COMMAND_BEATS)[:] = words.reshape(-1, BEAT_WORDS)
        self._program_beats.append(beat)
        return handle

    def abort(self) -> None:
        """End the run before its next command; may be called by another thread."""
        self._beats(self._host_block + ABORT_BEAT, 1)[0, 0] = 1

    def close(self) -> None:
        if self._machine is not None:
            self._library.eft_csim_close(self._machine)
            self._machine = None
        super().close()

    def read_register(self, offset: int) -> int:
        return int(self._library.eft_csim_read(self._opened(), offset))

    def write_register(self, offset: int, value: int) -> None:
        self._library.eft_csim_write(self._opened(), offset, value & 0xFFFFFFFF)

    def interrupt(self) -> bool:
        """The level of the interrupt line."""
        return bool(self._library.eft_csim_interrupt(self._opened()))

    def _opened(self) -> int:
        if self._machine is None:
            raise DeviceError("the device is closed", remedy="open another")
        return self._machine

    def _take(self, beats: int) -> int:
        beat = self._next_beat
        self._next_beat += -(-beats // _ALIGN_BEATS) * _ALIGN_BEATS
        if self._next_beat * BEAT_WORDS > self._memory.size:
            raise DeviceError(
                f"{self._memory.nbytes >> 20} MiB of emulated memory are full",
                remedy="open csim with more memory_bytes",
            )
        return beat

    def _beats(self, first: int, count: int) -> npt.NDArray[np.int32]:
        words = self._memory[first * BEAT_WORDS : (first + count) * BEAT_WORDS]
        return words.view(np.int32).reshape(count, BEAT_WORDS)

    def _introduce(self) -> None:
        """What is written once."""
        for name in ("features", "weights", "results", "control"):
            self.write_register(self._offsets[name], BASE_ADDRESS & 0xFFFFFFFF)
            self.write_register(self._offsets[name] + 4, BASE_ADDRESS >> 32)
        self.write_register(self._offsets["window_beats"], self._memory.size // BEAT_WORDS)
        self.write_register(self._offsets["host_block"], self._host_block)
        self.write_register(self._offsets["report"], self._report)

    def _ask(self, lanes: int) -> KernelSizes:
        """The build's sizes, by a run without commands."""
        header = self._run(0, 0).header
        depth = int(header[Header.DEPTH])
        sizes = KernelSizes(
            lanes=int(header[Header.LANES]),
            feature_depth=depth & 0xFFFF,
            output_depth=depth >> 16,
            weight_tiles=int(header[Header.WEIGHT_TILES]),
            features=Feature(int(header[Header.FEATURES])),
        )
        if sizes.lanes != lanes:
            raise DeviceUnavailable(
                f"the csim kernel has T = {sizes.lanes}, not {lanes}", remedy=_REMEDY
            )
        return sizes

    def _bound_hook(self, slot: Slot, memory: npt.NDArray[np.uint32]) -> None:
        beat = (memory.ctypes.data - self._memory.ctypes.data) // (4 * BEAT_WORDS)
        assert 0 < slot < SLOT_COUNT
        entry = self._beats(self._host_block + slot, 1)[0]
        entry[Slots.BEAT], entry[Slots.WORDS] = beat, memory.size

    def _run(self, program_beat: int, count: int) -> Report:
        """One run of the kernel: three arguments, start, done, report."""
        self._ticket = (self._ticket + 1) & 0x7FFFFFFF
        self.write_register(self._offsets["program"], program_beat)
        self.write_register(self._offsets["count"], count)
        self.write_register(self._offsets["ticket"], self._ticket)
        self.write_register(Control.CTRL, Ctrl.START)
        if not self.read_register(Control.CTRL) & Ctrl.DONE:
            raise DeviceError("the kernel hangs", remedy="its window lies outside the memory")
        header = self._beats(self._report, HEADER_BEATS).ravel().copy()
        if header[Header.TICKET] != self._ticket:
            raise DeviceError("the kernel left no report", remedy="check the window's size")
        index, status = int(header[Header.INDEX]), int(header[Header.STATUS])
        ran = index + (1 if status and count else 0)
        entries = self._beats(self._report + HEADER_BEATS, min(ran, count)).copy()
        return Report(status, index, header, entries)

    def _execute(self, handle: int, first: int, count: int) -> tuple[int, int, Nanoseconds]:
        total = len(self._programs[handle].commands)
        if first < 0 or count < 0 or first + count > total:
            raise DeviceError(f"no commands {first}..{first + count}", remedy="check the range")
        nanoseconds = np.zeros(count, dtype=np.int64)
        self._beats(self._host_block + ABORT_BEAT, 1)[0, 0] = 0
        for start in range(0, count, MOST_COMMANDS):
            began = time.perf_counter_ns()
            beat = self._program_beats[handle] + (first + start) * COMMAND_BEATS
            report = self.last_report = self._run(beat, min(MOST_COMMANDS, count - start))
            spent = time.perf_counter_ns() - began
            shares = report.entries[:, Entry.STEPS].astype(np.float64) + _STEPS_OF_A_COMMAND
            nanoseconds[start : start + len(shares)] = spent * shares / max(shares.sum(), 1)
            if report.status:
                done = start + report.index
                self._judge(self._programs[handle], first + done, report.status)
                return done, report.status, nanoseconds
        return count, Status.OK, nanoseconds

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
