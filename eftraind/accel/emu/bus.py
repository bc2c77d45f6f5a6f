"""The emulated processing system's bus: regions of registers, and who answers there.

Owns counting accesses, and the error where a board would hang: no region answers. Knows no pynq.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from eftraind.errors import DeviceError


class BusError(DeviceError):
    """An access that no region answers; a board hangs there for good."""

    code = "bus_error"


@dataclass(frozen=True)
class Region:
    """Registers from `address` on; `read` and `write` take offsets."""

    name: str
    address: int
    size_bytes: int
    read: Callable[[int], int]
    write: Callable[[int, int], None]


class Bus:
    """32-bit reads and writes."""

    def __init__(self) -> None:
        self._regions: list[Region] = []
        self.accesses: Counter[str] = Counter()
        """By region."""

    def add(self, region: Region) -> None:
        self._regions.append(region)

    def read(self, address: int) -> int:
        region = self._find(address)
        self.accesses[region.name] += 1
        return region.read(address - region.address) & 0xFFFFFFFF

    def write(self, address: int, value: int) -> None:
        region = self._find(address)
        self.accesses[region.name] += 1
        region.write(address - region.address, value & 0xFFFFFFFF)

    def _find(self, address: int) -> Region:
        for region in self._regions:
            if region.address <= address < region.address + region.size_bytes and not address % 4:
                return region
        raise BusError(
            f"no register at {address:#x}", remedy="on a board the processor would hang here"
        )


def plain_registers(name: str, address: int, contents: dict[int, int], *, stuck: bool) -> Region:
    """Registers that keep what is written, unless `stuck`: 0 where nothing was."""
    words = dict(contents)

    def write(offset: int, value: int) -> None:
        if not stuck:
            words[offset] = value

    return Region(name, address, 0x1000, lambda offset: words.get(offset, 0), write)
