"""File operations as an injected object, durable small writes, locks, and OS errors made readable.

Owns every system call that storage makes, so that a test can put a crashing disk in its place.
Never retries a failed flush: after an fsync error Linux may have dropped the data, and a second
call would lie.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eftraind.errors import ReadOnlyStorage, StateLocked, StorageError

# Anything with a C-contiguous buffer: bytes, memoryview, numpy array, a message frame.
Buffer = bytes | bytearray | memoryview

IOV_MAX = 1024  # Linux refuses longer vectors with EINVAL
ZEROS = bytes(1 << 20)


class FileOps:
    """Thin wrappers over `os`. Raises plain OSError; callers add what they were doing."""

    def open(self, path: Path, flags: int, mode: int = 0o640) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write_once(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """One pwritev call; may write less than asked, and on a full disk does so silently."""
        return os.pwritev(fd, buffers, offset)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write every byte of `buffers` at `offset`, however many calls it takes."""
        total = sum(byte_length(buffer) for buffer in buffers)
        if total == 0:
            return 0
        written = self.write_once(fd, buffers[:IOV_MAX], offset)
        if written == total:
            return total
        rest = [memoryview(buffer).cast("B") for buffer in buffers if byte_length(buffer)]
        last = written
        while True:
            while rest and last >= rest[0].nbytes:
                last -= rest.pop(0).nbytes
            if not rest:
                return total
            rest[0] = rest[0][last:]
            last = self.write_once(fd, rest[:IOV_MAX], offset + written)
            if last <= 0:
                raise OSError(errno.EIO, "the file accepts no more bytes and gives no reason")
            written += last

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        data = os.pread(fd, size, offset)
        while len(data) < size:
            more = os.pread(fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def file_size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fsync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def listdir(self, path: Path) -> list[str]:
        return sorted(os.listdir(path))

    def mkdir(self, path: Path) -> None:
        os.makedirs(path, mode=0o750, exist_ok=True)

    def try_lock(self, fd: int) -> bool:
        """Take the exclusive lock of an open file; False if another opener has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def random_bytes(self, size: int) -> bytes:
        return os.urandom(size)


def byte_length(buffer: Buffer) -> int:
    return len(buffer) if isinstance(buffer, bytes) else memoryview(buffer).nbytes


def storage_error(exc: OSError, doing: str, path: Path | str) -> StorageError:
    """The typed error for an OSError met while `doing` something to `path`."""
    reason = exc.strerror or str(exc)
    message = f"cannot {doing} {path}: {reason}"
    if exc.errno == errno.EROFS:
        return ReadOnlyStorage(message, remedy="remount the file system read-write; see dmesg")
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free space on this file system, or give the state directory its own partition"
        return StorageError(message, remedy=remedy, code="disk_full")
    if exc.errno in (errno.EACCES, errno.EPERM):
        remedy = "let the daemon's user own the state directory"
        return StorageError(message, remedy=remedy, code="storage_permission")
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        return StorageError(message, remedy="raise LimitNOFILE of the service, or ulimit -n")
    if exc.errno == errno.EIO:
        remedy = "the device reported an error; check dmesg and replace the card or disk"
        return StorageError(message, remedy=remedy, code="storage_io")
    return StorageError(message, remedy="see the system log for the device's own report")


@contextmanager
def storage_errors(doing: str, path: Path | str) -> Iterator[None]:
    """Turn any OSError of the block into a StorageError that says what was being done."""
    try:
        yield
    except OSError as exc:
        raise storage_error(exc, doing, path) from exc


def atomic_write(ops: FileOps, path: Path, chunks: Iterable[Buffer]) -> None:
    """Put a complete new file at `path`, or leave what was there: temp, fsync, rename, fsync dir.

    Without the fsync of the file a power cut can leave a file of the right size full of zeros.
    """
    temp = path.with_name(path.name + ".tmp")
    with storage_errors("write", path):
        fd = ops.open(temp, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            try:
                ops.pwritev(fd, list(chunks), 0)
                ops.fsync(fd)
            finally:
                ops.close(fd)
            ops.rename(temp, path)
        except OSError:
            discard(ops, temp)
            raise
        ops.fsync_dir(path.parent)


def create_once(ops: FileOps, path: Path, data: Buffer, mode: int) -> None:
    """Put a complete new file at `path`, or raise StorageError `exists` and leave what is there.

    A hard link is the one call that makes a whole file appear and never replaces another.
    """
    with storage_errors("write", path), _complete(ops, path, data, mode) as temp:
        try:
            ops.link(temp, path)
        except FileExistsError as exc:
            raise _exists(path) from exc
        ops.fsync_dir(path.parent)


def fill_empty(ops: FileOps, path: Path, data: Buffer, mode: int) -> None:
    """Put a complete file in place of an empty one, or raise StorageError `exists` and leave what
    is there: anything but an empty plain file."""
    with storage_errors("write", path):
        fd = ops.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
            empty = stat.S_ISREG(found.st_mode) and found.st_size == 0
            # Of two at once the second finds the lock taken, or another file at the path.
            if not empty or not ops.try_lock(fd) or path.stat().st_ino != found.st_ino:
                raise _exists(path)
            with _complete(ops, path, data, mode) as temp:
                ops.rename(temp, path)
                ops.fsync_dir(path.parent)
        finally:
            ops.close(fd)


@contextmanager
def _complete(ops: FileOps, path: Path, data: Buffer, mode: int) -> Iterator[Path]:
    """The data in a file of its own beside `path`, on the disk; gone afterwards if still there."""
    temp = path.with_name(f".{path.name}.{ops.random_bytes(6).hex()}")
    fd = ops.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        try:
            ops.pwritev(fd, [data], 0)
            ops.fsync(fd)
        finally:
            ops.close(fd)
        yield temp
    finally:
        discard(ops, temp)


def _exists(path: Path) -> StorageError:
    return StorageError(f"{path} exists", remedy="move it away first", code="exists")


def read_file(ops: FileOps, path: Path, max_bytes: int) -> bytes:
    """The whole file; refuses one larger than `max_bytes` before reading it."""
    with storage_errors("read", path):
        fd = ops.open(path, os.O_RDONLY)
        try:
            size = ops.file_size(fd)
            if size > max_bytes:
                remedy = "it is not a file this daemon wrote; remove it"
                message = f"{path} has {size} bytes, more than the {max_bytes} allowed"
                raise StorageError(message, remedy=remedy, code="file_too_large")
            return ops.pread(fd, size, 0)
        finally:
            ops.close(fd)


def discard(ops: FileOps, path: Path) -> bool:
    """Remove a file if it can be removed; whether it is gone."""
    try:
        ops.unlink(path)
    except OSError as exc:
        return exc.errno == errno.ENOENT
    return True


class StateLock:
    """An exclusive lock on a directory, held until `close` or the end of the process."""

    def __init__(self, ops: FileOps, fd: int) -> None:
        self._ops = ops
        self._fd = fd

    @classmethod
    def acquire(cls, ops: FileOps, directory: Path) -> "StateLock":
        """Lock `directory` through its file `lock`, or raise StateLocked naming the holder."""
        path = directory / "lock"
        with storage_errors("open the lock file", path):
            try:
                fd = ops.open(path, os.O_CREAT | os.O_RDWR)
            except OSError as exc:
                if exc.errno != errno.EROFS:
                    raise
                fd = ops.open(path, os.O_RDONLY)
        if not ops.try_lock(fd):
            holder = ops.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            ops.close(fd)
            message = f"{directory} is in use by another daemon (process {holder})"
            raise StateLocked(message, remedy="stop that daemon, or set another state_dir")
        try:
            ops.write_once(fd, [f"{os.getpid():<15}\n".encode()], 0)
        except OSError:
            pass  # the number is a courtesy for the reader of the error; the lock is what counts
        return cls(ops, fd)

    def close(self) -> None:
        if self._fd >= 0:
            self._ops.close(self._fd)
            self._fd = -1
