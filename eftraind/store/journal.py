"""The journal: a fixed ring of pre-written segment files that holds every acknowledged record.

Owns appending, committing, reading and recycling. What `commit` returned for survives a power cut.
Never grows after it was made, never retries a failed flush, never looks into a payload. One thread
appends and commits; any thread may read, release and ask for figures. Making and opening the
ring's files is store.recovery.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eftraind.errors import ConfigError, ReadOnlyStorage, RecordTooLarge, StorageError
from eftraind.fsio import Buffer, FileOps, StateLock, byte_length, storage_error
from eftraind.store.layout import BLOCK, DATA, HEADER_BYTES, PREAMBLE, SegmentHeader
from eftraind.store.recovery import open_ring
from eftraind.store.ring import Ring
from eftraind.store.segment import Damage, Segment

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
        self._ring = ring
        self._preamble = preamble
        self._epoch = ring.epoch + 1
        self._failed: StorageError | None = None
        self._closed = False
        self._read_only = ring.read_only
        self._commits = self._appended = self._payload = self._device = self._switches = 0

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
        """Close the files, once. Records appended after the last commit may be lost."""
        if self._closed:
            return
        self._closed = True
        if self._failed is None:
            self._failed = StorageError("the journal is closed", code="closed")
        for segment in (*self._ring.live, *self._ring.free):
            self._ops.close(segment.fd)
        self._state_lock.close()

    # figures

    @property
    def first_seq(self) -> int:
        """The oldest record still in the ring; equals `next_seq` when there is none."""
        return self._ring.first_seq

    @property
    def next_seq(self) -> int:
        return self._ring.next_seq

    @property
    def durable_seq(self) -> int:
        """The newest record that survives a power cut; 0 before the first."""
        return self._ring.durable_seq

    @property
    def size_bytes(self) -> int:
        """Bytes of disk the ring occupies, for ever."""
        return self._ring.size_bytes

    @property
    def free_bytes(self) -> int:
        """Bytes that can be appended before `JournalFull`, padding and preambles included."""
        return self._ring.free_bytes

    @property
    def max_record_bytes(self) -> int:
        """No record may be larger; a quarter of a segment is kept for the preamble."""
        usable = self._ring.segment_bytes - 2 * BLOCK
        return usable - self._max_preamble_bytes - 4 * HEADER_BYTES

    @property
    def _max_preamble_bytes(self) -> int:
        return self._ring.segment_bytes // 4

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def failed(self) -> StorageError | None:
        """The error after which this object refuses everything, if there was one."""
        return self._failed

    @property
    def damages(self) -> list[Damage]:
        """The last few losses found, for an operator; `stats.corrupt_records` counts them all."""
        return list(self._ring.damages)

    @property
    def stats(self) -> JournalStats:
        ring = self._ring
        return JournalStats(
            commits=self._commits,
            appended_records=self._appended,
            payload_bytes=self._payload,
            device_bytes_written=self._device,
            segment_switches=self._switches,
            records=ring.records,
            used_bytes=len(ring.live) * ring.segment_bytes,
            limit_bytes=ring.size_bytes,
            free_bytes=ring.free_bytes,
            corrupt_records=ring.corrupt,
            quarantined_segments=ring.quarantined,
            torn_records=ring.torn,
            read_only=self._read_only,
        )

    # writing

    def append(self, parts: Sequence[Buffer]) -> int:
        """Write one record and return its sequence number; durable only after `commit`.

        Raises JournalFull (try again after `release`), RecordTooLarge, ReadOnlyStorage, or
        StorageError with code `disk_full`: the record is not in the journal, the next may be.
        """
        self._check()
        if self._ring.read_only:
            message = f"the journal in {self._ring.directory} was opened on a read-only file system"
            raise ReadOnlyStorage(message, remedy="remount it read-write and restart the daemon")
        length = sum(byte_length(part) for part in parts)
        if length > self.max_record_bytes:
            message = f"a record of {length} bytes exceeds the {self.max_record_bytes} that fit"
            raise RecordTooLarge(message, remedy="send smaller batches or raise segment_bytes")
        active = self._ring.active
        if active is None or not active.fits(length):
            active = self._switch()
        self._payload += self._add(active, DATA, parts)
        self._appended += 1
        self._ring.next_seq += 1
        return self._ring.next_seq - 1

    def commit(self) -> int:
        """Make every appended record durable; the newest durable sequence number.

        A failed flush is final: the error is raised here and by everything after it.
        """
        self._check()
        ring = self._ring
        active = ring.active
        if active is not None and active.dirty:
            try:
                self._device += active.finish_group()
            except OSError as exc:
                raise self._fail(exc, "flush", active.path) from exc
            self._commits += 1
            ring.durable_seq = ring.next_seq - 1
        return ring.durable_seq

    def release(self, seq: int) -> None:
        """Say that records up to `seq` are no longer needed; they stay readable until reused.

        The next segment begun takes this along, so that a ring full of consumed records is not
        full after a restart.
        """
        ring = self._ring
        ring.released_seq = max(ring.released_seq, min(seq, ring.next_seq - 1))

    def _switch(self) -> Segment:
        """Seal the active segment and begin the next one, opened by a preamble."""
        ring = self._ring
        victim = ring.find_victim()
        self.commit()  # no group spans segments, so a crash cannot leave a gap between them
        opening = self._preamble()
        if len(opening) > self._max_preamble_bytes:
            message = f"the journal's preamble has {len(opening)} bytes, over a quarter segment"
            raise ConfigError(message, remedy="raise segment_bytes or lower max_producers")
        ring.take(victim)
        ring.generation += 1
        header = SegmentHeader(
            segment_bytes=ring.segment_bytes,
            generation=ring.generation,
            first_seq=ring.next_seq,
            released_seq=ring.released_seq,
            salt=self._ops.random_bytes(8),
            epoch=self._epoch,
        )
        try:
            self._device += victim.write_header(header)
        except OSError as exc:
            ring.put(victim, live=False)
            raise self._write_error(exc, victim.path) from exc
        ring.put(victim, live=True)
        try:
            self._ops.fdatasync(victim.fd)
        except OSError as exc:
            raise self._fail(exc, "flush", victim.path) from exc
        self._switches += 1
        self._add(victim, PREAMBLE, [opening])
        ring.active = victim  # only now: a segment without its preamble takes no records
        return victim

    def _add(self, segment: Segment, kind: int, parts: Sequence[Buffer]) -> int:
        # Not under the guard: on a slow card a write may block for long, and readers must not.
        # They see a record only when its last index column and `durable_seq` have moved.
        try:
            length = segment.add(kind, self._ring.next_seq, parts)
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
        sequence numbers says where. (Released records may also vanish between two of a list, when
        their segment is reused meanwhile.) An empty list: nothing more is readable yet.
        """
        self._check()
        records: list[tuple[int, bytes]] = []
        while True:
            plan = self._ring.plan(from_seq, max_bytes, at_least_one=not records)
            if plan is None:
                return records
            segment, generation, places = plan
            for seq, offset, length, crc in places:
                payload = segment.read_payload(offset, length, crc)
                if payload is None:
                    self._ring.note_damage(segment, generation, seq)
                    continue
                records.append((seq, payload))
                max_bytes -= length
            from_seq = places[-1][0] + 1

    def recovered(self) -> Iterator[tuple[int, int, bytes]]:
        """(kind, seq, payload): the newest readable preamble, then each record since it.

        Kind is PREAMBLE or DATA. With no readable preamble, every record there is.
        """
        start = self.first_seq
        for segment in reversed(self._ring.live):
            payload = segment.read_preamble()
            if payload is not None and segment.header is not None:
                start = segment.header.first_seq
                yield PREAMBLE, start, payload
                break
        while records := self.read(start, 1 << 20):
            for seq, payload in records:
                yield DATA, seq, payload
            start = records[-1][0] + 1
