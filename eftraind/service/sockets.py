"""ROUTER sockets that no peer can block, flood with parts, or make forget who is gone.

Owns socket options, which endpoints are encrypted, cutting those off, reading one message with a
bounded number of parts, and sending without ever waiting. Knows nothing of what messages mean.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import zmq

from eftraind.errors import ConfigError

Buffer: TypeAlias = bytes | bytearray | memoryview
Context: TypeAlias = "zmq.Context[zmq.Socket[bytes]]"

KEPT_PARTS = 3  # an empty delimiter of REQ, a header, a body
PARTS_PER_CALL = 512
SMALL_BYTES = 16_384
HANDSHAKE_MS = 1000  # how long an idle connection of a stranger holds a descriptor
LINGER_MS = 200
SOCKET_MODE = 0o660
ZAP_DOMAIN = "eftraind"
LOCAL = ""
"""the user of a Unix socket, whom file permissions have let in"""

log = logging.getLogger(__name__)


class Sent(Enum):
    """What became of a message handed to `Router.send`."""

    OK = "ok"
    GONE = "gone"
    SLOW = "slow"


@dataclass(frozen=True)
class Received:
    """One message; `parts` counts all its frames, of which at most KEPT_PARTS are kept."""

    identity: bytes
    frames: list[Buffer]
    parts: int
    user: str = LOCAL
    """the public key that this very message came under"""


class Binding:
    """The endpoints of one socket: Unix sockets plain, all others encrypted with `secret`."""

    def __init__(self, socket: Any, endpoints: Sequence[str], secret: str | None) -> None:
        self._socket = socket
        self._down: list[str] = []
        local = [endpoint for endpoint in endpoints if is_local(endpoint)]
        network = [endpoint for endpoint in endpoints if not is_local(endpoint)]
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.IPV6, int(any("[" in endpoint for endpoint in network)))
        self.local = tuple(_bind(socket, endpoint) for endpoint in local)
        if network and secret is None:
            socket.close(0)
            raise ConfigError(
                f"{network[0]} would be open to the network without keys",
                remedy="make keys: docs/security.md; or listen on ipc:// only",
            )
        if network and secret is not None:
            # They hold for what is bound from here on, so the order is the protection.
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, secret.encode())
            socket.setsockopt_string(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self.network = tuple(_bind(socket, endpoint) for endpoint in network)

    @property
    def all(self) -> tuple[str, ...]:
        return self.local + self.network

    def cut(self) -> None:
        """End every network connection, whoever has it; `mend` until they can come back."""
        for endpoint in self.network:
            if endpoint not in self._down:
                self._socket.unbind(endpoint)
                self._down.append(endpoint)

    def mend(self) -> None:
        """Listen again where the port is free by now."""
        if not self._down:
            return
        self._socket.getsockopt(zmq.EVENTS)  # lets libzmq finish ending the connections
        for endpoint in list(self._down):
            try:
                self._socket.bind(endpoint)
            except zmq.ZMQError as error:
                log.warning("cannot listen on %s yet: %s", endpoint, zmq.strerror(error.errno or 0))
            else:
                self._down.remove(endpoint)


def is_local(endpoint: str) -> bool:
    return endpoint.startswith(("ipc://", "inproc://"))


class Router:
    """A bound ROUTER socket. `receive` and `send` never wait."""

    def __init__(
        self,
        context: Context,
        endpoints: Sequence[str],
        *,
        secret: str | None = None,
        max_frame_bytes: int = -1,
        receive_hwm: int = 64,
        send_hwm: int = 256,
        heartbeat_ms: int = 0,
    ) -> None:
        self.socket: Any = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
        self.socket.setsockopt(zmq.RCVHWM, receive_hwm)
        self.socket.setsockopt(zmq.SNDHWM, send_hwm)
        if heartbeat_ms:
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms)
            self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5 * heartbeat_ms)
            self.socket.setsockopt(zmq.HEARTBEAT_TTL, 5 * heartbeat_ms)
        self._open: Received | None = None
        self.binding = Binding(self.socket, endpoints, secret)
        self.endpoints = self.binding.all

    def receive(self) -> Received | None:
        """The next whole message, or None for now. A message of very many parts is read away over
        several calls, so that it cannot hold up the loop."""
        if self._open is None:
            try:
                identity = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            user = _user(identity) if self.binding.network else LOCAL
            self._open = Received(bytes(identity.buffer), [], 0, user)
        message = self._open
        frames, parts = message.frames, message.parts
        for _ in range(PARTS_PER_CALL):
            frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            parts += 1
            if len(frames) < KEPT_PARTS:
                # Small frames share one receive buffer of libzmq, which a kept frame would pin.
                frames.append(frame.bytes if len(frame) < SMALL_BYTES else frame.buffer)
            if not frame.more:
                self._open = None
                return Received(message.identity, frames, parts, message.user)
        self._open = Received(message.identity, frames, parts, message.user)
        return None

    @property
    def amid_message(self) -> bool:
        """More of a message with very many parts waits to be read away."""
        return self._open is not None

    def send(self, identity: bytes, frames: Sequence[Buffer]) -> Sent:
        try:
            self.socket.send_multipart([identity, *frames], zmq.NOBLOCK, copy=True)
        except zmq.Again:
            return Sent.SLOW
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return Sent.GONE
            raise
        return Sent.OK

    def close(self) -> None:
        self.socket.close()


def publisher(
    context: Context, endpoints: Sequence[str], secret: str | None
) -> tuple[Any, Binding]:
    """A bound PUB socket that drops what slow subscribers do not take, and its endpoints."""
    socket: Any = context.socket(zmq.PUB)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, 1000)
    socket.setsockopt(zmq.MAXMSGSIZE, 4096)
    return socket, Binding(socket, endpoints, secret)


def _user(frame: Any) -> str:
    """The public key that the handshake has proved; only Unix sockets have none."""
    try:
        key: str = frame.get("User-Id")
    except zmq.ZMQError:
        return LOCAL
    return key


def _bind(socket: Any, endpoint: str) -> str:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        raise ConfigError(
            f"cannot listen on {endpoint}: {zmq.strerror(error.errno or 0)}",
            remedy="check that the directory is writable and nothing else listens there",
        ) from error
    bound: str = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    if bound.startswith("ipc://"):
        os.chmod(bound.removeprefix("ipc://"), SOCKET_MODE)
    return bound
