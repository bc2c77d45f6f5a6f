"""Power cuts at random points: nothing acknowledged is lost, nothing wrong appears.

The broken variants at the end are what makes the rest believable: each must be caught.
"""

import zlib
from contextlib import suppress

import numpy as np
import pytest
from crashdisk import CrashDisk, PowerCut
from journalmodel import JournalRun, Violation, crash_run

from eftraind.store import layout, segment


@pytest.mark.parametrize("seed", range(8))
def test_acknowledged_records_survive_power_cuts(seed: int) -> None:
    run = crash_run(seed, crashes=25)
    assert run.disk.calls["fdatasync"] > 100


@pytest.mark.parametrize("seed", range(4))
def test_with_short_writes(seed: int) -> None:
    disk = CrashDisk(np.random.default_rng(seed))
    disk.short_writes = True
    run = JournalRun(disk)
    for _ in range(12):
        run.crash_somewhere((0, 6000), calls=200)


@pytest.mark.parametrize("calls", range(0, 40, 2))
def test_in_the_first_start(calls: int) -> None:
    disk = CrashDisk(np.random.default_rng(calls))
    disk.cut_after = calls
    with suppress(PowerCut):
        JournalRun(disk)
    disk.power_cut()
    run = JournalRun(disk)
    run.check_reading()
    run.append(100)
    run.commit()
    disk.power_cut()
    run.reopen()
    assert run.durable_seq == 1


def test_a_killed_writer_does_not_make_readers_trust_the_page_cache() -> None:
    """Records found in the cache after kill -9 are shown as durable, so they must be made so."""
    disk = CrashDisk(np.random.default_rng(3))
    run = JournalRun(disk)
    run.append(5000)
    run.append(5000)
    disk.kill()
    run.reopen()
    assert run.durable_seq == 2
    disk.power_cut()
    run.reopen()
    assert run.durable_seq == 2


def count_caught(ignore: frozenset[str] = frozenset()) -> int:
    caught = 0
    for seed in range(20):
        try:
            crash_run(seed, crashes=15, ignore=ignore)
        except Violation:
            caught += 1
    return caught


def test_catches_a_journal_that_does_not_flush() -> None:
    assert count_caught(frozenset({"fdatasync"})) == 20


def test_catches_a_journal_without_chained_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record still has a good checksum of its own, header and payload: that is not enough."""

    def pack(self: layout.RecordHeader) -> bytes:
        fields = (0, self.payload_crc, self.length, self.kind, self.flags, 0)
        head = layout.RECORD.pack(*fields, self.seq, self.group, 0)
        return zlib.crc32(head[4:]).to_bytes(4, "little") + head[4:]

    def unpack(data: bytes, salt_crc: int) -> layout.RecordHeader | None:
        if len(data) < layout.HEADER_BYTES or zlib.crc32(data[4:32]) != int.from_bytes(
            data[:4], "little"
        ):
            return None
        crc, payload_crc, length, kind, flags, _, seq, group, prev = layout.RECORD.unpack(data)
        return layout.RecordHeader(crc, payload_crc, length, kind, flags, seq, group, prev)

    def follows(self: segment.Segment, head: layout.RecordHeader, offset: int, group: int) -> bool:
        return True

    monkeypatch.setattr(layout.RecordHeader, "pack", pack)
    monkeypatch.setattr(layout.RecordHeader, "unpack", unpack)
    monkeypatch.setattr(segment.Segment, "_follows", follows)
    assert count_caught() >= 10


def test_catches_a_journal_that_recovers_without_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flush at open, after kill -9 and before a power cut, is needed too."""
    original = JournalRun.open

    def open_without_flush(self: JournalRun) -> object:
        self.disk.ignore = frozenset({"fdatasync"})
        try:
            return original(self)
        finally:
            self.disk.ignore = frozenset()

    monkeypatch.setattr(JournalRun, "open", open_without_flush)
    with pytest.raises(Violation):
        test_a_killed_writer_does_not_make_readers_trust_the_page_cache()
