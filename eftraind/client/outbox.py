"""Operations from the moment they are pushed until they are durable: batches, credit, resending.

A batch of operations keeps its sequence numbers and its body bytes for life; only `follows` in its
header changes when something before it was refused. Three queues hold the batches in order:
unsent, sent, received. Going back means moving them to the left again. No sockets, no clock.
"""

from collections import deque
from collections.abc import Iterator

from eftraind.client.batch import Batch, OpenBatch
from eftraind.client.results import Level, Refusal, Settings
from eftraind.errors import Backpressure
from eftraind.wire import (
    HEADER_BYTES,
    MAX_COUNT,
    Array,
    Frames,
    Ledger,
    Op,
    Stream,
    labels_body,
    put_header,
    samples_body,
)


class Outbox:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stream: Stream | None = None
        self._open: OpenBatch | None = None
        self._unsent: deque[Batch] = deque()
        self._sent: deque[Batch] = deque()
        self._received: deque[Batch] = deque()
        self.chain_end = 0  # the number the next PUT must follow
        self._spent_bytes = 0
        self._ledger = Ledger()
        self._paused_until = 0.0
        self._strikes = 0  # retryable refusals since something was last accepted
        self.next_seq = 1
        self.attempt = 0
        self.pending = 0
        self.pending_bytes = 0
        self.pushed = self.sent = self.resent = self.received = self.durable = self.dropped = 0
        self.waiting_for = ""

    # Adding...

    def add_samples(self, labels: Array, samples: Array) -> int:
        """Take a checked batch; it leaves in as few messages as the daemon's limit allows."""
        stream, first_seq = self._known_stream(), self.next_seq
        step = self._batch_limit(4 + stream.sample_bytes)
        for at in range(0, len(samples), step):
            part = samples[at : at + step]
            self._add(Op.SAMPLES, len(part), samples_body(labels[at : at + step], part))
        return first_seq

    def add_targets(self, op: Op, targets: Array, labels: Array) -> int:
        first_seq, step = self.next_seq, self._batch_limit(12)
        for at in range(0, len(targets), step):
            part = targets[at : at + step]
            is_labels = op == Op.LABELS
            body = labels_body(part, labels[at : at + step]) if is_labels else part.tobytes()
            self._add(op, len(part), body)
        return first_seq

    def add_one(self, op: Op, target: int, label: int, sample: bytes, now: float) -> int:
        """Take one operation; it leaves with its neighbours, after `coalesce_s` at the latest."""
        group = self._open
        if group is None or group.op != op:
            self.close_open()
            group = self._open = OpenBatch(op, self.next_seq, now + self._settings.coalesce_s)
        grown_bytes = group.add(target, label, sample)
        self._count(1, grown_bytes)
        limit = min(self._settings.coalesce_bytes, self._limit_bytes())
        if group.nbytes + grown_bytes > limit or group.count >= MAX_COUNT:
            self.close_open()
        return self.next_seq - 1

    def close_open(self) -> None:
        group, self._open = self._open, None
        if group is None:
            return
        batch = Batch(group.op, group.first_seq, group.count, group.body(), self._known_stream())
        self.pending_bytes += batch.nbytes - (group.nbytes - HEADER_BYTES)
        self._unsent.append(batch)

    def make_room(self, nbytes: int) -> list[Refusal] | None:
        """Apply the policy. None: wait for room. Otherwise what was dropped for it, if anything."""
        dropped: list[Refusal] = []
        while not self.has_room(nbytes):
            if self._settings.policy == "block":
                return None
            if self._settings.policy == "refuse":
                raise Backpressure(
                    f"{self.pending_bytes} bytes are waiting for the daemon",
                    remedy="push less often, raise max_pending_bytes or use another policy",
                )
            self.close_open()
            fresh = (batch for batch in self._unsent if not batch.times_sent)
            victim = next(fresh, self._unsent[0] if self._unsent else None)
            if victim is None:
                break  # the rest is on its way already, and the daemon's credit bounds it
            self._unsent.remove(victim)
            self._forget(victim)
            self.dropped += victim.count
            dropped.append(
                Refusal(
                    *("dropped", "dropped to make room for newer data", "policy drop_oldest"),
                    *(victim.first_seq, victim.count),
                )
            )
        return dropped

    def has_room(self, nbytes: int) -> bool:
        limit = self._settings.max_pending_bytes
        return self.pending == 0 or self.pending_bytes + nbytes <= limit

    # Sending...

    def take(self, now: float) -> Frames | None:
        """The next PUT that credit allows, counted as sent."""
        if now < self._paused_until:
            return None
        if not self._unsent and self._open is not None and now >= self._open.send_at:
            self.close_open()
        if not self._unsent:
            return None
        if self._starved():
            return None
        batch = self._unsent.popleft()
        self._sent.append(batch)
        self._spent_bytes += batch.nbytes
        self.sent += 0 if batch.times_sent else batch.count
        self.resent += batch.count if batch.times_sent else 0
        batch.times_sent += 1
        header = put_header(
            *(batch.op, batch.first_seq, self.chain_end, batch.count, self.attempt, batch.stream)
        )
        self.chain_end = batch.last_seq
        return header, batch.body

    def wake_at(self) -> float:
        """When `take` may have something that it does not have now."""
        if self._unsent:
            return float("inf") if self._starved() else self._paused_until
        return max(self._paused_until, self._open.send_at) if self._open else float("inf")

    def _starved(self) -> bool:
        """The next batch costs more credit than is left; only the daemon can change that."""
        return self._spent_bytes + self._unsent[0].nbytes > self._ledger.credit_total

    # Hearing from the daemon...

    def resume(self, ledger: Ledger, stream: Stream) -> bool:
        """A new connection. False if another client has numbered operations under our name."""
        self.close_open()
        if self._stream is None:
            self.next_seq = ledger.received_seq + 1
        self._stream = stream
        self._go_back(0)
        self._ledger = ledger
        self._spent_bytes = 0
        self.chain_end = ledger.received_seq
        if ledger.received_seq >= self.next_seq:
            return False
        while self._unsent and self._unsent[0].last_seq <= ledger.received_seq:
            if not self._unsent[0].times_sent:
                return False
            self._sent.append(self._unsent.popleft())
        self.apply(ledger)
        return True

    def apply(self, ledger: Ledger) -> None:
        """Cumulative acknowledgement; numbers never go backwards here."""
        self._ledger = Ledger(
            max(ledger.received_seq, self._ledger.received_seq),
            max(ledger.durable_seq, self._ledger.durable_seq),
            max(ledger.credit_total, self._ledger.credit_total),
        )
        while self._sent and self._sent[0].last_seq <= self._ledger.received_seq:
            batch = self._sent.popleft()
            self._received.append(batch)
            self.received += 0 if batch.counted else batch.count
            batch.counted = True
            self._strikes, self.waiting_for = 0, ""
        while self._received and self._received[0].last_seq <= self._ledger.durable_seq:
            batch = self._received.popleft()
            self.durable += batch.count
            self._forget(batch)

    def lost(self, last_seq: int) -> None:
        """The daemon has judged everything up to last_seq; what it does not have got lost."""
        if self._sent and self._sent[0].last_seq <= last_seq:
            self._go_back(self._ledger.received_seq)

    def retry(self, code: str, attempt: int, ledger: Ledger, now: float) -> None:
        """A refusal for now. Echoes of an earlier attempt say nothing new."""
        if attempt != self.attempt:
            self.apply(ledger)
            return
        known = self._ledger
        self._ledger = Ledger(ledger.received_seq, known.durable_seq, known.credit_total)
        self._go_back(ledger.received_seq)
        self.apply(ledger)
        if code != "sequence" or self._strikes:
            delay_s = self._settings.retry_min_s * 2.0 ** min(self._strikes, 10)
            self._paused_until = now + min(delay_s, self._settings.retry_max_s)
        self._strikes += 1
        self.waiting_for = code

    def refuse(self, first_seq: int) -> int:
        """A refusal for good: forget that batch, resend what came after. The count it held."""
        for queue in (self._sent, self._received, self._unsent):
            for batch in queue:
                if batch.first_seq == first_seq:
                    queue.remove(batch)
                    self._forget(batch)
                    self._go_back(self._ledger.received_seq)
                    return batch.count
        return 0

    def abandon(self) -> tuple[int, int]:
        """Forget everything: (first sequence number, count) of what was pending."""
        self.close_open()
        batches = list(self._batches())
        for batch in batches:
            self._forget(batch)
        for queue in (self._sent, self._received, self._unsent):
            queue.clear()
        return (batches[0].first_seq if batches else 0), sum(batch.count for batch in batches)

    def settled(self, seq: int, level: Level) -> bool:
        """Nothing numbered up to `seq` is still below the level."""
        if self._open is not None and self._open.first_seq <= seq:
            return False
        queues = [self._sent, self._unsent, *([self._received] if level == "durable" else [])]
        return all(not queue or queue[0].first_seq > seq for queue in queues)

    def _go_back(self, received_seq: int) -> None:
        """Everything beyond received_seq is unsent again."""
        self.attempt = (self.attempt + 1) & 0xFFFF_FFFF
        for queue in (self._sent, self._received):
            while queue and queue[-1].last_seq > received_seq:
                self._unsent.appendleft(queue.pop())
        self.chain_end = received_seq

    def _batches(self) -> Iterator[Batch]:
        yield from self._received
        yield from self._sent
        yield from self._unsent

    def _add(self, op: Op, count: int, body: bytes) -> None:
        self.close_open()
        self._unsent.append(Batch(op, self.next_seq, count, body, self._known_stream()))
        self._count(count, HEADER_BYTES + len(body))

    def _count(self, count: int, nbytes: int) -> None:
        self.next_seq += count
        self.pushed += count
        self.pending += count
        self.pending_bytes += nbytes

    def _forget(self, batch: Batch) -> None:
        self.pending -= batch.count
        self.pending_bytes -= batch.nbytes

    def _known_stream(self) -> Stream:
        if self._stream is None:
            raise RuntimeError("the outbox is used before the first WELCOME")
        return self._stream

    def _limit_bytes(self) -> int:
        return min(self._known_stream().max_message_bytes, self._settings.batch_bytes)

    def _batch_limit(self, operation_bytes: int) -> int:
        fitting = (self._limit_bytes() - HEADER_BYTES) // operation_bytes
        return max(1, min(fitting, MAX_COUNT))
