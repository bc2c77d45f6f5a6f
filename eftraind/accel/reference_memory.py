"""How the reference device sees memory: a command's operands as plain arrays, and back.

Knows the tiled layout and the rules that all backward commands share; computes no layer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eftraind.graph import Shape
from eftraind.isa import Command, Flag, Operand, Slot
from eftraind.nn import pointwise
from eftraind.plan.reshape import pack_map, pack_vector, unpack_map
from eftraind.plan.tiles import bias_words, map_words, tiles

F32 = npt.NDArray[np.float32]


class Window(NamedTuple):
    """A command's sweep over a map, as `nn.ops` takes it."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]


def window(c: Command) -> Window:
    return Window(
        (c.kernel_rows, c.kernel_cols), (c.stride_rows, c.stride_cols), (c.pad_top, c.pad_left)
    )


def activation(flags: Flag) -> str:
    """The activation that flags name, as `nn.pointwise` calls it."""
    if flags & Flag.RELU6:
        return "relu6"
    if flags & Flag.LEAKY:
        return "leaky"
    return "relu" if flags & Flag.RELU else "none"


class Memory:
    """The buffers bound now, read and written by operand."""

    def __init__(self, lanes: int, buffer: Callable[[Slot], npt.NDArray[np.uint32]]) -> None:
        self.t = lanes
        self._buffer = buffer

    def words(self, place: Operand, count: int) -> F32:
        """A view: writing to it writes to memory."""
        return self.rest(place)[:count].view(np.float32)

    def rest(self, place: Operand) -> npt.NDArray[np.uint32]:
        """All words from a place on, a view."""
        return self._buffer(place.slot)[place.offset :]

    def map(self, place: Operand, images: int, shape: Shape, lanes: int = 0) -> F32:
        """[images, channels, rows, cols], a copy without padded lanes."""
        lanes = lanes or self.t
        words = self.words(place, images * map_words(*shape, self.t, lanes))
        packed = words.reshape(images, tiles(shape[0], self.t), *shape[1:], lanes)
        return unpack_map(packed, shape[0])

    def store(self, place: Operand, x: F32, lanes: int = 0) -> None:
        """The inverse of `map`: padded lanes become 0."""
        packed = pack_map(x, self.t, lanes or self.t).ravel()
        self.words(place, packed.size)[:] = packed

    def x(self, c: Command, place: Operand) -> F32:
        """A map of the size of the command's input."""
        return self.map(place, c.images, (c.n, c.rows_in, c.cols_in), c.lanes)

    def vectors(self, place: Operand, count: int, channels: int) -> list[F32]:
        """`count` vectors of one lane a channel, copies without padded lanes."""
        step = bias_words(channels, self.t)
        return [self.words(place.plus(i * step), channels).copy() for i in range(count)]

    def store_vectors(self, place: Operand, *vectors: F32, add: bool = False) -> None:
        """The inverse of `vectors`; padded lanes become 0, or stay if it adds."""
        packed = np.concatenate([pack_vector(v, self.t) for v in vectors])
        self.deposit(place, packed, add=add)

    def deposit(self, place: Operand, words: F32, *, add: bool) -> None:
        target = self.words(place, words.size)
        target[:] = target + words if add else words

    def activated(self, c: Command, place: Operand, y: F32) -> None:
        """Store a forward command's output."""
        self.store(place, pointwise.activate(y, activation(c.flags), c.scalar))

    def backward(self, c: Command, dx: F32) -> None:
        """Store a backward command's result by the rules of MASK and ACCUMULATE."""
        if c.flags & Flag.MASK:
            kind = activation(c.flags)
            kind = "relu" if kind == "none" else kind
            dx = pointwise.undone(dx, self.x(c, c.aux), kind, c.scalar)
        if c.flags & Flag.ACCUMULATE:
            dx = self.x(c, c.dst) + dx
        self.store(c.dst, dx, c.lanes)
