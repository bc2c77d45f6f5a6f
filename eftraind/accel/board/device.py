"""The board device: the kernel of a bitstream, driven through pynq.

Owns the order in which a board is taken, programmed, checked and tried. Run on an emulated board
only: no hardware has seen it.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from eftraind import boards
from eftraind.accel import kernel
from eftraind.accel.board.completion import Completion
from eftraind.accel.board.contain import contained
from eftraind.accel.board.fabric import Cma, PynqFabric
from eftraind.accel.board.programming import check_machine, import_pynq, program
from eftraind.accel.device import Capabilities, Nanoseconds
from eftraind.accel.window import KernelDevice
from eftraind.boards.manifest import Manifest, check_files
from eftraind.clock import Clock
from eftraind.errors import DeviceError, DeviceTimeout, DeviceUnavailable, StateLocked
from eftraind.fsio import FileOps, StateLock
from eftraind.isa import Op, Program, digest
from eftraind.plan.build import Build
from eftraind.registers import BEAT_WORDS, INTERRUPT_DONE, Control, Feature, KernelSizes

IP = "eftrain_0"
"""The kernel's name in the block design."""
CLOCK_TOLERANCE = 0.01


class BoardDevice(KernelDevice):
    """See `open_board`."""

    fabric: PynqFabric

    def __init__(
        self, fabric: PynqFabric, completion: Completion, manifest: Manifest, lock: StateLock
    ) -> None:
        self.completion = completion
        self._lock = lock
        self._lost: DeviceError | None = None
        fabric.write(Control.GLOBAL_INTERRUPT_ENABLE, 1)
        fabric.write(Control.INTERRUPT_ENABLE, INTERRUPT_DONE)
        if fabric.read(Control.INTERRUPT_STATUS) & INTERRUPT_DONE:  # left by whoever was before
            fabric.write(Control.INTERRUPT_STATUS, INTERRUPT_DONE)
        super().__init__(
            fabric,
            lambda sizes: _capabilities(sizes, manifest, fabric.free_bytes()),
            float(manifest.clock_hz),
        )

    def load(self, program: Program) -> int:
        self._alive()
        return super().load(program)

    def run(self, handle: int, first: int, count: int) -> Nanoseconds:
        """As every device; DeviceTimeout once the kernel hangs, and for ever after."""
        self._alive()
        try:
            return super().run(handle, first, count)
        except DeviceTimeout as error:
            self._lost = error
            self._stop()
            raise

    def close(self) -> None:
        if self._lost is None:
            self.fabric.write(Control.GLOBAL_INTERRUPT_ENABLE, 0)
        super().close()
        self._lock.close()

    def _alive(self) -> None:
        if self._lost is not None:
            raise DeviceTimeout(
                f"the board is lost: {self._lost.message}", remedy="restart the engine"
            )

    def _stop(self) -> None:
        """Ask the kernel to end before its next command: what little can be done from here. The
        next process programs the fabric anew."""
        self.fabric.write(Control.GLOBAL_INTERRUPT_ENABLE, 0)
        self.abort()


def open_board(
    manifest: Manifest,
    *,
    work_dir: Path,
    clock: Clock,
    deadline_s: float = 5.0,
    proc_root: Path = Path("/proc"),
    lock_dir: Path = Path("/run/lock"),
    emulated: Any = None,
    ops: FileOps | None = None,
) -> BoardDevice:
    """Take the board, program it, check what answers. `emulated`, of `accel.emu`, takes the place
    of hardware; pynq leaves its files in `work_dir`.

    Raises ConfigError for files that do not belong together, DeviceUnavailable otherwise.
    """
    check_files(manifest)
    if emulated is None:
        check_machine(
            Path("/sys"),
            unit="eftraind-engine.service",
            elsewhere="set device.kind to cpu on this machine",
        )
    lock = _take(lock_dir, ops or FileOps())
    try:
        return _open(manifest, work_dir, clock, deadline_s, proc_root, emulated, lock)
    except BaseException:
        lock.close()
        raise


