"""Takes journal records apart into bounded pieces of work, in order. Owns the queue and late
labels.

A piece is a few dozen samples, so that inference never waits long behind one; labels and
withdrawals are pieces too, because their place in the order matters. Neither scores nor trains.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eftraind.engine.executor import Rows
from eftraind.engine.training import Ints
from eftraind.metrics import Metrics
from eftraind.store.pending import Pending
from eftraind.store.replay import PRODUCER_SHIFT
from eftraind.wire import Array, Op
from eftraind.wire_records import Record, decode_record

PIECE_SAMPLES = 32


@dataclass(frozen=True, eq=False)
class Piece:
    """Part of one record; `last` marks the record's end."""

    op: Op
    seq: int
    last: bool
    identity: Ints
    labels: Array | None
    samples: Array | None


@dataclass(frozen=True, eq=False)
class Labelled:
    """Samples with their labels, packed: ready to be scored and learnt from."""

    identity: Ints
    labels: Ints
    rows: Rows


class Intake:
    """The queue between the journal and the engine."""

    def __init__(
        self, *, pack: Callable[[Array], Rows], pending: Pending, metrics: Metrics
    ) -> None:
        self._pack = pack
        self._pending = pending
        self._metrics = metrics
        self._producers: dict[str, int] = {}
        self._queue: deque[Piece] = deque()
        self.samples_queued = 0
        self.orphan_labels = 0

    def __len__(self) -> int:
        return len(self._queue)

    def feed(self, seq: int, payload: bytes | memoryview) -> int:
        """Queue a journal record; returns its number of operations. Raises WireError on damage."""
        record = decode_record(payload)
        number = self._producers.setdefault(record.producer, len(self._producers))
        targets = record.targets if record.targets is not None else _own_sequence(record)
        identity = targets.astype(np.int64) + (number << PRODUCER_SHIFT)
        for start in range(0, record.count, PIECE_SAMPLES):
            part = slice(start, min(start + PIECE_SAMPLES, record.count))
            self._queue.append(
                Piece(
                    record.op,
                    seq,
                    part.stop == record.count,
                    identity[part],
                    None if record.labels is None else record.labels[part],
                    None if record.samples is None else record.samples[part],
                )
            )
        self.samples_queued += record.count
        return record.count

    def take(self) -> Piece:
        piece = self._queue.popleft()
        self.samples_queued -= len(piece.identity)
        return piece

    def labelled(self, piece: Piece) -> Labelled | None:
        """The samples that a piece makes learnable: labelled ones, or pending ones it labels."""
        if piece.op is Op.SAMPLES and piece.samples is not None and piece.labels is not None:
            return self._split(piece, self._pack(piece.samples), piece.labels.astype(np.int64))
        if piece.op is Op.LABELS and piece.labels is not None:
            found, rows = self._pending.take(piece.identity)
            labels = piece.labels.astype(np.int64)
            return Labelled(piece.identity[found], labels[found], rows) if found.any() else None
        return None

    def _split(self, piece: Piece, rows: Rows, labels: Ints) -> Labelled | None:
        known = labels >= 0
        if not known.all():
            lost = self._pending.add(piece.identity[~known], rows[~known])
            if lost:
                self._metrics.counter("samples_skipped_total").inc(lost, "never_labelled")
        if not known.any():
            return None
        return Labelled(piece.identity[known], labels[known], rows[known])

    def withdraw(self, piece: Piece) -> int:
        """Forget samples that still wait for a label; returns how many."""
        found, _ = self._pending.take(piece.identity)
        return int(found.sum())

    @property
    def pending_size(self) -> int:
        return self._pending.size


def _own_sequence(record: Record) -> npt.NDArray[np.int64]:
    return np.arange(record.first_seq, record.first_seq + record.count, dtype=np.int64)
