"""Group commit: one thread that appends waiting records to the journal and flushes once for all.

Owns the queue between the event loop, which must never wait for a disk, and the journal. Bounded
by bytes: a full queue refuses with Busy. Never changes the order of records and never lets a later
record of a stream into the journal after an earlier one was refused.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eftraind.clock import Clock
from eftraind.errors import EftraindError, StorageError
from eftraind.fsio import Buffer, byte_length
from eftraind.store.journal import Journal


class Busy(StorageError):
    """More bytes wait for the disk than the configuration allows; later there will be room."""

    code = "busy"


@dataclass(frozen=True)
class Result:
    """What became of one submitted record: `seq` when it is durable, else `error`."""

    tag: object
    seq: int | None
    error: EftraindError | None
    commit_s: float  # duration of the commit that decided it, appends included


@dataclass(frozen=True)
class GroupStats:
    waiting_records: int
    waiting_bytes: int
    limit_bytes: int


@dataclass(frozen=True)
class _Waiting:
    parts: Sequence[Buffer]
    tag: object
    size: int
    since_s: float
    stream: str | None
    round: int


class GroupCommit:
    """See the module. The thread starts at once; `close` commits what waits and ends it.

    `on_commit(results)` gets each group's results, in order of submission. `on_append(tag, seq)`,
    before that, follows each append: what the journal's preamble describes belongs there.
    `on_fatal(error)` comes once, after the results of the failed group. All three run in the
    committer's thread.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        commit_records: int,
        commit_s: float,
        clock: Clock,
        on_commit: Callable[[list[Result]], None],
        on_append: Callable[[object, int], None] | None = None,
        on_fatal: Callable[[EftraindError], None] | None = None,
        max_bytes: int = 64 << 20,
    ) -> None:
        self._journal = journal
        self._commit_records = commit_records
        self._commit_s = commit_s
        self._clock = clock
        self._on_commit = on_commit
        self._on_append = on_append
        self._on_fatal = on_fatal
        self._max_bytes = max_bytes
        self._changed = threading.Condition()  # protects everything below
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0  # waiting and being committed
        self._busy = False  # a group is being committed or reported
        self._busy_from_s = 0.0
        self._hurry = False  # a flush waits: do not wait for company
        self._closing = False
        self._failed: EftraindError | None = None
        self._rounds: dict[str, int] = {}
        self._refused: dict[str, tuple[int, EftraindError]] = {}
        self._thread = threading.Thread(target=self._run, name="journal-commit", daemon=True)
        self._thread.start()

    def submit(self, parts: Sequence[Buffer], tag: object, stream: str | None = None) -> None:
        """Queue one record. The buffers must not change until its result has come.

        Raises Busy when the queue is full, or the fatal error after one. Once a record of a
        `stream` is refused, so are those after it, until `resume(stream)`: the journal never holds
        a record whose predecessor it lost.
        """
        size = sum(byte_length(part) for part in parts)
        now_s = self._clock.monotonic_s()
        with self._changed:
            self._check()
            if self._bytes + size > self._max_bytes and self._bytes > 0:
                message = f"{self._bytes} bytes wait for the disk, {self._max_bytes} are allowed"
                raise Busy(message, remedy="send again after the next acknowledgement")
            number = self._rounds.get(stream, 0) if stream is not None else 0
            self._queue.append(_Waiting(parts, tag, size, now_s, stream, number))
            self._bytes += size
            if len(self._queue) == 1 or self._due():
                self._changed.notify_all()

    def resume(self, stream: str) -> None:
        """Accept records of `stream` submitted from now on; those queued before stay refused."""
        with self._changed:
            self._rounds[stream] = self._rounds.get(stream, 0) + 1

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything submitted has its result; False if the time was too short."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._queue and not self._busy, timeout_s)
            self._hurry = False
            return done

    def close(self, timeout_s: float = 30.0) -> bool:
        """Commit what waits and end the thread; False if it did not end in time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def failed(self) -> EftraindError | None:
        return self._failed

    @property
    def busy_s(self) -> float:
        """Seconds that the group at the disk has been there; 0 when there is none."""
        with self._changed:
            return self._clock.monotonic_s() - self._busy_from_s if self._busy else 0.0

    @property
    def stats(self) -> GroupStats:
        with self._changed:
            return GroupStats(len(self._queue), self._bytes, self._max_bytes)

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed
        if self._closing:
            raise StorageError("the committer is closed", code="closed")

    def _due(self) -> bool:
        """Whether the group should not wait for more: enough records, or half the allowed bytes."""
        return len(self._queue) >= self._commit_records or self._bytes * 2 >= self._max_bytes

    def _run(self) -> None:
        while True:
            group = self._next_group()
            if not group:
                return
            try:
                results = self._commit(group)
                with self._changed:
                    self._bytes -= sum(waiting.size for waiting in group)
                self._on_commit(results)
            except BaseException as exc:
                self._fail(StorageError(f"the committer's callback failed: {exc!r}"))
                raise
            if self._journal.failed is not None:
                self._fail(self._journal.failed)
                return
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next_group(self) -> list[_Waiting]:
        """Wait for records, and then for company as long as allowed; empty when closing."""
        with self._changed:
            while not self._queue:
                if self._closing:
                    return []
                self._changed.wait()
            due_s = self._queue[0].since_s + self._commit_s
            while not (self._due() or self._hurry or self._closing):
                remaining_s = due_s - self._clock.monotonic_s()
                if remaining_s <= 0:
                    break
                self._changed.wait(remaining_s)
            self._busy = True
            self._busy_from_s = self._clock.monotonic_s()
            group = list(self._queue)
            self._queue.clear()
            return group

    def _commit(self, group: list[_Waiting]) -> list[Result]:
        started_s = self._clock.monotonic_s()
        outcomes = [self._append(waiting) for waiting in group]
        fatal: EftraindError | None = self._journal.failed
        if fatal is None:
            try:
                self._journal.commit()
            except StorageError as exc:
                fatal = exc
        commit_s = self._clock.monotonic_s() - started_s
        results = []
        for waiting, outcome in zip(group, outcomes, strict=True):
            error = outcome if isinstance(outcome, EftraindError) else fatal
            seq = outcome if isinstance(outcome, int) and fatal is None else None
            results.append(Result(waiting.tag, seq, error, commit_s))
        return results

    def _append(self, waiting: _Waiting) -> int | EftraindError:
        stream = waiting.stream
        if stream is not None and stream in self._refused:
            refused_round, error = self._refused[stream]
            if waiting.round <= refused_round:
                return error
            del self._refused[stream]
        try:
            seq = self._journal.append(waiting.parts)
        except EftraindError as exc:
            if stream is not None:
                self._refused[stream] = (waiting.round, exc)
            return exc
        if self._on_append is not None:
            self._on_append(waiting.tag, seq)
        return seq

    def _fail(self, error: EftraindError) -> None:
        """Give every waiting record its result, tell the owner, and refuse from now on."""
        with self._changed:
            self._failed = error
            waiting = list(self._queue)
            self._queue.clear()
            self._bytes = 0
        try:
            if waiting:
                self._on_commit([Result(item.tag, None, error, 0.0) for item in waiting])
            if self._on_fatal is not None:
                self._on_fatal(error)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
