"""Operations that were checked but not yet taken: what they weigh, and how the outbox takes them.

Checking and copying happens in the caller's thread, before any lock is held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from eftraind.client import convert
from eftraind.client.outbox import Outbox
from eftraind.wire import HEADER_BYTES, Array, Op, Stream

T = TypeVar("T")


@dataclass(frozen=True)
class Offer(Generic[T]):
    nbytes: int
    commit: Callable[[float], T]  # takes the time; gives the sequence numbers


def sample(outbox: Outbox, stream: Stream, value: Any, label: Any) -> Offer[int]:
    content = convert.one_sample(value, stream).tobytes()
    number = convert.one_label(label, stream)
    return Offer(len(content) + 12, lambda now: outbox.add_one(Op.SAMPLES, 0, number, content, now))


def batch(outbox: Outbox, stream: Stream, values: Any, labels: Any) -> Offer[range]:
    array = convert.many_samples(values, stream)
    numbers = convert.many_labels(labels, len(array), stream)

    def commit(now: float) -> range:
        first_seq = outbox.add_samples(numbers, array)
        return range(first_seq, first_seq + len(array))

    return Offer(HEADER_BYTES + array.nbytes + numbers.nbytes, commit)


def late_label(outbox: Outbox, stream: Stream, sid: Any, label: Any) -> Offer[int]:
    targets = convert.many_targets(sid, outbox.next_seq)
    labels = np.atleast_1d(np.asarray(label))
    labels = convert.many_labels(labels, len(targets), stream, optional=False)
    return _targeting(outbox, Op.LABELS, targets, labels)


def withdrawal(outbox: Outbox, sid: Any) -> Offer[int]:
    targets = convert.many_targets(sid, outbox.next_seq)
    return _targeting(outbox, Op.WITHDRAWALS, targets, targets)


def _targeting(outbox: Outbox, op: Op, targets: Array, labels: Array) -> Offer[int]:
    if len(targets) == 1:
        target, label = int(targets[0]), int(labels[0])
        return Offer(12, lambda now: outbox.add_one(op, target, label, b"", now))
    return Offer(
        HEADER_BYTES + 12 * len(targets), lambda now: outbox.add_targets(op, targets, labels)
    )
