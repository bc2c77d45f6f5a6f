"""Journal against SQLite (WAL, synchronous=FULL): throughput, flushes and bytes to the device.

Both keep a ring of records on the same file system in the same run; figures are ratios first,
because a shared machine's flush time drifts. Bytes and flushes are the block device's own counts
where one can be found (nothing else should write to it meanwhile), else those of the process.

    python benchmarks/journal.py [--json FILE] [--directory DIR] [--seconds S]
"""

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eftraind.clock import Clock
from eftraind.fsio import Buffer, FileOps
from eftraind.store.group import GroupCommit
from eftraind.store.journal import Journal

SAMPLE_BYTES = 3072
RING_BYTES = 128 << 20
SEGMENT_BYTES = 8 << 20
BATCHES = (1, 16, 64, 256)  # samples per record; one commit per record, then 8 records


class NoFlush(FileOps):
    """To time everything but the device."""

    def fdatasync(self, fd: int) -> None:
        pass


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Journal against SQLite WAL FULL.")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--directory", type=Path, help="on the file system to measure")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each measurement")
    options = parser.parse_args(argv)
    box = Path(tempfile.mkdtemp(prefix="eft", dir=options.directory))
    try:
        figures = measure_all(box, options.seconds)
    finally:
        shutil.rmtree(box)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def measure_all(box: Path, seconds: float) -> dict[str, Any]:
    rows = []
    for batch in BATCHES:
        for records in (1, 8):
            journal = journal_run(box / "journal", batch, records, seconds, FileOps())
            sqlite = sqlite_run(box / "sqlite.db", batch, records, seconds)
            rows.append(
                {
                    "samples_per_record": batch,
                    "records_per_commit": records,
                    "journal": journal,
                    "sqlite": sqlite,
                    "ratio_samples_per_s": journal["samples_per_s"] / sqlite["samples_per_s"],
                }
            )
    return {
        "device": device_of(box) or "process counts",
        "rows": rows,
        "without_flush": journal_run(box / "noflush", 64, 8, seconds, NoFlush()),
        "group_commit": group_run(box / "group", 64, seconds),
        "reading": reading_run(box / "journal", seconds),
    }


def open_journal(path: Path, ops: FileOps) -> Journal:
    return Journal.open(
        path, size_bytes=RING_BYTES, segment_bytes=SEGMENT_BYTES, ops=ops, preamble=lambda: b""
    )


def journal_run(
    path: Path, batch: int, records: int, seconds: float, ops: FileOps
) -> dict[str, float]:
    journal = open_journal(path, ops)
    body = os.urandom(batch * SAMPLE_BYTES)
    parts: Sequence[Buffer] = [bytes(64), b"\x07example", body]

    def commit() -> None:
        for _ in range(records):
            journal.append(parts)
        journal.release(journal.commit())

    figures = timed(path, commit, batch * records, seconds)
    journal.close()
    return figures


