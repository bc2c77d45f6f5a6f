"""Opening the journal's files: making them once, recovering what is in them each time after.

Owns the directory of segment files and the geometry file `ring.json`. Never appends a record;
that is store.journal. Files are written once with zeros when made: blocks that are only reserved
cost the file system a second flush on each first write.
"""

import errno
import json
import os
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from eftraind.errors import ConfigError, StorageError
from eftraind.fsio import ZEROS, FileOps, atomic_write, discard, read_file, storage_error
from eftraind.store.layout import BLOCK, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, SegmentHeader
from eftraind.store.ring import Ring
from eftraind.store.segment import Segment

GEOMETRY = "ring.json"
GEOMETRY_LIMIT_BYTES = 4096
FORMAT = 1

Progress = Callable[[int, int], None]


def open_ring(
    ops: FileOps, directory: Path, size_bytes: int, segment_bytes: int, progress: Progress | None
) -> Ring:
    """Open the ring in `directory`, making, growing, shrinking or repairing it as needed."""
    count = _segment_count(size_bytes, segment_bytes)
    ring = Ring(directory, segment_bytes)
    opened: list[Segment] = []
    try:
        told = _read_geometry(ops, directory)
        made_bytes = told[0] if told else _segment_bytes_of(ops, directory)
        if made_bytes not in (None, segment_bytes):
            _start_afresh(ops, directory, made_bytes, segment_bytes)
        _open_files(ops, ring, opened, count, progress)
        _recover(ring, opened)
        _shrink(ops, ring, count)
        if not ring.read_only:
            if told != (segment_bytes, count):
                _write_geometry(ops, directory, segment_bytes, count)
            if ring.live:
                # A killed writer leaves records in the page cache that no flush has covered yet.
                ops.fdatasync(ring.live[-1].fd)
    except BaseException as exc:
        for segment in opened:
            _close_quietly(ops, segment.fd)
        if isinstance(exc, OSError):
            raise storage_error(exc, "open the journal in", directory) from exc
        raise
    return ring


def _segment_count(size_bytes: int, segment_bytes: int) -> int:
    if not MIN_SEGMENT_BYTES <= segment_bytes <= MAX_SEGMENT_BYTES or segment_bytes % BLOCK:
        message = f"journal.segment_bytes {segment_bytes} is not usable"
        remedy = f"a multiple of {BLOCK} from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}"
        raise ConfigError(message, remedy=remedy)
    count = size_bytes // segment_bytes
    if count < 2:
        message = f"journal.size_bytes {size_bytes} holds fewer than two segments"
        raise ConfigError(message, remedy=f"at least {2 * segment_bytes}")
    return count


def _segment_names(ops: FileOps, directory: Path) -> list[str]:
    return [name for name in ops.listdir(directory) if fnmatch(name, "segment-*.ring")]


def _read_geometry(ops: FileOps, directory: Path) -> tuple[int, int] | None:
    """(segment_bytes, count) as ring.json tells; None where it is not there or damaged."""
    try:
        data = json.loads(read_file(ops, directory / GEOMETRY, GEOMETRY_LIMIT_BYTES))
        if data["format"] != FORMAT:
            message = f"the journal in {directory} has format {data['format']}, not {FORMAT}"
            raise ConfigError(message, remedy="it was made by another version of the daemon")
        return int(data["segment_bytes"]), int(data["segments"])
    except (StorageError, ValueError, KeyError, TypeError):
        return None


def _segment_bytes_of(ops: FileOps, directory: Path) -> int | None:
    """The segment size as the segments' own headers tell; None if none was ever used."""
    headers = (_peek_header(ops, directory / name) for name in _segment_names(ops, directory))
    return next((header.segment_bytes for header in headers if header), None)


def _peek_header(ops: FileOps, path: Path) -> SegmentHeader | None:
    fd = ops.open(path, os.O_RDONLY)
    try:
        return SegmentHeader.unpack(ops.pread(fd, BLOCK, 0))
    finally:
        ops.close(fd)


def _start_afresh(ops: FileOps, directory: Path, made_bytes: int, segment_bytes: int) -> None:
    """Allow another segment size only where no segment was ever used."""
    names = _segment_names(ops, directory)
    if any(_peek_header(ops, directory / name) for name in names):
        message = (
            f"the journal in {directory} holds samples in segments of {made_bytes} bytes, "
            f"and journal.segment_bytes is now {segment_bytes}"
        )
        remedy = f"set it back to {made_bytes}, or move the directory away to start a new one"
        raise ConfigError(message, remedy=remedy)
    for name in (GEOMETRY, *names):
        discard(ops, directory / name)
    ops.fsync_dir(directory)


