"""The thin layer under storage: whole writes, atomic files, and errors that say what to do."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from crashdisk import CrashDisk, PowerCut

from eftraind.errors import ReadOnlyStorage, StateLocked, StorageError
from eftraind.fsio import FileOps, StateLock, atomic_write, read_file, storage_error


def test_short_writes_are_finished() -> None:
    disk = CrashDisk(np.random.default_rng(1))
    disk.short_writes = True
    fd = disk.open(Path("/f"), os.O_CREAT | os.O_RDWR)
    parts = [b"abc", b"", memoryview(b"defgh"), bytearray(b"i" * 1000)]
    assert disk.pwritev(fd, parts, 5) == 1008
    assert disk.pread(fd, 2000, 0) == bytes(5) + b"abcdefgh" + b"i" * 1000


def test_a_write_that_makes_no_progress_is_an_error() -> None:
    class Stuck(FileOps):
        def write_once(self, fd: int, buffers: object, offset: int) -> int:
            return 0

    with pytest.raises(OSError, match="no more bytes"):
        Stuck().pwritev(0, [b"x"], 0)


def test_more_buffers_than_one_call_takes(tmp_path: Path) -> None:
    ops = FileOps()
    fd = ops.open(tmp_path / "f", os.O_CREAT | os.O_RDWR)
    parts = [n.to_bytes(4, "little") for n in range(5000)]
    assert ops.pwritev(fd, parts, 3) == 20000
    assert ops.pread(fd, 30000, 3) == b"".join(parts)
    ops.close(fd)


@pytest.mark.parametrize("cut_after", range(8))
def test_an_atomic_write_gives_the_old_or_the_new(cut_after: int) -> None:
    for seed in range(20):
        disk = CrashDisk(np.random.default_rng(seed))
        path = Path("/d/f")
        atomic_write(disk, path, [b"old" * 1000])
        disk.cut_after = cut_after
        acknowledged = False
        try:
            atomic_write(disk, path, [b"new" * 500, b"new" * 500])
            acknowledged = True
        except PowerCut:
            pass
        disk.power_cut()
        content = read_file(disk, path, 1 << 20)
        assert content in (b"old" * 1000, b"new" * 1000)
        assert content == b"new" * 1000 or not acknowledged


def test_a_failed_atomic_write_leaves_no_litter(tmp_path: Path) -> None:
    disk = CrashDisk(np.random.default_rng(0))
    disk.fail["fsync"] = errno.ENOSPC
    with pytest.raises(StorageError) as caught:
        atomic_write(disk, Path("/d/f"), [b"x"])
    assert caught.value.code == "disk_full"
    assert disk.listdir(Path("/d")) == []


@pytest.mark.parametrize(
    ("number", "code", "remedy"),
    [
        (errno.ENOSPC, "disk_full", "free space"),
        (errno.EDQUOT, "disk_full", "free space"),
        (errno.EROFS, "read_only", "read-write"),
        (errno.EACCES, "storage_permission", "own the state directory"),
        (errno.EIO, "storage_io", "dmesg"),
        (errno.EMFILE, "storage", "ulimit -n"),
        (errno.ENFILE, "storage", "ulimit -n"),
        (errno.ENODEV, "storage", "system log"),
    ],
)
def test_errors_name_cause_and_remedy(number: int, code: str, remedy: str) -> None:
    error = storage_error(OSError(number, os.strerror(number)), "write to", "/x/y")
    assert error.code == code
    assert remedy in error.remedy
    assert os.strerror(number) in error.message and "/x/y" in error.message
    assert isinstance(error, ReadOnlyStorage) == (number == errno.EROFS)


def test_a_file_over_its_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(11))
    with pytest.raises(StorageError, match="more than the 10"):
        read_file(FileOps(), tmp_path / "f", 10)
    with pytest.raises(StorageError, match="No such file"):
        read_file(FileOps(), tmp_path / "g", 10)


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    lock = StateLock.acquire(FileOps(), tmp_path)
    with pytest.raises(StateLocked, match=str(os.getpid())):
        StateLock.acquire(FileOps(), tmp_path)
    lock.close()
    lock.close()
    StateLock.acquire(FileOps(), tmp_path).close()
