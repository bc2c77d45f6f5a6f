"""The vocabulary of the link between front and engine: messages, encode, decode; no sockets.

Two frames each: a JSON header {"kind": ..., fields} and a body that may be empty. Front binds a
ROUTER, engine connects a DEALER. Both ends are ours and start together, so there is no version
negotiation; a message that does not decode is a LinkError that the receiver logs and counts.

Order of a session: engine sends Hello, front answers Welcome; then engine asks for records with
Fetch (one outstanding; the answer comes when there are records, or never) and reports Consumed.
An engine unknown to front (front was restarted) is answered Identify: it says Hello again, then
Fetch and Consumed.
"""

import dataclasses
import json
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from eftraind.errors import WireError

Buffer: TypeAlias = bytes | bytearray | memoryview


class LinkError(WireError):
    code = "link"


@dataclass(frozen=True)
class Hello:
    """engine -> front: what it serves."""

    kind: ClassVar[str] = "hello"
    pid: int
    device: str
    lanes: int
    network: str
    network_digest: str
    version: int
    weights_hash: str
    shape: list[int]
    dtype: str
    classes: int


@dataclass(frozen=True)
class Fetch:
    """engine -> front: durable records from `from_seq` on (0: the oldest there is)."""

    kind: ClassVar[str] = "fetch"
    from_seq: int
    max_bytes: int


@dataclass(frozen=True)
class Consumed:
    """engine -> front: records up to `seq` may be overwritten."""

    kind: ClassVar[str] = "consumed"
    seq: int


@dataclass(frozen=True)
class Prediction:
    """engine -> front: float32 logits [count, classes], all by one weights version."""

    kind: ClassVar[str] = "prediction"
    id: int
    version: int
    hash: str
    count: int
    body: Buffer = field(default=b"", repr=False)


@dataclass(frozen=True)
class InferError:
    """engine -> front: this inference failed."""

    kind: ClassVar[str] = "infer_error"
    id: int
    code: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Event:
    """engine -> front: publish this."""

    kind: ClassVar[str] = "event"
    topic: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Lost:
    """engine -> front: the device is lost and the engine ends; its last message."""

    kind: ClassVar[str] = "lost"
    code: str
    message: str


@dataclass(frozen=True)
class MetricsSnapshot:
    """engine -> front: all of the engine's metrics, as `Metrics.snapshot` gives them."""

    kind: ClassVar[str] = "metrics"
    samples: list[Any]


@dataclass(frozen=True)
class Reply:
    """engine -> front: outcome of a Control; `error` is {code, message, remedy}."""

    kind: ClassVar[str] = "reply"
    id: int
    ok: bool
    result: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Heartbeat:
    """Either way: engine sends it at least once a second, front answers each with one."""

    kind: ClassVar[str] = "heartbeat"


@dataclass(frozen=True)
class Welcome:
    """front -> engine: the Hello was taken; Fetch again, nothing asked before is remembered."""

    kind: ClassVar[str] = "welcome"
    first_seq: int
    head_seq: int


@dataclass(frozen=True)
class Identify:
    """front -> engine: say Hello (front does not know this connection)."""

    kind: ClassVar[str] = "identify"


@dataclass(frozen=True)
class Records:
    """front -> engine: durable records; the body is their payloads one after the other.

    `from_seq` repeats the request. `seqs` may start later: what lies between was overwritten or
    holds no data. `next_seq` is what to fetch next, `head_seq` the newest durable record.
    """

    kind: ClassVar[str] = "records"
    from_seq: int
    next_seq: int
    head_seq: int
    seqs: list[int]
    lengths: list[int]
    body: Buffer = field(default=b"", repr=False)

    def payloads(self) -> Iterator[tuple[int, memoryview]]:
        """(sequence, payload) of each record, without copying."""
        view, start = memoryview(self.body), 0
        if len(self.seqs) != len(self.lengths) or sum(self.lengths) != len(view):
            raise LinkError("records: lengths do not add up to the body")
        for seq, length in zip(self.seqs, self.lengths, strict=True):
            yield seq, view[start : start + length]
            start += length


@dataclass(frozen=True)
class Infer:
    """front -> engine: raw samples, already checked against shape and dtype."""

    kind: ClassVar[str] = "infer"
    id: int
    count: int
    body: Buffer = field(default=b"", repr=False)


@dataclass(frozen=True)
class Control:
    """front -> engine: pause, resume, promote, rollback, checkpoint, set or status."""

    kind: ClassVar[str] = "control"
    id: int
    command: str
    args: dict[str, Any] = field(default_factory=dict)


Message: TypeAlias = (
    Hello | Fetch | Consumed | Prediction | InferError | Event | Lost | MetricsSnapshot | Reply
    | Heartbeat | Welcome | Identify | Records | Infer | Control
)  # fmt: skip

_KINDS: dict[str, Any] = {kind.kind: kind for kind in typing.get_args(Message)}


def _field_types(kind: Any) -> dict[str, type]:
    hints = typing.get_type_hints(kind)
    names = [entry.name for entry in dataclasses.fields(kind) if entry.name != "body"]
    return {name: typing.get_origin(hints[name]) or hints[name] for name in names}


_FIELDS = {name: _field_types(kind) for name, kind in _KINDS.items()}
_HAS_BODY = {
    name for name, kind in _KINDS.items() if "body" in {f.name for f in dataclasses.fields(kind)}
}


def encode(message: Message) -> list[Buffer]:
    """The two frames of a message; the body is not copied."""
    header = {name: getattr(message, name) for name in _FIELDS[message.kind]}
    header["kind"] = message.kind
    body = getattr(message, "body", b"")
    return [json.dumps(header, separators=(",", ":")).encode(), body]


def decode(frames: Sequence[Buffer]) -> Message:
    """The message in two frames; anything else is a LinkError."""
    if len(frames) != 2:
        raise LinkError(f"a link message of {len(frames)} frames, not 2")
    try:
        header = json.loads(bytes(frames[0]))
    except (ValueError, RecursionError) as error:
        raise LinkError(f"a link header that is not JSON: {error}") from error
    kind = header.pop("kind", None) if isinstance(header, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise LinkError(f"unknown link message {kind!r}")
    for name, wanted in _FIELDS[kind].items():
        if name in header and not isinstance(header[name], wanted):
            raise LinkError(f"{kind}.{name} is {header[name]!r}, not {wanted.__name__}")
    if kind in _HAS_BODY:
        header["body"] = frames[1]
    elif len(frames[1]):
        raise LinkError(f"{kind} has no body, got {len(frames[1])} bytes")
    try:
        message: Message = _KINDS[kind](**header)
    except TypeError as error:
        raise LinkError(f"{kind}: {error}") from error
    return message
