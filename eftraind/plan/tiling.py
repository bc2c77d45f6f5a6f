"""How the kernel cuts a convolution into tiles, by its own rule; a design only sets the buffers.

The tile is the tallest of equal ones that the buffers hold; whole maps share a tile if they are
small. Weights stay on chip for as many output tiles as fit. Counts, no time.
"""

import math
from dataclasses import dataclass

from eftraind.errors import ConfigError
from eftraind.isa import Command, Op
from eftraind.plan.design import Design
from eftraind.plan.outcome import Tile
from eftraind.plan.shape import ConvShape
from eftraind.plan.tiles import tiles


@dataclass(frozen=True)
class Tiling:
    """Tr rows of `images` images at a time; weights of `group` output tiles stay together."""

    images: int
    rows: int
    group: int
    """Array-wide output tiles; their number if weights do not stay."""
    stays: bool
    rounds: int
    """Visits until all weights are in their buffers; 2 if an odd number takes turns in both."""

    def tile(self, design: Design, shape: ConvShape) -> Tile:
        """As reports show it."""
        m_on = self.group * design.array_m if self.stays else 0
        return Tile(design.array_m, design.array_n, self.rows, shape.out_cols, m_on)


def tiling_of(c: Command, design: Design) -> Tiling:
    """Raises ConfigError, with the need and the budget, if the buffers cannot hold one row."""
    shape = ConvShape.of(c)
    rows = _rows(shape, design)
    if rows == 0:
        wide = _inputs(shape, 1)
        raise ConfigError(
            f"one row of {shape.out_cols} pixels takes {wide} pixels of a feature buffer and "
            f"{shape.out_cols} of an output buffer; the design has {design.feature_depth} and "
            f"{design.output_depth}",
            remedy="take deeper buffers",
        )
    images = 1
    if rows == shape.out_rows and design.traits.shares:
        area, out = _inputs(shape, rows), rows * shape.out_cols
        fit = min(shape.images, design.feature_depth // area, design.output_depth // out)
        images = _even(shape.images, max(1, fit))
    taps = shape.taps(design)
    need = taps * partial_sums(taps + 1, design) + 1 if c.op is Op.CONV_WU else taps
    if need > design.weight_tiles:
        raise ConfigError(
            f"{taps} taps take {need} places of a weight buffer; the design has "
            f"{design.weight_tiles}",
            remedy="take deeper weight buffers",
        )
    group, stays, rounds = _group(shape, taps, design)
    return Tiling(images, rows, group, stays, rounds)


def partial_sums(taps: int, design: Design) -> int:
    """Partial sums of each gradient of WU, a power of two, so that none is met too soon."""
    number = 1
    while number * taps < design.revisit:
        number *= 2
    return number


def in_cols(shape: ConvShape) -> int:
    """Columns of the source map that some pixel meets."""
    if shape.backwards:
        return shape.in_cols
    kernel, stride, pad = shape.kernel[1], shape.stride[1], shape.pad[1]
    return min(shape.in_cols, (shape.out_cols - 1) * stride + kernel - pad)


def _inputs(shape: ConvShape, rows: int) -> int:
    """Pixels of the source map that `rows` whole output rows need at most."""
    return _along(shape, 0, rows, shape.in_rows) * _along(shape, 1, shape.out_cols, shape.in_cols)


def _along(shape: ConvShape, axis: int, outs: int, most: int) -> int:
    kernel, stride = shape.kernel[axis], shape.stride[axis]
    if shape.backwards:
        return min(most, (outs + kernel - 2) // stride + 1)
    return min(most, (outs - 1) * stride + kernel)


def _rows(shape: ConvShape, design: Design) -> int:
    """Rows of a tile; 0 if not even one fits."""
    fit = min(shape.out_rows, design.output_depth // shape.out_cols)
    while fit and _inputs(shape, fit) > design.feature_depth:
        fit -= 1
    return _even(shape.out_rows, fit) if fit else 0


def _even(whole: int, part: int) -> int:
    """The largest of as many equal parts, none above `part`."""
    return -(-whole // -(-whole // part))


def _group(shape: ConvShape, taps: int, design: Design) -> tuple[int, bool, int]:
    """Passes use the two weight buffers by turns. An even number of visits finds each weight in
    the same buffer again; with an odd one both buffers hold all weights."""
    out = math.ceil(tiles(shape.out_channels, design.t) * design.t / design.array_m)
    wide = math.ceil(tiles(shape.in_channels, design.t) * design.t / design.array_n)
    per_tile = 1 if shape.depthwise else wide
    room = design.weight_tiles // taps
    group = min(out, max(1, 2 * room // per_tile))
    if group > 1 and not _stays(group * per_tile, room):
        group -= 1
    if not _stays(group * per_tile, room):
        return out, False, 1
    return group, True, 1 + (group * per_tile) % 2


def _stays(visits: int, room: int) -> bool:
    return visits <= (2 * room if visits % 2 == 0 else room)
