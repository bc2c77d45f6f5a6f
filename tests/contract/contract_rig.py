"""Runs one command on a device and on the definition, over the same memory image.

Every operand lies in a buffer of its own, behind and before guard words that nobody may touch.
"""

import atexit
import functools
import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.accel import kernel
from eftraind.accel.cpu import CpuDevice, available_lanes
from eftraind.accel.csim import CsimDevice
from eftraind.accel.host import HostDevice
from eftraind.accel.reference import ReferenceDevice
from eftraind.clock import Clock
from eftraind.isa import Command, Hyper, Operand, Program, Slot
from eftraind.plan.reshape import pack_map, pack_vector, pack_weights
from eftraind.plan.tiles import slot_needs

F32 = npt.NDArray[np.float32]
GUARD_WORDS = 20
"""A multiple of 4: maps and vectors start at a beat of 128 bits."""
SLOTS = {
    "src": Slot.POOL,
    "weights": Slot.LEARNER,
    "dst": Slot.TRAIN_OUT,
    "aux": Slot.TRAIN_BATCH,
    "extra": Slot.MOMENTUM,
}


@dataclass(frozen=True)
class Kind:
    """A device to be judged."""

    name: str
    lanes: int
    open: Callable[[], HostDevice] = field(compare=False)


def kinds() -> list[Kind]:
    """reference at every T; cpu with every instruction set, 1 and 2 threads; csim at every T. In
    an environment of pynq's instead the emulated boards (tests/board)."""
    if os.environ.get("EFTRAIND_CONTRACT") == "board":
        return board_kinds()
    out = [Kind(f"reference-T{t}", t, lambda t=t: ReferenceDevice(t)) for t in (4, 8, 16)]
    for t in available_lanes():
        for threads in (1, 2):
            name = f"cpu-T{t}-{threads}threads"
            out.append(Kind(name, t, lambda t=t, n=threads: CpuDevice(threads=n, lanes=t)))
    for t in kernel.SIZES:
        out.append(Kind(f"csim-T{t}", t, lambda t=t: CsimDevice(t, memory_bytes=1 << 26)))
    out.append(Kind("csim-small3", kernel.SMALL.lanes, open_small))
    return out


def board_kinds() -> list[Kind]:
    pynq = importlib.import_module("pynq")
    designs = ("ultrascale",) if pynq.__version__ >= "4" else ("zynq", "ultrascale")
    return [Kind(f"board-{name}", 16, functools.partial(open_on_board, name)) for name in designs]


def open_on_board(design: str) -> HostDevice:
    from eftraind.accel.emu.opening import open_emulated

    work_dir = Path(tempfile.mkdtemp(prefix="eftraind-test-"))
    atexit.register(shutil.rmtree, work_dir)
    return open_emulated(design, work_dir=work_dir, clock=Clock(), cma_bytes=16 << 20)[0]


def open_small() -> CsimDevice:
    """The kernel with buffers so small that every map is cut, and 3 pixels an iteration."""
    return CsimDevice(kernel.SMALL.lanes, memory_bytes=1 << 26, library=small_library())


@functools.cache
def small_library() -> Path:
    library = Path(tempfile.mkdtemp(prefix="eftraind-test-")) / "small.so"
    atexit.register(shutil.rmtree, library.parent)
    kernel.build(library, kernel.TESTED["small3"])
    return library


@dataclass(frozen=True)
class Case:
    """A command without places, and the words of its operands."""

    command: Command
    operands: Mapping[str, npt.NDArray[Any]]

    def placed(self) -> Command:
        places = {name: Operand(SLOTS[name], GUARD_WORDS) for name in self.operands}
        return replace(self.command, **places)


def hypers(**changed: float) -> F32:
    """The words of `Hyper`: `hypers(RATE=0.1)`; clipping does not bite unless told."""
    words = np.zeros(len(Hyper), dtype=np.float32)
    plain = {"CLIP": np.inf, "BETA2": 0.999, "EPSILON": 1e-8, "CORRECTION1": 1, "CORRECTION2": 1}
    for name, value in {**plain, **changed}.items():
        words[Hyper[name]] = value
    return words


def noise(rng: np.random.Generator, *shape: int) -> F32:
    return rng.standard_normal(shape).astype(np.float32)


