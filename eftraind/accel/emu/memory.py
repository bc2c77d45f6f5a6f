"""Emulated contiguous memory with caches: the host's view of a buffer and the DRAM behind it.

Owns the two views. A flush copies from the host's to DRAM, an invalidate back; whoever forgets one
sees old words, as on a board whose ports do not snoop the caches.
"""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

PAGE_BYTES = 4096
STALE = 0xA5
"""What lies in memory that nobody wrote."""


class Cma:
    """`size_bytes` of DRAM from `address` on, handed out in pages and never taken back."""

    def __init__(self, address: int, size_bytes: int) -> None:
        self.address = address
        self.dram = np.full(size_bytes // 4, STALE * 0x01010101, dtype=np.uint32)
        self._used_bytes = 0
        self._hosts: dict[int, npt.NDArray[np.uint8]] = {}
        self.syncs: Counter[str] = Counter()
        """Flushes, invalidates and allocations so far."""

    @property
    def free_bytes(self) -> int:
        return self.dram.nbytes - self._used_bytes

    def take(self, size_bytes: int) -> tuple[int, npt.NDArray[np.uint8]]:
        """Address and host's view of a new buffer. Raises RuntimeError as XRT does."""
        pages = -(-max(size_bytes, 1) // PAGE_BYTES) * PAGE_BYTES
        if pages > self.free_bytes:
            raise RuntimeError("BO allocation failed")
        self.syncs["allocations"] += 1
        at = self._used_bytes
        self._used_bytes += pages
        self._hosts[at] = host = np.full(size_bytes, STALE, dtype=np.uint8)
        return self.address + at, host

    def flush(self, address: int) -> None:
        self.syncs["flushes"] += 1
        host, dram = self._views(address)
        dram[:] = host

    def invalidate(self, address: int) -> None:
        self.syncs["invalidates"] += 1
        host, dram = self._views(address)
        host[:] = dram

    def _views(self, address: int) -> tuple[Any, Any]:
        at = address - self.address
        host = self._hosts[at]
        return host, self.dram.view(np.uint8)[at : at + host.size]

    def meminfo(self) -> str:
        """The lines of /proc/meminfo that tell of it."""
        total_kb, free_kb = self.dram.nbytes >> 10, self.free_bytes >> 10
        return f"CmaTotal: {total_kb:>14} kB\nCmaFree: {free_kb:>15} kB\n"
