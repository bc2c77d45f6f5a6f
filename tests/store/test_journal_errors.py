"""What a full, read-only, failing or occupied disk, a full ring and a changed size are answered."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from crashdisk import CrashDisk

from eftraind.errors import (
    ConfigError,
    JournalFull,
    ReadOnlyStorage,
    RecordTooLarge,
    StateLocked,
    StorageError,
)
from eftraind.fsio import Buffer, FileOps
from eftraind.store.journal import Journal

SEGMENT_BYTES = 32768
DIRECTORY = Path("/journal")


def open_journal(ops: FileOps, path: Path = DIRECTORY, **changes: object) -> Journal:
    options = {"size_bytes": 4 * SEGMENT_BYTES, "segment_bytes": SEGMENT_BYTES}
    return Journal.open(path, **{**options, "ops": ops, "preamble": lambda: b"", **changes})


@pytest.fixture
def disk() -> CrashDisk:
    return CrashDisk(np.random.default_rng(0))


def fill(journal: Journal, size: int = 9000) -> int:
    with pytest.raises(JournalFull):
        while True:
            journal.append([bytes(size)])
    return journal.commit()


# the ring


def test_a_full_ring_refuses_until_records_are_released(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    last = fill(journal)
    assert journal.free_bytes < 9000
    with pytest.raises(JournalFull, match="not yet consumed") as caught:
        journal.append([bytes(9000)])
    assert "journal.size_bytes" in caught.value.remedy
    assert len(journal.read(0, 1 << 30)) == last
    journal.release(1)
    with pytest.raises(JournalFull):
        journal.append([bytes(9000)])
    journal.release(last // 2)
    assert journal.append([bytes(9000)]) == last + 1


def test_released_records_stay_readable_until_their_segment_is_reused(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    last = fill(journal)
    journal.release(last)
    assert journal.first_seq == 1
    journal.append([bytes(9000)])
    assert journal.first_seq > 1


def test_a_ring_of_consumed_records_is_not_full_after_a_restart(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    last = fill(journal)
    journal.release(last)
    journal.append([bytes(9000)])
    journal.commit()
    disk.power_cut()
    journal = open_journal(disk)
    assert journal.append([bytes(9000)]) == last + 2


def test_a_restart_does_not_forget_what_is_not_consumed(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    last = fill(journal)
    disk.power_cut()
    journal = open_journal(disk)
    with pytest.raises(JournalFull):
        journal.append([b"x"])
    assert len(journal.read(0, 1 << 30)) == last


def test_a_record_that_fits_no_segment(disk: CrashDisk) -> None:
    journal = open_journal(disk, preamble=lambda: bytes(SEGMENT_BYTES // 4))
    assert journal.append([bytes(journal.max_record_bytes)]) == 1
    with pytest.raises(RecordTooLarge, match="exceeds"):
        journal.append([bytes(journal.max_record_bytes), b"x"])
    assert journal.append([b"goes on"]) == 2


def test_a_preamble_over_a_quarter_segment(disk: CrashDisk) -> None:
    journal = open_journal(disk, preamble=lambda: bytes(SEGMENT_BYTES // 4 + 1))
    with pytest.raises(ConfigError, match="preamble"):
        journal.append([b"x"])


def test_many_and_empty_and_typed_buffers(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    parts = [bytes([i % 256]) for i in range(3000)]
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    journal.append(parts)
    journal.append([])
    journal.append([memoryview(array), b"", bytearray(b"end")])
    journal.commit()
    found = [payload for _, payload in journal.read(1, 1 << 20)]
    assert found == [b"".join(parts), b"", array.tobytes() + b"end"]


# a second opener


def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    journal = open_journal(FileOps(), tmp_path)
    with pytest.raises(StateLocked, match=f"process {os.getpid()}") as caught:
        open_journal(FileOps(), tmp_path)
    assert "state_dir" in caught.value.remedy
    journal.close()
    open_journal(FileOps(), tmp_path).close()


def test_a_closed_journal_refuses(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    journal.close()
    journal.close()
    for call in (lambda: journal.append([b"x"]), journal.commit, lambda: journal.read(1, 1)):
        with pytest.raises(StorageError, match="closed"):
            call()
    assert journal.stats.limit_bytes == 4 * SEGMENT_BYTES


# failing disks


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_failed_flush_is_final(disk: CrashDisk, after: int) -> None:
    journal = open_journal(disk)
    for _ in range(after):
        journal.append([b"safe"])
        journal.commit()
    if after:
        journal.append([b"unsafe"])
    disk.fail["fdatasync"] = errno.EIO
    with pytest.raises(StorageError, match="the journal stops here") as caught:
        journal.commit() if after else journal.append([b"unsafe"])
    assert caught.value.code == "storage_io"
    assert "restart the daemon" in caught.value.remedy
    del disk.fail["fdatasync"]  # the device answers again, the data may be gone all the same
    for call in (lambda: journal.append([b"x"]), journal.commit, lambda: journal.read(1, 1)):
        with pytest.raises(StorageError, match="the journal stops here"):
            call()
    assert journal.failed is caught.value
    assert journal.durable_seq == after
    disk.power_cut()
    assert len(open_journal(disk).read(1, 1 << 20)) in (after, after + 1)


def test_a_failed_write_is_final(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    journal.append([b"first"])
    disk.fail["write"] = errno.EIO
    with pytest.raises(StorageError, match="Input/output"):
        journal.append([b"second"])
    assert journal.failed is not None


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(errno.ENOSPC, StorageError, "disk_full"), (errno.EROFS, ReadOnlyStorage, "read_only")],
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_disk_that_takes_no_writes_now_may_take_them_later(
    disk: CrashDisk, number: int, kind: type[StorageError], code: str, begun: bool
) -> None:
    journal = open_journal(disk)
    first = 1
    if begun:
        journal.append([b"before"])
        journal.commit()
        first = 2
    disk.fail["write"] = number
    for _ in range(3):
        with pytest.raises(kind) as caught:
            journal.append([b"refused"])
        assert caught.value.code == code
        assert caught.value.remedy
    assert journal.read_only == journal.stats.read_only == (number == errno.EROFS)
    del disk.fail["write"]
    assert journal.append([b"after"]) == first
    assert journal.commit() == first
    assert not journal.read_only
    disk.power_cut()
    assert [payload for _, payload in open_journal(disk).read(first, 99)] == [b"after"]


def test_refused_records_are_not_found_after_a_crash(disk: CrashDisk) -> None:
    """A write that failed half-way leaves nothing that recovery would take for a record."""
    journal = open_journal(disk)
    journal.append([b"kept"])
    journal.commit()
    original = disk.write_once

    def all_but_one(fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        if sum(map(len, buffers)) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(fd, [b"".join(buffers)[:-1]], offset)

    disk.write_once = all_but_one  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="No space"):
        journal.append([bytes(6000)])  # zeros, as in the fresh file: the last byte is not missed
    disk.write_once = original  # type: ignore[method-assign]
    disk.kill()
    journal = open_journal(disk)
    assert journal.next_seq == 2
    assert journal.stats.corrupt_records == 0


def test_no_room_for_a_new_ring(disk: CrashDisk) -> None:
    disk.fail["write"] = errno.ENOSPC
    with pytest.raises(StorageError, match="No space") as caught:
        open_journal(disk)
    assert caught.value.code == "disk_full"
    assert [name for name in disk.listdir(DIRECTORY) if name.endswith(".ring")] == []
    disk.fail.clear()
    open_journal(disk).append([b"x"])


def test_a_read_only_disk_still_gives_its_records(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    journal.append([b"kept"])
    journal.commit()
    journal.close()
    disk.fail["open_write"] = errno.EROFS
    journal = open_journal(disk)
    assert journal.read_only and journal.stats.read_only
    assert journal.read(1, 99) == [(1, b"kept")]
    with pytest.raises(ReadOnlyStorage, match="read-only file system") as caught:
        journal.append([b"x"])
    assert "restart" in caught.value.remedy


def test_a_new_ring_on_a_read_only_disk(disk: CrashDisk) -> None:
    disk.fail["open_write"] = errno.EROFS
    disk.fail["mkdir"] = errno.EROFS
    with pytest.raises(ReadOnlyStorage):
        open_journal(disk)


def test_a_directory_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    with pytest.raises(StorageError) as caught:
        open_journal(FileOps(), tmp_path / "journal")
    assert caught.value.remedy


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KB, where mounting is allowed."""
    point = tmp_path / "small"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(point)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


