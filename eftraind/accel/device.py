"""The contract of a device: buffers, slot table, programs, and what every command must satisfy.

Buffers are allocated once and never freed while a device runs. A device checks each command against
the buffers bound before it touches memory, and reports each command's time. It knows no network and
starts no training by itself. One thread owns a device.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eftraind.errors import ProgramError
from eftraind.isa import Command, Op, Program, Slot
from eftraind.plan.tiles import input_lanes

Nanoseconds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Capabilities:
    """What a device is and can do."""

    name: str
    lanes: int
    """T: channel lanes of a tile."""
    threads: int
    ops: frozenset[Op]
    detail: str
    """Instruction set or bitstream, for logs and metrics."""
    isa_digest: int


class Device(Protocol):
    """Six verbs. Offsets and sizes are in 32-bit words."""

    @property
    def capabilities(self) -> Capabilities: ...

    def allocate(self, size_words: int) -> int:
        """A zeroed buffer; returns its number."""

    def bind(self, slot: Slot, buffer: int) -> None:
        """Write one entry of the slot table: the whole of a hot swap."""

    def bound(self, slot: Slot) -> int:
        """The buffer that a slot names. Raises ProgramError if there is none."""

    def write(self, buffer: int, data: npt.NDArray[Any], offset: int = 0) -> None:
        """Copy an array of 4-byte items to a buffer."""

    def write_rows(self, buffer: int, rows: npt.NDArray[Any], data: npt.NDArray[Any]) -> None:
        """data[i] becomes row rows[i] of a buffer seen as rows of data.shape[1] words."""

    def read(self, buffer: int, offset: int, count: int, dtype: Any = np.float32) -> Any:
        """A copy of `count` words as `dtype` (4-byte)."""

    def load(self, program: Program) -> int:
        """Check and keep a program; returns its handle. Raises ProgramError."""

    def run(self, handle: int, first: int, count: int) -> Nanoseconds:
        """Run commands [first, first + count); returns each one's nanoseconds.

        Raises ProgramError (a command that leaves its buffers) or NonFiniteError.
        """

    def close(self) -> None: ...


def check_command(command: Command, lanes: int, ops: frozenset[Op]) -> None:
    """Raise ProgramError for a command that no buffer could make right."""

    def refuse(cause: str) -> None:
        raise ProgramError(
            f"command {command.op.name} of layer {command.layer}: {cause}",
            remedy="compile the network again for this device",
        )

    c = command
    if c.op not in ops:
        refuse("this device does not implement it")
    if c.op in (Op.UPDATE, Op.COPY):
        if c.count <= 0:
            refuse(f"count {c.count}")
        return
    if c.images <= 0:
        refuse(f"{c.images} images")
    if c.op is Op.LOSS:
        if c.m <= 0 or c.count <= 0:
            refuse(f"{c.m} classes, divisor {c.count}")
        return
    sizes: tuple[int, ...] = (c.n, c.rows_in, c.cols_in)
    if c.op is not Op.LOAD:
        sizes += (c.rows_out, c.cols_out, c.kernel_rows, c.kernel_cols)
        if c.stride_rows <= 0 or c.stride_cols <= 0 or c.pad_top < 0 or c.pad_left < 0:
            refuse("stride or padding out of range")
        if (c.rows_out - 1) * c.stride_rows - c.pad_top >= c.rows_in:
            refuse("an output row lies wholly outside its input")
        if (c.cols_out - 1) * c.stride_cols - c.pad_left >= c.cols_in:
            refuse("an output column lies wholly outside its input")
    if min(sizes) <= 0:
        refuse(f"sizes {sizes}")
    if c.op in (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU) and c.m <= 0:
        refuse(f"{c.m} output channels")
    narrow = input_lanes(c.n, lanes)
    backward = c.op in (Op.CONV_BP, Op.POOL_BP)
    if c.lanes != lanes and (c.lanes != narrow or c.n > lanes or backward):
        refuse(f"{c.lanes} lanes for {c.n} channels at T = {lanes}")


UPDATE_HYPERS = ("learning_rate", "momentum", "weight_decay")
"""Order of the words that UPDATE reads at `aux`."""
