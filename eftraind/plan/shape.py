"""A convolution command seen from the array: lanes out, lanes in, maps, taps, rows of a tile.

FP, BP and WU are one nest of loops with the roles of the maps exchanged; this module does the
exchange. It counts, and knows neither time nor buffers.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from eftraind.isa import Command, Op
from eftraind.plan.design import Design


@dataclass(frozen=True)
class RowTile:
    """Rows of one tile: how many are loaded, and how many of each stride phase are computed."""

    loaded: int
    by_phase: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.by_phase)


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

    def cols_by_phase(self) -> tuple[int, ...]:
        if not self.backwards:
            return (self.out_cols,)
        return _by_phase(0, self.out_cols, self.stride[1], self.pad[1])

    def fold(self, design: Design) -> int:
        """Taps of a kernel row that narrow pixels bring into the array's input lanes together."""
        narrow = self.lanes < design.t and not self.backwards and design.traits.folds
        return max(1, min(self.kernel[1], design.array_n // self.lanes)) if narrow else 1

    def taps(self, design: Design) -> int:
        """Words a weight bank holds for one tile."""
        return self.kernel[0] * -(-self.kernel[1] // self.fold(design))


def _phase_taps(kernel: int, stride: int) -> tuple[int, ...]:
    """Row x + pad = phase (mod stride) meets the taps k = phase (mod stride)."""
    return tuple(len(range(phase, kernel, stride)) for phase in range(stride))


def _by_phase(first: int, count: int, stride: int, pad: int) -> tuple[int, ...]:
    phases = Counter((line + pad) % stride for line in range(first, first + count))
    return tuple(phases[phase] for phase in range(stride))


@lru_cache(maxsize=4096)
def row_tiles(shape: ConvShape, tr: int) -> tuple[tuple[RowTile, int], ...]:
    """The row tiles of an image from top to bottom, equal neighbours counted."""
    runs: list[tuple[RowTile, int]] = []
    stride, kernel, pad = shape.stride[0], shape.kernel[0], shape.pad[0]
    for first in range(0, shape.out_rows, tr):
        rows = min(tr, shape.out_rows - first)
        if shape.backwards:
            low = -((kernel - 1 - pad - first) // stride)
            high = (first + rows - 1 + pad) // stride + 1
            phases = _by_phase(first, rows, stride, pad)
        else:
            low = first * stride - pad
            high = (first + rows - 1) * stride + kernel - pad
            phases = (rows,)
        loaded = max(0, min(shape.in_rows, high) - max(0, low))
        tile = RowTile(loaded, phases)
        if runs and runs[-1][0] == tile:
            runs[-1] = (tile, runs[-1][1] + 1)
        else:
            runs.append((tile, 1))
    return tuple(runs)
