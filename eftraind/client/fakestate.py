"""The daemon's side of EFT/1 in memory: what FakeDaemon answers, without sockets or threads.

It follows docs/protocol.md, not the daemon's code, and keeps what it took so that a test can look.
It trains nothing, writes nothing to disk and checks nothing that the protocol does not.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from eftraind.errors import EftraindError, WireError
from eftraind.wire import (
    HEADER_BYTES,
    NO_LABEL,
    Ack,
    Array,
    Bye,
    Error,
    Frames,
    Hello,
    Infer,
    Kind,
    Ledger,
    Op,
    Ping,
    Pong,
    Prediction,
    Put,
    Stream,
    Welcome,
)
from eftraind.wire_decode import decode_request, refuse

Answer = tuple[bytes, Frames]  # (connection, message)
Model = Callable[[Array], Array]


class Stored(NamedTuple):
    producer: str
    sid: int
    label: int
    sample: Array


@dataclass(eq=False)
class _Producer:
    name: str
    received_seq: int = 0
    durable_seq: int = 0
    waiting: deque[Put] = field(default_factory=deque)  # received, not yet durable
    peer: bytes = b""
    credit_total: int = 0
    spent_bytes: int = 0

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.received_seq, self.durable_seq, self.credit_total)


class FakeState:
    def __init__(
        self, stream: Stream, credit_bytes: int, heartbeat_s: float, events: str, model: Model
    ) -> None:
        self.stream = stream
        self.version = 1
        self.holds_durable = False
        self.refusals: deque[str] = deque()
        self.infer_refusals: deque[str] = deque()
        self.acks_to_drop = 0
        self.keeps = True
        self.puts = 0
        self._credit_bytes = credit_bytes
        self._heartbeat_s = heartbeat_s
        self._events = events
        self._model = model
        self._producers: dict[str, _Producer] = {}
        self._peers: dict[bytes, _Producer] = {}
        self._unacknowledged: set[str] = set()
        self._log: list[tuple[str, Put]] = []

    @property
    def weights_hash(self) -> bytes:
        return blake2b(str(self.version).encode(), digest_size=16).digest()

    def answer(self, peer: bytes, frames: list[bytes]) -> Iterator[Answer]:
        producer = self._peers.get(peer)
        cost_bytes = HEADER_BYTES + len(frames[-1]) if frames[0][5:6] == bytes([Kind.PUT]) else 0
        if producer is not None:
            producer.spent_bytes += cost_bytes
        try:
            request = decode_request(frames, self.stream)
            if isinstance(request, Hello):
                yield from self._hello(peer, request)
            elif producer is None:
                raise _error("hello_required", "nobody has said HELLO on this connection")
            elif isinstance(request, Put):
                self._put(producer, request)
            elif isinstance(request, Infer):
                yield peer, self._infer(request).frames()
            elif isinstance(request, Ping):
                yield peer, Pong(request.token, producer.ledger).frames()
            else:
                del self._peers[peer]
        except EftraindError as error:
            if producer is not None:
                producer.credit_total += cost_bytes
            yield peer, refuse(frames, error, producer.ledger if producer else None)

    def make_durable(self) -> None:
        """What waits becomes durable, unless a test holds it."""
        for producer in self._producers.values() if not self.holds_durable else ():
            while producer.waiting:
                put = producer.waiting.popleft()
                producer.durable_seq = put.last_seq
                producer.credit_total += put.nbytes
                self._unacknowledged.add(producer.name)

    def acknowledge(self) -> Iterator[Answer]:
        """One ACK for each producer whose ledger has moved: they are cumulative."""
        names, self._unacknowledged = self._unacknowledged, set()
        for name in sorted(names):
            producer = self._producers[name]
            if self.acks_to_drop:
                self.acks_to_drop -= 1
            elif producer.peer in self._peers:
                yield producer.peer, Ack(producer.ledger).frames()

    def disconnected(self) -> None:
        self._peers.clear()

    def crashed(self) -> None:
        """Memory is gone: what was received but not durable never was."""
        self._peers.clear()
        lost = {id(put) for p in self._producers.values() for put in p.waiting}
        self._log = [(name, put) for name, put in self._log if id(put) not in lost]
        for producer in self._producers.values():
            producer.received_seq = producer.durable_seq
            producer.waiting.clear()

    def goodbyes(self) -> list[Answer]:
        return [(peer, Bye().frames()) for peer in self._peers]

    def stored(self) -> list[Stored]:
        """Every sample not withdrawn, with its latest label, in the order it came."""
        found: dict[tuple[str, int], Stored] = {}
        for name, put in self._log:
            if put.op == Op.SAMPLES and put.samples is not None and put.labels is not None:
                for at, (label, sample) in enumerate(zip(put.labels, put.samples, strict=True)):
                    sid = put.first_seq + at
                    if (name, sid) in found:
                        raise AssertionError(f"sample {sid} of {name} was stored twice")
                    found[name, sid] = Stored(name, sid, int(label), sample)
                continue
            if put.targets is None:
                raise AssertionError(f"a PUT of {put.op.name} without targets")
            labels = put.labels if put.labels is not None else np.full(put.count, NO_LABEL)
            for target, label in zip(put.targets, labels, strict=True):
                key = (name, int(target))
                if key in found and put.op == Op.WITHDRAWALS:
                    del found[key]
                elif key in found:
                    found[key] = found[key]._replace(label=int(label))
        return list(found.values())

    def _hello(self, peer: bytes, hello: Hello) -> Iterator[Answer]:
        producer = self._producers.setdefault(hello.producer, _Producer(hello.producer))
        if producer.peer in self._peers and producer.peer != peer:
            del self._peers[producer.peer]
            message = "a newer connection speaks for this producer"
            yield producer.peer, Error("superseded", message).frames()
        self._peers[peer] = producer
        producer.peer, producer.spent_bytes = peer, 0
        producer.credit_total = self._credit_bytes
        for put in producer.waiting:  # they count against the old connection's credit
            producer.credit_total -= put.nbytes
        welcome = Welcome(
            *(producer.name, producer.ledger, self.stream, self._heartbeat_s, self.version),
            weights_hash=self.weights_hash.hex(),
            events=self._events,
        )
        yield peer, welcome.frames()

    def _put(self, producer: _Producer, put: Put) -> None:
        if self.refusals:
            raise _error(self.refusals.popleft(), "a test wants this refused")
        if producer.spent_bytes > producer.credit_total:
            raise _error("no_credit", "this connection has used up its credit")
        if put.last_seq <= producer.received_seq:
            producer.credit_total += put.nbytes
        elif put.follows != producer.received_seq:
            raise _error("sequence", f"the last number is {producer.received_seq}")
        else:
            producer.received_seq = put.last_seq
            producer.waiting.append(put)
            self.puts += 1
            if self.keeps:
                self._log.append((producer.name, put))
        self._unacknowledged.add(producer.name)

    def _infer(self, request: Infer) -> Prediction:
        if self.infer_refusals:
            raise _error(self.infer_refusals.popleft(), "a test wants this refused")
        logits = np.asarray(self._model(request.samples), np.float32)
        return Prediction(request.request_id, self.version, self.weights_hash, logits)


def _error(code: str, message: str) -> WireError:
    return WireError(message, remedy="see docs/protocol.md", code=code)
