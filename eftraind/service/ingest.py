"""PUTs: credit, validation, the sequence rule, and what becomes of each one.

Owns the rule that makes loss and duplicates impossible: an operation is taken only if it follows
the last one taken, so at any instant `received_seq` of a producer says which of its operations are
in the journal or on their way there, in order. When the journal does not take one, everything
behind it on its way is not taken either, and the producer goes on from there. Never writes to
disk itself, never waits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from eftraind.errors import EftraindError, WireError
from eftraind.metrics import Metrics
from eftraind.service.clients import Clients, Connection, Producer
from eftraind.wire import HEADER_BYTES, Buffer, Op, Put, Stream
from eftraind.wire_decode import decode_put

Frames: TypeAlias = Sequence[Buffer]

OPERATIONS = {Op.SAMPLES: "samples", Op.LABELS: "labels", Op.WITHDRAWALS: "withdrawals"}


@dataclass(frozen=True, eq=False)
class Submission:
    """One PUT on its way to the disk."""

    producer: Producer
    connection: Connection
    header: bytes
    operation: str
    first_seq: int
    follows: int
    count: int
    nbytes: int

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1


@dataclass(frozen=True)
class Outcome:
    """What the journal says about a submission: durable, or the error."""

    submission: Submission
    error: EftraindError | None = None


Submit: TypeAlias = Callable[[Submission, Put], None]


class Ingest:
    """`submit` hands a PUT to the journal or raises why it cannot be taken now. After the journal
    did not take one of a producer it must take no other of that producer until `readmit`."""

    def __init__(
        self,
        clients: Clients,
        stream: Stream,
        submit: Submit,
        readmit: Callable[[str], None],
        metrics: Metrics,
    ) -> None:
        self._clients = clients
        self._stream = stream
        self._submit = submit
        self._readmit = readmit
        self._operations = metrics.counter("ingest_operations_total")
        self._received_bytes = metrics.counter("ingest_received_bytes_total")
        self._queue_gauge = metrics.gauge("ingest_queue_bytes")
        self.queue_bytes = 0

    def put(self, connection: Connection, header: bytes, body: memoryview) -> None:
        """Take a PUT or refuse it; either way its sender is answered."""
        nbytes = HEADER_BYTES + len(body)
        connection.sent_bytes += nbytes
        operation, count = "unknown", 1
        try:
            put = decode_put(header, body, self._stream)
            operation, count = OPERATIONS[put.op], put.count
            outcome = self._take(connection, put, operation)
            if outcome == "duplicate":
                connection.settled_bytes += nbytes
            self._clients.acknowledge(connection)
        except EftraindError as error:
            outcome = error.code
            connection.settled_bytes += nbytes
            self._clients.refuse(connection.identity, (header, body), error)
        self._operations.inc(count, operation, outcome)

    def _take(self, connection: Connection, put: Put, operation: str) -> str:
        producer = connection.producer
        unsettled_bytes = connection.sent_bytes - connection.settled_bytes
        if unsettled_bytes > self._clients.config.window_bytes:
            raise WireError(
                f"{unsettled_bytes} bytes sent are not settled, more than the window allows",
                remedy="wait for credit_total to grow",
                code="no_credit",
            )
        if producer.failure is not None:
            raise _again(producer.failure)
        if put.last_seq <= producer.received_seq:
            return "duplicate"
        if put.follows != producer.received_seq:
            raise WireError(
                f"the PUT follows {put.follows}, the last one taken is {producer.received_seq}",
                remedy="resend in order what came after received_seq",
                code="sequence",
            )
        submission = Submission(
            producer=producer,
            connection=connection,
            header=put.header,
            operation=operation,
            first_seq=put.first_seq,
            follows=put.follows,
            count=put.count,
            nbytes=put.nbytes,
        )
        self._submit(submission, put)
        producer.received_seq = put.last_seq
        producer.in_flight += 1
        self._count_queue(put.nbytes)
        self._received_bytes.inc(put.nbytes)
        return "accepted"

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Take what the journal says, in the order in which it was submitted."""
        for outcome in outcomes:
            submission = outcome.submission
            producer = submission.producer
            producer.in_flight -= 1
            self._count_queue(-submission.nbytes)
            submission.connection.settled_bytes += submission.nbytes
            if outcome.error is None:
                producer.durable_seq = submission.last_seq
                self._clients.acknowledge(submission.connection)
                if producer.connection not in (None, submission.connection):
                    self._clients.acknowledge(producer.connection)
            else:
                self._take_back(submission, outcome.error)
            if producer.in_flight == 0:
                self._drained(producer)

    def _drained(self, producer: Producer) -> None:
        if producer.failure is not None:
            producer.failure = None
            self._readmit(producer.name)
        self._clients.forget_unused(producer)

    def _take_back(self, submission: Submission, error: EftraindError) -> None:
        """An operation that was received is not in the journal, nor is any behind it.

        Its client may meanwhile have numbered other attempts, or be another connection of the same
        producer. Instead of reasoning about what it believes, it is made to say HELLO again: the
        WELCOME then tells the truth.
        """
        producer = submission.producer
        self._operations.inc(submission.count, submission.operation, error.code)
        if producer.failure is not None:
            return
        producer.failure = error
        producer.received_seq = submission.follows
        connection = producer.connection
        if connection is not None:
            frames = (submission.header, b"")
            self._clients.refuse(connection.identity, frames, error)
            again = WireError(
                "received operations were taken back",
                remedy="say HELLO again and resend in order",
                code="hello_required",
            )
            self._clients.refuse(connection.identity, frames, again)
            self._clients.close(connection)

    def _count_queue(self, delta_bytes: int) -> None:
        self.queue_bytes += delta_bytes
        self._queue_gauge.set(self.queue_bytes)


def _again(failure: EftraindError) -> WireError:
    """What a PUT is told that came while an earlier one is being taken back."""
    if failure.code == "record_too_large":
        return WireError("an earlier PUT was refused", remedy="resend in order", code="sequence")
    return WireError(failure.message, remedy=failure.remedy, code=failure.code)
