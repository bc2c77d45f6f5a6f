"""What the journal holds: one record per PUT, and the table of producers that opens a segment.

A data record is the PUT as it came from the wire (header, producer, body), so that writing one
copies nothing and reading one needs no second format. Decoding raises WireError on damage. What a
record means to training is decided elsewhere.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from eftraind.errors import WireError
from eftraind.wire import HEADER_BYTES, PRODUCER, Array, Buffer, Kind, Op, Put
from eftraind.wire_decode import decode_put, split_header

_TABLE = struct.Struct("<4sI")
_TABLE_MAGIC = b"EFP1"
_ENTRY = struct.Struct("<QB")


@dataclass(frozen=True, eq=False)
class Record:
    """A journalled PUT; arrays are views of the payload it was decoded from."""

    producer: str
    op: Op
    first_seq: int
    count: int
    labels: Array | None
    samples: Array | None
    targets: Array | None

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1


def encode_record(producer: str, header: bytes, body: Buffer) -> list[Buffer]:
    """The buffers of one record, to be written one after the other; the body is not copied."""
    name = producer.encode("ascii")
    return [header, bytes([len(name)]) + name, body]


def encode_put_record(producer: str, put: Put) -> list[Buffer]:
    return encode_record(producer, put.header, put.body)


def decode_record(payload: Buffer) -> Record:
    view = memoryview(payload)
    if len(view) <= HEADER_BYTES:
        raise _damaged(f"a record of {len(view)} bytes is too short")
    kind, header = split_header(view[:HEADER_BYTES])
    if kind != Kind.PUT:
        raise _damaged(f"a record holds a {kind.name}")
    start = HEADER_BYTES + 1
    producer = _name(view[start : start + view[HEADER_BYTES]])
    put = decode_put(header, view[start + len(producer) :])
    return Record(
        *(producer, put.op, put.first_seq, put.count),
        *(put.labels, put.samples, put.targets),
    )


def encode_producers(last_seqs: Mapping[str, int]) -> bytes:
    """The table producer -> last accepted sequence number, in the order given."""
    parts = [_TABLE.pack(_TABLE_MAGIC, len(last_seqs))]
    for producer, last_seq in last_seqs.items():
        name = producer.encode("ascii")
        parts.append(_ENTRY.pack(last_seq, len(name)) + name)
    return b"".join(parts)


def decode_producers(payload: Buffer) -> dict[str, int]:
    view = memoryview(payload)
    if len(view) < _TABLE.size:
        raise _damaged(f"a producer table of {len(view)} bytes is too short")
    magic, entries = _TABLE.unpack_from(view)
    if magic != _TABLE_MAGIC:
        raise _damaged("a producer table does not begin with EFP1")
    last_seqs: dict[str, int] = {}
    offset = _TABLE.size
    for _ in range(entries):
        if len(view) < offset + _ENTRY.size:
            raise _damaged("a producer table ends early")
        last_seq, length = _ENTRY.unpack_from(view, offset)
        offset += _ENTRY.size
        last_seqs[_name(view[offset : offset + length])] = last_seq
        offset += length
    if offset != len(view):
        raise _damaged("a producer table has bytes after its last entry")
    return last_seqs


def _name(view: memoryview) -> str:
    name = bytes(view).decode("ascii", "replace")
    if not PRODUCER.fullmatch(name):
        raise _damaged(f"{name!r:.80} is no producer")
    return name


def _damaged(message: str) -> WireError:
    return WireError(message, remedy="the journal segment is damaged or of another version")
