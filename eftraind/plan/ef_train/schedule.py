"""Algorithm 1 of the paper: how deep the buffers are, and M_on and Tr of each layer and phase.

Deterministic; ties go to the smaller tile. Refuses what does not fit, with layer, need and budget.
"""

from collections.abc import Iterator, Sequence

from eftraind.errors import ConfigError
from eftraind.plan.ef_train import buffers
from eftraind.plan.ef_train.buffers import WORDS_PER_BLOCK, Buffers
from eftraind.plan.ef_train.cycles import Kernel, ceil_div, phase_cycles
from eftraind.plan.ef_train.work import Work
from eftraind.plan.outcome import Tile

RELEASED = Buffers(ifm_words=2486, ofm_words=2016, weight_words=64 * 9)
"""Of the released VGG-16 build: 64 slots of 3 x 3 weights."""


def choose(works: Sequence[Work], buffer: Buffers, kernel: Kernel, batch: int) -> list[Tile]:
    """A tile for each work. Raises ConfigError if a layer cannot be tiled."""
    return [best_tile(work, buffer, kernel, batch) for work in works]


def best_tile(work: Work, buffer: Buffers, kernel: Kernel, batch: int) -> Tile:
    """The M_on that fits, then the rows that take the fewest cycles."""
    m_on = largest_m_on(work, buffer, kernel.t)
    tiles = [
        Tile(kernel.t, kernel.t, rows, work.c, m_on)
        for rows in range(1, work.r + 1)
        if buffer.hold_map(work, rows)
    ]
    if not tiles:
        needs = buffers.map_words(work, 1)
        raise ConfigError(
            f"layer {work.layer} {work.phase.value}: one row needs {needs[0]} words of input and "
            f"{needs[1]} of output on the chip, a bank holds {buffer.ifm_words} and "
            f"{buffer.ofm_words}",
            remedy="take a larger board or smaller images",
        )
    return min(tiles, key=lambda tile: phase_cycles(work, tile, batch, kernel))


def largest_m_on(work: Work, buffer: Buffers, t: int) -> int:
    """M, or M divided by 2, 3, ... and rounded up to whole tiles, until the weights fit."""
    for divisor in range(1, ceil_div(work.m, t) + 1):
        m_on = work.m if divisor == 1 else ceil_div(ceil_div(work.m, divisor), t) * t
        need = buffers.weight_words(work, t, m_on)
        if need <= buffer.weight_words:
            return m_on
    raise ConfigError(
        f"layer {work.layer} {work.phase.value}: {t} output channels need {need} words in each "
        f"weight bank, it holds {buffer.weight_words}",
        remedy="take a larger board or a smaller kernel",
    )


def for_budget(works: Sequence[Work], kernel: Kernel, batch: int, blocks: int) -> Buffers:
    """The fastest buffers of at most `blocks` block RAMs. Raises ConfigError if none fits.

    As the paper does it: maps keep room for one row of the largest, weights take what they can
    use of the rest, and what then remains makes the maps' tiles taller.
    """
    t = kernel.t
    if not works:
        return _smallest(t, blocks)
    rows = [buffers.map_words(work, 1) for work in works]
    floor = (max(row[0] for row in rows), max(row[1] for row in rows))
    left = blocks - Buffers(*floor, 0).total_blocks(t)
    least = max(buffers.weight_words(work, t, min(work.m, t)) for work in works)
    most = max(buffers.weight_words(work, t, work.m) for work in works)
    deep = min(_round_up(most), _deepest(left, t))
    if deep < least:
        raise _over_budget(Buffers(*floor, least), t, blocks)
    whole = [buffers.map_words(work, work.r) for work in works]
    top = (max(size[0] for size in whole), max(size[1] for size in whole))
    candidates = [
        buffer
        for ifm in _depths(floor[0], top[0])
        for ofm in _depths(floor[1], top[1])
        if (buffer := Buffers(ifm, ofm, deep)).total_blocks(t) <= blocks
    ]

    def cost(buffer: Buffers) -> tuple[int, int]:
        tiles = choose(works, buffer, kernel, batch)
        cycles = (
            phase_cycles(work, tile, batch, kernel) for work, tile in zip(works, tiles, strict=True)
        )
        return sum(cycles), buffer.total_blocks(t)

    return min(_not_dominated(candidates), key=cost)


def _smallest(t: int, blocks: int) -> Buffers:
    """For a network without convolutions."""
    half = WORDS_PER_BLOCK // 2
    buffer = Buffers(half, half, half)
    if buffer.total_blocks(t) > blocks:
        raise _over_budget(buffer, t, blocks)
    return buffer


def _over_budget(buffer: Buffers, t: int, blocks: int) -> ConfigError:
    return ConfigError(
        f"the buffers need {buffer.total_blocks(t)} block RAMs at T = {t}, the budget is {blocks}",
        remedy="take a larger board or a smaller T",
    )


def _deepest(blocks: int, t: int) -> int:
    """Words that each of T x T weight banks, twice, may have in so many blocks."""
    halves = max(0, blocks) // (t * t)
    return WORDS_PER_BLOCK // 2 if halves == 1 else halves // 2 * WORDS_PER_BLOCK


def _round_up(words: int) -> int:
    return int(buffers.blocks(words) * WORDS_PER_BLOCK)


def _depths(least: int, most: int) -> Iterator[int]:
    """Bank depths that fill their blocks, from one that holds `least` to one that holds `most`."""
    depth = _round_up(least)
    while True:
        yield depth
        if depth >= most:
            return
        depth = _round_up(depth + 1)


def _not_dominated(candidates: Sequence[Buffers]) -> list[Buffers]:
    """Without those that another one exceeds in both depths: a deeper buffer is never slower."""
    return [
        one
        for one in candidates
        if not any(
            other != one and other.ifm_words >= one.ifm_words and other.ofm_words >= one.ofm_words
            for other in candidates
        )
    ]
