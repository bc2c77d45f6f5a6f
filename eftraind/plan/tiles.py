"""Tile geometry: how many words every map, weight block and operand of a command takes.

T is a property of the device. A channel dimension is cut into tiles of T lanes; the last tile is
padded with zero lanes. Only the network input may be narrower: with fewer than T channels its
pixels carry just enough lanes, a multiple of 4 (one 128-bit word), as in the EF-Train paper.
This module moves no data.
"""

from collections.abc import Iterable

from eftraind.errors import ProgramError
from eftraind.isa import Command, Flag, Op, Slot


def tiles(channels: int, t: int) -> int:
    """Number of channel tiles.

    >>> tiles(16, 16), tiles(20, 16), tiles(3, 16)
    (1, 2, 1)
    """
    return -(-channels // t)


def input_lanes(channels: int, t: int) -> int:
    """Channel lanes per pixel of the network input.

    >>> input_lanes(3, 16), input_lanes(1, 16), input_lanes(20, 16), input_lanes(7, 4)
    (4, 4, 16, 4)
    """
    return min(t, -(-channels // 4) * 4)


def map_words(channels: int, rows: int, cols: int, t: int, lanes: int | None = None) -> int:
    """Words of one image's map; `lanes` only for a narrow network input."""
    lanes = t if lanes is None else lanes
    return tiles(channels, t) * rows * cols * lanes


def sample_words(channels: int, rows: int, cols: int, t: int, *, u8: bool) -> int:
    """Words of one stored sample: one word a lane, or four lanes a word for uint8."""
    words = map_words(channels, rows, cols, t, input_lanes(channels, t))
    return words // 4 if u8 else words


def weight_words(m: int, n: int, kernel_rows: int, kernel_cols: int, lanes: int, t: int) -> int:
    """Words of a weight block: TxT tiles (lanes x T for a narrow input), without bias."""
    return tiles(m, t) * tiles(n, t) * kernel_rows * kernel_cols * lanes * t


def bias_words(m: int, t: int) -> int:
    """Words of a bias vector; it follows its weight block."""
    return tiles(m, t) * t


def _conv_words(c: Command, t: int) -> tuple[int, int, int]:
    """Words of input maps, output maps and weights (with bias) of a convolution."""
    x = c.images * map_words(c.n, c.rows_in, c.cols_in, t, c.lanes)
    y = c.images * map_words(c.m, c.rows_out, c.cols_out, t)
    w = weight_words(c.m, c.n, c.kernel_rows, c.kernel_cols, c.lanes, t)
    if c.flags & Flag.BIAS:
        w += bias_words(c.m, t)
    return x, y, w


def _pool_words(c: Command, t: int) -> tuple[int, int]:
    return (
        c.images * map_words(c.n, c.rows_in, c.cols_in, t, c.lanes),
        c.images * map_words(c.n, c.rows_out, c.cols_out, t),
    )


def extents(c: Command, t: int) -> dict[str, int]:
    """Words that a command touches from each operand's offset on (LOAD's src: of one sample).

    Raises ProgramError for an operation without a formula: it never counts as zero.
    """
    if c.op is Op.LOAD:
        x = map_words(c.n, c.rows_in, c.cols_in, t, c.lanes)
        sample = x // 4 if c.flags & Flag.U8 else x
        scale_shift = 2 * tiles(c.n, t) * c.lanes
        return {"src": sample, "weights": scale_shift, "dst": c.images * x, "aux": c.images}
    if c.op is Op.CONV_FP:
        x, y, w = _conv_words(c, t)
        return {"src": x, "weights": w, "dst": y}
    if c.op is Op.CONV_BP:
        x, y, w = _conv_words(c, t)
        return {"src": y, "weights": w, "dst": x, "aux": x if c.flags & Flag.MASK else 0}
    if c.op is Op.CONV_WU:
        x, y, w = _conv_words(c, t)
        return {"src": x, "aux": y, "dst": w}
    if c.op is Op.POOL_FP:
        x, y = _pool_words(c, t)
        return {"src": x, "dst": y}
    if c.op is Op.POOL_BP:
        x, y = _pool_words(c, t)
        return {"src": y, "aux": x, "dst": x}
    if c.op is Op.LOSS:
        logits = c.images * map_words(c.m, 1, 1, t)
        return {"src": logits, "dst": logits, "aux": c.images, "extra": 2 * c.images}
    if c.op is Op.UPDATE:
        return {"src": c.count, "dst": c.count, "extra": c.count, "aux": 3}
    if c.op is Op.COPY:
        return {"src": c.count, "dst": c.count}
    raise ProgramError(f"no extent formula for {c.op!r}", remedy="extend plan.tiles.extents")


def slot_needs(commands: Iterable[Command], t: int) -> dict[Slot, int]:
    """Words touched in each slot (a LOAD's sample indices are data: devices check them)."""
    needs: dict[Slot, int] = {}
    for command in commands:
        for name, words in extents(command, t).items():
            operand = getattr(command, name)
            if words:
                needs[operand.slot] = max(needs.get(operand.slot, 0), operand.offset + words)
    return needs
