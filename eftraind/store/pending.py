"""Samples that wait for their label: a bounded ring in memory; the oldest gives way. No device.

The label may come seconds later; the journal holds the sample durably, this holds it ready.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.uint32]
EMPTY = -1


class Pending:
    """Packed samples by identity."""

    def __init__(self, capacity: int, row_words: int) -> None:
        self._identity = np.full(capacity, EMPTY, dtype=np.int64)
        self._rows = np.zeros((capacity, row_words), dtype=np.uint32)
        self._next = 0

    @property
    def size(self) -> int:
        return int((self._identity != EMPTY).sum())

    def add(self, identity: Ints, rows: Rows) -> int:
        """Keep samples; returns how many older ones were pushed out unlabelled."""
        capacity = len(self._identity)
        lost = max(0, len(identity) - capacity)
        identity, rows = identity[lost:], rows[lost:]
        if not len(identity):
            return lost
        places = (self._next + np.arange(len(identity))) % capacity
        lost += int((self._identity[places] != EMPTY).sum())
        self._identity[places] = identity
        self._rows[places] = rows
        self._next = int(places[-1] + 1) % capacity
        return lost

    def take(self, identity: Ints) -> tuple[npt.NDArray[np.bool_], Rows]:
        """Remove samples: which of `identity` were here, and the rows of those, in their order."""
        if not len(identity) or not self.size:
            return np.zeros(len(identity), dtype=np.bool_), self._rows[:0].copy()
        order = np.argsort(self._identity, kind="stable")
        place = np.searchsorted(self._identity[order], identity)
        place = order[np.minimum(place, len(order) - 1)]
        found: npt.NDArray[np.bool_] = self._identity[place] == identity
        rows = self._rows[place[found]].copy()
        self._identity[place[found]] = EMPTY
        return found, rows
