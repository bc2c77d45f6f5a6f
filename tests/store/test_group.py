"""The committer: one flush for many, bounded, in order, and honest about what failed."""

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from crashdisk import CrashDisk

from eftraind.clock import Clock
from eftraind.errors import EftraindError, JournalFull, RecordTooLarge, StorageError
from eftraind.store.group import Busy, GroupCommit, Result
from eftraind.store.journal import Journal

DEADLINE_S = 10.0
SEGMENT_BYTES = 32768


class Bench:
    """A journal on a disk in memory, its committer, and everything it reported."""

    def __init__(self) -> None:
        self.disk = CrashDisk(np.random.default_rng(0))
        self.journal = Journal.open(
            Path("/journal"),
            size_bytes=4 * SEGMENT_BYTES,
            segment_bytes=SEGMENT_BYTES,
            ops=self.disk,
            preamble=lambda: len(self.appended).to_bytes(4, "little"),
        )
        self.groups: list[list[Result]] = []
        self.appended: list[tuple[object, int]] = []
        self.fatal: list[EftraindError] = []
        self.gate = threading.Event()  # closed: the committer waits in its callback
        self.gate.set()
        self.in_callback = threading.Event()
        self.made: list[GroupCommit] = []

    def committer(self, **changes: object) -> GroupCommit:
        options: dict[str, object] = {"commit_records": 4, "commit_s": 3600.0, **changes}
        group = GroupCommit(
            self.journal,
            clock=Clock(),
            on_commit=self._on_commit,
            on_append=lambda tag, seq: self.appended.append((tag, seq)),
            on_fatal=self.fatal.append,
            **options,  # type: ignore[arg-type]
        )
        self.made.append(group)
        return group

    def _on_commit(self, results: list[Result]) -> None:
        self.groups.append(results)
        self.in_callback.set()
        assert self.gate.wait(DEADLINE_S)

    @property
    def results(self) -> list[Result]:
        return [result for group in self.groups for result in group]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.gate.set()
    for group in bench.made:
        assert group.close(DEADLINE_S)


def test_a_full_group_is_committed_at_once_with_one_flush(bench: Bench) -> None:
    group = bench.committer()
    flushes = bench.disk.calls.get("fdatasync", 0)
    for tag in "abcd":
        group.submit([tag.encode(), b"!"], tag)
    assert group.flush(DEADLINE_S)
    assert [(result.tag, result.seq, result.error) for result in bench.results] == [
        ("a", 1, None),
        ("b", 2, None),
        ("c", 3, None),
        ("d", 4, None),
    ]
    assert bench.appended == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    assert bench.journal.durable_seq == 4
    assert bench.journal.stats.commits == 1
    assert bench.disk.calls["fdatasync"] == flushes + 2  # the new segment's header, the group
    assert all(result.commit_s >= 0 for result in bench.results)


def test_a_lone_record_waits_only_so_long(bench: Bench) -> None:
    group = bench.committer(commit_s=0.001)
    group.submit([b"x"], "x")
    assert bench.in_callback.wait(DEADLINE_S)
    assert bench.results[0].seq == 1


def test_a_lone_record_waits_for_company(bench: Bench) -> None:
    group = bench.committer()
    group.submit([b"x"], "x")
    assert not bench.in_callback.wait(0.05)
    assert group.stats.waiting_records == 1
    assert group.flush(DEADLINE_S)
    assert len(bench.results) == 1


def test_what_came_during_a_commit_is_one_group(bench: Bench) -> None:
    group = bench.committer(commit_records=1)
    bench.gate.clear()
    group.submit([b"first"], 0)
    assert bench.in_callback.wait(DEADLINE_S)
    for tag in range(1, 9):
        group.submit([b"more"], tag)
    bench.gate.set()
    assert group.flush(DEADLINE_S)
    assert [len(results) for results in bench.groups] == [1, 8]


def test_the_queue_is_bounded_by_bytes(bench: Bench) -> None:
    group = bench.committer(commit_records=100, max_bytes=10_000)
    bench.gate.clear()
    group.submit([bytes(6000)], 0)  # over half of what is allowed: committed at once
    assert bench.in_callback.wait(DEADLINE_S)
    group.submit([bytes(4000)], 1)
    group.submit([bytes(6000)], 2)
    with pytest.raises(Busy, match="10000 are allowed") as caught:
        group.submit([b"x"], 3)
    assert caught.value.code == "busy"
    assert group.stats.waiting_bytes == group.stats.limit_bytes
    bench.gate.set()
    assert group.flush(DEADLINE_S)
    assert group.stats.waiting_bytes == 0
    group.submit([bytes(11_000)], 3)  # alone, even an oversized record passes
    assert group.flush(DEADLINE_S)
    assert [result.seq for result in bench.results] == [1, 2, 3, 4]


def test_close_commits_what_waits(bench: Bench) -> None:
    group = bench.committer()
    group.submit([b"x"], "x")
    assert group.close(DEADLINE_S)
    assert bench.journal.durable_seq == 1
    with pytest.raises(StorageError, match="closed"):
        group.submit([b"y"], "y")


