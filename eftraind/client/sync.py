"""Client: the SDK for programs without an event loop. Every decision is the session's."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import zmq

from eftraind.client.carrier import Carrier
from eftraind.client.curve import Keys
from eftraind.client.listeners import EventCallback
from eftraind.client.offers import Offer
from eftraind.client.pulse import Phase
from eftraind.client.results import (
    Level,
    Policy,
    Prediction,
    Refusal,
    Settings,
    Stats,
    check_level,
    make_settings,
)
from eftraind.client.session import Session
from eftraind.clock import Clock
from eftraind.errors import ClientError

T = TypeVar("T")


class Client:
    """Sends labelled samples to a daemon and asks it for predictions; safe to share by threads.

    Client("ipc:///run/eftraind/eft.sock")                  a nameless producer, numbered from 1
    Client(endpoint, producer="camera-left")                numbering continues after a restart
    Client(endpoint, policy="block")                        push waits while the daemon is behind
    Client(endpoint, policy="drop_oldest")                  the newest data counts; losses are told
    Client(endpoint, policy="refuse")                       push raises Backpressure at once
    Client("tcp://robot:5557", keys="camera-left.key")      or a KeyFile; or $EFTRAIND_KEYS
    Client(endpoint, on_refused=print)                      hears of every operation not stored

    Callbacks run in the client's own thread: they may push, but not wait (infer, flush, close).
    """

    def __init__(
        self,
        endpoint: str,
        producer: str | None = None,
        policy: Policy = "block",
        *,
        keys: Keys | None = None,
        max_pending_bytes: int = 64 << 20,
        events: str | None = None,
        on_refused: Callable[[Refusal], None] | None = None,
        connect_timeout_s: float = 10.0,
        push_timeout_s: float = 60.0,
        settings: Settings | None = None,
        clock: Clock | None = None,
        context: "zmq.Context[Any] | None" = None,
    ) -> None:
        self._push_timeout_s = push_timeout_s
        self._carrier = Carrier(
            endpoint,
            settings or make_settings(producer, policy, max_pending_bytes),
            keys=keys,
            events=events,
            on_refused=on_refused,
            post=lambda callback: callback(),
            clock=clock or Clock(),
            context=context,
        )
        try:
            self._ask(self._session.when_ready, timeout_s=connect_timeout_s)
        except BaseException:
            self._carrier.close()
            raise

    def push(self, sample: Any, label: int | None = None) -> int:
        """Send one sample, (H, W, C) or (H, W); returns its sid, for `label` and `withdraw`.

        Returning means taken over, not stored: `flush` and `on_refused` tell about that.
        """
        return self._put(self._session.sample(sample, label))

    def push_batch(self, samples: Any, labels: Any = None) -> range:
        """Send many samples in one message; the sids, in order. Label -1: comes later."""
        return self._put(self._session.batch(samples, labels))

    def label(self, sid: Any, label: Any) -> None:
        """Tell the label of a sample pushed before (or of many: two sequences)."""
        self._put(self._session.late_label(sid, label))

    def withdraw(self, sid: Any) -> None:
        """Take back the label of a sample (or of many): it will no longer be trained on."""
        self._put(self._session.withdrawal(sid))

    def infer(self, samples: Any, timeout_s: float = 1.0) -> Prediction:
        """Predictions for one sample or a batch, or Disconnected after `timeout_s`."""
        question = self._session.question(samples)
        prediction: Prediction = self._ask(self._session.infer, question, timeout_s=timeout_s)
        return prediction

    def flush(self, level: Level = "durable", timeout_s: float = 10.0) -> None:
        """Wait until everything pushed so far is stored; raises Refused if something never is."""
        self._ask(self._session.flush, check_level(level), timeout_s=timeout_s)

    def on_event(self, topic: str, callback: EventCallback) -> None:
        """Call `callback(topic, data)` for each event of the daemon; topic "" means all."""
        self._carrier.subscribe(topic, callback)

    def stats(self) -> Stats:
        return self._carrier.read(self._session.stats)

    def close(self, flush_timeout_s: float = 5.0) -> None:
        """Wait for durability, say goodbye and free everything. Idempotent.

        Raises what `flush` raises if something could not be stored; all is freed even then.
        """
        try:
            if flush_timeout_s > 0:
                if self._session.phase is Phase.ENDED:
                    self._carrier.read(self._session.report)
                else:
                    self.flush(timeout_s=flush_timeout_s)
        finally:
            self._carrier.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(flush_timeout_s=5.0 if kind is None else 0.0)

    @property
    def _session(self) -> Session:
        return self._carrier.session

    def _put(self, offer: Offer[T]) -> T:
        taken: T | None = self._carrier.call(self._session.offer, offer)
        if taken is not None:
            return taken
        waited: T = self._ask(self._session.when_taken, offer, timeout_s=self._push_timeout_s)
        return waited

    def _ask(self, method: Callable[..., None], *args: Any, timeout_s: float) -> Any:
        finished = threading.Event()
        outcome: list[Any] = []

        def done(result: Any, error: ClientError | None) -> None:
            outcome.extend((result, error))
            finished.set()

        self._carrier.ask(method, *args, timeout_s=timeout_s, done=done)
        finished.wait()  # the session keeps the deadline
        result, error = outcome
        if error is not None:
            raise error
        return result