def _open_files(
    ops: FileOps, ring: Ring, opened: list[Segment], count: int, progress: Progress | None
) -> None:
    """Every segment file there is, and new ones up to `count`, all of full length."""
    names = _segment_names(ops, ring.directory)
    unused = (f"segment-{index:05d}.ring" for index in range(len(names) + count))
    new = [name for name in unused if name not in names][: max(0, count - len(names))]
    total = (len(names) + len(new)) * ring.segment_bytes

    def report(done_bytes: int) -> None:
        if progress is not None:
            progress(done_bytes, total)

    try:
        for name in (*names, *new):
            path = ring.directory / name
            fd = _open_file(ops, ring, path)
            opened.append(Segment(ops, fd, path, ring.segment_bytes))
            if not ring.read_only:
                _fill(ops, fd, ring.segment_bytes, (len(opened) - 1) * ring.segment_bytes, report)
        if new:
            ops.fsync_dir(ring.directory)
    except OSError:
        for name in new:  # half a ring on a full disk would only keep it full
            discard(ops, ring.directory / name)
        raise


def _open_file(ops: FileOps, ring: Ring, path: Path) -> int:
    try:
        return ops.open(path, os.O_RDWR | os.O_CREAT)
    except OSError as exc:
        if exc.errno != errno.EROFS:
            raise
    ring.read_only = True
    return ops.open(path, os.O_RDONLY)


def _fill(ops: FileOps, fd: int, size: int, done: int, report: Callable[[int], None]) -> None:
    """Write zeros up to `size`, flushed piece by piece so that each report comes in good time."""
    start = ops.file_size(fd)
    while start < size:
        start += ops.pwritev(fd, [memoryview(ZEROS)[: size - start]], start)
        ops.fsync(fd)
        report(done + start)


def _recover(ring: Ring, segments: list[Segment]) -> None:
    """Order the segments, index their records, and find where the next one goes.

    Segments are walked from the newest back. One whose numbers reach into the newer run is of
    another history and is set free. A hole between two segments costs the records in it, which
    are counted; those before it were acknowledged too and stay readable.
    """
    found: list[tuple[SegmentHeader, Segment]] = []
    for segment in segments:
        header = segment.load_header(ring.segment_bytes)
        if header is not None:
            found.append((header, segment))
        else:
            ring.free.append(segment)
            ring.quarantined += segment.has_content()
    found.sort(key=lambda pair: pair[0].generation, reverse=True)
    stop: int | None = None
    for header, segment in found:
        if stop is None:
            ring.torn = segment.scan(None)
            ring.generation, ring.next_seq = header.generation, segment.next_seq
            ring.released_seq = min(header.released_seq, segment.next_seq - 1)
            ring.durable_seq = ring.next_seq - 1
            stop = ring.next_seq
        elif header.first_seq > stop:
            ring.free.append(segment)
            ring.quarantined += 1
            continue
        else:
            segment.scan(stop)
        for damage in segment.lost(stop):
            ring.add_damage(damage)
        stop = header.first_seq
        ring.epoch = max(ring.epoch, header.epoch)
        ring.live.insert(0, segment)


def _shrink(ops: FileOps, ring: Ring, count: int) -> None:
    """Remove files beyond `count`, as long as that loses no record still to be consumed."""
    excess = len(ring.live) + len(ring.free) - count
    if excess <= 0 or ring.read_only:
        return
    spare = [*ring.free, *(segment for segment in ring.live if ring.recyclable(segment))]
    if len(spare) < excess:
        total = len(ring.live) + len(ring.free)
        message = (
            f"the journal in {ring.directory} has {total} segments, {total - len(spare)} of them "
            f"hold samples not yet consumed, and journal.size_bytes now allows {count}"
        )
        remedy = f"set journal.size_bytes to at least {(total - len(spare)) * ring.segment_bytes}"
        raise ConfigError(message, remedy=remedy)
    for segment in spare[:excess]:
        ops.unlink(segment.path)
        ops.close(segment.fd)
        (ring.free if segment in ring.free else ring.live).remove(segment)
    ops.fsync_dir(ring.directory)


def _write_geometry(ops: FileOps, directory: Path, segment_bytes: int, count: int) -> None:
    data = {"format": FORMAT, "segment_bytes": segment_bytes, "segments": count}
    atomic_write(ops, directory / GEOMETRY, [json.dumps(data).encode() + b"\n"])


def _close_quietly(ops: FileOps, fd: int) -> None:
    try:
        ops.close(fd)
    except OSError:
        pass
