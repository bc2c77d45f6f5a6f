"""One segment file of the journal ring: writing it, and finding what is whole in it.

Owns the index of one segment in memory and the scan after a crash. Never decides which segment
comes next: that is the journal's. The bytes themselves are store.layout's.

A segment is a header block, records in commit groups, and a copy of the header in the last block.
A group starts on a block boundary, so a durable block is never written again before the segment
is reused. Each record's header is checksummed with the segment's salt and with the checksum of
the record before it: bytes of an earlier lap or of an abandoned tail never pass for live ones.
"""

import zlib
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eftraind.fsio import Buffer, FileOps, byte_length
from eftraind.store.layout import (
    BLOCK,
    DATA,
    FIRST_OF_GROUP,
    HEADER_BYTES,
    PAD,
    PREAMBLE,
    SEGMENT,
    RecordHeader,
    SegmentHeader,
    aligned,
    header_offset,
)


@dataclass(frozen=True)
class Damage:
    """Records that were durable and can no longer be read."""

    segment: str
    first_seq: int
    count: int
    reason: str


class Segment:
    """One open segment file with the index of what is in it. One thread writes it."""

    def __init__(self, ops: FileOps, fd: int, path: Path, segment_bytes: int) -> None:
        self._ops = ops
        self.fd = fd
        self.path = path
        self.limit = segment_bytes - BLOCK  # the last block is the copy of the header
        self.header: SegmentHeader | None = None
        self._clear()

    def _clear(self) -> None:
        self.seqs = array("Q")
        self._offsets = array("I")
        self._lengths = array("I")
        self._crcs = array("I")
        self._groups = array("I")
        self.damaged: set[int] = set()
        self.preamble: tuple[int, int, int] | None = None  # offset, length, payload CRC
        self.end = BLOCK
        self._salt_crc = 0
        self._prev = 0
        self._group = 1
        self._group_start = BLOCK

    # what is in it

    @property
    def generation(self) -> int:
        return self.header.generation if self.header else 0

    @property
    def next_seq(self) -> int:
        if self.seqs:
            return self.seqs[-1] + 1
        return self.header.first_seq if self.header else 0

    @property
    def dirty(self) -> bool:
        """Whether records were appended since the last finished group."""
        return self.end > self._group_start

    def locate(self, position: int) -> tuple[int, int, int, int]:
        """Sequence number, payload offset, length and CRC of the record at an index position."""
        return (
            self.seqs[position],
            self._offsets[position],
            self._lengths[position],
            self._crcs[position],
        )

    def position_of(self, seq: int) -> int:
        """Index position of the first record at or after `seq`."""
        return bisect_left(self.seqs, seq)

    def read_payload(self, offset: int, length: int, crc: int) -> bytes | None:
        """The payload, or None where the device or the checksum says it is damaged."""
        try:
            payload = self._ops.pread(self.fd, length, offset)
        except OSError:
            return None
        if len(payload) != length or zlib.crc32(payload) != crc:
            return None
        return payload

    def read_preamble(self) -> bytes | None:
        return self.read_payload(*self.preamble) if self.preamble else None

    # writing

    def write_header(self, header: SegmentHeader) -> int:
        """Start a new use of this file; the bytes written to the device.

        To be flushed before any record follows: else a crash could leave new records under the
        header of the last lap, which would look like rot.
        """
        block = header.pack().ljust(BLOCK, b"\0")
        self._ops.pwritev(self.fd, [block], 0)
        self._ops.pwritev(self.fd, [block], self.limit)
        self._clear()
        self.header = header
        self._prev = self._salt_crc = header.crc
        return 2 * BLOCK

    def fits(self, length: int) -> bool:
        return header_offset(self.end) + HEADER_BYTES + length <= self.limit

    def add(self, kind: int, seq: int, parts: Sequence[Buffer]) -> int:
        """Write one record after the last one; its payload bytes. The index changes on success."""
        length = 0
        payload_crc = 0
        for part in parts:
            length += byte_length(part)
            payload_crc = zlib.crc32(part, payload_crc)
        start = header_offset(self.end)
        head = self._pack(length, payload_crc, kind, seq)
        try:
            self._ops.pwritev(self.fd, [head, *parts], start)
        except OSError:
            self._erase_header(start)
            raise
        self._note(start, length, payload_crc, kind, seq, self._group)
        self._prev = int.from_bytes(head[:4], "little")
        self.end = aligned(start + HEADER_BYTES + length)
        return length

    def finish_group(self) -> int:
        """Pad to the next block and flush; the bytes this group cost the device.

        The pad is a record too, so the chain runs through it. Any error here is final.
        """
        start = header_offset(self.end)
        if start % BLOCK:
            skip = BLOCK - start % BLOCK - HEADER_BYTES
            head = self._pack(skip, 0, PAD, self.next_seq)
            self._ops.pwritev(self.fd, [head], start)
            self._prev = int.from_bytes(head[:4], "little")
            self.end = start + HEADER_BYTES + skip
        else:
            self.end = start
        self._ops.fdatasync(self.fd)
        cost = self.end - self._group_start
        self._group += 1
        self._group_start = self.end
        return cost

    def _pack(self, length: int, payload_crc: int, kind: int, seq: int) -> bytes:
        flags = FIRST_OF_GROUP if self.end == self._group_start else 0
        group, prev = self._group, self._prev
        return RecordHeader(
            self._salt_crc, payload_crc, length, kind, flags, seq, group, prev
        ).pack()

    def _erase_header(self, start: int) -> None:
        """After a failed write: keep a record that was refused from being found after a crash."""
        try:
            self._ops.write_once(self.fd, [bytes(HEADER_BYTES)], start)
        except OSError:
            pass  # the next record at this place overwrites it anyway

    def _note(self, start: int, length: int, crc: int, kind: int, seq: int, group: int) -> None:
        if kind == PREAMBLE:
            self.preamble = (start + HEADER_BYTES, length, crc)
        elif kind == DATA:
            self._offsets.append(start + HEADER_BYTES)
            self._lengths.append(length)
            self._crcs.append(crc)
            self._groups.append(group)
            self.seqs.append(seq)

    # recovery

    def load_header(self, segment_bytes: int) -> SegmentHeader | None:
        """The header, or its copy; None where neither is whole. The newer one wins."""
        found: list[SegmentHeader] = []
        for offset in (0, self.limit):
            try:
                header = SegmentHeader.unpack(self._ops.pread(self.fd, SEGMENT.size, offset))
            except OSError:
                continue
            if header is not None and header.segment_bytes == segment_bytes:
                found.append(header)
        self._clear()
        self.header = max(found, key=lambda header: header.generation, default=None)
        if self.header is not None:
            self._prev = self._salt_crc = self.header.crc
        return self.header

    def has_content(self) -> bool:
        """Whether a segment without a header had one, so that both copies are damaged.

        A crash in the first use of a file can leave one copy torn and the other still blank.
        """
        try:
            return all(any(self._ops.pread(self.fd, BLOCK, at)) for at in (0, self.limit))
        except OSError:
            return True

    def lost(self, stop_seq: int) -> list[Damage]:
        """Records before `stop_seq` that were durable and are missing or damaged."""
        found: list[Damage] = []
        expected = self.header.first_seq if self.header else stop_seq
        if len(self.seqs) != stop_seq - expected:
            for seq in (*self.seqs, stop_seq):
                if seq > expected:
                    reason = "unreadable record header or segment"
                    found.append(Damage(self.path.name, expected, seq - expected, reason))
                expected = seq + 1
        for seq in sorted(self.damaged):
            found.append(Damage(self.path.name, seq, 1, "checksum or read error"))
        return found

    def scan(self, stop_seq: int | None) -> int:
        """Index every whole record; the number of records found torn and left out.

        Of a sealed segment only the headers are read, and records from `stop_seq` on are an
        abandoned tail. The newest segment (`stop_seq` None) is read in full: a damaged record
        followed by a later group was durable, so it is rot; one in the last group may never have
        been committed, so the records end there.
        """
        offset, group, last_group = BLOCK, 1, 1
        while True:
            offset = header_offset(offset)
            head = self._header_at(offset)
            if head is None or not self._follows(head, offset, group):
                found = self._next_group(offset, group)
                if found is None:
                    break
                offset, head = found
            if stop_seq is not None and head.seq >= stop_seq and head.kind == DATA:
                break
            group = last_group = head.group
            self._prev = head.crc
            self._note(offset, head.length, head.payload_crc, head.kind, head.seq, group)
            if stop_seq is None and head.kind == DATA:
                position = len(self.seqs) - 1
                if self.read_payload(*self.locate(position)[1:]) is None:
                    self.damaged.add(head.seq)
            offset = aligned(offset + HEADER_BYTES + head.length)
        self.end = offset
        return self._cut_torn_group(last_group) if stop_seq is None else 0

    def _header_at(self, offset: int) -> RecordHeader | None:
        if offset + HEADER_BYTES > self.limit:
            return None
        try:
            data = self._ops.pread(self.fd, HEADER_BYTES, offset)
        except OSError:
            return None
        head = RecordHeader.unpack(data, self._salt_crc)
        if head is None or offset + HEADER_BYTES + head.length > self.limit:
            return None
        return head

    def _follows(self, head: RecordHeader, offset: int, group: int) -> bool:
        """Whether a whole header continues the chain that ends just before it."""
        if head.prev != self._prev:
            return False
        if head.flags & FIRST_OF_GROUP:
            return offset % BLOCK == 0 and head.group == group + (offset > BLOCK)
        return head.group == group

    def _next_group(self, offset: int, group: int) -> tuple[int, RecordHeader] | None:
        """The first later group after damage, which proves that what lies between was durable."""
        for start in range(offset - offset % BLOCK + BLOCK, self.limit, BLOCK):
            head = self._header_at(start)
            if head and head.flags & FIRST_OF_GROUP and head.group > group:
                if head.seq >= self.next_seq:
                    return start, head
        return None

    def _cut_torn_group(self, last_group: int) -> int:
        keep = len(self.seqs)
        for position in range(len(self.seqs)):
            if self._groups[position] == last_group and self.seqs[position] in self.damaged:
                keep = position
                break
        torn = len(self.seqs) - keep
        self.damaged.difference_update(self.seqs[keep:])
        for column in (self.seqs, self._offsets, self._lengths, self._crcs, self._groups):
            del column[keep:]
        return torn
