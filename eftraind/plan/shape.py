"""A convolution command seen from the array: lanes out, lanes in, maps, taps, rows of a tile.

FP, BP and WU are one nest of loops with the roles of the maps exchanged; this module does the
exchange. It counts, and knows neither time nor buffers.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from eftraind.isa import Command, Op
from eftraind.plan.design import Design
from eftraind.plan.runs import Runs, counted


@dataclass(frozen=True)
class Line:
    """One dimension of a tile: how many rows (or columns) of the source it reads, and how many of
    each stride phase it computes."""

    loaded: int
    by_phase: tuple[int, ...]

    @property
    def outs(self) -> int:
        return sum(self.by_phase)


@dataclass(frozen=True)
class Area:
    """The rows and columns of a tile."""

    rows: Line
    cols: Line

    @property
    def loaded(self) -> int:
        """Pixels of the source map."""
        return self.rows.loaded * self.cols.loaded

    @property
    def outs(self) -> int:
        """Pixels of the map that is walked."""
        return self.rows.outs * self.cols.outs

    def words(self, pixels: int) -> int:
        """Of an output buffer that holds it, `pixels` of a row and stride phase each: what the
        array takes in an iteration."""
        return self.rows.outs * row_words(self.cols.outs, len(self.cols.by_phase), pixels)


@dataclass(frozen=True)
class ConvShape:
    """`out` is the map that the array walks, `source` the one it reads windows from.

    WU walks dy and reads windows of x, as FP does. BP walks dx and reads dy; through a stride s
    it takes the pixels of each of the s x s phases apart, since each phase meets other taps.
    """

    images: int
    out_channels: int
    in_channels: int
    out_rows: int
    out_cols: int
    in_rows: int
    in_cols: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    backwards: bool
    depthwise: bool
    lanes: int
    """Channel lanes of a pixel of the forward input: below T only for the network's input."""

    @classmethod
    def of(cls, c: Command) -> "ConvShape":
        backwards = c.op is Op.CONV_BP
        out = (c.m, c.rows_out, c.cols_out)
        source = (c.n, c.rows_in, c.cols_in)
        if backwards:
            out, source = source, out
        return cls(
            c.images, out[0], source[0], out[1], out[2], source[1], source[2],
            (c.kernel_rows, c.kernel_cols), (c.stride_rows, c.stride_cols),
            (c.pad_top, c.pad_left), backwards, c.groups > 1, c.lanes,
        )  # fmt: skip

    def row_taps(self) -> tuple[int, ...]:
        """Kernel rows that a row of each phase meets."""
        return _phase_taps(self.kernel[0], self.stride[0]) if self.backwards else self.kernel[:1]

    def col_taps(self) -> tuple[int, ...]:
        return _phase_taps(self.kernel[1], self.stride[1]) if self.backwards else self.kernel[1:]

    def fold(self, design: Design) -> int:
        """Taps of a kernel row that narrow pixels bring into the array's input lanes together."""
        narrow = self.lanes < design.t and not self.backwards and design.traits.folds
        return design.array_n // self.lanes if narrow else 1

    def taps(self, design: Design) -> int:
        """Words a weight bank holds for one tile."""
        return self.kernel[0] * -(-self.kernel[1] // self.fold(design))


def row_words(outs: int, stride: int, pixels: int) -> int:
    """Words of an output buffer that a row takes: pixels of one stride phase lie side by side."""
    sets = min(stride, outs)
    return sets * -(-outs // (sets * pixels))


def _phase_taps(kernel: int, stride: int) -> tuple[int, ...]:
    """Row x + pad = phase (mod stride) meets the taps k = phase (mod stride)."""
    return tuple(len(range(phase, kernel, stride)) for phase in range(stride))


def _by_phase(first: int, count: int, stride: int, pad: int) -> tuple[int, ...]:
    phases = Counter((line + pad) % stride for line in range(first, first + count))
    return tuple(phases[phase] for phase in range(stride))


@lru_cache(maxsize=4096)
def areas(shape: ConvShape, rows: int, cols: int) -> Runs[Area]:
    """The tiles of an image, row by row, equal neighbours counted."""
    lines = _lines(shape, 0, rows)
    across = _lines(shape, 1, cols)
    if len(across) == 1:
        return counted([Area(line, across[0]) for line in lines])
    return counted([Area(line, column) for line in lines for column in across])


def _lines(shape: ConvShape, axis: int, size: int) -> list[Line]:
    """One dimension, cut into parts of `size`."""
    stride, kernel, pad = shape.stride[axis], shape.kernel[axis], shape.pad[axis]
    whole = (shape.out_rows, shape.out_cols)[axis]
    source = (shape.in_rows, shape.in_cols)[axis]
    lines = []
    for first in range(0, whole, size):
        outs = min(size, whole - first)
        if shape.backwards:
            low = -((kernel - 1 - pad - first) // stride)
            high = (first + outs - 1 + pad) // stride + 1
            phases = _by_phase(first, outs, stride, pad)
        else:
            low = first * stride - pad
            high = (first + outs - 1) * stride + kernel - pad
            phases = (outs,)
        lines.append(Line(max(0, min(source, high) - max(0, low)), phases))
    return lines
