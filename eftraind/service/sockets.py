"""ROUTER sockets that no peer can block, flood with parts, or make forget who is gone.

Owns socket options, reading one message with a bounded number of parts, and sending without ever
waiting. Knows nothing of what the messages mean.
"""

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
LINGER_MS = 200
SOCKET_MODE = 0o660


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


class Router:
    """A bound ROUTER socket. `receive` and `send` never wait."""

    def __init__(
        self,
        context: Context,
        endpoints: Sequence[str],
        *,
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
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, 2000)
        if heartbeat_ms:
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms)
            self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5 * heartbeat_ms)
            self.socket.setsockopt(zmq.HEARTBEAT_TTL, 5 * heartbeat_ms)
        self._open: Received | None = None
        self.endpoints = tuple(_bind(self.socket, endpoint) for endpoint in endpoints)

    def receive(self) -> Received | None:
        """The next whole message, or None for now. A message of very many parts is read away over
        several calls, so that it cannot hold up the loop."""
        if self._open is None:
            try:
                identity = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            self._open = Received(bytes(identity.buffer), [], 0)
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
                return Received(message.identity, frames, parts)
        self._open = Received(message.identity, frames, parts)
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


def publisher(context: Context, endpoint: str) -> tuple[Any, str]:
    """A bound PUB socket that drops what slow subscribers do not take, and its endpoint."""
    socket: Any = context.socket(zmq.PUB)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, 1000)
    socket.setsockopt(zmq.MAXMSGSIZE, 4096)
    return socket, _bind(socket, endpoint)


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
