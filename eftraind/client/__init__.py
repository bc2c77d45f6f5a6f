"""The SDK: send labelled samples to a daemon, ask it for predictions, hear what it does.

Needs numpy and pyzmq, nothing else of the daemon. docs/protocol.md is what it speaks.
"""

from eftraind.client.aio import AsyncClient
from eftraind.client.fake import FakeDaemon
from eftraind.client.results import Policy, Prediction, Refusal, Settings, Stats
from eftraind.client.sync import Client
from eftraind.errors import Backpressure, ClientError, Closed, Disconnected, Refused

__all__ = [
    "AsyncClient",
    "Backpressure",
    "Client",
    "ClientError",
    "Closed",
    "Disconnected",
    "FakeDaemon",
    "Policy",
    "Prediction",
    "Refusal",
    "Refused",
    "Settings",
    "Stats",
]
