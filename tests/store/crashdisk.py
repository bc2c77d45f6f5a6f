"""A disk in memory that loses power: storage's file operations, with all that is unsynced at risk.

A power cut keeps, of each 512-byte sector written since the last sync of its file, a random one of
its versions (so writes are torn and reordered), and of each unsynced change of the directory a
random subset. What was synced stays. `kill` ends only the process: nothing is lost but the locks.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eftraind.fsio import Buffer, FileOps

SECTOR = 512


class PowerCut(BaseException):
    """Not an Exception: no handler in the code under test may take it for an error."""


@dataclass
class Inode:
    durable: bytearray = field(default_factory=bytearray)
    current: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    locked_by: int | None = None

    def sync(self) -> None:
        for offset, data in self.pending:
            put(self.durable, offset, data)
        self.pending.clear()

    def cut(self, rng: np.random.Generator, keep: float) -> None:
        """The content after a power cut."""
        versions: dict[int, list[bytes]] = {}
        image = bytearray(self.durable)
        for offset, data in self.pending:
            put(image, offset, data)
            for sector in range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1):
                version = bytes(image[sector * SECTOR : (sector + 1) * SECTOR])
                versions.setdefault(sector, []).append(version)
        size = len(image) if rng.random() < 0.5 else len(self.durable)
        put(self.durable, size, b"")
        for sector, choices in versions.items():
            if rng.random() < keep:
                put(self.durable, sector * SECTOR, choices[rng.integers(len(choices))])
        self.pending.clear()
        self.locked_by = None
        self.current = bytearray(self.durable)


def put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data


class CrashDisk(FileOps):
    """`ignore` names calls that do nothing, for the broken variants; `fail` maps calls to errno."""

    def __init__(self, rng: np.random.Generator, ignore: frozenset[str] = frozenset()) -> None:
        self.rng = rng
        self.ignore = ignore
        self.fail: dict[str, int] = {}
        self.short_writes = False
        self.cut_after: int | None = None  # calls until the lights go out
        self.calls: dict[str, int] = {}
        self.dead = False
        self._entries: dict[Path, Inode] = {}
        self._durable_entries: dict[Path, Inode] = {}
        self._changes: list[tuple[Path, Inode | None, Path | None]] = []
        self._open: dict[int, Inode] = {}
        self._next_fd = 100

    # faults

    def power_cut(self) -> None:
        """Lose what was not synced, and come back."""
        kept = float(self.rng.choice([0.0, 0.2, 0.5, 0.8, 1.0]))
        for path, inode, source in self._changes:
            if self.rng.random() < kept:
                self._apply(self._durable_entries, path, inode, source)
        inodes = {id(inode): inode for inode in (*self._entries.values(), *self._open.values())}
        inodes.update({id(inode): inode for inode in self._durable_entries.values()})
        for inode in inodes.values():
            inode.cut(self.rng, kept)
        self._entries = dict(self._durable_entries)
        self._revive()

    def kill(self) -> None:
        """kill -9: the page cache survives, the locks do not."""
        for inode in self._entries.values():
            inode.locked_by = None
        self._revive(keep_changes=True)

    def _revive(self, *, keep_changes: bool = False) -> None:
        if not keep_changes:
            self._changes.clear()
        self._open.clear()
        self.dead, self.cut_after = False, None

    def flip(self, path: Path, offset: int, bit: int = 0) -> None:
        """Rot one bit, on the medium and in the cache."""
        inode = self._entries[path]
        inode.sync()
        inode.current[offset] ^= 1 << bit
        inode.durable[offset] ^= 1 << bit

    def content(self, path: Path) -> bytes:
        return bytes(self._entries[path].current)

    def _enter(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.cut_after is not None:
            self.cut_after -= 1
            self.dead = self.dead or self.cut_after < 0
        if self.dead:
            raise PowerCut
        if name in self.fail:
            raise OSError(self.fail[name], os.strerror(self.fail[name]))

    # operations

    def open(self, path: Path, flags: int, mode: int = 0o640) -> int:
        writing = flags & (os.O_WRONLY | os.O_RDWR)
        self._enter("open_write" if writing else "open")
        if path not in self._entries:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._change(path, Inode(), None)
        inode = self._entries[path]
        if flags & os.O_TRUNC and inode.current:
            inode = Inode()  # truncation of a file in use never happens here
            self._change(path, inode, None)
        self._next_fd += 1
        self._open[self._next_fd] = inode
        return self._next_fd

    def close(self, fd: int) -> None:
        inode = self._open.pop(fd)
        if inode.locked_by == fd:
            inode.locked_by = None

    def write_once(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        data = b"".join(bytes(memoryview(buffer).cast("B")) for buffer in buffers if len(buffer))
        if self.short_writes and len(data) > 1:
            data = data[: int(self.rng.integers(1, len(data) + 1))]
        inode = self._open[fd]
        if self.cut_after == 0 and data:  # the lights go out within this write
            data = data[: int(self.rng.integers(len(data) + 1))]
            put(inode.current, offset, data)
            inode.pending.append((offset, data))
        self._enter("write")
        if data:
            put(inode.current, offset, data)
            inode.pending.append((offset, data))
        return len(data)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._enter("pread")
        return bytes(self._open[fd].current[offset : offset + size])

    def file_size(self, fd: int) -> int:
        return len(self._open[fd].current)

    def fdatasync(self, fd: int) -> None:
        self._enter("fdatasync")
        if "fdatasync" not in self.ignore:
            self._open[fd].sync()

    def fsync(self, fd: int) -> None:
        self._enter("fsync")
        if "fsync" not in self.ignore:
            self._open[fd].sync()

    def fsync_dir(self, path: Path) -> None:
        self._enter("fsync_dir")
        if "fsync_dir" not in self.ignore:
            for change in self._changes:
                self._apply(self._durable_entries, *change)
            self._changes.clear()

    def rename(self, source: Path, target: Path) -> None:
        self._enter("rename")
        if source not in self._entries:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._change(target, self._entries[source], source)

    def unlink(self, path: Path) -> None:
        self._enter("unlink")
        if path not in self._entries:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._change(path, None, None)

    def listdir(self, path: Path) -> list[str]:
        self._enter("listdir")
        return sorted(entry.name for entry in self._entries if entry.parent == path)

    def mkdir(self, path: Path) -> None:
        self._enter("mkdir")

    def try_lock(self, fd: int) -> bool:
        inode = self._open[fd]
        if inode.locked_by is None:
            inode.locked_by = fd
        return inode.locked_by == fd

    def random_bytes(self, size: int) -> bytes:
        return self.rng.bytes(size)

    def _change(self, path: Path, inode: Inode | None, source: Path | None) -> None:
        self._changes.append((path, inode, source))
        self._apply(self._entries, path, inode, source)

    @staticmethod
    def _apply(
        entries: dict[Path, Inode], path: Path, inode: Inode | None, source: Path | None
    ) -> None:
        if source is not None:
            entries.pop(source, None)
        if inode is None:
            entries.pop(path, None)
        else:
            entries[path] = inode
