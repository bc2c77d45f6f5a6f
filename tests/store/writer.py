"""A process that appends and commits until it is killed, and says what is durable.

    python writer.py DIRECTORY

Each line of its output is the durable sequence number; record n is `record(n)`.
"""

import sys
from pathlib import Path

from eftraind.fsio import FileOps
from eftraind.store.journal import Journal

GEOMETRY = {"size_bytes": 1 << 20, "segment_bytes": 1 << 17}


def record(seq: int) -> bytes:
    return seq.to_bytes(8, "little") * (1 + seq * 37 % 900)


def main(directory: Path) -> None:
    journal = Journal.open(directory, **GEOMETRY, ops=FileOps(), preamble=lambda: b"")
    while True:
        for _ in range(4):
            journal.append([record(journal.next_seq)])
        durable_seq = journal.commit()
        sys.stdout.write(f"{durable_seq}\n")
        sys.stdout.flush()
        journal.release(durable_seq - 20)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