def test_one_refused_record_hurts_no_other_stream(bench: Bench) -> None:
    group = bench.committer()
    group.submit([b"1"], "a1", "a")
    group.submit([bytes(SEGMENT_BYTES)], "b1", "b")
    group.submit([b"2"], "a2", "a")
    group.submit([b"3"], "n1")
    assert group.flush(DEADLINE_S)
    errors = {result.tag: type(result.error) for result in bench.results}
    assert errors == {
        "a1": type(None),
        "b1": RecordTooLarge,
        "a2": type(None),
        "n1": type(None),
    }
    assert bench.fatal == []


def test_after_a_refusal_a_stream_stays_out_until_resumed(bench: Bench) -> None:
    """Else a later record would be durable without its predecessor, and a resend a duplicate."""
    group = bench.committer()
    bench.gate.clear()
    group.submit([bytes(SEGMENT_BYTES)], "too large", "a")
    flusher = threading.Thread(target=group.flush, args=(DEADLINE_S,))
    flusher.start()
    assert bench.in_callback.wait(DEADLINE_S)
    group.submit([b"x"], "submitted before the refusal was known", "a")
    group.resume("a")
    group.submit([b"x"], "after", "a")
    bench.gate.set()
    flusher.join(DEADLINE_S)
    assert group.flush(DEADLINE_S)
    assert [result.seq for result in bench.results] == [None, None, 1]
    assert isinstance(bench.results[1].error, RecordTooLarge)


def test_a_full_ring_refuses_and_recovers(bench: Bench) -> None:
    group = bench.committer(commit_records=1)
    tag = 0
    while not any(result.error for result in bench.results):
        group.submit([bytes(9000)], tag, "a")
        assert group.flush(DEADLINE_S)
        tag += 1
    assert isinstance(bench.results[-1].error, JournalFull)
    bench.journal.release(bench.journal.durable_seq)
    group.resume("a")
    group.submit([bytes(9000)], tag, "a")
    assert group.flush(DEADLINE_S)
    assert bench.results[-1].seq == bench.journal.durable_seq
    assert bench.fatal == []


def fails_to_flush(bench: Bench) -> None:
    bench.disk.fail["fdatasync"] = errno.EIO


def fails_to_write(bench: Bench) -> None:
    bench.disk.fail["write"] = errno.EIO


@pytest.mark.parametrize("fault", [fails_to_flush, fails_to_write])
def test_a_failed_disk_ends_it_and_nobody_is_told_durable(
    bench: Bench, fault: Callable[[Bench], None]
) -> None:
    group = bench.committer(commit_records=1)
    group.submit([b"good"], "good")
    assert group.flush(DEADLINE_S)
    bench.gate.clear()
    bench.in_callback.clear()
    fault(bench)
    group.submit([b"bad"], "bad")
    assert bench.in_callback.wait(DEADLINE_S)
    group.submit([b"late"], "late")
    bench.gate.set()
    assert group.close(DEADLINE_S)
    by_tag = {result.tag: result for result in bench.results}
    assert by_tag["good"].seq == 1
    for tag in ("bad", "late"):
        assert by_tag[tag].seq is None
        assert "the journal stops here" in str(by_tag[tag].error)
    assert bench.fatal == [bench.journal.failed] == [group.failed]
    with pytest.raises(StorageError, match="the journal stops here"):
        group.submit([b"x"], "x")
    assert group.flush(DEADLINE_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failing_callback_is_fatal_not_silent(bench: Bench) -> None:
    group = GroupCommit(
        bench.journal,
        commit_records=1,
        commit_s=1.0,
        clock=Clock(),
        on_commit=lambda results: 1 / 0,  # type: ignore[arg-type]
        on_fatal=bench.fatal.append,
    )
    group.submit([b"x"], "x")
    assert group.close(DEADLINE_S)
    assert "ZeroDivisionError" in str(bench.fatal[0])
    with pytest.raises(StorageError, match="callback failed"):
        group.submit([b"x"], "x")


def test_readers_see_only_what_is_committed_while_it_writes(bench: Bench) -> None:
    group = bench.committer(commit_records=3, commit_s=0.001)
    stop = threading.Event()
    problems: list[str] = []
    released = [0]

    def read() -> None:
        while not stop.is_set():
            durable_seq = bench.journal.durable_seq
            found = bench.journal.read(1, 1 << 30)
            seqs = [seq for seq, _ in found]
            missing = set(range(seqs[0], seqs[-1] + 1)) - set(seqs) if seqs else {0}
            if max(missing, default=0) > released[0]:  # those released may be reused meanwhile
                problems.append(f"hole {missing}")
            if durable_seq > released[0] and (not seqs or seqs[-1] < durable_seq):
                problems.append(f"{durable_seq} is durable, read up to {seqs[-1:]}")
            if any(payload != seq.to_bytes(4, "little") * 300 for seq, payload in found):
                problems.append("wrong content")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for seq in range(1, 601):
        group.submit([seq.to_bytes(4, "little") * 300], seq)
        if seq % 20 == 0:
            assert group.flush(DEADLINE_S)
            released[0] = seq
            bench.journal.release(seq)
    stop.set()
    for reader in readers:
        reader.join(DEADLINE_S)
    assert problems == []
    assert [result.seq for result in bench.results] == list(range(1, 601))
    assert bench.journal.stats.corrupt_records == 0
    assert bench.journal.stats.segment_switches > 8
