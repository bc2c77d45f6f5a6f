"""The one thread that owns a client's sockets and carries messages between them and the session.

Both clients, the plain one and the asyncio one, sit on it: heartbeats and resending must not stop
because a user's code or event loop is busy, and one thread moves far more messages than asyncio
over ZeroMQ does. It decides nothing; every decision is the session's.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import zmq
from zmq.utils.monitor import recv_monitor_message

from eftraind.client import curve
from eftraind.client.connection import open_dealer
from eftraind.client.curve import Keys
from eftraind.client.listeners import EventCallback, Listeners, events_endpoint, read_event
from eftraind.client.pulse import Phase
from eftraind.client.results import Refusal, Settings
from eftraind.client.session import Session
from eftraind.client.waits import Done
from eftraind.clock import Clock
from eftraind.errors import ClientError
from eftraind.wire import Frames

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_MESSAGES_PER_TURN = 64  # so that neither direction starves the other
_STALLED_S = 0.05
_LINGER_MS = 200


class Carrier:
    def __init__(
        self,
        endpoint: str,
        settings: Settings,
        *,
        keys: Keys | None,
        events: str | None,
        on_refused: Callable[[Refusal], None] | None,
        post: Callable[[Callable[[], None]], None],
        clock: Clock,
        context: "zmq.Context[Any] | None",
    ) -> None:
        self._endpoint = endpoint
        self._keys = curve.find(keys, endpoint, os.environ)
        self._events = events
        self._on_refused = on_refused
        self._post = post  # runs a user's callback where the user wants it
        self._clock = clock
        self._own_context = context is None
        self._context = zmq.Context() if context is None else context
        self._lock = threading.Lock()
        self.session = Session(settings, clock.monotonic_s(), secrets.token_hex(8))
        self._dealer: zmq.Socket[bytes] | None = None
        self._monitor: Any = None
        self._listeners = Listeners(self._context, self._keys)
        self._stalled: Frames | None = None
        self._last_word: Frames | None = None
        self._sleeps_until = 0.0
        self._wake_sent = self._finished = False
        self._waker, self._wakes = socket.socketpair()
        self._waker.setblocking(False)
        self._wakes.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="eftraind-client", daemon=True)
        self._thread.start()

    # For the clients, from any thread...

    def call(self, method: Callable[..., T], *args: Any) -> T:
        """Run a method of the session that takes the time as its last argument."""
        with self._lock:
            result = method(*args, self._clock.monotonic_s())
            if self.session.send_at() < self._sleeps_until:
                self._wake()
            return result

    def ask(self, method: Callable[..., None], *args: Any, timeout_s: float, done: Done) -> None:
        """Start something that waits; `done` is called from the carrier's thread."""
        self._not_here()
        with self._lock:
            method(*args, self._clock.monotonic_s() + timeout_s, done)
            self._wake()

    def read(self, method: Callable[[], T]) -> T:
        with self._lock:
            return method()

    def subscribe(self, topic: str, callback: EventCallback) -> None:
        with self._lock:
            if not self._events_at():
                raise ClientError(
                    "this daemon names no endpoint for events",
                    remedy="pass events=... when making the client",
                )
            self._listeners.add(topic, callback)
            self._wake()

    def close(self) -> None:
        """Idempotent; safe in any thread but the carrier's own."""
        self._not_here()
        with self._lock:
            if self.session.phase is not Phase.ENDED:
                self._last_word = self.session.end()
            self._wake()
        self._thread.join()

    def _not_here(self) -> None:
        if threading.current_thread() is self._thread:
            raise ClientError(
                "a callback cannot wait for the thread that called it",
                remedy="hand the work to another thread; push and label are fine here",
            )

    # The thread...

    def _run(self) -> None:
        try:
            while self.session.phase is not Phase.ENDED:
                self._turn()
        except Exception as error:
            _LOG.exception("the client's thread failed")
            with self._lock:
                self.session.end(ClientError(f"the client failed: {error!r}", code="internal"))
        finally:
            self._tell()
            self._disconnect(self._last_word)
            self._listeners.close()
            with self._lock:
                self._finished = True
                self._waker.close()
                self._wakes.close()
            if self._own_context:
                self._context.term()

    def _turn(self) -> None:
        with self._lock:
            now = self._clock.monotonic_s()
            self.session.tick(now)
            wants = self.session.wants_connection(now)
            connected = self.session.connected
            events = self._events_at()
        if self._dealer is not None and not connected:
            self._disconnect()
        if wants:
            self._connect()
        self._listeners.update(events)
        more = self._send()
        self._hear(self._poll(0.0 if more else None))
        self._tell()  # before the next tick lets a flush fail of it

    def _connect(self) -> None:
        trouble: ClientError | None = None
        try:
            self._dealer, self._monitor = open_dealer(self._context, self._endpoint, self._keys)
        except ClientError as error:
            trouble = error
        with self._lock:
            if trouble is None:
                self.session.opened(self._clock.monotonic_s())
            else:
                self.session.cannot_connect(trouble, True, self._clock.monotonic_s())

    def _disconnect(self, last_word: Frames | None = None) -> None:
        dealer, self._dealer, self._stalled = self._dealer, None, None
        if dealer is None:
            return
        dealer.disable_monitor()
        self._monitor.close(0)
        self._monitor = None
        if last_word is not None:
            try:
                dealer.send_multipart(last_word, zmq.NOBLOCK)
            except zmq.Again:
                last_word = None
        dealer.close(0 if last_word is None else _LINGER_MS)

    def _send(self) -> bool:
        """Send until the session or the socket has had enough. True: there may be more."""
        dealer = self._dealer
        for _ in range(_MESSAGES_PER_TURN):
            if dealer is None:
                return False
            if self._stalled is None:
                with self._lock:
                    self._stalled = self.session.next_message(self._clock.monotonic_s())
            if self._stalled is None:
                return False
            try:
                dealer.send_multipart(self._stalled, zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return False
            self._stalled = None
        return True

    def _poll(self, timeout_s: float | None) -> list[Any]:
        """Sleep until something happens; the sockets where it did."""
        poller = zmq.Poller()
        poller.register(self._wakes, zmq.POLLIN)
        if self._dealer is not None:
            stalled = zmq.POLLOUT if self._stalled is not None else 0
            poller.register(self._dealer, zmq.POLLIN | stalled)
            poller.register(self._monitor, zmq.POLLIN)
        if self._listeners.socket is not None:
            poller.register(self._listeners.socket, zmq.POLLIN)
        with self._lock:
            now = self._clock.monotonic_s()
            self._sleeps_until = self.session.wake_at()
            wait_s = self._sleeps_until - now if timeout_s is None else timeout_s
            if self._wake_sent or self.session.phase is Phase.ENDED:
                wait_s = 0.0
        if self._stalled is not None:
            wait_s = max(wait_s, _STALLED_S)  # the socket wakes us when it can take more
        wait_ms = None if wait_s == float("inf") else max(0, int(wait_s * 1000 + 0.999))
        ready = [source for source, _ in poller.poll(wait_ms)]
        with self._lock:
            self._sleeps_until = 0.0  # awake: nobody needs to wake us
            if self._wake_sent:
                self._wake_sent = False
                self._wakes.recv(64)
        return ready

    def _hear(self, ready: list[Any]) -> None:
        heard = self._receive_all(self._dealer) if self._dealer in ready else []
        lost = self._monitor is not None and self._monitor in ready
        if heard or lost:
            with self._lock:
                now = self._clock.monotonic_s()
                for frames in heard:
                    self.session.receive(frames, now)
                if lost:
                    self._lost(now)
        if self._listeners.socket in ready:
            for frames in self._receive_all(self._listeners.socket):
                self._hear_event(frames)

    def _lost(self, now: float) -> None:
        event = recv_monitor_message(self._monitor)
        if event["event"] == zmq.EVENT_DISCONNECTED:
            self.session.broken(now)
        else:
            trouble, for_good = curve.explain(event["event"], event["value"], self._keys)
            self.session.cannot_connect(trouble, for_good, now)

    def _receive_all(self, source: "zmq.Socket[bytes] | None") -> list[list[bytes]]:
        messages: list[list[bytes]] = []
        try:
            while source is not None and len(messages) < _MESSAGES_PER_TURN:
                messages.append(source.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            pass
        return messages

    # Callbacks...

    def _events_at(self) -> str:
        welcome = self.session.welcome
        named = self._events or (welcome.events if welcome is not None else "")
        return events_endpoint(named, self._endpoint)

    def _hear_event(self, frames: list[bytes]) -> None:
        event = read_event(frames)
        if event is not None:
            for callback in self._listeners.wanting(event[0]):
                self._post(partial(guarded, callback, *event))

    def _tell(self) -> None:
        with self._lock:
            notices = list(self.session.notices)
            self.session.notices.clear()
        if self._on_refused is not None:
            for refusal in notices:
                self._post(partial(guarded, self._on_refused, refusal))

    def _wake(self) -> None:
        if not self._wake_sent and not self._finished:
            self._wake_sent = True
            self._waker.send(b"w")


def guarded(callback: Callable[..., None], *args: Any) -> None:
    """A user's callback must not end the thread that carries their data."""
    try:
        callback(*args)
    except Exception:
        _LOG.exception("a callback of the client failed")
