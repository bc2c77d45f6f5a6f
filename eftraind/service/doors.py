"""The front's sockets: opened in the order that protects them, watched by one poller.

Owns the ZeroMQ context, the three routers and the publisher, their limits, and cutting all of them
off together. What arrives is read and handled by the front.
"""

import contextlib
import os
import resource
from typing import Any

import zmq

from eftraind.config import Config
from eftraind.errors import ConfigError
from eftraind.service.guard import Guard
from eftraind.service.sockets import Router, publisher

FEWEST_DESCRIPTORS = 32
"""Free when the sockets are opened: libzmq aborts the process where it gets none."""


class Doors:
    """Raises ConfigError for an endpoint that cannot be listened at, and then leaves none open."""

    def __init__(self, config: Config, guard: Guard) -> None:
        self._guard = guard
        self._stack = contextlib.ExitStack()
        _check_descriptors()
        try:
            self._open(config)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, config: Config) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stack.callback(context.term)
        self._guard.open(context)
        self._stack.callback(self._guard.close)
        secret = self._guard.secret
        self.clients = Router(
            context,
            config.listen_endpoints,
            secret=secret,
            max_frame_bytes=2 * config.ingest.max_message_bytes,
            heartbeat_ms=1000,
        )
        self._stack.callback(self.clients.close)
        # What waits for the engine is bounded by Predict and by one Fetch at a time.
        self.link = Router(context, [config.link_endpoint], receive_hwm=10_000, send_hwm=10_000)
        self._stack.callback(self.link.close)
        self.control = Router(
            context, config.control_endpoints, secret=secret, max_frame_bytes=65_536
        )
        self._stack.callback(self.control.close)
        self.events: Any
        self.events, binding = publisher(context, config.events_endpoints, secret)
        self._stack.callback(self.events.close)
        self.events_endpoint = binding.all[0]
        self.network_events_endpoint = binding.network[0] if binding.network else ""
        self._bindings = (self.clients.binding, self.control.binding, binding)
        self._poller = zmq.Poller()
        if self._guard.socket is not None:
            self._poller.register(self._guard.socket, zmq.POLLIN)
        for router in (self.link, self.clients, self.control):
            self._poller.register(router.socket, zmq.POLLIN)

    def watch(self, fd: int) -> None:
        """Let `wait` end for this descriptor as well."""
        self._poller.register(fd, zmq.POLLIN)

    def wait(self, timeout_ms: int) -> dict[Any, int]:
        """What can be read, after this time at the latest."""
        return dict(self._poller.poll(timeout_ms))

    def cut(self) -> None:
        """End every connection over the network."""
        for binding in self._bindings:
            binding.cut()

    def mend(self) -> None:
        """Listen again after `cut`; called until all listen."""
        for binding in self._bindings:
            binding.mend()

    def close(self) -> None:
        self._stack.close()


def _check_descriptors() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    free = limit - len(os.listdir("/proc/self/fd"))
    if limit != resource.RLIM_INFINITY and free < FEWEST_DESCRIPTORS:
        raise ConfigError(
            f"of {limit} descriptors {free} are left for sockets, fewer than {FEWEST_DESCRIPTORS}",
            remedy="raise LimitNOFILE of the service, or ulimit -n",
        )
