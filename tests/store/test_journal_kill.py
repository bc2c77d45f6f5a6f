"""kill -9 of a real writer on the real disk, many times on the same ring."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from writer import GEOMETRY, record

from eftraind.fsio import FileOps
from eftraind.store.journal import Journal

WRITER = Path(__file__).with_name("writer.py")


def test_what_a_killed_writer_acknowledged_is_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, str(WRITER), str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(int(rng.integers(1, 80))):
            acknowledged = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split("\n")  # lines written before the kill count too
        process.stdout.close()
        process.wait()
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1])])
        journal = Journal.open(tmp_path, **GEOMETRY, ops=FileOps(), preamble=lambda: b"")
        found = dict(journal.read(0, 1 << 30))
        assert journal.durable_seq >= acknowledged
        assert set(found) >= set(range(max(1, acknowledged - 19), acknowledged + 1))
        assert all(payload == record(seq) for seq, payload in found.items())
        stats = journal.stats
        assert stats.corrupt_records == stats.quarantined_segments == 0
        journal.close()
