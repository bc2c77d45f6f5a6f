"""What the SDK takes and gives: settings, predictions, refusals, statistics. Data only."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from eftraind.errors import ClientError
from eftraind.wire import PRODUCER, Array

Policy = Literal["block", "drop_oldest", "refuse"]
Level = Literal["received", "durable"]
POLICIES: tuple[Policy, ...] = ("block", "drop_oldest", "refuse")
LEVELS: tuple[Level, ...] = ("received", "durable")


@dataclass(frozen=True)
class Settings:
    """How a client behaves. Only `producer` and `policy` matter to most users."""

    producer: str
    policy: Policy = "block"
    max_pending_bytes: int = 64 << 20
    coalesce_s: float = 0.002
    coalesce_bytes: int = 256 << 10
    batch_bytes: int = 4 << 20
    hello_timeout_s: float = 2.0
    retry_min_s: float = 0.05
    retry_max_s: float = 2.0

    def __post_init__(self) -> None:
        """Raises ClientError for a policy or a producer name that cannot be."""
        if self.policy not in POLICIES:
            known = ", ".join(POLICIES)
            raise ClientError(f"policy {self.policy!r} is unknown", remedy=f"one of {known}")
        if not PRODUCER.fullmatch(self.producer):
            raise ClientError(
                f"producer {self.producer!r:.80}", remedy="1 to 64 of A-Z a-z 0-9 . _ -"
            )


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer to `infer`, all of it from one version of the weights."""

    logits: Array
    version: int
    weights_hash: str

    @cached_property
    def labels(self) -> Array:
        """The most likely class of each sample."""
        best: Array = self.logits.argmax(axis=1)
        return best

    @cached_property
    def probabilities(self) -> Array:
        """Softmax over the classes, one row per sample."""
        powers = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        shares: Array = powers / powers.sum(axis=1, keepdims=True)
        return shares

    @property
    def label(self) -> int:
        """The class of the only sample asked about."""
        if len(self.logits) != 1:
            raise ValueError(f"this prediction has {len(self.logits)} samples; read .labels")
        return int(self.labels[0])


@dataclass(frozen=True)
class Refusal:
    """Operations first_seq .. first_seq + count - 1 will never be stored, and why."""

    code: str
    message: str
    remedy: str
    first_seq: int
    count: int


@dataclass(frozen=True)
class Stats:
    """Counts of operations (samples, late labels, withdrawals) since the client was made."""

    pushed: int = 0
    sent: int = 0
    resent: int = 0
    received: int = 0
    durable: int = 0
    dropped: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0
    pending_bytes: int = 0
    reconnects: int = 0
    connected: bool = False
    waiting_for: str = ""


def make_settings(producer: str | None, policy: Policy, max_pending_bytes: int) -> Settings:
    """Settings from what users say; without a producer, a name nobody else has."""
    name = f"anon-{secrets.token_hex(8)}" if producer is None else producer
    return Settings(producer=name, policy=policy, max_pending_bytes=max_pending_bytes)


def check_level(level: Level) -> Level:
    if level not in LEVELS:
        raise ClientError(f"level {level!r} is unknown", remedy=f"one of {', '.join(LEVELS)}")
    return level
