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
from eftraind.isa import Command, Flag, Op, Program, Slot
from eftraind.plan.build import Build
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
    build: Build | None = None
    """What our kernel was built with; None: another device."""
    clocked: bool = False
    """The build's clock is real: predictions in its cycles need no measurement."""
    memory_bytes: int = 0
    """All buffers together may take so much; 0: no limit but the machine's."""


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
    if c.op in (Op.UPDATE, Op.COPY, Op.NORM):
        if c.count <= 0:
            refuse(f"count {c.count}")
        return
    if c.images <= 0:
        refuse(f"{c.images} images")
    if c.op is Op.LOSS:
        if c.m <= 0 or c.count <= 0:
            refuse(f"{c.m} classes, divisor {c.count}")
        return
    for cause, holds in _conditions(c, lanes).items():
        if not holds:
            refuse(cause)


def _conditions(c: Command, lanes: int) -> dict[str, bool]:
    """What must hold for a command on maps, by the complaint if it does not."""
    conv = c.op in (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU)
    narrow = c.lanes == input_lanes(c.n, lanes) and c.n <= lanes
    may_be_narrow = c.op in (Op.LOAD, Op.CONV_FP, Op.CONV_WU, Op.POOL_FP)
    sizes: tuple[int, ...] = (c.n, c.rows_in, c.cols_in)
    if c.op is not Op.LOAD:
        sizes += (c.rows_out, c.cols_out, c.kernel_rows, c.kernel_cols)
    positive = min(sizes) > 0
    conditions = {
        f"sizes {sizes}": positive,
        "stride or padding out of range": min(c.stride_rows, c.stride_cols) > 0
        and min(c.pad_top, c.pad_left) >= 0,
        f"{c.m} output channels": c.m > 0 or not conv,
        f"{c.groups} groups of {c.n} and {c.m} channels": c.groups == 1
        or (conv and c.groups == c.n == c.m),
        f"{c.lanes} lanes for {c.n} channels at T = {lanes}": c.lanes == lanes
        or (narrow and may_be_narrow),
        f"channels {c.axis}..{c.axis + c.n} of {c.m}": c.op not in (Op.CONCAT_FP, Op.CONCAT_BP)
        or 0 <= c.axis <= c.m - c.n,
        f"a step with {(c.flags & (Flag.ACCUMULATE | Flag.ADAM)).name}": not c.flags & Flag.STEP
        or (c.op is Op.CONV_WU and not c.flags & (Flag.ACCUMULATE | Flag.ADAM)),
        f"dropout rate {c.scalar}": c.op not in (Op.DROP_FP, Op.DROP_BP) or 0 <= c.scalar < 1,
    }
    if c.op is not Op.LOAD:
        rows = (c.rows_out - 1) * c.stride_rows - c.pad_top
        cols = (c.cols_out - 1) * c.stride_cols - c.pad_left
        conditions["an output row lies wholly outside its input"] = rows < c.rows_in
        conditions["an output column lies wholly outside its input"] = cols < c.cols_in
    return conditions
