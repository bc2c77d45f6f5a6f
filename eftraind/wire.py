"""The words of protocol EFT/1: every message as a frozen dataclass, and its bytes.

A message is one 64-byte little-endian header frame and one body frame; docs/protocol.md is the
same facts for people. Encoding is here, decoding and its checks are in wire_decode, the journal's
records in wire_records. These modules own no socket, no clock and no state.
"""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Buffer = bytes | bytearray | memoryview
Frames = tuple[bytes, Buffer]
Array = npt.NDArray[Any]
Shape = tuple[int, int, int]

MAGIC = b"EFT1"
VERSION = 1
HEADER_BYTES = 64
MAX_COUNT = 65_536
MAX_JSON_BYTES = 16_384
MAX_SEQ = 2**63 - 1
NO_LABEL = -1
PRODUCER = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

# What an ERROR can say, and whether the same message may succeed later.
CODES: Mapping[str, bool] = {
    "malformed": False,
    "version": False,
    "kind": False,
    "too_large": False,
    "size": False,
    "count": False,
    "dtype": False,
    "shape": False,
    "label": False,
    "nonfinite": False,
    "target": False,
    "record_too_large": False,
    "superseded": False,
    "forbidden": False,
    "deadline": False,
    "internal": False,
    "hello_required": True,
    "sequence": True,
    "no_credit": True,
    "busy": True,
    "journal_full": True,
    "read_only": True,
    "engine_down": True,
    "too_many_clients": True,
    "too_many_producers": True,
}

DTYPES: Mapping[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("<f4")}
DTYPE_IDS: Mapping[str, int] = {"uint8": 1, "float32": 2}
I4, U8, F4 = np.dtype("<i4"), np.dtype("<u8"), np.dtype("<f4")


class Kind(IntEnum):
    HELLO = 1
    WELCOME = 2
    PUT = 3
    ACK = 4
    ERROR = 5
    INFER = 6
    PREDICTION = 7
    PING = 8
    PONG = 9
    BYE = 10


class Op(IntEnum):
    SAMPLES = 1
    LABELS = 2
    WITHDRAWALS = 3


# Pad bytes (x) are reserved: packed as zero, and refused when they are anything else.
PLAIN = struct.Struct("<4sBBH56x")
LEDGER = struct.Struct("<4sBBH8xQQQ24x")
PING = struct.Struct("<4sBBH32xQ16x")
PONG = struct.Struct("<4sBBH8xQQQQ16x")
PUT = struct.Struct("<4sBBHBBHHHQQII24x")
INFER = struct.Struct("<4sBBHxBHHHQI4xI28x")
PREDICTION = struct.Struct("<4sBBH8xQQII16s8x")
STRUCTS: Mapping[int, struct.Struct] = {
    Kind.HELLO: PLAIN,
    Kind.WELCOME: LEDGER,
    Kind.PUT: PUT,
    Kind.ACK: LEDGER,
    Kind.ERROR: LEDGER,
    Kind.INFER: INFER,
    Kind.PREDICTION: PREDICTION,
    Kind.PING: PING,
    Kind.PONG: PONG,
    Kind.BYE: PLAIN,
}


@dataclass(frozen=True)
class Stream:
    """What the daemon takes: shape (H, W, C) and dtype of a sample, classes, size limit."""

    shape: Shape
    dtype: str
    classes: int
    max_message_bytes: int

    @property
    def sample_bytes(self) -> int:
        height, width, channels = self.shape
        return height * width * channels * DTYPES[DTYPE_IDS[self.dtype]].itemsize


@dataclass(frozen=True)
class Ledger:
    """The daemon's cumulative truth about one producer, in every answer except PREDICTION."""

    received_seq: int = 0
    durable_seq: int = 0
    credit_total: int = 0


@dataclass(frozen=True)
class Hello:
    producer: str
    client: str = ""
    versions: tuple[int, ...] = (VERSION,)
    instance: str = ""

    def frames(self) -> Frames:
        body = {"versions": self.versions, "producer": self.producer, "client": self.client}
        if self.instance:
            body["instance"] = self.instance
        return _header(Kind.HELLO), _json(body)


@dataclass(frozen=True)
class Welcome:
    producer: str
    ledger: Ledger
    stream: Stream
    heartbeat_s: float
    model_version: int = 0
    weights_hash: str = ""
    events: str = ""
    version: int = VERSION

    def frames(self) -> Frames:
        body = {
            "version": self.version,
            "producer": self.producer,
            "max_message_bytes": self.stream.max_message_bytes,
            "heartbeat_s": self.heartbeat_s,
            "sample": {"shape": self.stream.shape, "dtype": self.stream.dtype},
            "classes": self.stream.classes,
            "model": {"version": self.model_version, "hash": self.weights_hash},
            "events": self.events,
        }
        return _ledger_header(Kind.WELCOME, self.ledger), _json(body)