def test_on_a_really_full_disk(small_disk: Path) -> None:
    with pytest.raises(StorageError) as caught:
        open_journal(FileOps(), small_disk / "j", size_bytes=16 * SEGMENT_BYTES)
    assert caught.value.code == "disk_full"
    journal = open_journal(FileOps(), small_disk / "j")
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(1 << 20))
    last = fill(journal)  # a ring that was written once needs no more space
    assert len(journal.read(1, 1 << 30)) == last
    journal.close()


def test_on_a_really_read_only_disk(small_disk: Path) -> None:
    journal = open_journal(FileOps(), small_disk / "j")
    journal.append([b"kept"])
    journal.commit()
    journal.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    journal = open_journal(FileOps(), small_disk / "j")
    assert journal.read(1, 99) == [(1, b"kept")]
    with pytest.raises(ReadOnlyStorage):
        journal.append([b"x"])
    journal.close()
    with pytest.raises(ReadOnlyStorage):
        open_journal(FileOps(), small_disk / "new")


# another geometry


def test_a_ring_can_grow(disk: CrashDisk) -> None:
    journal = open_journal(disk)
    last = fill(journal)
    journal.close()
    journal = open_journal(disk, size_bytes=6 * SEGMENT_BYTES)
    assert journal.append([b"x"]) == last + 1
    assert journal.size_bytes == 6 * SEGMENT_BYTES
    assert len(journal.read(1, 1 << 30)) == last


