"""The csim device: the HLS kernel, compiled by g++ as it stands, behind its registers and memory.

It is driven as the hardware is (`accel.window`): one window of memory at physical addresses, a host
block, programs, a report. It has no notion of time: `steps` says what the array did, and
nanoseconds are those of this machine, shared among the commands of a run by their steps.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.accel import kernel
from eftraind.accel.device import Capabilities
from eftraind.accel.kernel_build import library as library_of
from eftraind.accel.window import KernelDevice
from eftraind.errors import DeviceError, DeviceLost, DeviceUnavailable
from eftraind.isa import Op, digest
from eftraind.registers import BEAT_WORDS, Control, Ctrl, KernelSizes
from eftraind.registers import digest as kernel_digest

_REMEDY = "install the package again; in a checkout: python -m eftraind.accel.kernel"
BASE_ADDRESS = 0x1000_0000
"""Physical address of the window; not 0, so that a forgotten base shows."""
_ALIGN_WORDS = 16  # 64 bytes: a cache line

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


class Machine:
    """The kernel behind its registers; `memory` is what its ports see from `base` on."""

    def __init__(self, library: Path, base: int, memory: npt.NDArray[np.uint32]) -> None:
        self._library = open_library(library)
        self._memory = memory  # the library keeps its address only
        self._machine: int | None = self._library.eft_csim_open(
            base, memory.nbytes, memory.ctypes.data
        )

    def read(self, offset: int) -> int:
        return int(self._library.eft_csim_read(self._opened(), offset))

    def write(self, offset: int, value: int) -> None:
        """A write of START runs the kernel to its end, or leaves START set: it hangs."""
        self._library.eft_csim_write(self._opened(), offset, value & 0xFFFFFFFF)

    def interrupt(self) -> bool:
        """The level of the interrupt line."""
        return bool(self._library.eft_csim_interrupt(self._opened()))

    def close(self) -> None:
        if self._machine is not None:
            self._library.eft_csim_close(self._machine)
            self._machine = None

    def _opened(self) -> int:
        if self._machine is None:
            raise DeviceError("the device is closed", remedy="open another")
        return self._machine


@dataclass
class _Shared:
    """Memory that needs no syncing: host and kernel look at the same."""

    words: npt.NDArray[np.uint32]
    address: int

    def flush(self) -> None:
        pass

    def invalidate(self) -> None:
        pass


class CsimFabric:
    """A machine and its DRAM; only what is touched takes memory."""

    def __init__(self, library: Path, memory_bytes: int) -> None:
        raw = np.zeros(memory_bytes // 4 + 16, dtype=np.uint32)
        skip = (-raw.ctypes.data // 4) % 16
        self._memory = raw[skip : skip + memory_bytes // 64 * 16]
        self._next_word = 0
        self.machine = Machine(library, BASE_ADDRESS, self._memory)

    def allocate(self, size_words: int) -> _Shared:
        start = self._next_word
        self._next_word += -(-size_words // _ALIGN_WORDS) * _ALIGN_WORDS
        if self._next_word > self._memory.size:
            raise DeviceError(
                f"{self._memory.nbytes >> 20} MiB of emulated memory are full",
                remedy="open csim with more memory_bytes",
            )
        return _Shared(self._memory[start : start + size_words], BASE_ADDRESS + 4 * start)

    def window(self) -> tuple[int, int]:
        return BASE_ADDRESS, self._memory.size // BEAT_WORDS

    def read(self, offset: int) -> int:
        return self.machine.read(offset)

    def write(self, offset: int, value: int) -> None:
        self.machine.write(offset, value)

    def complete(self) -> None:
        if not self.read(Control.CTRL) & Ctrl.DONE:
            raise DeviceLost("the kernel hangs", remedy="its window lies outside the memory")

    def close(self) -> None:
        self.machine.close()


class CsimDevice(KernelDevice):
    """`memory_bytes` of emulated DRAM."""

    fabric: CsimFabric

    def __init__(
        self, lanes: int = 16, *, memory_bytes: int = 1 << 30, library: Path | None = None
    ) -> None:
        if library is None and lanes not in kernel.SIZES:
            raise DeviceUnavailable(
                f"no csim kernel with T = {lanes}", remedy=f"choose one of {tuple(kernel.SIZES)}"
            )
        super().__init__(CsimFabric(library or library_of(lanes), memory_bytes), _capabilities)
        if self.sizes.lanes != lanes:
            raise DeviceUnavailable(
                f"the csim kernel has T = {self.sizes.lanes}, not {lanes}", remedy=_REMEDY
            )
