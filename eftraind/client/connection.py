"""The sockets of one connection to the daemon: how they are made. Never used again once broken: a
new socket has nothing of the old one in its queues."""

from typing import Any

import zmq

from eftraind.client import curve
from eftraind.errors import ClientError
from eftraind.keys import KeyFile


def open_dealer(
    context: "zmq.Context[Any]", endpoint: str, keys: KeyFile | None
) -> "tuple[zmq.Socket[bytes], Any]":
    """A DEALER that connects when it can, and the monitor that tells how that ends.

    Raises ClientError (code `zmq`) if there is no such endpoint or no descriptor left.
    """
    dealer: zmq.Socket[bytes] | None = None
    monitor: Any = None
    try:
        dealer = context.socket(zmq.DEALER)
        for option, value in (
            (zmq.IMMEDIATE, 1),
            (zmq.IPV6, int("[" in endpoint)),
            (zmq.SNDHWM, 16),
            (zmq.RCVHWM, 1000),
            (zmq.LINGER, 0),
            (zmq.RECONNECT_IVL, 100),
            (zmq.RECONNECT_IVL_MAX, 1000),
            (zmq.HEARTBEAT_IVL, 1000),
            (zmq.HEARTBEAT_TIMEOUT, 3000),
            (zmq.HEARTBEAT_TTL, 3000),
        ):
            dealer.setsockopt(option, value)
        curve.use(dealer, keys)
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED | curve.FAILURES)
        dealer.connect(endpoint)
        return dealer, monitor
    except zmq.ZMQError as error:
        if dealer is not None and monitor is not None:
            dealer.disable_monitor()
            monitor.close(0)
        if dealer is not None:
            dealer.close(0)
        raise ClientError(
            f"cannot connect to {endpoint!r:.200}: {error}",
            remedy="check the endpoint and the limit of open files",
            code="zmq",
        ) from error
