"""The native CPU device: the C++ kernels in `accel/native` on the buffers of `HostDevice`.

The channel tile T is the vector width of the instruction set. ctypes drops the interpreter lock
while a program runs. Results do not depend on the number of threads.
"""

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.accel.device import Capabilities, Nanoseconds
from eftraind.accel.host import HostDevice
from eftraind.errors import DeviceError, DeviceUnavailable
from eftraind.isa import COMMAND_WORDS, Op, Program, Slot, Words, digest

LIBRARY = Path(__file__).parent / "native" / "libeftraind.so"
_REMEDY = "run `python -m eftraind.accel.native.build` or install the package again"
_MOST_SETS = 8

_INT32 = ctypes.POINTER(ctypes.c_int32)
_INT64 = ctypes.POINTER(ctypes.c_int64)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "eft_digest": (ctypes.c_uint32, []),
    "eft_sets": (ctypes.c_int, [_INT32, ctypes.c_int]),
    "eft_open": (ctypes.c_void_p, [ctypes.c_int, ctypes.c_int]),
    "eft_lanes": (ctypes.c_int, [ctypes.c_void_p]),
    "eft_threads": (ctypes.c_int, [ctypes.c_void_p]),
    "eft_set_name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "eft_implements": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    "eft_peak_gflops": (ctypes.c_double, [ctypes.c_void_p]),
    "eft_bind": (None, [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64]),
    "eft_prepare": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]),
    "eft_run": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, _INT32, ctypes.c_void_p],
    ),
    "eft_close": (None, [ctypes.c_void_p]),
}


def open_library(path: Path = LIBRARY) -> ctypes.CDLL:
    """Raises DeviceUnavailable if the library is missing or built for another command set."""
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise DeviceUnavailable(f"native library: {error}", remedy=_REMEDY) from error
    found = library.eft_digest()
    if found != digest():
        raise DeviceUnavailable(
            f"{path.name} implements command set {found:08x}, this version needs {digest():08x}",
            remedy=_REMEDY,
        )
    return library


def available_lanes(path: Path = LIBRARY) -> tuple[int, ...]:
    """T of every instruction set that this machine runs, widest first."""
    lanes = (ctypes.c_int32 * _MOST_SETS)()
    count = open_library(path).eft_sets(lanes, _MOST_SETS)
    return tuple(lanes[:count])


def default_threads() -> int:
    """One core is left to the rest of the daemon, if there is another."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


class _Loaded:
    """A program's words and room for its times; numpy takes microseconds to tell an address."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.address: int = words.ctypes.data
        self.nanoseconds = np.zeros(len(words), dtype=np.int64)
        self.times_address: int = self.nanoseconds.ctypes.data


class CpuDevice(HostDevice):
    """threads 0: all cores but one; lanes 0: the widest vectors the machine has."""

    def __init__(self, threads: int = 0, lanes: int = 0, *, library: Path = LIBRARY) -> None:
        self._library = open_library(library)
        opened = self._library.eft_open(lanes, threads or default_threads())
        if not opened:
            raise DeviceUnavailable(
                f"this machine has no instruction set with T = {lanes}",
                remedy=f"choose one of {available_lanes(library)}, or 0 for the widest",
            )
        self._engine: int | None = opened
        self._loaded: list[_Loaded] = []
        self._status = ctypes.c_int32()
        super().__init__(
            Capabilities(
                name="cpu",
                lanes=self._library.eft_lanes(opened),
                threads=self._library.eft_threads(opened),
                ops=frozenset(op for op in Op if self._library.eft_implements(opened, op)),
                detail=self._library.eft_set_name(opened).decode(),
                isa_digest=self._library.eft_digest(),
            )
        )

    def load(self, program: Program) -> int:
        handle = super().load(program)
        loaded = _Loaded(np.ascontiguousarray(program.words(), dtype=np.int32))
        self._loaded.append(loaded)
        if self._library.eft_prepare(self._opened(), loaded.address, len(loaded.words)):
            raise DeviceError(
                f"no memory for the scratch of program {program.name}", remedy="use smaller chunks"
            )
        return handle

    def peak_gflops(self) -> float:
        """Multiply-adds that one core does in registers, measured now (some milliseconds)."""
        return float(self._library.eft_peak_gflops(self._opened()))

    def close(self) -> None:
        if self._engine is not None:
            self._library.eft_close(self._engine)
            self._engine = None
        super().close()

    def _opened(self) -> int:
        if self._engine is None:
            raise DeviceError("the device is closed", remedy="open another")
        return self._engine

    def _bound_hook(self, slot: Slot, memory: npt.NDArray[np.uint32]) -> None:
        self._library.eft_bind(self._opened(), int(slot), memory.ctypes.data, memory.size)

    def _execute(self, handle: int, first: int, count: int) -> tuple[int, int, Nanoseconds]:
        loaded = self._loaded[handle]
        if first < 0 or count < 0 or first + count > len(loaded.words):
            raise DeviceError(f"no commands {first}..{first + count}", remedy="check the range")
        start = loaded.address + 4 * COMMAND_WORDS * first
        done = self._library.eft_run(
            self._opened(), start, count, self._status, loaded.times_address
        )
        return done, self._status.value, loaded.nanoseconds[:count].copy()
