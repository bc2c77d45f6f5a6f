"""What a journal may and must give back after a crash, kept as a plain dict.

`JournalRun` drives a journal on a CrashDisk and checks every reopening against the model.
"""

from pathlib import Path

import numpy as np
from crashdisk import CrashDisk, PowerCut

from eftraind.errors import JournalFull
from eftraind.store.journal import Journal
from eftraind.store.layout import PREAMBLE

DIRECTORY = Path("/journal")


class Violation(AssertionError):
    """The journal broke its contract."""


class JournalRun:
    def __init__(self, disk: CrashDisk, *, segments: int = 4, segment_bytes: int = 32768) -> None:
        self.disk = disk
        self.rng = disk.rng
        self.geometry = {"size_bytes": segments * segment_bytes, "segment_bytes": segment_bytes}
        self.model: dict[int, bytes] = {}
        self.durable_seq = 0
        self.released_seq = 0
        self.journal = self.open()

    def open(self) -> Journal:
        return Journal.open(DIRECTORY, **self.geometry, ops=self.disk, preamble=self.preamble)

    def preamble(self) -> bytes:
        """Tells exactly the records before it, as the journal promises to its caller."""
        return max(self.model, default=0).to_bytes(8, "little")

    def append(self, size: int) -> None:
        next_seq = max(self.model, default=0) + 1
        payload = self.rng.bytes(size)
        cut = int(self.rng.integers(size + 1))
        try:
            seq = self.journal.append([payload[:cut], memoryview(payload)[cut:]])
        except JournalFull:
            self.commit()
            self.release(self.durable_seq)
            return
        except PowerCut:
            self.model[next_seq] = payload  # may or may not be there
            raise
        require(seq == next_seq, f"append gave {seq}, expected {next_seq}")
        self.model[seq] = payload

    def commit(self) -> None:
        self.durable_seq = self.journal.commit()
        last = max(self.model, default=0)
        require(self.durable_seq == last, f"commit gave {self.durable_seq} of {last}")

    def release(self, seq: int) -> None:
        self.released_seq = max(self.released_seq, seq)
        self.journal.release(seq)

    def reopen(self) -> None:
        """Recover and compare; afterwards what was found is what was acknowledged."""
        self.journal = self.open()
        found = self.check_reading()
        stats = self.journal.stats
        require(stats.corrupt_records == 0, f"false alarm: {self.journal.damages}")
        require(stats.quarantined_segments == 0, "false alarm: a segment was quarantined")
        for seq in [seq for seq in self.model if seq >= self.journal.next_seq]:
            del self.model[seq]
        self.durable_seq = self.journal.durable_seq
        require(self.durable_seq == max(self.model, default=0), "the end is not the model's")
        self.check_recovered(found)

    def check_reading(self) -> dict[int, bytes]:
        journal = self.journal
        found = dict(journal.read(0, 1 << 30))
        for seq, payload in found.items():
            require(seq in self.model, f"record {seq} was never appended")
            require(payload == self.model[seq], f"record {seq} has other content")
        require(
            journal.next_seq > self.durable_seq,
            f"acknowledged up to {self.durable_seq}, found up to {journal.next_seq - 1}",
        )
        for seq in range(self.released_seq + 1, self.durable_seq + 1):
            require(seq in found, f"acknowledged record {seq} is gone")
        require(list(found) == list(range(journal.first_seq, journal.durable_seq + 1)), "a hole")
        return found

    def check_recovered(self, found: dict[int, bytes]) -> None:
        recovered = list(self.journal.recovered())
        if recovered and recovered[0][0] == PREAMBLE:
            _, seq, preamble = recovered.pop(0)
            require(int.from_bytes(preamble, "little") == seq - 1, "preamble of another place")
        else:
            require(len(recovered) == len(found), "no preamble, and not every record")
            seq = self.journal.first_seq
        seqs = [record[1] for record in recovered]
        require(seqs == list(range(seq, self.journal.next_seq)), "not all since the preamble")

    def random_step(self, sizes: tuple[int, int]) -> None:
        choice = self.rng.random()
        if choice < 0.6:
            self.append(int(self.rng.integers(*sizes)))
        elif choice < 0.9:
            self.commit()
        else:
            self.release(int(self.rng.integers(self.durable_seq + 1)))

    def crash_somewhere(self, sizes: tuple[int, int], calls: int) -> None:
        """Work until the power goes within the next `calls` file operations, then recover.

        Recovery itself may meet the next power cut.
        """
        self.disk.cut_after = int(self.rng.integers(calls))
        try:
            while True:
                self.random_step(sizes)
        except PowerCut:
            pass
        while True:
            if self.rng.random() < 0.2:
                self.disk.kill()
            else:
                self.disk.power_cut()
            if self.rng.random() < 0.2:
                self.disk.cut_after = int(self.rng.integers(60))
            try:
                self.reopen()
                self.disk.cut_after = None
                return
            except PowerCut:
                continue


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Violation(message)


def crash_run(
    seed: int, crashes: int, ignore: frozenset[str] = frozenset(), **shape: int
) -> JournalRun:
    """One ring through many crashes."""
    disk = CrashDisk(np.random.default_rng(seed), ignore)
    run = JournalRun(disk, **shape)
    fixed = int(disk.rng.integers(64, 3000))
    for _ in range(crashes):
        sizes = (fixed, fixed + 1) if disk.rng.random() < 0.5 else (0, 6000)
        run.crash_somewhere(sizes, calls=120)
    return run
