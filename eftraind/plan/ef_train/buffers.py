"""On-chip memory and multipliers of the paper's kernel: equations 28-32.

A bank is a block RAM of 36 Kbit; one whose content fits half of it counts half, which is what the
printed 288 blocks of the "1X" design show. Counts only; choosing sizes is `schedule`'s work.
"""

from dataclasses import dataclass

from eftraind.plan.ef_train.cycles import ceil_div
from eftraind.plan.ef_train.work import Work

DSP_PER_MAC = 5
"""q of equation 28: 3 for the multiplication and 2 for the addition in FP32."""
WORDS_PER_BLOCK = 1024
"""32-bit words in a block of 36 Kbit."""


def blocks(words: int) -> float:
    """Block RAMs for one bank of so many words.

    >>> blocks(0), blocks(500), blocks(576), blocks(2486)
    (0, 0.5, 1, 3)
    """
    if words == 0:
        return 0
    return 0.5 if words <= WORDS_PER_BLOCK // 2 else ceil_div(words, WORDS_PER_BLOCK)


@dataclass(frozen=True)
class Buffers:
    """Depth of each bank, in 32-bit words. Every buffer exists twice."""

    ifm_words: int
    ofm_words: int
    weight_words: int

    def ifm_blocks(self, t: int) -> float:
        """B_IFM: T banks (equation 29)."""
        return t * blocks(self.ifm_words)

    def ofm_blocks(self, t: int) -> float:
        """B_OFM: T banks (equation 30)."""
        return t * blocks(self.ofm_words)

    def weight_blocks(self, t: int) -> float:
        """B_WEI: T x T banks (equation 31)."""
        return t * t * blocks(self.weight_words)

    def total_blocks(self, t: int) -> int:
        """B_Conv (equation 32)."""
        one = self.ifm_blocks(t) + self.ofm_blocks(t) + self.weight_blocks(t)
        return int(2 * one + 0.5)

    def hold_map(self, work: Work, rows: int) -> bool:
        """Whether a tile of so many output rows fits (Tc = C)."""
        return (
            work.rows_in(rows) * work.cols_in <= self.ifm_words and rows * work.c <= self.ofm_words
        )


def conv_dsp(t: int) -> int:
    """D_Conv (equation 28).

    >>> conv_dsp(16), conv_dsp(6)
    (1280, 180)
    """
    return DSP_PER_MAC * t * t


def weight_words(work: Work, t: int, m_on: int) -> int:
    """Words that M_on output channels need in each weight bank; inputs take turns between the
    two copies, so each holds every other input tile."""
    return work.taps * ceil_div(work.n, 2 * t) * ceil_div(m_on, t)


def map_words(work: Work, rows: int) -> tuple[int, int]:
    """Words of an input and an output bank for a tile of so many output rows."""
    return work.rows_in(rows) * work.cols_in, rows * work.c
