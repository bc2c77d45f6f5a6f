"""The bytes of a journal segment: its header, its records' headers, and where they may stand.

Owns the format alone (docs/storage.md tells it in prose); opens no file.
"""

import struct
import zlib
from dataclasses import dataclass

BLOCK = 4096
MAGIC = b"EFTSEG01"
SEGMENT = struct.Struct("<8sQQQQ8sII")  # magic, the fields of SegmentHeader in order, CRC
RECORD = struct.Struct("<IIIBBHQII")  # crc, payload_crc, length, kind, flags, 0, seq, group, prev
HEADER_BYTES = RECORD.size
MIN_SEGMENT_BYTES = 8 * BLOCK
MAX_SEGMENT_BYTES = 1 << 30  # offsets are kept as 32-bit numbers

DATA, PREAMBLE, PAD = 0, 1, 2
FIRST_OF_GROUP = 1


@dataclass(frozen=True)
class SegmentHeader:
    """One use of a segment file."""

    segment_bytes: int
    generation: int  # one higher for each segment begun, so it orders them
    first_seq: int
    released_seq: int  # consumed when this segment began: may be recycled after a restart
    salt: bytes
    epoch: int  # one higher for each opening of the journal

    def pack(self) -> bytes:
        numbers = (self.segment_bytes, self.generation, self.first_seq, self.released_seq)
        body = SEGMENT.pack(MAGIC, *numbers, self.salt, self.epoch, 0)[:-4]
        return body + zlib.crc32(body).to_bytes(4, "little")

    @property
    def crc(self) -> int:
        return int.from_bytes(self.pack()[-4:], "little")

    @classmethod
    def unpack(cls, data: bytes) -> "SegmentHeader | None":
        """The header in `data`, or None where there is none that is whole."""
        if len(data) < SEGMENT.size:
            return None
        magic, *fields, crc = SEGMENT.unpack_from(data)
        if magic != MAGIC or zlib.crc32(data[: SEGMENT.size - 4]) != crc:
            return None
        return cls(*fields)


@dataclass(frozen=True)
class RecordHeader:
    """What stands before each payload."""

    crc: int  # of the rest of the header, started from the segment header's CRC
    payload_crc: int
    length: int
    kind: int
    flags: int
    seq: int
    group: int  # commit group, counted from 1 in each segment
    prev: int  # crc of the record before it; of the segment header for the first

    def pack(self) -> bytes:
        """The bytes; `crc` is the value to start from and is replaced by the result."""
        head = RECORD.pack(
            *(0, self.payload_crc, self.length, self.kind, self.flags, 0),
            *(self.seq, self.group, self.prev),
        )
        return zlib.crc32(head[4:], self.crc).to_bytes(4, "little") + head[4:]

    @classmethod
    def unpack(cls, data: bytes, salt_crc: int) -> "RecordHeader | None":
        """The header, or None where its checksum is not that of this segment's use."""
        if len(data) < HEADER_BYTES:
            return None
        crc, payload_crc, length, kind, flags, _, seq, group, prev = RECORD.unpack(data)
        if zlib.crc32(data[4:], salt_crc) != crc:
            return None
        return cls(crc, payload_crc, length, kind, flags, seq, group, prev)


def aligned(offset: int) -> int:
    """The next multiple of 8, where a record may start.

    >>> aligned(4096), aligned(4097)
    (4096, 4104)
    """
    return (offset + 7) & ~7


def header_offset(offset: int) -> int:
    """Where the next record starts: here, or on the next block if its header would not fit.

    >>> header_offset(8192 - 32), header_offset(8192 - 24)
    (8160, 8192)
    """
    return offset if BLOCK - offset % BLOCK >= HEADER_BYTES else (offset // BLOCK + 1) * BLOCK
