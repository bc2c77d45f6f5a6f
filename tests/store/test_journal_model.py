"""A Hypothesis machine drives the journal against a dict: append, commit, read, crash, reopen."""

import numpy as np
from crashdisk import CrashDisk, PowerCut
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from journalmodel import JournalRun


class JournalMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32 - 1), segments=st.integers(2, 5), short=st.booleans())
    def make(self, seed: int, segments: int, short: bool) -> None:
        disk = CrashDisk(np.random.default_rng(seed))
        disk.short_writes = short
        self.run = JournalRun(disk, segments=segments)

    @rule(size=st.one_of(st.integers(0, 200), st.integers(0, 16000)))
    def append(self, size: int) -> None:
        self.run.append(min(size, self.run.journal.max_record_bytes))

    @rule()
    def commit(self) -> None:
        self.run.commit()

    @rule(share=st.floats(0, 1))
    def release(self, share: float) -> None:
        self.run.release(int(share * self.run.durable_seq))

    @rule(start=st.integers(0, 400), max_bytes=st.integers(1, 40000))
    def read(self, start: int, max_bytes: int) -> None:
        found = self.run.journal.read(start, max_bytes)
        first = max(start, self.run.journal.first_seq)
        assert [seq for seq, _ in found] == list(range(first, first + len(found)))
        assert bool(found) == (first <= self.run.durable_seq)
        assert all(payload == self.run.model[seq] for seq, payload in found)
        assert sum(len(payload) for _, payload in found[:-1]) < max_bytes
        assert len(found) <= 1 or sum(len(payload) for _, payload in found) <= max_bytes

    @rule()
    def close_and_reopen(self) -> None:
        self.run.commit()
        self.run.journal.close()
        self.run.reopen()

    @rule()
    def kill(self) -> None:
        self.run.disk.kill()
        self.run.reopen()

    @rule()
    def cut_power(self) -> None:
        self.run.disk.power_cut()
        self.run.reopen()

    @rule(calls=st.integers(0, 30), sizes=st.tuples(st.integers(0, 50), st.integers(51, 9000)))
    def cut_power_while_working(self, calls: int, sizes: tuple[int, int]) -> None:
        self.run.disk.cut_after = calls
        try:
            for _ in range(40):
                self.run.random_step(sizes)
        except PowerCut:
            pass
        self.run.disk.power_cut()
        self.run.reopen()

    @rule(segments=st.integers(2, 6))
    def grow(self, segments: int) -> None:
        self.run.commit()
        self.run.journal.close()
        size_bytes = max(segments * 32768, self.run.geometry["size_bytes"])
        self.run.geometry["size_bytes"] = size_bytes
        self.run.reopen()
        assert self.run.journal.size_bytes == size_bytes

    @invariant()
    def figures_agree(self) -> None:
        journal = self.run.journal
        assert journal.first_seq <= journal.durable_seq + 1 <= journal.next_seq
        stats = journal.stats
        assert stats.used_bytes <= stats.limit_bytes == self.run.geometry["size_bytes"]
        assert 0 <= stats.free_bytes <= stats.limit_bytes


JournalMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestJournalMachine = JournalMachine.TestCase
