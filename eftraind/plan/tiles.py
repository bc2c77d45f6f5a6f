"""Tile geometry: how many words every map, weight block and operand of a command takes.

T is a property of the device. A channel dimension is cut into tiles of T lanes; the last tile is
padded with zero lanes. Only the network input may be narrower: with fewer than T channels its
pixels carry just enough lanes, a multiple of 4 (one 128-bit word), as in the EF-Train paper.
This module moves no data.
"""

from collections.abc import Callable, Iterable

from eftraind.errors import ProgramError
from eftraind.isa import Command, Flag, Hyper, Op, Slot


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


def conv_weight_words(c: Command, t: int) -> int:
    """Words of a convolution's weights, without bias; depthwise has one lane per channel."""
    if c.groups > 1:
        return tiles(c.m, t) * c.kernel_rows * c.kernel_cols * t
    return weight_words(c.m, c.n, c.kernel_rows, c.kernel_cols, c.lanes, t)


def _maps(c: Command, t: int) -> tuple[int, int]:
    """Words of the input and the output maps of a command, all images."""
    x = c.images * map_words(c.n, c.rows_in, c.cols_in, t, c.lanes)
    return x, c.images * map_words(c.m, c.rows_out, c.cols_out, t)


def _conv(c: Command, t: int) -> dict[str, int]:
    x, y = _maps(c, t)
    w = conv_weight_words(c, t)
    if c.flags & Flag.BIAS:
        w += bias_words(c.m, t)
    if c.op is Op.CONV_FP:
        return {"src": x, "weights": w, "dst": y}
    if c.op is Op.CONV_BP:
        return {"src": y, "weights": w, "dst": x, "aux": x if c.flags & Flag.MASK else 0}
    if c.flags & Flag.STEP:
        return {"src": x, "aux": y, "dst": w, "extra": w, "weights": int(Hyper.CORRECTION2) + 1}
    return {"src": x, "aux": y, "dst": w}


def _pool(c: Command, t: int) -> dict[str, int]:
    x = c.images * map_words(c.n, c.rows_in, c.cols_in, t, c.lanes)
    y = c.images * map_words(c.n, c.rows_out, c.cols_out, t)
    if c.op in (Op.POOL_FP, Op.AVG_FP):
        return {"src": x, "dst": y}
    needs_x = c.op is Op.POOL_BP or c.flags & Flag.MASK
    return {"src": y, "aux": x if needs_x else 0, "dst": x}


def _norm(c: Command, t: int) -> dict[str, int]:
    """Batch normalisation: maps of n channels, vectors of one lane a channel."""
    x = c.images * map_words(c.n, c.rows_in, c.cols_in, t)
    vector = bias_words(c.n, t)
    if c.op is Op.BN_STAT:
        named = c.dst.slot != Slot.NONE
        source = 0 if c.flags & Flag.FROZEN else x
        return {
            "src": source,
            "dst": 2 * vector if named else 0,
            "extra": 2 * vector,
            "aux": 1 if named else 0,
        }
    if c.op is Op.BN_FP:
        return {"src": x, "weights": 2 * vector, "aux": 2 * vector, "dst": x}
    if c.op is Op.BN_SUM:
        return {
            "src": x,
            "aux": x,
            "extra": 4 * vector,
            "dst": 2 * vector if c.dst.slot != Slot.NONE else 0,
        }
    return {"src": x, "weights": 2 * vector, "aux": x, "extra": 4 * vector, "dst": x}


def _pointwise(c: Command, t: int) -> dict[str, int]:
    """Add, pass, concat, dropout."""
    x = c.images * map_words(c.n, c.rows_in, c.cols_in, t)
    whole = c.images * map_words(c.m, c.rows_in, c.cols_in, t)
    masked = x if c.flags & Flag.MASK else 0
    return {
        Op.ADD_FP: {"src": x, "aux": x, "dst": x},
        Op.BIAS_WU: {"src": x, "dst": bias_words(c.n, t)},
        Op.PASS_BP: {"src": x, "aux": masked, "dst": x},
        Op.CONCAT_FP: {"src": x, "dst": whole},
        Op.CONCAT_BP: {"src": whole, "aux": masked, "dst": x},
        Op.DROP_FP: {"src": x, "aux": 1, "dst": x},
        Op.DROP_BP: {"src": x, "aux": masked, "extra": 1, "dst": x},
    }[c.op]


def _load(c: Command, t: int) -> dict[str, int]:
    x = map_words(c.n, c.rows_in, c.cols_in, t, c.lanes)
    sample = x // 4 if c.flags & Flag.U8 else x
    vectors = 2 * tiles(c.n, t) * c.lanes
    return {"src": sample, "weights": vectors, "dst": c.images * x, "aux": c.images}


def _loss(c: Command, t: int) -> dict[str, int]:
    logits = c.images * map_words(c.m, 1, 1, t)
    weights = bias_words(c.m, t) + 1 if c.weights.slot != Slot.NONE else 0
    return {
        "src": logits,
        "dst": logits,
        "aux": c.images,
        "extra": 2 * c.images,
        "weights": weights,
    }


def _words(c: Command, t: int) -> dict[str, int]:
    """Commands on plain words."""
    if c.op is Op.NORM:
        return {"src": c.count, "dst": 1}
    if c.op is Op.COPY:
        return {"src": c.count, "dst": c.count}
    second = c.axis if c.flags & Flag.ADAM else 0
    clips = 1 if c.weights.slot != Slot.NONE else 0
    return {
        "src": c.count,
        "dst": c.count,
        "extra": c.count + second,
        "weights": clips,
        "aux": int(Hyper.CORRECTION2) + 1,
    }


_FORMULAS: dict[Op, Callable[[Command, int], dict[str, int]]] = {
    Op.LOAD: _load,
    Op.LOSS: _loss,
    **dict.fromkeys((Op.CONV_FP, Op.CONV_BP, Op.CONV_WU), _conv),
    **dict.fromkeys((Op.POOL_FP, Op.POOL_BP, Op.AVG_FP, Op.AVG_BP), _pool),
    **dict.fromkeys((Op.BN_STAT, Op.BN_FP, Op.BN_SUM, Op.BN_BP), _norm),
    **dict.fromkeys((Op.ADD_FP, Op.PASS_BP, Op.CONCAT_FP, Op.CONCAT_BP), _pointwise),
    **dict.fromkeys((Op.DROP_FP, Op.DROP_BP, Op.BIAS_WU), _pointwise),
    **dict.fromkeys((Op.NORM, Op.UPDATE, Op.COPY), _words),
}


def extents(c: Command, t: int) -> dict[str, int]:
    """Words that a command touches from each operand's offset on (LOAD's src: of one sample).

    Raises ProgramError for an operation without a formula: it never counts as zero.
    """
    formula = _FORMULAS.get(c.op)
    if formula is None:
        raise ProgramError(f"no extent formula for {c.op!r}", remedy="extend plan.tiles")
    return formula(c, t)


def macs(c: Command) -> int:
    """Multiply-accumulates of a command; 0 for all but convolutions."""
    if c.op not in (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU):
        return 0
    window = c.n // c.groups * c.kernel_rows * c.kernel_cols
    return c.images * c.m * c.rows_out * c.cols_out * window


def slot_needs(commands: Iterable[Command], t: int) -> dict[Slot, int]:
    """Words touched in each slot (a LOAD's sample indices are data: devices check them)."""
    needs: dict[Slot, int] = {}
    for command in commands:
        for name, words in extents(command, t).items():
            operand = getattr(command, name)
            if words:
                needs[operand.slot] = max(needs.get(operand.slot, 0), operand.offset + words)
    return needs
