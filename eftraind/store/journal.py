"""The journal: a fixed ring of pre-written segment files that holds every acknowledged record.

Owns appending, committing, reading and recycling. What `commit` returned for survives a power cut.
Never grows after it was made, never retries a failed flush, never looks into a payload. One thread
appends and commits; any thread may read, release and ask for figures. Making and opening the
ring's files is store.ring.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eftraind.errors import ConfigError, JournalFull, ReadOnlyStorage, RecordTooLarge, StorageError
from eftraind.fsio import Buffer, FileOps, StateLock, byte_length, storage_error
from eftraind.store.ring import Ring, open_ring
from eftraind.store.segment import (
    BLOCK,
    DATA,
    HEADER_BYTES,
    PREAMBLE,
    Damage,
    Segment,
    SegmentHeader,
)

DAMAGES_KEPT = 64  # the list is for an operator's eyes; the counters are exact
TRANSIENT = ("disk_full", "read_only")  # write errors after which the next append may succeed


@dataclass(frozen=True)
class JournalStats:
    """Figures for the metrics table. Counters count from this opening."""

    commits: int
    appended_records: int
    payload_bytes: int
    device_bytes_written: int
    segment_switches: int
    records: int  # readable now
    used_bytes: int  # in segments that hold records
    limit_bytes: int
    free_bytes: int
    corrupt_records: int  # durable once, unreadable now
    quarantined_segments: int  # files that could not be placed and were set free
    torn_records: int  # found half-written at open: never committed, left out
    read_only: bool


class Journal:
    """See the module. Made by `Journal.open`."""

    def __init__(
        self, ops: FileOps, lock: StateLock, ring: Ring, preamble: Callable[[], bytes]
    ) -> None:
        self._ops = ops
        self._state_lock = lock
        self._directory = ring.directory
        self._segment_bytes = ring.segment_bytes
        self._preamble = preamble
        self._guard = threading.Lock()  # protects the segment lists and their indexes
        self._live: list[Segment] = ring.live  # by generation, oldest first
        self._free: list[Segment] = ring.free
        self._active: Segment | None = None
        self._epoch = ring.epoch + 1
        self._generation = ring.generation
        self._next_seq = ring.next_seq
        self._durable_seq = ring.next_seq - 1
        self._released_seq = ring.released_seq
        self._failed: StorageError | None = None
        self._read_only = self._opened_read_only = ring.read_only
        self._commits = self._appended = self._payload = self._device = self._switches = 0
        self._quarantined = ring.quarantined
        self._torn = ring.torn
        self._corrupt = sum(damage.count for damage in ring.damages)
        self.damages: deque[Damage] = deque(ring.damages, maxlen=DAMAGES_KEPT)

    @classmethod
    def open(
        cls,
        directory: Path | str,
        *,
        size_bytes: int,
        segment_bytes: int,
        ops: FileOps,
        preamble: Callable[[], bytes],
        progress: Callable[[int, int], None] | None = None,
    ) -> "Journal":
        """Make the ring or recover it.

        `preamble()` gives the bytes that open each segment; it is called inside `append` and must
        describe exactly the records appended before. `progress(done_bytes, total_bytes)` is called
        while a new ring is written for the first time, which takes minutes on a slow card.
        """
        path = Path(directory)
        try:
            ops.mkdir(path)
        except OSError as exc:
            raise storage_error(exc, "make the journal directory", path) from exc
        lock = StateLock.acquire(ops, path)
        try:
            ring = open_ring(ops, path, size_bytes, segment_bytes, progress)
        except BaseException:
            lock.close()
            raise
        return cls(ops, lock, ring, preamble)

    def close(self) -> None:
        """Close the files. Records appended after the last commit may be lost."""
        with self._guard:
            for segment in (*self._live, *self._free):
                self._ops.close(segment.fd)
            self._live, self._free, self._active = [], [], None
            if self._failed is None:
                self._failed = StorageError("the journal is closed", code="closed")
        self._state_lock.close()

    # figures

    @property
    def first_seq(self) -> int:
        """The oldest record still in the ring; equals `next_seq` when there is none."""
        with self._guard:
            for segment in self._live:
                if segment.seqs:
                    return segment.seqs[0]
            return self._next_seq

    @property
    def next_seq(self) -> int:
        return self._next_seq

    @property
    def durable_seq(self) -> int:
        """The newest record that survives a power cut; 0 before the first."""
        return self._durable_seq

    @property
    def size_bytes(self) -> int:
        """Bytes of disk the ring occupies, for ever."""
        return (len(self._live) + len(self._free)) * self._segment_bytes

    @property
    def max_record_bytes(self) -> int:
        """No record may be larger; a quarter of a segment is kept for the preamble."""
        return self._segment_bytes - 2 * BLOCK - self._max_preamble_bytes - 4 * HEADER_BYTES

    @property
    def _max_preamble_bytes(self) -> int:
        return self._segment_bytes // 4

    @property
    def free_bytes(self) -> int:
        """Bytes that can be appended before `JournalFull`, short of padding."""
        with self._guard:
            return self._free_bytes()

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def failed(self) -> StorageError | None:
        """The error after which this object refuses everything, if there was one."""
        return self._failed

    @property
    def stats(self) -> JournalStats:
        with self._guard:
            return JournalStats(
                commits=self._commits,
                appended_records=self._appended,
                payload_bytes=self._payload,
                device_bytes_written=self._device,
                segment_switches=self._switches,
                records=sum(len(s.seqs) - len(s.damaged) for s in self._live),
                used_bytes=len(self._live) * self._segment_bytes,
                limit_bytes=self.size_bytes,
                free_bytes=self._free_bytes(),
                corrupt_records=self._corrupt,
                quarantined_segments=self._quarantined,
                torn_records=self._torn,
                read_only=self._read_only,
            )

    def _free_bytes(self) -> int:
        usable = self._segment_bytes - 2 * BLOCK
        spare = len(self._free) + sum(self._recyclable(segment) for segment in self._live)
        here = self._active.limit - self._active.end if self._active else 0
        return spare * usable + here

    def _recyclable(self, segment: Segment) -> bool:
        consumed = not segment.seqs or segment.seqs[-1] <= self._released_seq
        return consumed and segment is not self._active

    # writing

    def append(self, parts: Sequence[Buffer]) -> int:
        """Write one record and return its sequence number; durable only after `commit`.

        Raises JournalFull (try again after `release`), RecordTooLarge, ReadOnlyStorage, or
        StorageError with code `disk_full`: the record is not in the journal, the next may be.
        """
        self._check()
        if self._opened_read_only:
            message = f"the journal in {self._directory} was opened on a read-only file system"
            raise ReadOnlyStorage(message, remedy="remount it read-write and restart the daemon")
        length = sum(byte_length(part) for part in parts)
        if length > self.max_record_bytes:
            message = f"a record of {length} bytes exceeds the {self.max_record_bytes} that fit"
            raise RecordTooLarge(message, remedy="send smaller batches or raise segment_bytes")
        active = self._active
        if active is None or not active.fits(length):
            active = self._switch()
        self._payload += self._add(active, DATA, parts)
        self._appended += 1
        self._next_seq += 1
        return self._next_seq - 1

    def commit(self) -> int:
        """Make every appended record durable; the newest durable sequence number.

        A failed flush is final: the error is raised here and by everything after it.
        """
        self._check()
        active = self._active
        if active is not None and active.dirty:
            try:
                cost = active.finish_group()
            except OSError as exc:
                raise self._fail(exc, "flush", active.path) from exc
            with self._guard:
                self._device += cost
                self._commits += 1
                self._durable_seq = self._next_seq - 1
        return self._durable_seq

    def release(self, seq: int) -> None:
        """Say that records up to `seq` are no longer needed; they stay readable until reused."""
        with self._guard:
            self._released_seq = max(self._released_seq, seq)

    def _switch(self) -> Segment:
        """Seal the active segment and begin the next one, opened by a preamble."""
        victim = self._find_victim()
        self.commit()  # no group spans segments, so a crash cannot leave a gap between them
        opening = self._preamble()
        if len(opening) > self._max_preamble_bytes:
            message = f"the journal's preamble has {len(opening)} bytes, over a quarter segment"
            raise ConfigError(message, remedy="raise segment_bytes or lower max_producers")
        with self._guard:
            (self._free if victim in self._free else self._live).remove(victim)
            self._active = None
            self._generation += 1
            header = SegmentHeader(
                segment_bytes=self._segment_bytes,
                generation=self._generation,
                first_seq=self._next_seq,
                released_seq=self._released_seq,
                salt=self._ops.random_bytes(8),
                epoch=self._epoch,
            )
        try:
            self._device += victim.write_header(header)
        except OSError as exc:
            with self._guard:
                self._free.append(victim)
            raise self._write_error(exc, victim.path) from exc
        try:
            self._ops.fdatasync(victim.fd)
        except OSError as exc:
            raise self._fail(exc, "flush", victim.path) from exc
        self._switches += 1
        with self._guard:
            self._live.append(victim)
        self._add(victim, PREAMBLE, [opening])
        self._active = victim  # only now: a segment without its preamble takes no records
        return victim

    def _find_victim(self) -> Segment:
        """The file to use next: an unused one, else the oldest that holds nothing needed."""
        with self._guard:
            for segment in (*self._free, *self._live):
                if segment in self._free or self._recyclable(segment):
                    return segment
        message = f"all {self.size_bytes} bytes of the journal hold samples not yet consumed"
        raise JournalFull(message, remedy="wait for the engine, or raise journal.size_bytes")

    def _add(self, segment: Segment, kind: int, parts: Sequence[Buffer]) -> int:
        # Not under the guard: on a slow card a write may block for long, and readers must not.
        # They see a record only when its last index column and `durable_seq` have moved.
        try:
            length = segment.add(kind, self._next_seq, parts)
        except OSError as exc:
            raise self._write_error(exc, segment.path) from exc
        self._read_only = False
        return length

    def _write_error(self, exc: OSError, path: Path) -> StorageError:
        error = storage_error(exc, "write to", path)
        self._read_only = isinstance(error, ReadOnlyStorage)
        if error.code in TRANSIENT:
            return error
        return self._fail(exc, "write to", path)

    def _fail(self, exc: OSError, doing: str, path: Path) -> StorageError:
        error = storage_error(exc, doing, path)
        self._failed = StorageError(
            f"{error.message}; the journal stops here, what was acknowledged durable is safe",
            remedy=f"{error.remedy}; then restart the daemon, which recovers from disk",
            code=error.code,
        )
        return self._failed

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    # reading

    def read(self, from_seq: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """Committed records from `from_seq` on, about `max_bytes` of them but at least one.

        A record that fails its checksum is left out, counted and noted in `damages`; a gap in the
        sequence numbers says where. An empty list means there is nothing readable to come yet.
        """
        records: list[tuple[int, bytes]] = []
        seq, taken = from_seq, 0
        while True:
            plan = self._plan(seq, max_bytes - taken, at_least_one=not records)
            if plan is None:
                return records
            segment, generation, wanted = plan
            for seq, offset, length, crc in wanted:
                payload = segment.read_payload(offset, length, crc)
                if payload is None:
                    self._note_damage(segment, generation, seq)
                    continue
                records.append((seq, payload))
                taken += length
            seq += 1

    def recovered(self) -> Iterator[tuple[int, int, bytes]]:
        """(kind, seq, payload): the newest readable preamble, then each record since it.

        Kind is PREAMBLE or DATA. With no readable preamble, every record there is.
        """
        start = self.first_seq
        with self._guard:
            live = list(self._live)
        for segment in reversed(live):
            payload = segment.read_preamble()
            if payload is not None and segment.header is not None:
                start = segment.header.first_seq
                yield PREAMBLE, start, payload
                break
        while True:
            records = self.read(start, 1 << 20)
            if not records:
                return
            for seq, payload in records:
                yield DATA, seq, payload
            start = records[-1][0] + 1

    def _plan(
        self, from_seq: int, max_bytes: int, *, at_least_one: bool
    ) -> tuple[Segment, int, list[tuple[int, int, int, int]]] | None:
        """Where the next records at or after `from_seq` are, all of one segment."""
        with self._guard:
            self._check()
            for segment in self._live:
                wanted: list[tuple[int, int, int, int]] = []
                for position in range(segment.position_of(from_seq), len(segment.seqs)):
                    found = segment.locate(position)
                    if found[0] > self._durable_seq:
                        return (segment, segment.generation, wanted) if wanted else None
                    if found[0] in segment.damaged:
                        continue
                    max_bytes -= found[2]
                    if max_bytes < 0 and (wanted or not at_least_one):
                        return (segment, segment.generation, wanted) if wanted else None
                    wanted.append(found)
                if wanted:
                    return segment, segment.generation, wanted
        return None

    def _note_damage(self, segment: Segment, generation: int, seq: int) -> None:
        with self._guard:
            if segment.generation != generation or seq in segment.damaged:
                return  # the file was reused while it was read: not damage
            segment.damaged.add(seq)
            self._corrupt += 1
            self.damages.append(Damage(segment.path.name, seq, 1, "checksum or read error"))
