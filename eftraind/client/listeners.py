"""Users' callbacks for events: who wants which topic, and the SUB socket that they need.

Owns where to listen. Only the carrier's thread touches the socket; `add` is for any thread.
"""

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from eftraind.client import curve
from eftraind.keys import KeyFile

EventCallback = Callable[[str, Any], None]

_LOG = logging.getLogger(__name__)


def events_endpoint(named: str, daemon: str) -> str:
    """Where to listen: `named`, at the daemon's own host if that is bound to all addresses."""
    for everywhere in ("tcp://*:", "tcp://0.0.0.0:", "tcp://[::]:"):
        if named.startswith(everywhere):
            remote = daemon.startswith("tcp://")
            host = daemon.rpartition(":")[0] if remote else "tcp://127.0.0.1"
            return f"{host}:{named.removeprefix(everywhere)}"
    return named


class Listeners:
    def __init__(self, context: "zmq.Context[Any]", keys: KeyFile | None) -> None:
        self._context = context
        self._keys = keys
        self._callbacks: list[tuple[str, EventCallback]] = []
        self._subscribed = 0
        self._endpoint = ""
        self.socket: zmq.Socket[bytes] | None = None

    def add(self, topic: str, callback: EventCallback) -> None:
        self._callbacks.append((topic, callback))

    def update(self, endpoint: str) -> None:
        """Subscribe to what was added, or to everything again where the daemon came back with
        another endpoint."""
        if endpoint != self._endpoint:
            self.close()
            self._endpoint, self._subscribed = endpoint, 0
        added = self._callbacks[self._subscribed :]
        if not added or not endpoint:
            return
        self._subscribed += len(added)
        try:
            self.socket = self.socket or self._open(endpoint)
            for topic, _ in added:
                self.socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        except zmq.ZMQError as error:  # samples go on without
            _LOG.warning("cannot listen for events at %s: %s", endpoint, error)

    def wanting(self, topic: str) -> Sequence[EventCallback]:
        return [callback for wanted, callback in list(self._callbacks) if wanted in ("", topic)]

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close(0)
            self.socket = None

    def _open(self, endpoint: str) -> "zmq.Socket[bytes]":
        subscriber: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        try:
            subscriber.setsockopt(zmq.LINGER, 0)
            subscriber.setsockopt(zmq.IPV6, int("[" in endpoint))
            curve.use(subscriber, self._keys if endpoint.startswith("tcp:") else None)
            subscriber.connect(endpoint)
        except zmq.ZMQError:
            subscriber.close(0)
            raise
        return subscriber


def read_event(frames: list[bytes]) -> tuple[str, Any] | None:
    """Topic and data, None (and a line in the log) if they cannot be read."""
    try:
        topic, data = frames
        return topic.decode(), json.loads(data)
    except (ValueError, RecursionError):
        _LOG.warning("an event could not be read: %.80r", frames)
        return None