@dataclass(frozen=True, eq=False)
class Put:
    """A batch of operations, one sequence number each. `header` and `body` are what arrived."""

    op: Op
    first_seq: int
    follows: int
    count: int
    attempt: int
    header: bytes
    body: memoryview
    labels: Array | None = None
    samples: Array | None = None
    targets: Array | None = None

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    @property
    def nbytes(self) -> int:
        """What the message costs in credit."""
        return HEADER_BYTES + len(self.body)


@dataclass(frozen=True)
class Ack:
    ledger: Ledger

    def frames(self) -> Frames:
        return _ledger_header(Kind.ACK, self.ledger), b""


@dataclass(frozen=True)
class Error:
    """A refusal. What it refers to: a PUT (first_seq, count, attempt), an INFER (request_id)."""

    code: str
    message: str
    remedy: str = ""
    retryable: bool = False
    first_seq: int = 0
    count: int = 0
    attempt: int = 0
    request_id: int = 0
    ledger: Ledger = field(default_factory=Ledger)

    def frames(self) -> Frames:
        body = {k: v for k, v in self.__dict__.items() if k != "ledger"}
        return _ledger_header(Kind.ERROR, self.ledger), _json(body)


@dataclass(frozen=True, eq=False)
class Infer:
    request_id: int
    samples: Array
    deadline_ms: int = 0

    def frames(self) -> Frames:
        dtype = DTYPE_IDS[self.samples.dtype.name]
        count, *shape = self.samples.shape
        header = INFER.pack(
            *(MAGIC, VERSION, Kind.INFER, 0, dtype, *shape),
            *(self.request_id, self.deadline_ms, count),
        )
        return header, self.samples.tobytes()


@dataclass(frozen=True, eq=False)
class Prediction:
    request_id: int
    version: int
    weights_hash: bytes
    logits: Array

    def frames(self) -> Frames:
        count, classes = self.logits.shape
        header = PREDICTION.pack(
            *(MAGIC, VERSION, Kind.PREDICTION, 0),
            *(self.request_id, self.version, count, classes, self.weights_hash),
        )
        return header, np.ascontiguousarray(self.logits, F4).tobytes()


@dataclass(frozen=True)
class Ping:
    token: int = 0

    def frames(self) -> Frames:
        return PING.pack(MAGIC, VERSION, Kind.PING, 0, self.token), b""


@dataclass(frozen=True)
class Pong:
    token: int
    ledger: Ledger

    def frames(self) -> Frames:
        return _ledger_header(Kind.PONG, self.ledger, self.token), b""


@dataclass(frozen=True)
class Bye:
    def frames(self) -> Frames:
        return _header(Kind.BYE), b""


Request = Hello | Put | Infer | Ping | Bye
Reply = Welcome | Ack | Error | Prediction | Pong | Bye


def put_header(
    op: Op, first_seq: int, follows: int, count: int, attempt: int = 0, stream: Stream | None = None
) -> bytes:
    """The header of a PUT; a PUT of samples needs the stream they belong to."""
    dtype, shape = 0, (0, 0, 0)
    if op == Op.SAMPLES and stream is not None:
        dtype, shape = DTYPE_IDS[stream.dtype], stream.shape
    return PUT.pack(
        *(MAGIC, VERSION, Kind.PUT, 0, op, dtype, *shape),
        *(first_seq, follows, count, attempt),
    )


def samples_body(labels: Array, samples: Array) -> bytes:
    """One copy of the samples; they must be C-contiguous (N, H, W, C) in the stream's dtype."""
    return b"".join((np.ascontiguousarray(labels, I4).data, samples.data))


def labels_body(targets: Array, labels: Array) -> bytes:
    return np.asarray(targets, U8).tobytes() + np.asarray(labels, I4).tobytes()


def withdrawals_body(targets: Array) -> bytes:
    return np.asarray(targets, U8).tobytes()


def _header(kind: Kind) -> bytes:
    return PLAIN.pack(MAGIC, VERSION, kind, 0)


def _ledger_header(kind: Kind, ledger: Ledger, *token: int) -> bytes:
    return STRUCTS[kind].pack(
        *(MAGIC, VERSION, kind, 0),
        *(ledger.received_seq, ledger.durable_seq, ledger.credit_total, *token),
    )


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
