"""The front's end of the link: which engine is connected, and the records it asks for.

Owns the one engine session, its liveness, and the answer to its Fetch, which waits until there are
durable records. The newest Hello wins; an engine that front does not know is asked to say Hello.
What predictions, events and replies mean is decided by those who registered for them.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from eftraind import link
from eftraind.clock import Clock
from eftraind.errors import DeviceLost, DeviceTimeout
from eftraind.metrics import Metrics
from eftraind.service.sockets import Buffer, Sent

PROBE_S = 0.1  # how soon the end of an engine process is noticed
ASK_S = 1.0
FETCH_LIMIT_BYTES = 4 << 20
LOST_CODES = (DeviceLost.code, DeviceTimeout.code)

log = logging.getLogger(__name__)


class RecordSource(Protocol):
    """The part of the journal that an engine session needs."""

    @property
    def first_seq(self) -> int: ...
    @property
    def durable_seq(self) -> int: ...
    def read(self, from_seq: int, max_bytes: int) -> Sequence[tuple[int, Buffer]]: ...
    def release(self, seq: int) -> None: ...


class EngineSession:
    """`send` sends to an identity on the link; `on_change` hears of up and down."""

    def __init__(
        self,
        *,
        send: Callable[[bytes, Sequence[Buffer]], Sent],
        source: RecordSource,
        network_digest: str,
        deadline_s: float,
        on_change: Callable[[bool], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._send = send
        self._source = source
        self._network_digest = network_digest
        self._deadline_s = deadline_s
        self._on_change = on_change
        self._metrics = metrics
        self._clock = clock
        self._identity: bytes | None = None
        self._heard_s = 0.0
        self._probe_s = 0.0
        self._asked = (b"", 0.0)
        self._fetch: link.Fetch | None = None
        self.hello: link.Hello | None = None
        self.fetched_seq = 0
        self.consumed_seq = 0
        metrics.gauge("engine_up").set(0)

    @property
    def up(self) -> bool:
        return self._identity is not None

    def accept(self, identity: bytes, message: link.Message) -> bool:
        """Handle session messages. False: the message is from the known engine, for others."""
        if isinstance(message, link.Hello):
            self._welcome(identity, message)
            return True
        if identity != self._identity:
            self._ask_who(identity)
            return True
        self._heard_s = self._clock.monotonic_s()
        if isinstance(message, link.Heartbeat):
            self.tell(link.Heartbeat())
        elif isinstance(message, link.Fetch):
            self._fetch = message
            self.feed()
        elif isinstance(message, link.Consumed):
            # Nothing beyond what is durable can have been seen, whatever the engine says.
            seq = min(message.seq, self._source.durable_seq)
            self.consumed_seq = max(self.consumed_seq, seq)
            self._source.release(seq)
        elif isinstance(message, link.Lost):
            code = message.code if message.code in LOST_CODES else DeviceLost.code
            self._metrics.counter("engine_device_lost_total").inc(1, code)
            self._down(f"its device is lost: {message.message}")
        else:
            return False
        return True

    def tell(self, message: link.Message) -> bool:
        """Send to the engine; False if there is none or it does not take it."""
        if self._identity is None:
            return False
        sent = self._send(self._identity, link.encode(message))
        if sent is Sent.GONE:
            self._down("its connection ended")
        return sent is Sent.OK

    def feed(self) -> None:
        """Answer the waiting Fetch if there are durable records for it."""
        fetch = self._fetch
        if fetch is None or self._identity is None:
            return
        head_seq = self._source.durable_seq
        if fetch.from_seq > head_seq:
            return
        limit_bytes = max(1, min(fetch.max_bytes, FETCH_LIMIT_BYTES))
        records = self._source.read(fetch.from_seq, limit_bytes)
        if not records and head_seq < max(fetch.from_seq, 1):
            return
        next_seq = records[-1][0] + 1 if records else head_seq + 1
        answer = link.Records(
            from_seq=fetch.from_seq,
            next_seq=next_seq,
            head_seq=head_seq,
            seqs=[seq for seq, _ in records],
            lengths=[len(payload) for _, payload in records],
            body=b"".join(payload for _, payload in records),
        )
        if self.tell(answer):
            self._fetch = None
            self.fetched_seq = max(self.fetched_seq, next_seq - 1)

    def tick(self) -> None:
        """Notice an engine that ended or hangs."""
        now_s = self._clock.monotonic_s()
        if self._identity is None or now_s < self._probe_s:
            return
        self._probe_s = now_s + PROBE_S
        if now_s - self._heard_s > self._deadline_s:
            self._down(f"it has been silent for {self._deadline_s} s")
        else:
            self.tell(link.Heartbeat())

    def status(self) -> dict[str, Any]:
        hello = self.hello
        if hello is None or not self.up:
            return {"up": False}
        return {
            "up": True,
            "pid": hello.pid,
            "device": hello.device,
            "lanes": hello.lanes,
            "network": hello.network,
            "version": hello.version,
            "weights_hash": hello.weights_hash,
        }

    def _ask_who(self, identity: bytes) -> None:
        """Once a second at most: each Hello makes the engine fetch anew."""
        now_s = self._clock.monotonic_s()
        if self._asked[0] != identity or now_s - self._asked[1] >= ASK_S:
            self._asked = (identity, now_s)
            self._send(identity, link.encode(link.Identify()))

    def _welcome(self, identity: bytes, hello: link.Hello) -> None:
        if hello.network_digest != self._network_digest:
            log.error(
                "an engine for another network (%s) said hello; restart both processes with the "
                "same configuration", hello.network
            )  # fmt: skip
            return
        if self._identity not in (None, identity):
            self._down("a newer engine said hello")
        was_up = self.up
        self._identity, self.hello, self._fetch = identity, hello, None
        self._heard_s = self._clock.monotonic_s()
        self._metrics.gauge("engine_up").set(1)
        if not was_up:
            self._metrics.counter("engine_sessions_total").inc()
            self._on_change(True)
        self.tell(link.Welcome(self._source.first_seq, self._source.durable_seq))

    def _down(self, reason: str) -> None:
        log.warning("the engine is down: %s", reason)
        self._identity, self._fetch = None, None
        self.fetched_seq = 0
        self._metrics.gauge("engine_up").set(0)
        self._on_change(False)
