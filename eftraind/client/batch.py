"""One batch of operations: its sequence numbers and its body bytes, which never change.

A batch is the unit of sending, refusing and resending, because the daemon journals it as one
record. OpenBatch is where single operations wait a moment for company.
"""

from dataclasses import dataclass, field

import numpy as np

from eftraind.wire import HEADER_BYTES, Op, Stream, labels_body, withdrawals_body


@dataclass(eq=False)
class Batch:
    op: Op
    first_seq: int
    count: int
    body: bytes
    stream: Stream
    times_sent: int = 0
    counted: bool = False

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    @property
    def nbytes(self) -> int:
        return HEADER_BYTES + len(self.body)


@dataclass(eq=False)
class OpenBatch:
    """Single operations on their way to becoming one batch."""

    op: Op
    first_seq: int
    send_at: float
    labels: list[int] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    nbytes: int = HEADER_BYTES

    @property
    def count(self) -> int:
        return len(self.labels) or len(self.targets)

    def add(self, target: int, label: int, sample: bytes) -> int:
        """Take one operation; the bytes by which the batch grew, at most."""
        if self.op == Op.SAMPLES:
            self.samples.append(sample)
        else:
            self.targets.append(target)
        if self.op != Op.WITHDRAWALS:
            self.labels.append(label)
        grown_bytes = len(sample) + 12
        self.nbytes += grown_bytes
        return grown_bytes

    def body(self) -> bytes:
        labels = np.array(self.labels, np.int32)
        if self.op == Op.SAMPLES:
            return b"".join((labels.tobytes(), *self.samples))
        targets = np.array(self.targets, np.uint64)
        return labels_body(targets, labels) if self.labels else withdrawals_body(targets)
