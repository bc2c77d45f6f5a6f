"""What the front says of itself: its part of `eftraind status`, of the live page, of its unit.

Owns the shape of these reports (described in docs/config.md). It reads the parts, changes none.
"""

import os
from typing import Any

from eftraind.service.clients import Clients, Connection
from eftraind.service.samplelog import SampleLog
from eftraind.service.session import EngineSession
from eftraind.service.watch import package_version
from eftraind.wire import Stream

MAX_CLIENTS_SHOWN = 100
MAX_PRODUCERS_SHOWN = 20


class Report:
    """`log`, `session` and `clients` are the front's own."""

    def __init__(self, log: SampleLog, session: EngineSession, clients: Clients) -> None:
        self._log = log
        self._session = session
        self._clients = clients

    def status(
        self, now_s: float, uptime_s: float, endpoints: dict[str, Any], counts: dict[str, int]
    ) -> dict[str, Any]:
        """The front's part of a status; the engine adds to `engine`."""
        journal = self._log.status()
        connections = list(self._clients.connections.values())[:MAX_CLIENTS_SHOWN]
        return {
            "version": package_version(),
            "pid": os.getpid(),
            "uptime_s": round(uptime_s, 3),
            "conditions": self._conditions(),
            "endpoints": endpoints,
            "sample": _sample(self._clients.stream),
            "clients": [_client(connection, now_s) for connection in connections],
            "producers": len(self._clients.producers),
            **counts,
            "journal": {**journal, "consumed_seq": self._session.consumed_seq},
            "engine": self._session.status(),
        }

    def facts(self, uptime_s: float) -> dict[str, Any]:
        """What the live page shows beside its curves."""
        connections = list(self._clients.connections.values())
        model = self._clients.model
        return {
            "uptime_s": round(uptime_s),
            "conditions": self._conditions(),
            "weights": {"version": model.version, "hash": model.weights_hash},
            "clients": len(connections),
            "producers": [one.producer.name for one in connections[:MAX_PRODUCERS_SHOWN]],
        }

    def summary(self) -> str:
        """One line for systemd."""
        if not self._session.up:
            return "degraded: no engine; samples are kept, predictions are refused"
        if not self._log.writable:
            return "degraded: the journal takes no samples; predictions go on"
        version, clients = self._clients.model.version, len(self._clients.connections)
        return f"version {version} serves {clients} clients"

    def _conditions(self) -> dict[str, bool]:
        return {"engine_up": self._session.up, "journal_writable": self._log.writable}


def _sample(stream: Stream) -> dict[str, Any]:
    return {"shape": list(stream.shape), "dtype": stream.dtype, "classes": stream.classes}


def _client(connection: Connection, now_s: float) -> dict[str, Any]:
    return {
        "producer": connection.producer.name,
        "client": connection.client,
        "received_seq": connection.producer.received_seq,
        "durable_seq": connection.producer.durable_seq,
        "silent_s": round(now_s - connection.heard_s, 3),
    }