def test_a_ring_shrinks_as_far_as_nothing_is_lost(disk: CrashDisk) -> None:
    journal = open_journal(disk, size_bytes=8 * SEGMENT_BYTES)
    journal.append([bytes(16000)])
    last = journal.append([bytes(16000)])
    journal.commit()
    journal.close()
    journal = open_journal(disk, size_bytes=3 * SEGMENT_BYTES)
    assert journal.size_bytes == 3 * SEGMENT_BYTES
    assert [seq for seq, _ in journal.read(1, 1 << 30)] == [1, last]
    last = fill(journal)
    journal.close()
    with pytest.raises(ConfigError, match="3 of them hold samples") as caught:
        open_journal(disk, size_bytes=2 * SEGMENT_BYTES)
    assert str(3 * SEGMENT_BYTES) in caught.value.remedy
    assert len(open_journal(disk, size_bytes=3 * SEGMENT_BYTES).read(1, 1 << 30)) == last


def test_another_segment_size_is_refused_once_there_are_records(disk: CrashDisk) -> None:
    open_journal(disk).close()
    journal = open_journal(disk, segment_bytes=2 * SEGMENT_BYTES)  # nothing in it: made again
    journal.append([b"x"])
    journal.commit()
    journal.close()
    with pytest.raises(ConfigError, match="holds samples in segments of 65536") as caught:
        open_journal(disk)
    assert "set it back to 65536" in caught.value.remedy
    disk.unlink(DIRECTORY / "ring.json")
    with pytest.raises(ConfigError, match="holds samples in segments of 65536"):
        open_journal(disk)
    assert open_journal(disk, segment_bytes=65536).read(1, 9) == [(1, b"x")]


@pytest.mark.parametrize(
    ("size_bytes", "segment_bytes"),
    [(1 << 20, 1000), (1 << 20, 4096), (1 << 20, 40000), (1 << 20, 1 << 20), (1 << 33, 1 << 31)],
)
def test_impossible_geometry(disk: CrashDisk, size_bytes: int, segment_bytes: int) -> None:
    with pytest.raises(ConfigError, match=r"journal\.(segment|size)_bytes") as caught:
        open_journal(disk, size_bytes=size_bytes, segment_bytes=segment_bytes)
    assert caught.value.remedy


def test_a_ring_of_a_later_format_is_left_alone(disk: CrashDisk) -> None:
    open_journal(disk).close()
    path = DIRECTORY / "ring.json"
    disk.pwritev(disk.open(path, os.O_RDWR), [disk.content(path).replace(b" 1,", b" 2,")], 0)
    with pytest.raises(ConfigError, match="format 2"):
        open_journal(disk)


def test_progress_while_the_ring_is_made(disk: CrashDisk) -> None:
    seen: list[tuple[int, int]] = []
    open_journal(disk, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n * SEGMENT_BYTES, 4 * SEGMENT_BYTES) for n in (1, 2, 3, 4)]
