"""Which samples are kept, and what a batch is drawn from. Owns rows and labels, no sample data.

Rows of the device's POOL buffer: [0, capacity) hold the reservoir, [capacity, capacity + recent)
a ring of the newest samples. Every sample gets a random key; a class keeps its smallest keys,
which is a uniform sample of all it ever had (reservoir sampling with keys, Vitter 1985), and
classes share the capacity by water-filling: rare ones keep all, common ones equal parts (as in
class-balancing reservoir sampling, Chrysakis and Moens 2020). A class's share only ever shrinks,
so the sample stays uniform. Seeded: the same stream gives the same rows. All work is per batch,
none per sample.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
EMPTY = -1
SLACK = 16
"""A full reservoir is thinned by one part in this many: sorting it for every few newcomers would
cost more than all else that is done with a sample."""
PRODUCER_SHIFT = 40
"""A sample's identity is one integer: producer number above, sequence number below."""


@dataclass(frozen=True)
class Placement:
    """Sample source[i] of the batch goes to POOL row rows[i]; a sample may go to two rows."""

    source: Ints
    rows: Ints


def shares(present: Ints, capacity: int) -> Ints:
    """Samples each class may keep: min(present, level) with the highest level that fits.

    >>> shares(np.array([100, 5, 40]), 30).tolist()
    [13, 5, 12]
    """
    left, out = capacity, np.zeros_like(present)
    order = np.argsort(present, kind="stable")
    for position, index in enumerate(order):
        out[index] = min(int(present[index]), left // (len(order) - position))
        left -= int(out[index])
    return out


class Replay:
    """Reservoir by policy: `balanced` per class, `uniform` over all, `fresh` the newest only."""

    def __init__(
        self, *, policy: str, capacity: int, recent: int, classes: int, rng: np.random.Generator
    ) -> None:
        self._policy = policy
        self._capacity = capacity
        self._thinned = capacity - capacity // SLACK
        self._recent = recent
        self._classes = classes
        self._rng = rng
        self._arrived = 0
        self._ring_next = 0
        total = capacity + recent
        self._identity = np.full(total, EMPTY, dtype=np.int64)
        self._labels = np.full(total, EMPTY, dtype=np.int64)
        self._keys = np.full(capacity, np.inf)
        self._group = np.zeros(capacity, dtype=np.int64)
        self._groups = classes if policy == "balanced" else 1
        # A key above its group's limit can never be kept: most samples end here, at no cost.
        self._limit = np.full(self._groups, np.inf)

    @property
    def rows(self) -> int:
        """Rows the POOL buffer must have."""
        return self._capacity + self._recent

    @property
    def labels(self) -> Ints:
        """Label of each row, EMPTY where none."""
        return self._labels

    @property
    def size(self) -> int:
        """Samples in the reservoir."""
        return int((self._identity[: self._capacity] != EMPTY).sum())

    @property
    def recent_size(self) -> int:
        return int((self._identity[self._capacity :] != EMPTY).sum())

    def class_sizes(self) -> Ints:
        """Samples per class in the reservoir."""
        labels = self._labels[: self._capacity]
        return np.bincount(labels[labels != EMPTY], minlength=self._classes)

    def admit(self, identity: Ints, labels: Ints) -> Placement:
        """Take a batch of labelled samples; tells which go to which rows."""
        count = len(labels)
        ring_source = np.arange(max(0, count - self._recent), count)
        ring_rows = (self._ring_next + np.arange(len(ring_source))) % self._recent + self._capacity
        self._ring_next = (self._ring_next + len(ring_source)) % self._recent
        self._identity[ring_rows] = identity[ring_source]
        self._labels[ring_rows] = labels[ring_source]
        source, rows = self._keep(identity, labels)
        return Placement(np.concatenate([ring_source, source]), np.concatenate([ring_rows, rows]))

    def _keep(self, identity: Ints, labels: Ints) -> tuple[Ints, Ints]:
        count = len(labels)
        group = labels if self._policy == "balanced" else np.zeros(count, dtype=np.int64)
        if self._policy == "fresh":
            keys = -np.arange(self._arrived, self._arrived + count, dtype=np.float64)
        else:
            keys = self._rng.random(count)
        self._arrived += count
        source = np.flatnonzero(keys < self._limit[group])
        occupied = np.flatnonzero(self._identity[: self._capacity] != EMPTY)
        if len(occupied) + len(source) > self._capacity:
            source = self._evict(occupied, source, keys, group)
        free = np.flatnonzero(self._identity[: self._capacity] == EMPTY)[: len(source)]
        self._identity[free] = identity[source]
        self._labels[free] = labels[source]
        self._keys[free] = keys[source]
        self._group[free] = group[source]
        return source, free

    def _evict(
        self, occupied: Ints, source: Ints, keys: npt.NDArray[np.float64], group: Ints
    ) -> Ints:
        """Empty the rows that lose their place; returns the newcomers that win one."""
        all_keys = np.concatenate([self._keys[occupied], keys[source]])
        all_groups = np.concatenate([self._group[occupied], group[source]])
        order = np.lexsort((all_keys, all_groups))
        present = np.bincount(all_groups, minlength=self._groups)
        first = np.cumsum(present) - present
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - first[all_groups[order]]
        allowed = shares(present, self._thinned)
        kept = rank < allowed[all_groups]
        full = allowed < present
        for index in np.flatnonzero(full):
            last = order[first[index] + allowed[index] - 1] if allowed[index] else None
            self._limit[index] = all_keys[last] if last is not None else -np.inf
        lost = occupied[~kept[: len(occupied)]]
        self._forget(lost)
        winners: Ints = source[kept[len(occupied) :]]
        return winners

    def _forget(self, rows: Ints) -> None:
        self._identity[rows] = EMPTY
        self._labels[rows] = EMPTY
        self._keys[rows[rows < self._capacity]] = np.inf

    def withdraw(self, identity: Ints) -> int:
        """Forget samples; returns how many rows were freed."""
        rows = np.flatnonzero(np.isin(self._identity, identity) & (self._identity != EMPTY))
        self._forget(rows)
        return len(rows)

    def clear(self) -> int:
        """Forget all samples, and what had to be let go before; returns how many rows were freed.

        The generator goes on: what is drawn later depends on all that came before.
        """
        rows = np.flatnonzero(self._identity != EMPTY)
        self._forget(rows)
        self._limit[:] = np.inf
        return len(rows)

    def relabel(self, identity: Ints, labels: Ints) -> npt.NDArray[np.bool_]:
        """Correct labels of kept samples; returns which identities were found."""
        order = np.argsort(identity, kind="stable")
        place = np.minimum(np.searchsorted(identity[order], self._identity), len(identity) - 1)
        rows = np.flatnonzero(
            (identity[order][place] == self._identity) & (self._identity != EMPTY)
        )
        self._labels[rows] = labels[order][place[rows]]
        found: npt.NDArray[np.bool_] = np.isin(identity, self._identity[rows])
        return found

    def draw(self, batch: int, fresh_fraction: float) -> Ints:
        """Rows of one batch: a share from the newest samples, the rest from the reservoir.

        With fewer samples than asked for, rows repeat. Raises ValueError when there are none.
        """
        ring = self._capacity + np.flatnonzero(self._identity[self._capacity :] != EMPTY)
        kept = np.flatnonzero(self._identity[: self._capacity] != EMPTY)
        if len(ring) + len(kept) == 0:
            raise ValueError("nothing to draw from")
        fresh = round(batch * fresh_fraction) if len(kept) else batch
        fresh = fresh if len(ring) else 0
        parts = [self._pick(ring, fresh), self._pick(kept, batch - fresh)]
        return np.concatenate(parts)

    def _pick(self, rows: Ints, count: int) -> Ints:
        if count == 0:
            return np.empty(0, dtype=np.int64)
        if count <= len(rows):
            picked: Ints = self._rng.choice(rows, count, replace=False, shuffle=False)
        else:
            picked = self._rng.choice(rows, count)
        return picked
