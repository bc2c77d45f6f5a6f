"""Bit rot: found, counted, never served, and never the end of the records after it."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eftraind.fsio import FileOps
from eftraind.store.journal import Journal
from eftraind.store.layout import BLOCK, HEADER_BYTES, PREAMBLE

SEGMENT_BYTES = 32768
SEGMENTS = 4
FIRST_RECORD = BLOCK + HEADER_BYTES + 8  # after a preamble of 3 bytes


class Unflushed(FileOps):
    """The real file system without waiting for the device: no power is cut in this file."""

    def fdatasync(self, fd: int) -> None:
        pass

    fsync = fdatasync


def open_journal(path: Path, **changes: object) -> Journal:
    options = {"size_bytes": SEGMENTS * SEGMENT_BYTES, "segment_bytes": SEGMENT_BYTES}
    return Journal.open(
        path, **{**options, "ops": Unflushed(), "preamble": lambda: b"pre", **changes}
    )


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, dict[int, bytes]]:
    """Three segments with committed groups of two, closed; the fourth file is still blank."""
    rng = np.random.default_rng(7)
    journal = open_journal(tmp_path)
    model: dict[int, bytes] = {}
    while journal.stats.segment_switches < 3 or len(model) % 8:
        payload = rng.bytes(int(rng.integers(1500, 2500)))
        model[journal.append([payload])] = payload
        if len(model) % 2 == 0:
            journal.commit()
    journal.close()
    return tmp_path, model


def flip(path: Path, offset: int, bit: int = 3) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def check(path: Path, model: dict[int, bytes]) -> tuple[set[int], Journal]:
    """Everything readable is right; the rest is counted. Which numbers are missing."""
    journal = open_journal(path)
    found = dict(journal.read(0, 1 << 30))
    assert all(model[seq] == payload for seq, payload in found.items())
    missing = model.keys() - found.keys()
    stats = journal.stats
    assert len(missing) == stats.corrupt_records + (len(model) + 1 - journal.next_seq)
    assert stats.corrupt_records == sum(damage.count for damage in journal.damages)
    seq = journal.append([b"life goes on"])
    journal.commit()
    assert journal.read(seq, 1) == [(seq, b"life goes on")]
    return missing, journal


@pytest.mark.parametrize("segment", [0, 1, 2], ids=["oldest", "middle", "newest"])
def test_a_flip_in_a_payload_costs_that_record_alone(
    filled: tuple[Path, dict[int, bytes]], segment: int
) -> None:
    path, model = filled
    flip(path / f"segment-{segment:05d}.ring", FIRST_RECORD + HEADER_BYTES + 700)
    missing, journal = check(path, model)
    assert len(missing) == 1
    assert journal.damages[0].first_seq in missing
    assert journal.damages[0].segment == f"segment-{segment:05d}.ring"


@pytest.mark.parametrize("segment", [0, 1, 2], ids=["oldest", "middle", "newest"])
def test_a_flip_in_a_record_header_costs_its_group_alone(
    filled: tuple[Path, dict[int, bytes]], segment: int
) -> None:
    path, model = filled
    flip(path / f"segment-{segment:05d}.ring", FIRST_RECORD + 5)
    missing, journal = check(path, model)
    assert 1 <= len(missing) <= 2
    assert journal.stats.corrupt_records == len(missing)


@pytest.mark.parametrize("segment", [0, 1, 2], ids=["oldest", "middle", "newest"])
def test_either_copy_of_a_segment_header_is_enough(
    filled: tuple[Path, dict[int, bytes]], segment: int
) -> None:
    path, model = filled
    flip(path / f"segment-{segment:05d}.ring", 20)
    assert check(path, model)[0] == set()


def test_the_copy_of_a_segment_header_may_rot(filled: tuple[Path, dict[int, bytes]]) -> None:
    path, model = filled
    flip(path / "segment-00001.ring", SEGMENT_BYTES - BLOCK + 20)
    assert check(path, model)[0] == set()


def test_both_headers_gone_cost_the_segment_and_no_other(
    filled: tuple[Path, dict[int, bytes]],
) -> None:
    path, model = filled
    for offset in (20, SEGMENT_BYTES - BLOCK + 20):
        flip(path / "segment-00001.ring", offset)
    missing, journal = check(path, model)
    assert missing == set(range(min(missing), max(missing) + 1))
    assert 1 < min(missing) and max(missing) < len(model)
    assert journal.stats.quarantined_segments == 1
    assert journal.stats.corrupt_records == len(missing)


def test_the_newest_segment_gone(filled: tuple[Path, dict[int, bytes]]) -> None:
    """Its records cannot be known any more; those before go on being served."""
    path, model = filled
    for offset in (20, SEGMENT_BYTES - BLOCK + 20):
        flip(path / "segment-00002.ring", offset)
    missing, journal = check(path, model)
    assert max(missing) == len(model)
    assert journal.stats.quarantined_segments == 1


def test_a_damaged_last_group_reads_as_torn(filled: tuple[Path, dict[int, bytes]]) -> None:
    """On disk it looks like a commit that a power cut interrupted: nothing can tell them apart."""
    path, model = filled
    newest = path / "segment-00002.ring"
    data = newest.read_bytes()
    flip(newest, data.index(model[max(model)]) + 50)
    missing, journal = check(path, model)
    assert missing == {max(model)}
    assert journal.stats.torn_records == 1
    assert journal.stats.corrupt_records == 0


def test_a_flip_in_the_preamble_falls_back_to_the_one_before(
    filled: tuple[Path, dict[int, bytes]],
) -> None:
    path, model = filled
    flip(path / "segment-00002.ring", BLOCK + HEADER_BYTES + 1)
    journal = open_journal(path)
    kind, first, payload = next(recovered := journal.recovered())
    assert (kind, payload) == (PREAMBLE, b"pre")
    assert [seq for _, seq, _ in recovered] == list(range(first, len(model) + 1))
    assert first <= model.keys().__len__() // 2


@pytest.mark.parametrize("name", ["ring.json", "lock"])
def test_small_files_are_made_again(filled: tuple[Path, dict[int, bytes]], name: str) -> None:
    path, model = filled
    (path / name).write_bytes(b"\xff" * 30)
    assert check(path, model)[0] == set()


def test_the_geometry_file_lost(filled: tuple[Path, dict[int, bytes]]) -> None:
    path, model = filled
    (path / "ring.json").unlink()
    assert check(path, model)[0] == set()
    assert (path / "ring.json").exists()


def test_a_segment_file_lost(filled: tuple[Path, dict[int, bytes]]) -> None:
    path, model = filled
    (path / "segment-00001.ring").unlink()
    missing, journal = check(path, model)
    assert journal.stats.corrupt_records == len(missing) > 5
    assert journal.size_bytes == SEGMENTS * SEGMENT_BYTES


def test_a_segment_file_cut_short(filled: tuple[Path, dict[int, bytes]]) -> None:
    path, model = filled
    os.truncate(path / "segment-00001.ring", SEGMENT_BYTES // 2)
    missing, journal = check(path, model)
    assert 1 < len(missing) < len(model) // 3
    assert journal.stats.quarantined_segments == 0


def test_segments_of_another_history_are_set_free(
    filled: tuple[Path, dict[int, bytes]], tmp_path: Path
) -> None:
    """An old backup of one file, put back: its numbers overlap what came since."""
    path, model = filled
    backup = (path / "segment-00002.ring").read_bytes()
    journal = open_journal(path)
    journal.release(len(model))
    while journal.stats.segment_switches < SEGMENTS:
        payload = bytes(2000)
        model[journal.append([payload])] = payload
        journal.commit()
        journal.release(len(model))
    journal.close()
    (path / "segment-00002.ring").write_bytes(backup)
    journal = open_journal(path)
    found = journal.read(0, 1 << 30)
    assert all(model[seq] == payload for seq, payload in found)
    assert [seq for seq, _ in found] == sorted({seq for seq, _ in found})


def random_flips(count: int) -> Iterator[tuple[int, int, int]]:
    rng = np.random.default_rng(11)
    for _ in range(count):
        yield int(rng.integers(SEGMENTS)), int(rng.integers(SEGMENT_BYTES)), int(rng.integers(8))


def test_random_flips_never_give_wrong_data(filled: tuple[Path, dict[int, bytes]]) -> None:
    path, model = filled
    clean = {name: (path / name).read_bytes() for name in os.listdir(path)}
    for segment, offset, bit in random_flips(150):
        for name, data in clean.items():
            (path / name).write_bytes(data)
        flip(path / f"segment-{segment:05d}.ring", offset, bit)
        missing, journal = check(path, model)
        assert len(missing) <= 2
        journal.close()


def test_rot_while_open_is_met_once_and_passed_over(
    filled: tuple[Path, dict[int, bytes]],
) -> None:
    path, model = filled
    journal = open_journal(path)
    flip(path / "segment-00000.ring", FIRST_RECORD + HEADER_BYTES + 9)
    for _ in range(3):
        found = journal.read(1, 1 << 30)
        assert [seq for seq, _ in found] == list(range(2, len(model) + 1))
        assert journal.stats.corrupt_records == 1
    assert journal.read(1, 1)[0][0] == 2
    assert journal.stats.records == len(model) - 1


class UnreadableSector(Unflushed):
    """A device that answers EIO for one range of one file."""

    def __init__(self, name: str, start: int, end: int) -> None:
        self.name, self.start, self.end = name, start, end
        self.fds: set[int] = set()

    def open(self, path: Path, flags: int, mode: int = 0o640) -> int:
        fd = super().open(path, flags, mode)
        (self.fds.add if path.name == self.name else self.fds.discard)(fd)
        return fd

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        if fd in self.fds and offset < self.end and offset + size > self.start:
            raise OSError(5, "Input/output error")
        return super().pread(fd, size, offset)


@pytest.mark.parametrize("start", [0, BLOCK, 3 * BLOCK], ids=["header", "preamble", "payload"])
def test_an_unreadable_sector_is_like_rot(
    filled: tuple[Path, dict[int, bytes]], start: int
) -> None:
    path, model = filled
    ops = UnreadableSector("segment-00001.ring", start, start + 512)
    journal = open_journal(path, ops=ops)
    found = dict(journal.read(0, 1 << 30))
    assert all(model[seq] == payload for seq, payload in found.items())
    assert len(model) - len(found) <= 2
    assert journal.stats.corrupt_records == len(model) - len(found)
