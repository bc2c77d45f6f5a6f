"""Who is connected and what each producer has: connections, credit, ledgers, errors.

Owns HELLO, PING, BYE, superseding, expiry and every answer that carries a ledger. A producer's
sequence numbers outlive its connections; a producer that never had anything accepted is forgotten
with its connection, so names alone fill no table. What a PUT does is ingest's business.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eftraind.clock import Clock
from eftraind.config import IngestConfig
from eftraind.errors import EftraindError, WireError
from eftraind.metrics import Metrics
from eftraind.service.guard import Guard
from eftraind.service.sockets import LOCAL, Sent
from eftraind.wire import CODES, Ack, Buffer, Error, Hello, Ledger, Ping, Pong, Stream, Welcome
from eftraind.wire_decode import refuse

HEARTBEAT_S = 1.0
EXPIRY_S = 30.0  # a client that pings every HEARTBEAT_S has missed thirty
RETRY_S = 0.1
SUPERSEDED_KEPT = 16

log = logging.getLogger(__name__)

Send = Callable[[bytes, Sequence[Buffer]], Sent]


@dataclass(eq=False)
class Producer:
    """The sequence numbers of one producer name."""

    name: str
    received_seq: int = 0
    durable_seq: int = 0
    in_flight: int = 0
    """PUTs handed to the journal whose outcome is not known yet"""
    failure: EftraindError | None = None
    """why everything is refused until `in_flight` is 0 again"""
    connection: "Connection | None" = None
    instance: str = ""
    """the client that said HELLO last, where it says which it is"""
    superseded: deque[str] = field(default_factory=lambda: deque(maxlen=SUPERSEDED_KEPT))


@dataclass(eq=False)
class Connection:
    """One HELLO. Credit counts from it; another HELLO makes another Connection."""

    identity: bytes
    producer: Producer
    client: str
    heard_s: float
    user: str = LOCAL
    sent_bytes: int = 0
    settled_bytes: int = 0
    """of these, durable, duplicate or refused"""
    infers: int = 0
    closed: bool = False


@dataclass(frozen=True)
class Model:
    """What WELCOME says about the serving weights."""

    version: int = 0
    weights_hash: str = ""


@dataclass
class Clients:
    """All connections and producers. One per daemon, used by one thread."""

    config: IngestConfig
    stream: Stream
    send: Send
    metrics: Metrics
    clock: Clock
    guard: Guard
    forget: Callable[[str], None]
    """told of each producer whose numbers are given up for a new one"""
    events_endpoint: str = ""
    network_events_endpoint: str = ""
    model: Model = field(default_factory=Model)

    def __post_init__(self) -> None:
        self._connections: dict[bytes, Connection] = {}
        self._producers: dict[str, Producer] = {}
        self._ack_due: dict[Connection, None] = {}
        self._ack_late: dict[Connection, None] = {}
        self._retry_at_s = 0.0

    def recover(self, last_seqs: Mapping[str, int]) -> None:
        """Take the producers found in the journal, those silent longest first; what is there is
        durable."""
        for name, last_seq in last_seqs.items():
            producer = self._producers.setdefault(name, Producer(name))
            producer.received_seq = producer.durable_seq = last_seq
        # Those forgotten since the newest table was written have come back with it.
        while len(self._producers) > self.config.max_producers:
            self._forget_one()
        self._show_counts()

    def find(self, identity: bytes, user: str = LOCAL) -> Connection:
        """The connection of a peer that said HELLO, marked as heard. Identities are chosen by
        clients, so another user may come with one that was taken."""
        connection = self._connections.get(identity)
        if connection is None or connection.user != user:
            raise WireError(
                "no HELLO on this connection", remedy="say HELLO first", code="hello_required"
            )
        connection.heard_s = self.clock.monotonic_s()
        return connection

    @property
    def producers(self) -> Mapping[str, Producer]:
        return self._producers

    @property
    def connections(self) -> Mapping[bytes, Connection]:
        return self._connections

    # messages

    def hello(self, identity: bytes, hello: Hello, user: str = LOCAL) -> None:
        """Open a connection, closing what it replaces, and say WELCOME."""
        same = self._connections.get(identity)
        numbers = self.guard.may(user, "ingest")
        known = self._producers.get(hello.producer) if numbers else None
        self._check_instance(known, hello.instance)
        self._check_room(same, known, numbers)
        if same is not None:
            self.close(same)
        # Who sends no samples has no numbers, and must not take the name from the one who does.
        producer = known or Producer(hello.producer)
        if producer.connection is not None:
            self._supersede(producer.connection)
        if numbers:
            self._heard(producer)
        if producer.instance and producer.instance != hello.instance:
            producer.superseded.append(producer.instance)
        producer.instance = hello.instance
        now_s = self.clock.monotonic_s()
        connection = Connection(identity, producer, hello.client, now_s, user)
        producer.connection = connection
        self._connections[identity] = connection
        self._show_counts()
        welcome = Welcome(
            producer=producer.name,
            ledger=self.ledger(connection),
            stream=self.stream,
            heartbeat_s=HEARTBEAT_S,
            model_version=self.model.version,
            weights_hash=self.model.weights_hash,
            events=self.events_endpoint if user == LOCAL else self.network_events_endpoint,
        )
        self.answer(connection, welcome.frames())

    def _check_instance(self, known: Producer | None, instance: str) -> None:
        """A process that was replaced while its connection was broken did not hear of it."""
        if known is not None and instance and instance in known.superseded:
            raise WireError(
                f"another client has since said HELLO as producer {known.name}",
                remedy="give each client its own producer name",
                code="superseded",
            )

    def _check_room(self, same: Connection | None, known: Producer | None, numbers: bool) -> None:
        replaces = same is not None or (known is not None and known.connection is not None)
        if not replaces and len(self._connections) >= self.config.max_clients:
            raise WireError(
                f"{len(self._connections)} clients are connected, the most allowed",
                remedy="close one, or raise ingest.max_clients",
                code="too_many_clients",
            )
        if numbers and known is None and len(self._producers) >= self.config.max_producers:
            self._forget_one()

    def _heard(self, producer: Producer) -> None:
        """It is the last to be forgotten now."""
        self._producers.pop(producer.name, None)
        self._producers[producer.name] = producer

    def _forget_one(self) -> None:
        """Give up the numbers of the producer that was silent longest, for another. Its samples
        stay; if it ever comes back with some that were durable before it heard so, they count
        twice."""
        for producer in self._producers.values():
            if producer.connection is None and not producer.in_flight:
                break
        else:
            raise WireError(
                f"{len(self._producers)} producers are connected, the most allowed",
                remedy="close one, or raise ingest.max_producers",
                code="too_many_producers",
            )
        del self._producers[producer.name]
        self.forget(producer.name)
        self.metrics.counter("producers_forgotten_total").inc()
        log.info("producer %s, silent longest, is forgotten for a new one", producer.name)

    def _supersede(self, old: Connection) -> None:
        self.metrics.counter("clients_superseded_total").inc()
        log.warning("producer %s connected again; its older connection ends", old.producer.name)
        error = Error(
            code="superseded",
            message=f"another connection said HELLO as producer {old.producer.name}",
            remedy="give each client its own producer name",
            ledger=self.ledger(old),
        )
        self.close(old)
        self.metrics.counter("errors_sent_total").inc(1, error.code)
        self._count_dropped(self.send(old.identity, error.frames()))

    def ping(self, connection: Connection, ping: Ping) -> None:
        self._ack_due.pop(connection, None)
        self.answer(connection, Pong(ping.token, self.ledger(connection)).frames())

    def close(self, connection: Connection) -> None:
        """Forget the connection; its producer's accepted operations stay."""
        if connection.closed:
            return
        connection.closed = True
        self._connections.pop(connection.identity, None)
        self._ack_due.pop(connection, None)
        self._ack_late.pop(connection, None)
        producer = connection.producer
        if producer.connection is connection:
            producer.connection = None
            if self._producers.get(producer.name) is producer:
                self._heard(producer)
        self.forget_unused(producer)
        self._show_counts()

    def close_users(self, users: set[str], *, all_of_network: bool) -> None:
        """Close these users' connections, or all but those of Unix sockets."""
        for connection in list(self._connections.values()):
            if connection.user in users or (all_of_network and connection.user != LOCAL):
                if connection.user in users:
                    error = WireError("the roles of this key were changed", code="forbidden")
                    self.refuse(connection.identity, (), error)
                self.close(connection)

    def forget_unused(self, producer: Producer) -> None:
        """Drop a producer that has nothing: no number, no connection, nothing on its way."""
        if producer.connection is None and not producer.received_seq and not producer.in_flight:
            if self._producers.get(producer.name) is producer:
                del self._producers[producer.name]

    # answers

    def ledger(self, connection: Connection) -> Ledger:
        producer = connection.producer
        return Ledger(
            received_seq=producer.received_seq,
            durable_seq=producer.durable_seq,
            credit_total=connection.settled_bytes + self.config.window_bytes,
        )

    def answer(self, connection: Connection, frames: Sequence[Buffer]) -> bool:
        """Send; a peer that is gone is closed."""
        if connection.closed:
            return False
        sent = self.send(connection.identity, frames)
        self._count_dropped(sent)
        if sent is Sent.GONE:
            self.close(connection)
        return sent is Sent.OK

    def refuse(self, identity: bytes, frames: Sequence[Buffer], error: EftraindError) -> None:
        """Answer a message with ERROR. A client that does not take the refusal of an operation
        would wait for ever for its acknowledgement, so it is made to say HELLO again.
        `hello_required` names no operation: it is about the connection."""
        connection = self._connections.get(identity)
        if error.code not in CODES:
            error = WireError(error.message, remedy=error.remedy, code="internal")
        self.metrics.counter("errors_sent_total").inc(1, error.code)
        ledger = self.ledger(connection) if connection is not None else None
        reply = refuse(() if error.code == "hello_required" else frames, error, ledger)
        if connection is None:
            self._count_dropped(self.send(identity, reply))
        elif not self.answer(connection, reply):
            self.close(connection)

    def acknowledge(self, connection: Connection) -> None:
        """Send an ACK at the end of this turn; many become one."""
        if not connection.closed:
            self._ack_due[connection] = None

    def flush(self) -> None:
        """Send the ACKs of this turn, and again those a slow reader did not take."""
        now_s = self.clock.monotonic_s()
        if self._ack_late and now_s >= self._retry_at_s:
            self._ack_due.update(self._ack_late)
            self._ack_late.clear()
            self._retry_at_s = now_s + RETRY_S
        due, self._ack_due = self._ack_due, {}
        for connection in due:
            if not self.answer(connection, Ack(self.ledger(connection)).frames()):
                if not connection.closed:
                    self._ack_late[connection] = None

    def expire(self) -> None:
        """Close connections that fell silent."""
        oldest_s = self.clock.monotonic_s() - EXPIRY_S
        for connection in [c for c in self._connections.values() if c.heard_s < oldest_s]:
            self.metrics.counter("clients_expired_total").inc()
            self.close(connection)

    def _count_dropped(self, sent: Sent) -> None:
        if sent is not Sent.OK:
            self.metrics.counter("replies_dropped_total").inc(1, sent.value)

    def _show_counts(self) -> None:
        self.metrics.gauge("clients").set(len(self._connections))
        self.metrics.gauge("producers").set(len(self._producers))
