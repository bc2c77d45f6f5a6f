"""One buffer for all maps and scratch of a program: who lives when, and therefore where.

Tensors whose lives do not overlap share words. Placement is greedy, largest first, each at the
lowest offset that is free during its life; deterministic. It moves no data.
"""

from dataclasses import dataclass

ALIGN_WORDS = 16
"""Every tensor starts on a 64-byte boundary."""


@dataclass
class _Tensor:
    words: int
    first: int
    last: int


class Arena:
    """Tensors get numbers; `touch` tells which commands use them.

    >>> arena = Arena()
    >>> a, b, c = (arena.tensor(words) for words in (100, 50, 100))
    >>> for number, command in ((a, 0), (b, 0), (b, 1), (c, 1)):
    ...     arena.touch(number, command)
    >>> arena.place()
    ([0, 112, 0], 176)
    """

    def __init__(self) -> None:
        self._tensors: list[_Tensor] = []

    def tensor(self, words: int) -> int:
        self._tensors.append(_Tensor(-(-words // ALIGN_WORDS) * ALIGN_WORDS, -1, -1))
        return len(self._tensors) - 1

    def touch(self, number: int, command: int) -> None:
        """Command number `command` reads or writes the tensor; commands come in order."""
        tensor = self._tensors[number]
        if tensor.first < 0:
            tensor.first = command
        tensor.last = command

    def place(self) -> tuple[list[int], int]:
        """Offset of each tensor, and the size of the whole, in words; an untouched one has none."""
        offsets = [0] * len(self._tensors)
        placed: list[int] = []
        touched = (n for n, tensor in enumerate(self._tensors) if tensor.first >= 0)
        by_size = sorted(touched, key=lambda n: (-self._tensors[n].words, n))
        for number in by_size:
            offsets[number] = self._lowest(number, placed, offsets)
            placed.append(number)
        ends = (offsets[n] + self._tensors[n].words for n in placed)
        return offsets, max(ends, default=0)

    def _lowest(self, number: int, placed: list[int], offsets: list[int]) -> int:
        mine = self._tensors[number]
        busy = sorted(
            (offsets[n], offsets[n] + self._tensors[n].words)
            for n in placed
            if self._tensors[n].first <= mine.last and mine.first <= self._tensors[n].last
        )
        offset = 0
        for start, end in busy:
            if offset + mine.words <= start:
                break
            offset = max(offset, end)
        return offset
