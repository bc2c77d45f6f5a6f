"""The journal as the front uses it: submit without waiting, outcomes later, records for the engine.

Owns the journal, its committer thread, the producer table that opens each segment, and what is
answered while the disk takes nothing. The table describes exactly what was appended, never what
only waits: otherwise a crash would turn resent samples into duplicates. A failed flush is fatal.
"""

import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.errors import (
    ConfigError,
    EftraindError,
    JournalFull,
    RecordTooLarge,
    StorageError,
    WireError,
)
from eftraind.fsio import FileOps
from eftraind.metrics import Metrics
from eftraind.service.ingest import Outcome, Submission
from eftraind.store.group import Busy, GroupCommit, Result
from eftraind.store.journal import Journal
from eftraind.store.layout import BLOCK, PREAMBLE
from eftraind.wire import Put
from eftraind.wire_records import (
    decode_producers,
    decode_record,
    encode_producers,
    encode_put_record,
)

RETRY_S = 1.0  # how often a disk that took nothing is tried again
REOPEN_S = 5.0
DEGRADED = ("read_only", "disk_full")
DISK_TROUBLE = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)  # not the operator's fault

log = logging.getLogger(__name__)


class SampleLog:
    """`wake` is called from the committer's thread when there are outcomes to take."""

    def __init__(
        self,
        config: Config,
        *,
        ops: FileOps,
        clock: Clock,
        metrics: Metrics,
        wake: Callable[[], None],
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._ops = ops
        self._clock = clock
        self._metrics = metrics
        self._wake = wake
        self._progress = progress
        self._outcomes: deque[Outcome] = deque()
        self._last_seqs: dict[str, int] = {}
        """Those silent longest first; after the start the committer's thread alone touches it."""
        self._forgotten: deque[str] = deque()
        self._journal: Journal | None = None
        self._group: GroupCommit | None = None
        self._blocked: tuple[EftraindError, float] | None = None
        self._retry_at_s = 0.0
        self._room_bytes = 0
        self._seen: dict[str, float] = {}
        self.undecodable = 0
        self.fatal: EftraindError | None = None
        self._open()

    # opening

    def _open(self) -> None:
        directory = Path(self._config.state_dir) / "journal"
        try:
            journal = Journal.open(
                directory,
                size_bytes=self._config.journal.size_bytes,
                segment_bytes=self._config.journal.segment_bytes,
                ops=self._ops,
                preamble=self._preamble,
                progress=lambda done, total: self._progress(),
            )
        except StorageError as error:
            # Without a ring nobody has a sequence number, so clients may be told they are at 0.
            # With one that cannot be read, that would be a lie: end instead.
            if error.code not in DEGRADED or any(directory.glob("segment-*")):
                raise
            log.error("no journal: %s; inference goes on, samples are refused", error)
            self._retry_at_s = self._clock.monotonic_s() + REOPEN_S
            self._blocked = (error, float("inf"))
            return
        try:
            self._recover(journal)
        except BaseException:
            journal.close()
            raise
        self._journal, self._blocked = journal, None
        self._group = GroupCommit(
            journal,
            commit_records=self._config.journal.commit_records,
            commit_s=self._config.journal.commit_s,
            clock=self._clock,
            on_commit=self._on_commit,
            on_append=self._on_append,
            on_fatal=self._on_fatal,
            max_bytes=self._config.ingest.queue_bytes,
        )

    def _recover(self, journal: Journal) -> None:
        for kind, seq, payload in journal.recovered():
            try:
                if kind == PREAMBLE:
                    self._last_seqs = decode_producers(payload)
                else:
                    record = decode_record(payload)
                    # Its last record counts, not its highest number: one that was forgotten and
                    # came back numbers anew.
                    self._heard(record.producer, record.last_seq)
            except WireError as error:
                self.undecodable += 1
                log.error("journal record %d is passed over: %s", seq, error)

    def _heard(self, producer: str, last_seq: int) -> None:
        self._last_seqs.pop(producer, None)
        self._last_seqs[producer] = last_seq

    @property
    def last_seqs(self) -> dict[str, int]:
        """What was found at start: producer -> last operation in the journal, those silent
        longest first."""
        return dict(self._last_seqs)

    # writing

    def submit(self, submission: Submission, put: Put) -> None:
        """Queue a PUT; its outcome comes later. Raises why it cannot be taken now."""
        self._check_blocked()
        if self._journal is None or self._group is None:
            raise WireError("there is no journal", code="read_only")
        self._check_room(self._journal, self._group, put.nbytes)
        try:
            parts = encode_put_record(submission.producer.name, put)
            self._group.submit(parts, submission, submission.producer.name)
        except Busy:
            raise
        except StorageError as error:
            raise _for_client(error) from error

    def _check_room(self, journal: Journal, group: GroupCommit, nbytes: int) -> None:
        """Refuse before queueing what would not fit: nothing then has to be taken back.

        The ring is asked only when the estimate runs out, for asking walks all of its segments.
        Half a segment is kept for the tails that no record fits into.
        """
        if self._room_bytes < nbytes:
            reserve_bytes = self._config.journal.segment_bytes // 2
            waiting_bytes = group.stats.waiting_bytes
            self._room_bytes = journal.free_bytes - waiting_bytes - reserve_bytes
        if self._room_bytes < nbytes:
            raise JournalFull(
                f"the journal's {journal.size_bytes} bytes hold samples not yet consumed",
                remedy="wait for the engine, or raise journal.size_bytes",
            )
        self._room_bytes -= nbytes + BLOCK

    def _check_blocked(self) -> None:
        if self._blocked is not None:
            error, until_s = self._blocked
            if self._clock.monotonic_s() < until_s:
                raise _for_client(error)
            # Operations may try again until `take_outcomes` hears whether the disk took them.

    def forget(self, producer: str) -> None:
        """Leave it out of the table from now on; nothing of it is on its way. What it submits
        after this is a new producer's."""
        self._forgotten.append(producer)

    def readmit(self, producer: str) -> None:
        """Take this producer's operations again: none is on its way any more."""
        if self._group is not None:
            self._group.resume(producer)

    def take_outcomes(self) -> list[Outcome]:
        """What became of submissions since the last call, in order."""
        outcomes = []
        while self._outcomes:
            outcome = self._outcomes.popleft()
            if outcome.error is None:
                self._blocked = None
            else:
                if not isinstance(outcome.error, (JournalFull, RecordTooLarge)):
                    self._blocked = (outcome.error, self._clock.monotonic_s() + RETRY_S)
                outcome = Outcome(outcome.submission, _for_client(outcome.error))
            outcomes.append(outcome)
        return outcomes

    # in the committer's thread

    def _drop_forgotten(self) -> None:
        while self._forgotten:
            self._last_seqs.pop(self._forgotten.popleft(), None)

    def _preamble(self) -> bytes:
        self._drop_forgotten()
        return encode_producers(self._last_seqs)

    def _on_append(self, tag: object, seq: int) -> None:
        assert isinstance(tag, Submission)
        self._drop_forgotten()
        self._heard(tag.producer.name, tag.last_seq)

    def _on_commit(self, results: list[Result]) -> None:
        for result in results:
            assert isinstance(result.tag, Submission)
            self._outcomes.append(Outcome(result.tag, result.error))
        if results:
            duration = self._metrics.histogram("journal_commit_duration_seconds")
            duration.observe(results[0].commit_s)
        self._wake()

    def _on_fatal(self, error: EftraindError) -> None:
        self.fatal = error
        self._wake()

    # for the engine

    @property
    def first_seq(self) -> int:
        return self._journal.first_seq if self._journal is not None else 1

    @property
    def durable_seq(self) -> int:
        return self._journal.durable_seq if self._journal is not None else 0

    def read(self, from_seq: int, max_bytes: int) -> Sequence[tuple[int, bytes]]:
        return self._journal.read(from_seq, max_bytes) if self._journal is not None else []

    def release(self, seq: int) -> None:
        if self._journal is not None:
            self._journal.release(seq)

    # upkeep

    def tick(self) -> bool:
        """Try again to make a missing journal; True if that has just worked."""
        if self._journal is not None or self._clock.monotonic_s() < self._retry_at_s:
            return False
        self._open()
        return self._journal is not None

    def show(self, consumed_seq: int) -> None:
        """Bring the journal's metrics up to date."""
        gauge = self._metrics.gauge
        if self._journal is None:
            gauge("journal_read_only").set(1)
            return
        stats = self._journal.stats
        gauge("journal_read_only").set(0 if self.writable else 1)
        gauge("journal_limit_bytes").set(stats.limit_bytes)
        gauge("journal_used_bytes").set(stats.limit_bytes - stats.free_bytes)
        kept_seq = max(consumed_seq, self._journal.first_seq - 1)
        gauge("journal_records").set(max(0, self._journal.durable_seq - kept_seq))
        for name, value in (
            ("journal_commits_total", stats.commits),
            ("journal_device_bytes_written_total", stats.device_bytes_written),
            ("journal_corrupt_records_total", stats.corrupt_records + self.undecodable),
            ("journal_quarantined_total", stats.quarantined_segments),
        ):
            self._metrics.counter(name).inc(value - self._seen.get(name, 0))
            self._seen[name] = value

    @property
    def busy_s(self) -> float:
        """Seconds that the disk has had the records it has now; 0 when it has none."""
        return self._group.busy_s if self._group is not None else 0.0

    @property
    def writable(self) -> bool:
        """Samples are taken, as far as the disk is concerned."""
        journal = self._journal
        return journal is not None and self._blocked is None and not journal.read_only

    def status(self) -> dict[str, Any]:
        """Figures for `eftraind status`."""
        if self._journal is None:
            reason = str(self._blocked[0]) if self._blocked else "none"
            return {"open": False, "writable": False, "reason": reason}
        stats = self._journal.stats
        return {
            "open": True,
            "writable": self.writable,
            "reason": str(self._blocked[0]) if self._blocked else "",
            "first_seq": self._journal.first_seq,
            "durable_seq": self._journal.durable_seq,
            "records": stats.records,
            "free_bytes": stats.free_bytes,
            "limit_bytes": stats.limit_bytes,
            "commits": stats.commits,
            "device_bytes_written": stats.device_bytes_written,
            "corrupt_records": stats.corrupt_records + self.undecodable,
            "quarantined_segments": stats.quarantined_segments,
        }

    def close(self) -> None:
        """Commit what waits and close the files; more than once does nothing."""
        group, self._group = self._group, None
        journal, self._journal = self._journal, None
        if group is not None:
            group.close()
        if journal is not None:
            journal.close()


def prepare_directories(config: Config, names: Sequence[str] = ("state_dir", "run_dir")) -> None:
    """Make the directories that these keys name; a read-only state directory is not an error here.

    Raises ConfigError for one that is not there to be made.
    """
    for name in names:
        path = getattr(config, name)
        try:
            os.makedirs(path, mode=0o750, exist_ok=True)
        except OSError as error:
            if name == "run_dir" or error.errno not in DISK_TROUBLE:
                raise ConfigError(
                    f"cannot make {path}: {error.strerror}",
                    remedy=f"mount or create it for the daemon's user, or set {name}",
                ) from error
            log.error("cannot make %s: %s", path, error.strerror)


def _for_client(error: EftraindError) -> EftraindError:
    """The same cause with a code of the protocol."""
    if isinstance(error, (JournalFull, RecordTooLarge)):
        return error
    return WireError(error.message, remedy=error.remedy, code="read_only")