def sqlite_run(path: Path, batch: int, records: int, seconds: float) -> dict[str, float]:
    """A FIFO ring as one would write it: insert new, delete oldest, one transaction a commit."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=full")
    database.execute("create table if not exists record (seq integer primary key, payload blob)")
    body = os.urandom(batch * SAMPLE_BYTES)
    keep = RING_BYTES // len(body) // 2
    last = (database.execute("select max(seq) from record").fetchone()[0] or 0) + 1

    def commit() -> None:
        nonlocal last
        database.execute("begin")
        for _ in range(records):
            database.execute("insert into record values (?, ?)", (last, body))
            database.execute("delete from record where seq <= ?", (last - keep,))
            last += 1
        database.execute("commit")

    figures = timed(path, commit, batch * records, seconds)
    database.close()
    return figures


def timed(path: Path, commit: Callable[[], None], samples: int, seconds: float) -> dict[str, float]:
    commit()
    flushes, sectors = device_counts(path)
    durations: list[float] = []
    cpu_s, start_s = time.process_time(), time.perf_counter()
    while (now_s := time.perf_counter()) - start_s < seconds:
        commit()
        durations.append(time.perf_counter() - now_s)
    elapsed_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    after_flushes, after_sectors = device_counts(path)
    commits = len(durations)
    payload = commits * samples * SAMPLE_BYTES
    return {
        "samples_per_s": commits * samples / elapsed_s,
        "commits_per_s": commits / elapsed_s,
        "commit_p50_ms": statistics.median(durations) * 1e3,
        "commit_max_ms": max(durations) * 1e3,
        "cpu_us_per_sample": cpu_s / commits / samples * 1e6,
        "device_bytes_per_payload_byte": (after_sectors - sectors) * 512 / payload,
        "flushes_per_commit": (after_flushes - flushes) / commits,
    }


def group_run(path: Path, batch: int, seconds: float) -> dict[str, float]:
    """Through the committer's thread, as the daemon does; latency from submit to durable."""
    journal = open_journal(path, FileOps())
    body = os.urandom(batch * SAMPLE_BYTES)
    latencies: list[float] = []
    window = threading.Semaphore(64)

    def on_commit(results: list[Any]) -> None:
        now_s = time.perf_counter()
        for result in results:
            assert result.error is None, result.error
            latencies.append(now_s - result.tag)
            window.release()
        journal.release(journal.durable_seq)

    group = GroupCommit(
        journal, commit_records=16, commit_s=0.01, clock=Clock(), on_commit=on_commit
    )
    start_s = time.perf_counter()
    while time.perf_counter() - start_s < seconds:
        window.acquire()
        group.submit([bytes(64), body], time.perf_counter())
    group.close()
    elapsed_s = time.perf_counter() - start_s
    commits = journal.stats.commits
    journal.close()
    latencies.sort()
    return {
        "samples_per_s": len(latencies) * batch / elapsed_s,
        "records_per_commit": len(latencies) / commits,
        "durable_p50_ms": latencies[len(latencies) // 2] * 1e3,
        "durable_p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
    }


def reading_run(path: Path, seconds: float) -> dict[str, float]:
    """Recovery of the ring the last run left, then reading all of it."""
    start_s = time.perf_counter()
    journal = open_journal(path, FileOps())
    open_s = time.perf_counter() - start_s
    seq, total = 0, 0
    start_s = time.perf_counter()
    while found := journal.read(seq, 4 << 20):
        seq = found[-1][0] + 1
        total += sum(len(payload) for _, payload in found)
    read_s = time.perf_counter() - start_s
    journal.close()
    return {"open_ms": open_s * 1e3, "ring_mb": total / 1e6, "read_mb_per_s": total / 1e6 / read_s}


def device_of(path: Path) -> str | None:
    number = os.stat(path).st_dev
    entry = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    return entry.resolve().name if (entry / "stat").exists() else None


def device_counts(path: Path) -> tuple[int, int]:
    """(flush requests, sectors written) of the block device below `path`."""
    number = os.stat(path).st_dev
    stat = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")
    if not stat.exists():
        return 0, 0
    fields = [int(field) for field in stat.read_text().split()]
    return (fields[15] if len(fields) > 15 else 0), fields[6]


def show(figures: dict[str, Any]) -> None:
    print(f"device: {figures['device']}; 3 KB samples; one thread")
    print("samples x records   samples/s      ratio   commit p50/max ms    WA       flush/commit")
    for row in figures["rows"]:
        shape = f"{row['samples_per_record']:>4} x {row['records_per_commit']}"
        for name in ("journal", "sqlite"):
            run = row[name]
            ratio = f"{row['ratio_samples_per_s']:.1f}x" if name == "journal" else ""
            print(
                f"{shape:>9} {name:>7} {run['samples_per_s']:>11,.0f} {ratio:>10}"
                f" {run['commit_p50_ms']:>9.2f} / {run['commit_max_ms']:>6.1f}"
                f" {run['device_bytes_per_payload_byte']:>9.2f}"
                f" {run['flushes_per_commit']:>9.2f}"
            )
    for name in ("without_flush", "group_commit", "reading"):
        values = ", ".join(f"{key} {value:,.2f}" for key, value in figures[name].items())
        print(f"{name}: {values}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