def guarded(words: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    guard = np.full(GUARD_WORDS, 0x7FC00BAD, dtype=np.uint32)  # a NaN: using one shows
    flat = np.ascontiguousarray(words).reshape(-1).view(np.uint32)
    return np.concatenate([guard, flat, guard])


def program_of(commands: list[Command], lanes: int) -> Program:
    needs = slot_needs(commands, lanes)
    return Program("case", lanes, tuple(commands), needs, ("layer",))


def prepare(device: HostDevice, case: Case) -> int:
    for name, words in case.operands.items():
        image = guarded(words)
        buffer = device.allocate(image.size)
        device.write(buffer, image)
        device.bind(SLOTS[name], buffer)
    return device.load(program_of([case.placed()], device.capabilities.lanes))


def image_of(device: HostDevice, case: Case) -> dict[str, npt.NDArray[np.uint32]]:
    out = {}
    for name, words in case.operands.items():
        size = 2 * GUARD_WORDS + np.asarray(words).size * np.asarray(words).itemsize // 4
        out[name] = device.read(device.bound(SLOTS[name]), 0, size, np.uint32)
    return out


def run(device: HostDevice, case: Case) -> dict[str, npt.NDArray[np.uint32]]:
    """The memory image after the command, guards included."""
    handle = prepare(device, case)
    nanoseconds = device.run(handle, 0, 1)
    assert nanoseconds.shape == (1,) and nanoseconds[0] >= 0
    return image_of(device, case)


def judge(kind: Kind, case: Case, written: tuple[str, ...] = ("dst",)) -> dict[str, F32]:
    """Same image as the definition: bit for bit outside `written`, to rounding inside."""
    expected = run(ReferenceDevice(kind.lanes), case)
    device = kind.open()
    try:
        found = run(device, case)
    finally:
        device.close()
    out = {}
    for name, before in case.operands.items():
        if name not in written:
            np.testing.assert_array_equal(found[name], guarded(before), err_msg=name)
            continue
        guard = guarded(before)[:GUARD_WORDS]
        np.testing.assert_array_equal(found[name][:GUARD_WORDS], guard)
        np.testing.assert_array_equal(found[name][-GUARD_WORDS:], guard)
        inside = slice(GUARD_WORDS, -GUARD_WORDS)
        want, have = expected[name][inside], found[name][inside]
        if np.asarray(before).dtype == np.float32:
            want, have = want.view(np.float32), have.view(np.float32)
            scale = float(np.abs(want[np.isfinite(want)]).max(initial=0.0))
            np.testing.assert_allclose(have, want, rtol=0, atol=2e-5 * scale + 1e-7)
        else:
            np.testing.assert_array_equal(have, want)
        out[name] = have
    return out


@dataclass(frozen=True)
class Window:
    """The geometry of a convolution or pooling; pads are equal at both ends."""

    images: int
    m: int
    n: int
    rows: int
    cols: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    lanes: int = 0
    """0: as many as T."""

    @property
    def out(self) -> tuple[int, int]:
        return (
            (self.rows + 2 * self.pad[0] - self.kernel[0]) // self.stride[0] + 1,
            (self.cols + 2 * self.pad[1] - self.kernel[1]) // self.stride[1] + 1,
        )

    def command(self, op: Any, flags: Any, t: int) -> Command:
        return Command(
            op,
            flags,
            images=self.images,
            m=self.m,
            n=self.n,
            rows_in=self.rows,
            cols_in=self.cols,
            rows_out=self.out[0],
            cols_out=self.out[1],
            kernel_rows=self.kernel[0],
            kernel_cols=self.kernel[1],
            stride_rows=self.stride[0],
            stride_cols=self.stride[1],
            pad_top=self.pad[0],
            pad_left=self.pad[1],
            lanes=self.lanes or t,
        )

    def x(self, rng: np.random.Generator, t: int) -> F32:
        plain = noise(rng, self.images, self.n, self.rows, self.cols)
        return pack_map(plain, t, self.lanes or t)

    def y(self, rng: np.random.Generator, t: int, channels: int = 0) -> F32:
        return pack_map(noise(rng, self.images, channels or self.m, *self.out), t)

    def weights(self, rng: np.random.Generator, t: int, *, bias: bool) -> F32:
        packed = pack_weights(noise(rng, self.m, self.n, *self.kernel), t, self.lanes or t).ravel()
        return np.concatenate([packed, pack_vector(noise(rng, self.m), t)]) if bias else packed

    def x_padding(self, t: int) -> npt.NDArray[np.bool_]:
        ones = np.ones((self.images, self.n, self.rows, self.cols), dtype=np.float32)
        return np.asarray(pack_map(ones, t, self.lanes or t).ravel() == 0)

    def y_padding(self, t: int, channels: int = 0) -> npt.NDArray[np.bool_]:
        ones = np.ones((self.images, channels or self.m, *self.out), dtype=np.float32)
        return np.asarray(pack_map(ones, t).ravel() == 0)

    def weights_padding(self, t: int, *, bias: bool) -> npt.NDArray[np.bool_]:
        ones = np.ones((self.m, self.n, *self.kernel), dtype=np.float32)
        packed = pack_weights(ones, t, self.lanes or t).ravel()
        if bias:
            packed = np.concatenate([packed, pack_vector(np.ones(self.m, np.float32), t)])
        return np.asarray(packed == 0)
