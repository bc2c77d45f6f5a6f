"""Everything a client knows and decides, without sockets, threads or a clock of its own.

A carrier feeds it what arrives (`receive`), what time it is (`tick`) and what the network does
(`opened`, `broken`), and sends what `next_message` gives. Users' calls land here too; those that
wait take a `done(result, error)` that is called exactly once. Not thread-safe: the carrier locks.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from eftraind.client import convert, offers
from eftraind.client.offers import Offer
from eftraind.client.outbox import Outbox
from eftraind.client.pulse import Phase, Pulse
from eftraind.client.refusals import Refusals
from eftraind.client.requests import Requests
from eftraind.client.results import Level, Refusal, Settings, Stats
from eftraind.client.waits import Done, Waits
from eftraind.errors import Backpressure, ClientError, Closed, Disconnected, Refused, WireError
from eftraind.wire import (
    MAX_SEQ,
    Array,
    Bye,
    Error,
    Frames,
    Hello,
    Ping,
    Pong,
    Prediction,
    Stream,
    Welcome,
)
from eftraind.wire_decode import decode_reply

T = TypeVar("T")


class Session:
    def __init__(self, settings: Settings, now: float, instance: str = "") -> None:
        self._settings = settings
        self._instance = instance
        self.trouble: ClientError | None = None
        """why there is no connection, where that is known"""
        self._outbox = Outbox(settings)
        self._requests = Requests()
        self._waits = Waits()
        self._refusals = Refusals()
        self._pulse = Pulse(settings, now)
        self._control: deque[Frames] = deque()
        self._ping_mark = (0, 0)  # (last sequence number sent, attempt) when the PING left
        self._welcomes = 0
        self._last_refusal: Error | None = None
        self.failure: ClientError | None = None
        self.welcome: Welcome | None = None

    @property
    def phase(self) -> Phase:
        return self._pulse.phase

    @property
    def connected(self) -> bool:
        return self._pulse.connected

    @property
    def notices(self) -> deque[Refusal]:
        """What was refused or dropped and the user was not told yet."""
        return self._refusals.notices

    # What users ask for...

    def sample(self, sample: Any, label: Any) -> Offer[int]:
        return offers.sample(self._outbox, self._usable_stream(), sample, label)

    def batch(self, samples: Any, labels: Any) -> Offer[range]:
        return offers.batch(self._outbox, self._usable_stream(), samples, labels)

    def late_label(self, sid: Any, label: Any) -> Offer[int]:
        return offers.late_label(self._outbox, self._usable_stream(), sid, label)

    def withdrawal(self, sid: Any) -> Offer[int]:
        self._usable_stream()
        return offers.withdrawal(self._outbox, sid)

    def offer(self, offer: Offer[T], now: float) -> T | None:
        """Take it, or None: the policy is to wait for room."""
        self._usable_stream()
        dropped = self._outbox.make_room(offer.nbytes)
        if dropped is None:
            return None
        self._refusals.add_dropped(dropped)
        return offer.commit(now)

    def when_taken(self, offer: Offer[T], deadline: float, done: Done) -> None:
        """Take it when there is room to spare: waking somebody for each gap costs too much."""
        needed_bytes = offer.nbytes + self._settings.max_pending_bytes // 8

        def attempt(now: float) -> T | None:
            return self.offer(offer, now) if self._outbox.has_room(needed_bytes) else None

        def late() -> ClientError:
            return self._late(
                f"{self._outbox.pending_bytes} bytes wait for the daemon", Backpressure
            )

        self._wait(attempt, late, deadline, done)

    def question(self, samples: Any) -> Array:
        return convert.images(samples, self._usable_stream())

    def infer(self, samples: Array, deadline: float, done: Done) -> None:
        if self.failure is not None:
            done(None, self.failure)
        else:
            self._requests.add(samples, deadline, done)

    def flush(self, level: Level, deadline: float, done: Done) -> None:
        """`done` when everything pushed so far has reached the level or was refused."""
        self._usable_stream()
        self._outbox.close_open()
        seq = self._outbox.next_seq - 1

        def settled(now: float) -> bool | None:
            if not self._outbox.settled(seq, level):
                return None
            self._refusals.report()
            return True

        def late() -> ClientError:
            return self._late(f"{self._outbox.pending} operations are not {level}")

        self._wait(settled, late, deadline, done)

    def report(self) -> None:
        """Raise what no flush has told of a client that failed; who closes one knows."""
        if not isinstance(self.failure, Closed):
            self._refusals.report()

    def when_ready(self, deadline: float, done: Done) -> None:
        """`done` after the first WELCOME."""

        def late() -> ClientError:
            return self.trouble or Disconnected(
                "the daemon did not answer", remedy="is eftraind running there?"
            )

        self._wait(lambda now: self.welcome, late, deadline, done)

    def forget(self, done: Done) -> None:
        """Nobody waits for this outcome any more."""
        self._waits.forget(done)
        self._requests.forget(done)

    def stats(self) -> Stats:
        box = self._outbox
        return Stats(
            *(box.pushed, box.sent, box.resent, box.received, box.durable, box.dropped),
            refused=dict(self._refusals.counts),
            pending=box.pending,
            pending_bytes=box.pending_bytes,
            reconnects=max(0, self._welcomes - 1),
            connected=self.phase is Phase.READY,
            waiting_for=box.waiting_for if box.pending else "",
        )

    def end(self, failure: ClientError | None = None) -> Frames | None:
        """No more work: everything waiting fails. What to send as a last word, if anything."""
        last_word = Bye().frames() if self.phase is Phase.READY and failure is None else None
        self._pulse.ended()
        self.failure = failure or Closed("the client was closed", remedy="make a new one")
        first_seq, count = self._outbox.abandon()
        if count:
            error = self.failure
            self._refusals.add(Refusal(error.code, error.message, error.remedy, first_seq, count))
        self._waits.fail(self.failure)
        self._requests.fail(self.failure)
        return last_word

    # What the carrier reports...

    def wants_connection(self, now: float) -> bool:
        return self._pulse.wants_connection(now)

    def opened(self, now: float) -> None:
        """A new socket was made (libzmq connects it when it can)."""
        if self.phase is Phase.ENDED:
            return  # by another thread, since this one was wanted
        self._pulse.opened(now)
        client = "eftraind.client for Python"
        hello = Hello(self._settings.producer, client, instance=self._instance)
        self._control = deque([hello.frames()])

    def broken(self, now: float) -> None:
        """The socket is to be thrown away; everything unanswered will be sent again."""
        if self.phase is Phase.ENDED:
            return
        self._pulse.broken(now)
        self._control.clear()
        self._requests.resend_all()

    def cannot_connect(self, trouble: ClientError, for_good: bool, now: float) -> None:
        """Keys did not fit, or no socket could be made. A client that was welcome before goes on
        trying: the daemon's list may be mended, and samples wait here."""
        self.trouble = trouble
        if for_good and self.welcome is None:
            self.end(trouble)
        else:
            self.broken(now)

    def receive(self, frames: list[bytes], now: float) -> None:
        if not self.connected:
            return
        self._pulse.heard(now)
        try:
            reply = decode_reply(frames)
        except WireError:
            self.broken(now)
            return
        if isinstance(reply, Welcome):
            self._welcomed(reply, now)
        elif isinstance(reply, Error):
            self._hear_error(reply, now)
        elif self.phase is not Phase.READY:
            return
        elif isinstance(reply, Prediction):
            self._requests.answer(reply)
        elif isinstance(reply, Bye):
            self.broken(now)
        else:
            self._outbox.apply(reply.ledger)
            if isinstance(reply, Pong) and self._ping_mark == (reply.token, self._outbox.attempt):
                self._outbox.lost(reply.token)

    def tick(self, now: float) -> None:
        """Everything that time alone brings about."""
        if self._pulse.lost(now):
            self.broken(now)
        elif self._pulse.ping_due(now):
            self._ping_mark = (self._outbox.chain_end, self._outbox.attempt)
            self._control.append(Ping(self._outbox.chain_end).frames())
            self._pulse.pinged(now)
        self._waits.settle(now)
        self._requests.expire(now, self._late)

    def next_message(self, now: float) -> Frames | None:
        """What to send now; the caller has to send it or report `broken`."""
        if self._control and self.connected:
            message: Frames | None = self._control.popleft()
        elif self.phase is Phase.READY:
            message = self._requests.take(now) or self._outbox.take(now)
        else:
            return None
        if message is not None:
            self._pulse.spoke(now)
        return message

    def send_at(self) -> float:
        """When the outbox has something to send; the part of `wake_at` that a push changes."""
        return self._outbox.wake_at() if self.phase is Phase.READY else float("inf")

    def wake_at(self) -> float:
        """When `tick` or `next_message` should be called again if nothing happens."""
        asked_for = self._requests.wake_at() if self.phase is Phase.READY else float("inf")
        deadlines = (self._waits.deadline(), self._requests.deadline())
        return min(self._pulse.wake_at(), *deadlines, self.send_at(), asked_for)

    # Inside...

    def _welcomed(self, welcome: Welcome, now: float) -> None:
        if self.phase is not Phase.GREETING:
            return
        if welcome.ledger.received_seq >= MAX_SEQ:
            self.broken(now)  # no daemon counts that far; our own numbers would not fit the wire
            return
        self._pulse.welcomed(now, welcome.heartbeat_s)
        self.trouble = None
        self.welcome = welcome
        self._welcomes += 1
        if not self._outbox.resume(welcome.ledger, welcome.stream):
            self._supersede(
                f"another client has numbered operations as producer {welcome.producer!r}"
            )

    def _hear_error(self, error: Error, now: float) -> None:
        if error.code == "superseded":
            self._supersede(error.message)
        elif self.phase is Phase.GREETING:
            if not error.retryable:
                self.end(Refused(error.message, remedy=error.remedy, code=error.code))
            elif error.code != "hello_required":
                self.broken(now)
        elif error.request_id:
            self._requests.refused(error, now)
        elif error.count and error.retryable:
            self._last_refusal = error
            self._outbox.retry(error.code, error.attempt, error.ledger, now)
        elif error.count:
            self._outbox.apply(error.ledger)
            count = self._outbox.refuse(error.first_seq)
            if count:
                self._refusals.add(
                    Refusal(error.code, error.message, error.remedy, error.first_seq, count)
                )
        else:
            if error.code == "forbidden":
                self.trouble = Refused(error.message, remedy=error.remedy, code=error.code)
            self.broken(now)

    def _supersede(self, message: str) -> None:
        remedy = "give each client its own producer name"
        self.end(Refused(message, remedy=remedy, code="superseded"))

    def _usable_stream(self) -> Stream:
        if self.failure is not None:
            raise self.failure
        if self.welcome is None:
            raise Disconnected("no daemon has answered yet", remedy="wait for the connection")
        return self.welcome.stream

    def _wait(
        self,
        attempt: Callable[[float], Any],
        late: Callable[[], ClientError],
        deadline: float,
        done: Done,
    ) -> None:
        if self.failure is not None:
            done(None, self.failure)
        else:
            self._waits.add(attempt, late, deadline, done)

    def _late(self, what: str, slow: type[ClientError] = Disconnected) -> ClientError:
        """Why something took too long: no connection, or a daemon that cannot take more."""
        if self.phase is not Phase.READY:
            if self.trouble is not None:
                why = self.trouble
                return Disconnected(f"{what}: {why.message}", remedy=why.remedy, code=why.code)
            return Disconnected(f"{what}: no connection", remedy="is eftraind running there?")
        refusal = self._last_refusal
        if self._outbox.waiting_for and refusal is not None:
            return Backpressure(
                f"{what}: {refusal.message}", remedy=refusal.remedy, code=refusal.code
            )
        return slow(f"{what}: no answer in time", remedy="allow more time", code="deadline")
