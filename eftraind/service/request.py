"""Asking a running daemon through its control socket, from another process.

Owns one request and its answer. Used by the command line and the demo.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from eftraind.client import curve
from eftraind.clock import Clock
from eftraind.errors import EftraindError
from eftraind.keys import KeyFile

HANDSHAKE_S = 3.0  # for a daemon that hangs up and may only be starting
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
    monitor = socket.get_monitor_socket(curve.FAILURES)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        curve.use(socket, keys)
        _connect(socket, endpoint)
        socket.send(json.dumps({"command": command, "args": dict(args or {})}).encode())
        answer = json.loads(_answer(socket, monitor, endpoint, timeout_s, keys))
    finally:
        socket.disable_monitor()
        monitor.close(0)
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


def _connect(socket: Any, endpoint: str) -> None:
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise RequestFailed(
            f"cannot connect to {endpoint}: {zmq.strerror(error.errno or 0)}",
            remedy="write tcp://HOST:PORT",
        ) from error


def _answer(
    socket: Any, monitor: Any, endpoint: str, timeout_s: float, keys: KeyFile | None
) -> bytes:
    """The answer, or why there is none: keys that do not fit are known long before the time is."""
    clock = Clock()
    until_s = clock.monotonic_s() + timeout_s
    trouble: EftraindError | None = None
    poller = zmq.Poller()
    for one in (socket, monitor):
        poller.register(one, zmq.POLLIN)
    while (left_s := until_s - clock.monotonic_s()) > 0:
        ready = dict(poller.poll(int(left_s * 1000) + 1))
        if socket in ready:
            answer: bytes = socket.recv()
            return answer
        if monitor in ready:
            event = recv_monitor_message(monitor)
            trouble, final = curve.explain(int(event["event"]), int(event["value"]), keys)
            if final:
                break
            until_s = min(until_s, clock.monotonic_s() + HANDSHAKE_S)
    if trouble is not None:
        raise RequestFailed(
            f"{endpoint}: {trouble.message}", remedy=trouble.remedy, code=trouble.code
        )
    raise RequestFailed(f"no answer from {endpoint} within {timeout_s:g} s", remedy=REMEDY)
