"""Bytes of protocol EFT/1 back into messages, or one WireError that says what is wrong with them.

Whatever comes in, nothing but WireError comes out; arrays are views of the body, never copies, and
every size is checked before anything is allocated. Checks of content run once over a whole batch.
The daemon reads with `decode_request` and answers a bad message with `refuse`; clients read with
`decode_reply`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from eftraind.errors import EftraindError, WireError
from eftraind.wire import (
    CODES,
    DTYPES,
    F4,
    HEADER_BYTES,
    I4,
    INFER,
    MAGIC,
    MAX_COUNT,
    MAX_JSON_BYTES,
    MAX_SEQ,
    NO_LABEL,
    PING,
    PREDICTION,
    PRODUCER,
    PUT,
    STRUCTS,
    U8,
    VERSION,
    Ack,
    Array,
    Buffer,
    Bye,
    Error,
    Frames,
    Hello,
    Infer,
    Kind,
    Ledger,
    Op,
    Ping,
    Pong,
    Prediction,
    Put,
    Reply,
    Request,
    Shape,
    Stream,
    Welcome,
)

_Frames = Sequence[Buffer]


def decode_request(frames: _Frames, stream: Stream | None = None) -> Request:
    """A message from a client. With a stream, samples and labels must also fit it."""
    kind, header, body = _split(frames)
    if kind == Kind.PUT:
        return decode_put(header, body, stream)
    if kind == Kind.INFER:
        return _infer(header, body, stream)
    if kind == Kind.HELLO:
        return _hello(_object(body))
    _empty(kind, body)
    if kind == Kind.PING:
        return Ping(PING.unpack(header)[4])
    if kind == Kind.BYE:
        return Bye()
    return _fail("kind", f"{kind.name} is a message of the daemon", "clients never send it")


def decode_reply(frames: _Frames) -> Reply:
    """A message from the daemon."""
    kind, header, body = _split(frames)
    if kind == Kind.PREDICTION:
        return _prediction(header, body)
    if kind == Kind.BYE:
        _empty(kind, body)
        return Bye()
    if kind not in (Kind.WELCOME, Kind.ACK, Kind.ERROR, Kind.PONG):
        _fail("kind", f"{kind.name} is a message of clients", "the daemon never sends it")
    received, durable, credit, *token = STRUCTS[kind].unpack(header)[4:]
    ledger = Ledger(received, durable, credit)
    if kind == Kind.WELCOME:
        return _welcome(_object(body), ledger)
    if kind == Kind.ERROR:
        return _error(_object(body), ledger)
    _empty(kind, body)
    return Ack(ledger) if kind == Kind.ACK else Pong(token[0], ledger)


def refuse(frames: _Frames, error: EftraindError, ledger: Ledger | None = None) -> Frames:
    """The ERROR that answers `frames`, naming as much of them as can be read. Never raises."""
    named: dict[str, int] = {}
    header = bytes(frames[0][:HEADER_BYTES]) if frames else b""
    if len(header) == HEADER_BYTES and header[:4] == MAGIC and header[4] == VERSION:
        if header[5] == Kind.PUT:
            _, _, _, _, _, _, _, _, _, first_seq, _, count, attempt = PUT.unpack(header)
            named = {"first_seq": first_seq, "count": count, "attempt": attempt}
        elif header[5] == Kind.INFER:
            named = {"request_id": INFER.unpack(header)[8]}
    return Error(
        code=error.code,
        message=error.message[:500],
        remedy=error.remedy[:500],
        retryable=CODES.get(error.code, False),
        ledger=ledger or Ledger(),
        **named,
    ).frames()


def decode_put(header: bytes, body: memoryview, stream: Stream | None = None) -> Put:
    """A PUT whose header frame is known to be one. Without a stream only its structure counts."""
    fields = PUT.unpack(header)
    op_id, dtype_id, height, width, channels, first_seq, follows, count, attempt = fields[4:]
    if op_id not in Op.__members__.values():
        _fail("malformed", f"operation {op_id} is unknown", "1 samples, 2 labels, 3 withdrawals")
    op = Op(op_id)
    _count(count)
    if not 0 <= follows < first_seq <= MAX_SEQ - count:
        _fail(
            "malformed",
            f"sequence number {first_seq} cannot follow {follows}",
            "number operations 1, 2, 3 and so on; `follows` is an earlier number or 0",
        )
    _fits(HEADER_BYTES + len(body), stream)
    labels, samples, targets = None, None, None
    if op == Op.SAMPLES:
        samples = _samples(body, 4 * count, count, dtype_id, (height, width, channels), stream)
        labels = np.frombuffer(body, I4, count)
        _labels(labels, NO_LABEL, stream)
    else:
        if (dtype_id, height, width, channels) != (0, 0, 0, 0):
            _fail("malformed", f"dtype and shape are set in a PUT of {op.name}", "leave them zero")
        _size(len(body), count * (12 if op == Op.LABELS else 8))
        targets = np.frombuffer(body, U8, count)
        if targets.min() < 1 or targets.max() >= first_seq:
            _fail(
                "target",
                f"a target is not an earlier sequence number than {first_seq}",
                "targets are sequence numbers of samples this producer has sent",
            )
        if op == Op.LABELS:
            labels = np.frombuffer(body, I4, count, 8 * count)
            _labels(labels, 0, stream)
    return Put(
        *(op, first_seq, follows, count, attempt),
        *(header, body, labels, samples, targets),
    )


def split_header(header: Buffer) -> tuple[Kind, bytes]:
    """The kind of a header frame, after every check that does not need the body."""
    if len(header) != HEADER_BYTES:
        _fail("malformed", f"the header has {len(header)} bytes", f"send {HEADER_BYTES}")
    header = bytes(header)
    if header[:4] != MAGIC:
        _fail("malformed", "the header does not begin with EFT1", "speak protocol EFT/1")
    if header[4] != VERSION:
        _fail("version", f"version {header[4]} is not spoken here", f"speak version {VERSION}")
    layout = STRUCTS.get(header[5])
    if layout is None:
        _fail("kind", f"message kind {header[5]} is unknown", "see docs/protocol.md for the kinds")
    fields = layout.unpack(header)
    if fields[3] != 0 or layout.pack(*fields) != header:
        _fail("malformed", "flags or reserved bytes are not zero", "send them as zero")
    return Kind(header[5]), header


def _split(frames: _Frames) -> tuple[Kind, bytes, memoryview]:
    if len(frames) != 2:
        _fail("malformed", f"the message has {len(frames)} parts", "send one header and one body")
    kind, header = split_header(frames[0])
    return kind, header, memoryview(frames[1])


def _infer(header: bytes, body: memoryview, stream: Stream | None) -> Infer:
    dtype_id, height, width, channels, request_id, deadline_ms, count = INFER.unpack(header)[4:]
    _count(count)
    _fits(HEADER_BYTES + len(body), stream)
    samples = _samples(body, 0, count, dtype_id, (height, width, channels), stream)
    return Infer(request_id, samples, deadline_ms)


def _prediction(header: bytes, body: memoryview) -> Prediction:
    request_id, version, count, classes, weights_hash = PREDICTION.unpack(header)[4:]
    _count(count)
    _count(classes)
    _size(len(body), 4 * count * classes)
    logits = np.frombuffer(body, F4, count * classes).reshape(count, classes)
    return Prediction(request_id, version, weights_hash, logits)


def _samples(
    body: memoryview, offset: int, count: int, dtype_id: int, shape: Shape, stream: Stream | None
) -> Array:
    dtype = DTYPES.get(dtype_id)
    if dtype is None:
        _fail("dtype", f"dtype {dtype_id} is unknown", "1 is uint8, 2 is float32")
    if 0 in shape:
        _fail("shape", f"shape {shape} has an empty side", "send height, width and channels")
    if stream is not None and dtype.name != stream.dtype:
        _fail("dtype", f"samples are {dtype.name}", f"this model takes {stream.dtype}")
    if stream is not None and shape != stream.shape:
        _fail("shape", f"samples have shape {shape}", f"this model takes {stream.shape} (H, W, C)")
    elements = count * math.prod(shape)
    _size(len(body), offset + elements * dtype.itemsize)
    samples = np.frombuffer(body, dtype, elements, offset)
    if dtype.kind == "f" and not np.isfinite(samples).all():
        _fail("nonfinite", "a sample holds NaN or infinity", "check the sensor's conversion")
    return samples.reshape(count, *shape)


def _labels(labels: Array, lowest: int, stream: Stream | None) -> None:
    highest = MAX_COUNT - 1 if stream is None else stream.classes - 1
    low, high = int(labels.min()), int(labels.max())
    if low < lowest or high > highest:
        _fail(
            "label",
            f"label {low if low < lowest else high} is out of range",
            f"labels run from 0 to {highest}"
            + (f"; {NO_LABEL} in a batch of samples: comes later" if lowest < 0 else ""),
        )


def _count(count: int) -> None:
    if not 1 <= count <= MAX_COUNT:
        _fail("count", f"a count of {count} is out of range", f"1 to {MAX_COUNT} per message")


def _size(actual_bytes: int, expected_bytes: int) -> None:
    if actual_bytes != expected_bytes:
        _fail(
            "size",
            f"the body has {actual_bytes} bytes, its header describes {expected_bytes}",
            "send exactly count labels (or targets) and count samples",
        )


def _fits(nbytes: int, stream: Stream | None) -> None:
    if stream is not None and nbytes > stream.max_message_bytes:
        limit = stream.max_message_bytes
        _fail("too_large", f"the message has {nbytes} bytes", f"at most {limit}; split the batch")


def _empty(kind: Kind, body: memoryview) -> None:
    if len(body):
        _fail("size", f"{kind.name} carries a body of {len(body)} bytes", "send it empty")


def _object(body: memoryview) -> Mapping[str, Any]:
    if len(body) > MAX_JSON_BYTES:
        _fail("too_large", f"a JSON body of {len(body)} bytes", f"at most {MAX_JSON_BYTES}")
    try:
        value = json.loads(bytes(body), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        _fail("malformed", "the body is not JSON", "send one JSON object in UTF-8")
    if not isinstance(value, dict):
        _fail("malformed", "the body is not a JSON object", "send one JSON object in UTF-8")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _hello(body: Mapping[str, Any]) -> Hello:
    versions = _field(body, "versions", list)
    if VERSION not in versions:
        _fail("version", "the client speaks none of our versions", f"speak {VERSION}")
    producer = _field(body, "producer", str)
    if not PRODUCER.fullmatch(producer):
        _fail("malformed", f"producer {producer!r:.80}", "1 to 64 of A-Z a-z 0-9 . _ -")
    instance = _field(body, "instance", str, "")
    if instance and not PRODUCER.fullmatch(instance):
        _fail("malformed", f"instance {instance!r:.80}", "1 to 64 of A-Z a-z 0-9 . _ -")
    return Hello(producer, _field(body, "client", str, "")[:80], instance=instance)


def _welcome(body: Mapping[str, Any], ledger: Ledger) -> Welcome:
    sample, model = _field(body, "sample", dict), _field(body, "model", dict, {})
    shape = _field(sample, "shape", list)
    if len(shape) != 3 or not all(type(side) is int and 0 < side < 65_536 for side in shape):
        _fail("malformed", "the sample shape is not three sides", "H, W, C")
    dtype = _field(sample, "dtype", str)
    if dtype not in (known.name for known in DTYPES.values()):
        _fail("dtype", f"dtype {dtype!r:.80} is unknown", "update this client")
    limit = _field(body, "max_message_bytes", int)
    return Welcome(
        producer=_field(body, "producer", str),
        ledger=ledger,
        stream=Stream((shape[0], shape[1], shape[2]), dtype, _field(body, "classes", int), limit),
        heartbeat_s=float(_field(body, "heartbeat_s", int | float)),
        model_version=_field(model, "version", int, 0),
        weights_hash=_field(model, "hash", str, ""),
        events=_field(body, "events", str, ""),
        version=_field(body, "version", int),
    )


def _error(body: Mapping[str, Any], ledger: Ledger) -> Error:
    return Error(
        code=_field(body, "code", str),
        message=_field(body, "message", str),
        remedy=_field(body, "remedy", str, ""),
        retryable=_field(body, "retryable", bool),
        first_seq=_field(body, "first_seq", int, 0),
        count=_field(body, "count", int, 0),
        attempt=_field(body, "attempt", int, 0),
        request_id=_field(body, "request_id", int, 0),
        ledger=ledger,
    )


def _field(body: Mapping[str, Any], name: str, kind: Any, default: Any = None) -> Any:
    value = body.get(name, default)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        _fail("malformed", f"field {name!r} is missing or ill-typed", "see docs/protocol.md")
    if isinstance(value, int | float) and not 0 <= value <= 2**64 - 1:
        _fail("malformed", f"field {name!r} is out of range", "0 to 2^64 - 1")
    return value


def _fail(code: str, message: str, remedy: str) -> NoReturn:
    raise WireError(message, remedy=remedy, code=code)
