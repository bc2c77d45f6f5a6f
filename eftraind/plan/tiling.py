"""How the kernel cuts a convolution into tiles, by its own rule; a design only sets the buffers.

The tile is the widest, then the tallest of equal ones that the buffers hold; whole maps share a
tile if they are small. Weights stay on chip for as many output tiles as fit. Counts, no time.
"""

import math
from dataclasses import dataclass

from eftraind.errors import ConfigError
from eftraind.isa import Command, Op
from eftraind.plan.design import PASSES, Design
from eftraind.plan.outcome import Tile
from eftraind.plan.shape import ConvShape, row_words
from eftraind.plan.tiles import tiles


@dataclass(frozen=True)
class Tiling:
    """Tr x Tc pixels of `images` images at a time; weights of `group` output tiles stay."""

    images: int
    rows: int
    cols: int
    group: int
    """Array-wide output tiles; their number if weights do not stay."""
    stays: bool
    rounds: int
    """Visits until all weights are in their buffers; 2 if an odd number takes turns in both."""

    def tile(self, design: Design) -> Tile:
        """As reports show it."""
        m_on = self.group * design.array_m if self.stays else 0
        return Tile(design.array_m, design.array_n, self.rows, self.cols, m_on)


def tiling_of(c: Command, design: Design) -> Tiling:
    """Raises ConfigError, with the need and the budget, if the buffers cannot hold a window."""
    shape = ConvShape.of(c)
    rows, cols = _size(shape, design)
    if rows == 0:
        window = _along(shape, design, 0, 1) * _along(shape, design, 1, 1)
        raise ConfigError(
            f"one window takes {window} pixels of a feature buffer, the design has "
            f"{design.feature_depth}",
            remedy="take deeper buffers",
        )
    images = 1
    if (rows, cols) == (shape.out_rows, shape.out_cols) and design.traits.shares:
        area = _along(shape, design, 0, rows) * _along(shape, design, 1, cols)
        words = rows * _row_words(shape, design, cols)
        fit = min(design.feature_depth // area, design.output_words // words)
        images = _even(shape.images, max(1, min(shape.images, fit)))
    if design.traits.splits:
        rows, images = _split(shape, design, rows, cols, images)
    taps = shape.taps(design)
    need = taps * partial_sums(taps + 1, design) + 1 if c.op is Op.CONV_WU else taps
    if need > design.weight_tiles:
        raise ConfigError(
            f"{taps} taps take {need} places of a weight buffer; the design has "
            f"{design.weight_tiles}",
            remedy="take deeper weight buffers",
        )
    rows_out, room = (taps + 1) * design.array_n, design.output_words * design.pixels
    if c.op is Op.CONV_WU and not design.traits.straight and rows_out > room:
        raise ConfigError(
            f"the gradient of {taps} taps takes {rows_out} places of an output buffer; the design "
            f"has {room}",
            remedy="take deeper output buffers",
        )
    group, stays, rounds = _group(shape, taps, design)
    return Tiling(images, rows, cols, group, stays, rounds)


def _split(shape: ConvShape, design: Design, rows: int, cols: int, images: int) -> tuple[int, int]:
    """Fewer images, or rows of one image, a pass, if there would be too few passes."""
    outs = -(-shape.out_channels // design.array_m)
    ins = 1 if shape.depthwise else -(-shape.in_channels // design.array_n)
    areas = -(-shape.out_rows // rows) * -(-shape.out_cols // cols)
    passes = outs * ins * areas * -(-shape.images // images)
    if passes >= PASSES:
        return rows, images
    pieces = -(-PASSES // passes)
    if images > 1:
        return rows, _even(shape.images, -(-images // pieces))
    return _even(shape.out_rows, -(-rows // pieces)), images


def partial_sums(taps: int, design: Design) -> int:
    """Partial sums of each gradient of WU, a power of two, so that none is met too soon."""
    number = 1
    while number * taps < design.revisit:
        number *= 2
    return number


def _size(shape: ConvShape, design: Design) -> tuple[int, int]:
    """Rows and columns of a tile: as many columns as one row of the buffers holds, then as many
    rows. (0, 0): not even one pixel fits."""
    room_in, room_out = design.feature_depth, design.output_words
    stride = _undone(shape)
    widest = room_out // stride * stride * design.pixels if room_out >= stride else room_out
    cols = min(widest, _fitting(shape, design, 1, room_in // _along(shape, design, 0, 1)))
    if cols == 0:
        return 0, 0
    cols = _even(shape.out_cols, cols)
    rows = min(
        room_out // _row_words(shape, design, cols),
        _fitting(shape, design, 0, room_in // _along(shape, design, 1, cols)),
    )
    return (_even(shape.out_rows, rows), cols) if rows else (0, 0)


def _undone(shape: ConvShape) -> int:
    """The stride whose phases lie apart in an output buffer."""
    return shape.stride[1] if shape.backwards else 1


def _row_words(shape: ConvShape, design: Design, cols: int) -> int:
    return row_words(cols, _undone(shape), design.pixels)


def _along(shape: ConvShape, design: Design, axis: int, outs: int) -> int:
    """Rows (columns) of the source that `outs` of them need at most."""
    stride, most = shape.stride[axis], (shape.in_rows, shape.in_cols)[axis]
    reach = _reach(shape, design, axis)
    if shape.backwards:
        return min(most, (outs + reach - 2) // stride + 1)
    need = (outs - 1) * stride + reach
    return need if _folded(shape, design, axis) else min(most, need)


def _fitting(shape: ConvShape, design: Design, axis: int, room: int) -> int:
    """The most rows (columns) whose sources fit a room of so many."""
    stride, reach = shape.stride[axis], _reach(shape, design, axis)
    whole, most = (shape.out_rows, shape.out_cols)[axis], (shape.in_rows, shape.in_cols)[axis]
    if most <= room and not _folded(shape, design, axis):
        return whole
    fit = room * stride - reach + 1 if shape.backwards else (room - reach) // stride + 1
    return max(0, min(whole, fit))


def _reach(shape: ConvShape, design: Design, axis: int) -> int:
    """From the first to the last pixel that the taps of one pixel start at. Folded taps lie in the
    lanes of the first of them."""
    if not _folded(shape, design, axis):
        return shape.kernel[axis]
    fold = shape.fold(design)
    return (-(-shape.kernel[axis] // fold) - 1) * fold + 1


def _folded(shape: ConvShape, design: Design, axis: int) -> bool:
    return axis == 1 and shape.fold(design) > 1


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
