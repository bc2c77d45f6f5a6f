"""Messages of clients and of the engine, each handed to the part that deals with it.

Owns the two tables of kinds, and that a bad message is answered or counted and hurts nobody else.
It keeps no state and waits for nothing; what a message means is known by the parts.
"""

import json
import logging
from collections.abc import Callable
from typing import Any

import zmq

from eftraind import link
from eftraind.errors import EftraindError, WireError
from eftraind.metrics import Metrics, Page
from eftraind.service.clients import Clients, Model
from eftraind.service.control import Control
from eftraind.service.guard import Guard
from eftraind.service.ingest import Ingest
from eftraind.service.predict import Predict
from eftraind.service.session import EngineSession
from eftraind.service.sockets import Received
from eftraind.wire import Bye, Hello, Infer, Kind, Ping
from eftraind.wire_decode import decode_request, split_header

ROLE_OF = {Kind.PUT: "ingest", Kind.INFER: "infer"}

log = logging.getLogger(__name__)


class ClientMail:
    """What clients send."""

    def __init__(
        self, clients: Clients, guard: Guard, ingest: Ingest, predict: Predict, metrics: Metrics
    ) -> None:
        self._clients = clients
        self._guard = guard
        self._ingest = ingest
        self._predict = predict
        self._messages = metrics.counter("messages_total")

    def handle(self, received: Received) -> None:
        """Deal with one message; a bad one is answered with its error."""
        frames = received.frames
        name = "unreadable"
        kind: Kind | None = None
        try:
            if received.parts != 2:
                raise WireError(
                    f"the message has {received.parts} parts", remedy="send one header and one body"
                )
            kind, header = split_header(frames[0])
            name = kind.name.lower()
            self._dispatch(received, kind, header, memoryview(frames[1]))
        except EftraindError as error:
            if kind == Kind.INFER:
                self._predict.refused(error)
            self._clients.refuse(received.identity, frames, error)
        self._messages.inc(1, name)

    def _dispatch(self, received: Received, kind: Kind, header: bytes, body: memoryview) -> None:
        self._guard.admit(received.user)
        if kind == Kind.HELLO:
            hello = decode_request((header, body))
            assert isinstance(hello, Hello)
            self._clients.hello(received.identity, hello, received.user)
            return
        connection = self._clients.find(received.identity, received.user)
        if kind in ROLE_OF:
            self._guard.require(received.user, ROLE_OF[kind])
        if kind == Kind.PUT:
            self._ingest.put(connection, header, body)
            return
        request = decode_request((header, body), self._clients.stream)
        if isinstance(request, Infer):
            self._predict.infer(connection, request, body)
        elif isinstance(request, Ping):
            self._clients.ping(connection, request)
        elif isinstance(request, Bye):
            self._clients.close(connection)


class EventSocket:
    """Events to whoever listens; `socket` is a PUB socket, which never waits. `seen` gets each."""

    def __init__(
        self, socket: Any, metrics: Metrics, seen: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self._socket = socket
        self._sent = metrics.counter("events_total")
        self._seen = seen

    def publish(self, topic: str, data: dict[str, Any]) -> None:
        self._sent.inc(1, topic)
        self._seen(topic, data)
        self._socket.send_multipart([topic.encode(), json.dumps(data).encode()], zmq.NOBLOCK)


class EngineMail:
    """What the engine sends, and what follows when it comes or goes."""

    def __init__(
        self,
        *,
        session: EngineSession,
        clients: Clients,
        predict: Predict,
        control: Control,
        events: EventSocket,
        page: Page,
        metrics: Metrics,
    ) -> None:
        self._session = session
        self._clients = clients
        self._predict = predict
        self._control = control
        self._events = events
        self._page = page
        self._errors = metrics.counter("link_errors_total")

    def handle(self, received: Received) -> None:
        """Deal with one message; a bad one is counted and logged."""
        try:
            if received.parts != 2:
                raise link.LinkError(f"a link message of {received.parts} parts")
            message = link.decode(received.frames)
            if not self._session.accept(received.identity, message):
                self._deal(message)
        except (link.LinkError, ValueError) as error:
            self._errors.inc()
            log.error("bad message from the engine: %s", error)

    def _deal(self, message: link.Message) -> None:
        if isinstance(message, link.Prediction):
            self._serves(message.version, message.hash)
            self._predict.prediction(message)
        elif isinstance(message, link.InferError):
            self._predict.error(message)
        elif isinstance(message, link.Event):
            self._heard(message.topic, message.data)
        elif isinstance(message, link.MetricsSnapshot):
            self._page.show(message.samples)
        elif isinstance(message, link.Reply):
            self._control.reply(message)
        else:
            raise link.LinkError(f"{message.kind} is not for the front")

    def _heard(self, topic: str, data: dict[str, Any]) -> None:
        version, weights_hash = data.get("version"), data.get("hash")
        changed = topic in ("swapped", "rolled_back")
        if changed and isinstance(version, int) and isinstance(weights_hash, str):
            self._serves(version, weights_hash)
        self._events.publish(topic, data)

    def _serves(self, model_version: int, weights_hash: str) -> None:
        if self._clients.model.version != model_version:
            self._clients.model = Model(model_version, weights_hash)

    def engine_changed(self, up: bool) -> None:
        """The session began or ended."""
        if up and self._session.hello is not None:
            self._serves(self._session.hello.version, self._session.hello.weights_hash)
        if not up:
            self._page.show([])  # what is no longer known is absent
            self._predict.engine_down()
            self._control.engine_down()
        self._events.publish("engine", {"up": up})