def _take(lock_dir: Path, ops: FileOps) -> StateLock:
    directory = lock_dir / "eftraind-board"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return StateLock.acquire(ops, directory)
    except StateLocked as error:
        raise DeviceUnavailable(
            f"the board is in use: {error.message}", remedy="stop the other process"
        ) from error
    except OSError as error:
        raise DeviceUnavailable(
            f"cannot lock the board in {directory}: {error}", remedy="check that directory"
        ) from error


def _open(
    manifest: Manifest,
    work_dir: Path,
    clock: Clock,
    deadline_s: float,
    proc_root: Path,
    emulated: Any,
    lock: StateLock,
) -> BoardDevice:
    pynq = import_pynq()
    _check_generation(pynq, manifest)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # pynq's interrupts attach to the loop that is current
    if emulated is not None:
        emulated.install_uio()
    with contained(work_dir):
        overlay = program(pynq, manifest.bit_path.absolute())
    _set_clock(pynq, manifest)
    ip = getattr(overlay, IP, None)
    if ip is None:
        raise DeviceUnavailable(
            f"{manifest.bit_path} has no {IP}", remedy="use a bitstream of hls/vivado"
        )
    if emulated is None:
        cma, closing = Cma.of(proc_root), lambda: None
    else:
        cma, closing = Cma(emulated.parts.cma.meminfo), emulated.parts.close
    completion = Completion(clock, deadline_s, loop, getattr(ip, "interrupt", None))
    fabric = PynqFabric(pynq.allocate, ip, cma, completion, closing)
    device = BoardDevice(fabric, completion, manifest, lock)
    if device.capabilities.lanes != manifest.t:
        raise DeviceUnavailable(
            f"the kernel has T = {device.capabilities.lanes}, its manifest says {manifest.t}",
            remedy="copy .bit, .hwh and .json together again",
        )
    return device


def _check_generation(pynq: Any, manifest: Manifest) -> None:
    version = str(getattr(pynq, "__version__", "0"))
    if manifest.part.startswith("xc7z") and int(version.partition(".")[0]) >= 4:
        raise DeviceUnavailable(
            f"pynq {version} has dropped Zynq-7000, which {manifest.board} is",
            remedy="use the image's pynq, 3.0.1 or 3.1; pip must not replace it",
        )


def _set_clock(pynq: Any, manifest: Manifest) -> None:
    """pynq up to 3.1.2 writes dividers for a PLL that UltraScale+ does not use."""
    wanted = manifest.clock_hz / 1e6
    pynq.Clocks.fclk0_mhz = wanted
    found = float(pynq.Clocks.fclk0_mhz)
    if abs(found - wanted) > CLOCK_TOLERANCE * wanted:
        raise DeviceUnavailable(
            f"the fabric runs at {found:g} MHz, the bitstream needs {wanted:g} MHz",
            remedy="build it for a clock that the board's PLL reaches",
        )


def _build(sizes: KernelSizes, manifest: Manifest) -> Build:
    """As the memory sees the kernel: its ports of 4 words are narrowed to the board's."""
    words = min(BEAT_WORDS, boards.load(manifest.board).ports.bytes_per_beat // 4)
    return replace(
        kernel.description(sizes),
        board=manifest.board,
        part=manifest.part,
        clock_mhz=manifest.clock_hz / 1e6,
        feature_words=words,
        weight_words=words,
        result_words=words,
    )


def _capabilities(sizes: KernelSizes, manifest: Manifest, free_bytes: int) -> Capabilities:
    return Capabilities(
        name="board",
        lanes=sizes.lanes,
        threads=1,
        ops=frozenset(Op),
        detail=f"{manifest.board}, {manifest.clock_hz / 1e6:g} MHz, {manifest.bit_path.name}",
        isa_digest=digest(),
        build=_build(sizes, manifest),
        clocked=bool(sizes.features & Feature.COUNTER),
        memory_bytes=free_bytes,
    )
