"""The emulated board as pynq sees it: a Device with memory-mapped registers and CMA.

Owns what pynq asks of a device. All of pynq above it runs as it was installed.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from eftraind.accel import kernel_build
from eftraind.accel.emu.bus import Bus, Region, plain_registers
from eftraind.accel.emu.design import ULTRASCALE, Design
from eftraind.accel.emu.interrupts import Controller, Uio
from eftraind.accel.emu.logic import Faults, Logic
from eftraind.accel.emu.memory import Cma

CMA_BYTES = 64 << 20


class Registers(np.ndarray):
    """What pynq takes for mapped memory: integer indices are accesses on the bus."""

    bus: Any = None
    start: int = 0
    origin: int = 0

    def __array_finalize__(self, parent: Any) -> None:
        if isinstance(parent, Registers):
            self.bus, self.start, self.origin = parent.bus, parent.start, parent.origin

    def _address(self, index: int) -> int:
        here: int = self.__array_interface__["data"][0]
        return self.start + here - self.origin + index * self.itemsize

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (int, np.integer)):
            return np.uint32(self.bus.read(self._address(int(index))))
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, (int, np.integer)):
            self.bus.write(self._address(int(index)), int(value))
        else:
            super().__setitem__(index, value)


def mapped(bus: Bus, base: int, length: int) -> Registers:
    array = np.zeros(-(-length // 4), dtype=np.uint32).view(Registers)
    array.bus, array.start = bus, base
    array.origin = array.__array_interface__["data"][0]
    return array


class Parts:
    """The board without pynq."""

    def __init__(self, design: Design, lanes: int, cma_bytes: int, faults: Faults) -> None:
        self.design = design
        self.faults = faults
        self.cma = Cma(design.memory_address, cma_bytes)
        self.bus = Bus()
        self.uio = Uio()
        self.controller = Controller(self.uio)
        library = kernel_build.library(lanes)
        self.logic = Logic(library, self.cma, self.controller, faults)
        for name, address, part in (
            ("kernel", design.kernel_address, self.logic),
            ("controller", design.controller_address, self.controller),
        ):
            self.bus.add(Region(name, address, 0x10000, part.read, part.write))
        for name, address, contents in _clock_units(design):
            self.bus.add(plain_registers(name, address, contents, stuck=faults.stuck_clock))

    def close(self) -> None:
        self.logic.close()
        self.uio.close()


def _clock_units(design: Design) -> list[tuple[str, int, dict[int, int]]]:
    """PLLs as boards set them up: 1000 MHz of 50 on Zynq, 1500 and 1200 of 33.3 on UltraScale+,
    whose fabric clock hangs on the first whatever the design says."""
    if design.arch == "armv7l":
        plls = dict.fromkeys((0x100, 0x104, 0x108), 20 << 12)
        clocks = dict.fromkeys((0x170, 0x180, 0x190, 0x1A0), 20 << 8 | 1 << 20)
        return [("slcr", 0xF800_0000, plls | clocks | {0x120: 2 << 8})]
    plls = {0x20: 90 << 8 | 1 << 16, 0x30: 72 << 8 | 1 << 16}
    clocks = dict.fromkeys((0xC0, 0xC4, 0xC8, 0xCC), 1 << 24 | 1 << 16 | 20 << 8)
    apll = dict.fromkeys((0x20, 0x2C, 0x38), 72 << 8)
    return [("crl", 0xFF5E_0000, plls | clocks), ("crf", 0xFD1A_0000, apll | {0x60: 2 << 8})]


def open_device(
    design: Design = ULTRASCALE,
    faults: Faults | None = None,
    *,
    lanes: int = 16,
    cma_bytes: int = CMA_BYTES,
) -> Any:
    """A pynq.Device, made pynq's active one; `parts` is what tests look into.

    One process has one board at a time: pynq keeps the clocks and interrupts of the last.
    """
    pynq: Any = import_module("pynq")
    parts = Parts(design, lanes, cma_bytes, faults or Faults())
    device = _device_class(pynq)(parts)
    pynq.Device.active_device = device
    processor: Any = import_module("pynq.ps")
    processor.CPU_ARCH = design.arch  # 3.0 asks this machine what the board is
    clocks = pynq.Clocks
    if hasattr(clocks, "_real_instance"):
        del clocks._real_instance
    interrupts: Any = import_module("pynq.interrupt")
    interrupts._InterruptController._controllers.clear()
    interrupts._InterruptController._uio_devices.clear()
    return device


def _device_class(pynq: Any) -> Any:
    class EmulatedBoard(pynq.Device):
        """See `open_device`."""

        def __init__(self, parts: Parts) -> None:
            super().__init__(f"emulated-{parts.design.name}")
            self.name = self.tag
            self.arch = parts.design.arch
            self.capabilities = {"MEMORY_MAPPED": True}
            self.parts = parts

        def mmap(self, base: int, length: int) -> Registers:
            return mapped(self.parts.bus, base, length)

        def get_bitfile_metadata(self, bitfile: Any, partial: bool = False) -> Any:
            metadata: Any = import_module("pynqmetadata.frontends")
            return _parser()(metadata.Metadata(input=Path(bitfile).with_suffix(".hwh")))

        def download(self, bitstream: Any, parser: Any = None) -> None:
            self.post_download(bitstream, parser, self.name)

        def allocate(self, shape: Any, dtype: Any = "u4", cacheable: int = 0, **_: Any) -> Any:
            size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
            address, host = self.parts.cma.take(size_bytes)
            buffer = pynq.buffer.PynqBuffer(
                shape, dtype, buffer=host, device=self, device_address=address,
                bo=address, coherent=not cacheable,
            )  # fmt: skip
            buffer.memory, buffer.pointer = self, address
            buffer.return_to, buffer.freed = self, True
            return buffer

        def return_pointer(self, pointer: int) -> None:
            """Pages are never used again."""

        def flush(self, bo: int, offset: int, ptr: int, size: int) -> None:
            self.parts.cma.flush(bo)

        def invalidate(self, bo: int, offset: int, ptr: int, size: int) -> None:
            self.parts.cma.invalidate(bo)

        def install_uio(self) -> None:
            """What Linux would have found for the fabric's first interrupt. To be called with the
            event loop that will wait for it current."""
            interrupts: Any = import_module("pynq.interrupt")
            uio: Any = import_module("pynq.uio")
            table = interrupts._InterruptController._uio_devices
            table[self.parts.design.raw_irq] = uio.UioController(self.parts.uio.path)

    return EmulatedBoard


def _parser() -> Any:
    """pynq's own parser; it moved between 3.x and 4.0."""
    try:
        module: Any = import_module("pynq.metadata.runtime_metadata_parser")
    except ImportError:
        module = import_module("pynqmetadata.views.runtime")
    return module.RuntimeMetadataParser
