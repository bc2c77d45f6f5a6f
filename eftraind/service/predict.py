"""Inference on its way through the front: to the engine, and back to who asked.

Owns the table of requests in flight: every one ends exactly once, by a prediction, an error of the
engine, its deadline, or the engine going down. The table is bounded per client and in total.
Never computes anything; samples were checked before they come here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eftraind import link
from eftraind.clock import Clock
from eftraind.errors import EftraindError, WireError
from eftraind.metrics import Metrics
from eftraind.service.clients import Clients, Connection
from eftraind.wire import CODES, F4, Buffer, Error, Infer, Prediction

MAX_PER_CLIENT = 64
MAX_IN_FLIGHT = 1024
LONGEST_S = 60.0
HASH_BYTES = 16


@dataclass(frozen=True, eq=False)
class Waiting:
    """One request the engine is working on."""

    connection: Connection
    request_id: int
    count: int
    nbytes: int
    started_s: float
    deadline_s: float


class Predict:
    """`tell` sends to the engine and is False if that is not possible."""

    def __init__(
        self,
        *,
        clients: Clients,
        tell: Callable[[link.Message], bool],
        classes: int,
        limit_bytes: int,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._clients = clients
        self._tell = tell
        self._classes = classes
        self._limit_bytes = limit_bytes
        self._requests = metrics.counter("infer_requests_total")
        self._duration = metrics.histogram("infer_request_duration_seconds")
        self._gauge = metrics.gauge("infer_in_flight")
        self._clock = clock
        self._waiting: dict[int, Waiting] = {}
        self._bytes = 0
        self._next_id = 1

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def infer(self, connection: Connection, infer: Infer, body: Buffer) -> None:
        """Hand a request to the engine; raises what its sender is told instead."""
        nbytes = len(body)
        if (
            connection.infers >= MAX_PER_CLIENT
            or len(self._waiting) >= MAX_IN_FLIGHT
            or self._bytes + nbytes > self._limit_bytes
        ):
            raise self._counted(
                "busy", f"{len(self._waiting)} inference requests are waiting",
                "wait for replies, or send larger batches",
            )  # fmt: skip
        now_s = self._clock.monotonic_s()
        span_s = min(infer.deadline_ms / 1000 or LONGEST_S, LONGEST_S)
        count = len(infer.samples)
        number = self._next_id
        if not self._tell(link.Infer(number, count, body)):
            raise self._counted(
                "engine_down", "the engine is not there", "try again; it is being restarted"
            )
        self._next_id += 1
        self._waiting[number] = Waiting(
            connection, infer.request_id, count, nbytes, now_s, now_s + span_s
        )
        self._bytes += nbytes
        connection.infers += 1
        self._gauge.set(len(self._waiting))

    def _counted(self, code: str, message: str, remedy: str) -> WireError:
        self._requests.inc(1, code)
        return WireError(message, remedy=remedy, code=code)

    def refused(self, error: EftraindError) -> None:
        """Count a request that was refused before it came here."""
        self._requests.inc(1, error.code)

    def prediction(self, message: link.Prediction) -> None:
        """Pass a prediction on; one whose request has ended meanwhile is dropped."""
        waiting = self._end(message.id)
        if waiting is None:
            return
        weights_hash = _hash_bytes(message.hash)
        wanted_bytes = 4 * waiting.count * self._classes
        if (
            weights_hash is None
            or message.count != waiting.count
            or len(message.body) != wanted_bytes
        ):
            self._fail(waiting, "internal", "the engine answered something else", "report this")
            return
        logits = np.frombuffer(message.body, F4).reshape(waiting.count, self._classes)
        reply = Prediction(waiting.request_id, message.version, weights_hash, logits)
        self._requests.inc(1, "ok")
        self._duration.observe(self._clock.monotonic_s() - waiting.started_s)
        connection = self._asker(waiting)
        if connection is not None:
            self._clients.answer(connection, reply.frames())

    def error(self, message: link.InferError) -> None:
        """Pass an error of the engine on."""
        waiting = self._end(message.id)
        if waiting is not None:
            code = message.code if message.code in CODES else "internal"
            self._fail(waiting, code, message.message, message.remedy)

    def engine_down(self) -> None:
        """Every request in flight fails; clients may try again."""
        for number in list(self._waiting):
            waiting = self._end(number)
            if waiting is not None:
                self._fail(
                    waiting, "engine_down", "the engine went away", "try again; it is being started"
                )

    def expire(self) -> None:
        """End requests whose deadline has passed."""
        now_s = self._clock.monotonic_s()
        for number, waiting in list(self._waiting.items()):
            if waiting.deadline_s <= now_s:
                self._end(number)
                span_s = now_s - waiting.started_s
                self._fail(
                    waiting, "deadline", f"no prediction within {span_s:.3f} s",
                    "allow more time, or train less",
                )  # fmt: skip

    def _end(self, number: int) -> Waiting | None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            self._bytes -= waiting.nbytes
            waiting.connection.infers -= 1
            self._gauge.set(len(self._waiting))
        return waiting

    def _fail(self, waiting: Waiting, code: str, message: str, remedy: str) -> None:
        self._requests.inc(1, code)
        connection = self._asker(waiting)
        if connection is None:
            return
        error = Error(
            code=code,
            message=message,
            remedy=remedy,
            retryable=CODES[code],
            request_id=waiting.request_id,
            ledger=self._clients.ledger(connection),
        )
        self._clients.answer(connection, error.frames())

    def _asker(self, waiting: Waiting) -> Connection | None:
        """The connection that asked; if it said HELLO again meanwhile, its newer self."""
        if waiting.connection.closed:
            return self._clients.connections.get(waiting.connection.identity)
        return waiting.connection


def _hash_bytes(text: str) -> bytes | None:
    """The 16 bytes of a weights hash, None if it is none."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    return value if len(value) == HASH_BYTES else None
