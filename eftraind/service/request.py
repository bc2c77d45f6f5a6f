"""Asking a running daemon through its control socket, from another process.

Owns one request and its answer. Used by the command line and the demo.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq

from eftraind.client import curve
from eftraind.errors import EftraindError
from eftraind.keys import KeyFile

REMEDY = "is the daemon running, with the same configuration file?"


class RequestFailed(EftraindError):
    """The daemon refused, or did not answer."""

    code = "request"


def request(
    endpoint: str,
    command: str,
    args: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = 35.0,
    keys: KeyFile | None = None,
) -> dict[str, Any]:
    """The result of a command; RequestFailed with the daemon's cause and remedy otherwise."""
    path = Path(endpoint.removeprefix("ipc://"))
    if endpoint.startswith("ipc://") and not path.exists():
        raise RequestFailed(f"no daemon: there is no socket {path}", remedy=REMEDY)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        curve.use(socket, keys)
        socket.connect(endpoint)
        socket.send(json.dumps({"command": command, "args": dict(args or {})}).encode())
        if not socket.poll(int(timeout_s * 1000)):
            raise RequestFailed(
                f"no answer from {endpoint} within {timeout_s:g} s",
                remedy=REMEDY,
            )
        answer = json.loads(socket.recv())
    finally:
        socket.close()
        context.term()
    if not answer.get("ok"):
        error = answer.get("error", {})
        raise RequestFailed(
            str(error.get("message", "refused")),
            remedy=str(error.get("remedy", "")),
            code=str(error.get("code", "request")),
        )
    result: dict[str, Any] = answer["result"]
    return result
