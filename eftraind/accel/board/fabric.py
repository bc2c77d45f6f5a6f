"""The kernel on a board, as `accel.window` wants it: registers by MMIO, memory from pynq.

Owns every buffer that pynq gave, for the life of the process: pynq frees badly. Numpy arrays that
leave here are plain, because arithmetic on pynq's own carries addresses of nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.errors import DeviceError, DeviceUnavailable
from eftraind.registers import BEAT_WORDS

ADDRESS_BITS = 40
"""What the ports of the largest of our boards reach."""
BEAT_BYTES = 4 * BEAT_WORDS


class PynqBlock:
    """One buffer of its own: pynq syncs a buffer as a whole, whatever part is asked for."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self.words: npt.NDArray[np.uint32] = np.asarray(buffer)
        self.address = int(buffer.device_address)

    def flush(self) -> None:
        self._buffer.flush()

    def invalidate(self) -> None:
        self._buffer.invalidate()


class Cma:
    """What the kernel of Linux says of its contiguous memory."""

    def __init__(self, meminfo: Callable[[], str]) -> None:
        self._meminfo = meminfo

    @classmethod
    def of(cls, proc_root: Path) -> "Cma":
        return cls((proc_root / "meminfo").read_text)

    def free_bytes(self) -> int:
        """Raises DeviceUnavailable where there is none."""
        return self._bytes("CmaFree")

    def total_bytes(self) -> int:
        """Raises DeviceUnavailable where there is none."""
        return self._bytes("CmaTotal")

    def _bytes(self, key: str) -> int:
        for line in self._meminfo().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) << 10
        raise DeviceUnavailable(
            f"/proc/meminfo has no {key}", remedy="boot a kernel with CMA (cma=128M)"
        )


class PynqFabric:
    """`allocate_pynq` is `pynq.allocate`, `ip` the kernel in the overlay, `complete` waits;
    `closing` is called at the end."""

    def __init__(
        self,
        allocate_pynq: Callable[..., Any],
        ip: Any,
        cma: Cma,
        complete: Callable[["PynqFabric"], None],
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self._allocate = allocate_pynq
        self._ip = ip
        self._cma = cma
        self._complete = complete
        self._closing = closing
        self._kept: list[PynqBlock] = []
        self._window = (0, 0)

    def allocate(self, size_words: int) -> PynqBlock:
        """Raises DeviceError, with figures, for more than CMA has."""
        need, free = 4 * size_words, self._cma.free_bytes()
        if need > free:
            raise DeviceError(
                f"a buffer of {need} bytes does not fit: CMA has {free} of "
                f"{self._cma.total_bytes()} bytes free",
                remedy="lower replay.capacity or train.batch, or boot with more (cma=256M)",
            )
        try:
            buffer = self._allocate((size_words,), dtype="u4", cacheable=1)
        except (RuntimeError, MemoryError) as error:
            raise DeviceError(
                f"CMA gives no {need} bytes in one piece, though {free} are free: {error}",
                remedy="start eftraind earlier after boot, or boot with more (cma=256M)",
            ) from error
        block = PynqBlock(buffer)
        if block.address % BEAT_BYTES or (block.address + need) >> ADDRESS_BITS:
            raise DeviceError(
                f"pynq gave a buffer at {block.address:#x}, which the ports cannot reach",
                remedy="report this with the versions of pynq and of the image",
            )
        block.words[:] = 0
        self._kept.append(block)
        low = min(kept.address for kept in self._kept)
        high = max(kept.address + kept.words.nbytes for kept in self._kept)
        self._window = (low, -(-(high - low) // BEAT_BYTES))
        return block

    def free_bytes(self) -> int:
        """What CMA still has."""
        return self._cma.free_bytes()

    def window(self) -> tuple[int, int]:
        return self._window

    def read(self, offset: int) -> int:
        return int(self._ip.read(offset))

    def write(self, offset: int, value: int) -> None:
        self._ip.write(offset, int(value))

    def complete(self) -> None:
        self._complete(self)

    def close(self) -> None:
        """Memory stays until the process ends."""
        self._closing()
