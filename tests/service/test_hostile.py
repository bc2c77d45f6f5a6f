"""Clients that break every rule: each gets a typed error or nothing, and hurts nobody else."""

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import images, put_frames

from eftraind.errors import StorageError
from eftraind.fsio import Buffer, FileOps
from eftraind.wire import (
    Ack,
    Bye,
    Error,
    Hello,
    Infer,
    Ledger,
    Op,
    Ping,
    Pong,
    Prediction,
    Welcome,
    put_header,
    samples_body,
)

Make = Callable[..., Any]


def works(bench: Any, client: Any, first_seq: int = 1) -> None:
    """A good client is served."""
    client.send(*put_frames(first_seq, first_seq - 1))
    while client.expect(Ack, bench.turn).ledger.durable_seq < first_seq:
        pass


def sample(name: str, at: str) -> float | None:
    for line in at.splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    return None


BAD = {
    "empty": ([b""], "malformed"),
    "one part": ([put_frames(1, 0)[0]], "malformed"),
    "three parts": ([*put_frames(1, 0), b"x"], "malformed"),
    "thousand parts": ([*put_frames(1, 0), *[b""] * 1000], "malformed"),
    "garbage": ([b"\xff" * 64, b"\xff" * 100], "malformed"),
    "short header": ([b"EFT1", b""], "malformed"),
    "other version": ([b"EFT1\x09" + bytes(59), b""], "version"),
    "unknown kind": ([b"EFT1\x01\x63" + bytes(58), b""], "kind"),
    "daemon's kind": (Pong(1, Ledger()).frames(), "kind"),
    "hello not json": ([Hello("x").frames()[0], b"{nope"], "malformed"),
    "hello bad name": (Hello("no spaces").frames(), "malformed"),
    "hello future": (Hello("x", versions=(9,)).frames(), "version"),
    "count zero": ([put_header(Op.SAMPLES, 1, 0, 0), b""], "count"),
    "count huge": ([put_header(Op.SAMPLES, 1, 0, 2**32 - 1), b""], "count"),
    "wrong size": ([put_frames(1, 0)[0], b"abc"], "size"),
    "label": ([put_frames(1, 0)[0], b"\x0a\0\0\0" + bytes(64)], "label"),
    "self target": ([put_header(Op.WITHDRAWALS, 1, 0, 1), b"\x01" + bytes(7)], "target"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_messages_get_a_typed_error(bench: Make, name: str) -> None:
    frames, code = BAD[name]
    b = bench()
    good, bad = b.client("good"), b.client("bad")
    good.expect(Welcome, b.turn)
    bad.expect(Welcome, b.turn)
    bad.send(*frames)
    error = bad.expect(Error, b.turn)
    assert error.code == code
    assert error.message
    works(b, good)
    assert f'eftraind_errors_sent_total{{code="{code}"}} 1.0' in b.front.watch.page.text().decode()


def test_wrong_dtype_and_shape_are_named(bench: Make) -> None:
    b = bench()
    client = b.client("cam")
    stream = client.expect(Welcome, b.turn).stream
    other = stream.__class__((8, 8, 3), "uint8", 10, stream.max_message_bytes)
    header = put_header(Op.SAMPLES, 1, 0, 1, 0, other)
    client.send(header, samples_body(np.zeros(1, "<i4"), np.zeros((1, 8, 8, 3), "u1")))
    assert client.refusal(b.turn) == "shape"
    floats = stream.__class__((8, 8, 1), "float32", 10, stream.max_message_bytes)
    header = put_header(Op.SAMPLES, 1, 0, 1, 0, floats)
    client.send(header, samples_body(np.zeros(1, "<i4"), np.full((1, 8, 8, 1), np.nan, "<f4")))
    assert client.refusal(b.turn) == "dtype"


@pytest.mark.parametrize("frames", [put_frames(1, 0), list(Ping(1).frames())])
def test_without_hello_nothing_works(bench: Make, frames: list[bytes]) -> None:
    b = bench()
    client = b.client()
    client.send(*frames)
    error = client.expect(Error, b.turn)
    assert (error.code, error.retryable, error.count) == ("hello_required", True, 0)
    assert not b.front.clients.producers


def test_a_message_over_the_limit_is_refused_and_one_far_over_cuts_the_line(bench: Make) -> None:
    b = bench()
    good, bad = b.client("good"), b.client("bad")
    good.expect(Welcome, b.turn)
    bad.expect(Welcome, b.turn)
    bad.send(put_frames(1, 0)[0], bytes((1 << 18) + 1))
    assert bad.refusal(b.turn) == "too_large"
    bad.send(put_frames(1, 0)[0], bytes(1 << 21))
    works(b, good)


def test_thousands_of_producers_fill_no_table(bench: Make) -> None:
    b = bench(ingest={"max_clients": 5})
    client = b.client("good")
    client.expect(Welcome, b.turn)
    visitor = b.client()
    for number in range(1000):
        visitor.hello(f"visitor-{number}")
        visitor.expect(Welcome, b.turn)
    assert len(b.front.clients.producers) == 2
    works(b, client)


def test_the_producer_table_is_bounded(bench: Make) -> None:
    b = bench(ingest={"max_producers": 3})
    client = b.client()
    for number in range(3):
        client.hello(f"p{number}")
        client.expect(Welcome, b.turn)
        works(b, client)
    others = b.client("p0"), b.client("p1")
    for other in others:
        other.expect(Welcome, b.turn)
    late = b.client("p3")
    assert late.refusal(b.turn) == "too_many_producers"  # all are connected
    works(b, client, 2)
    others[0].send(*Bye().frames())
    b.until("the end of p0", lambda: len(b.front.clients.connections) == 2)
    late.hello("p3")
    assert late.expect(Welcome, b.turn).ledger.received_seq == 0
    assert set(b.front.clients.producers) == {"p1", "p2", "p3"}
    works(b, late)


def test_connections_are_bounded(bench: Make) -> None:
    b = bench(ingest={"max_clients": 2})
    one, two, three = b.client("p1"), b.client("p2"), b.client("p3")
    one.expect(Welcome, b.turn)
    two.expect(Welcome, b.turn)
    assert three.refusal(b.turn) == "too_many_clients"
    works(b, one)


def test_a_flood_beyond_credit_costs_only_the_flooder(bench: Make) -> None:
    b = bench(ingest={"window_bytes": 1 << 18}, journal={"commit_s": 0.05})
    good, bad = b.client("good"), b.client("bad")
    good.expect(Welcome, b.turn)
    bad.expect(Welcome, b.turn)
    frames = put_frames(1, 0, 1000)
    for _ in range(40):
        bad.send(*frames)
        assert b.front.ingest.queue_bytes <= (1 << 18) + 70_000
        b.turn()
    works(b, good)
    b.until("the flood's end", lambda: b.front.ingest.queue_bytes == 0)


def test_a_reader_that_never_reads_hurts_nobody(bench: Make) -> None:
    b = bench()
    good, deaf = b.client("good"), b.client("deaf", receive_hwm=1)
    good.expect(Welcome, b.turn)
    deaf_until = time.monotonic() + 20
    page = ""
    while not sample('eftraind_replies_dropped_total{reason="slow"}', page):
        assert time.monotonic() < deaf_until, "the pipe never filled"
        for _ in range(200):
            deaf.send(*Ping(1).frames())
            b.turn()
        page = b.front.watch.page.text().decode()
    works(b, good)


def test_raw_bytes_on_the_socket_do_nothing(bench: Make, box: Path) -> None:
    b = bench()
    good = b.client("good")
    good.expect(Welcome, b.turn)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(box / "eft.sock"))
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n" * 1000)
        works(b, good)


def test_a_silent_client_is_forgotten(bench: Make) -> None:
    b = bench()
    b.client("cam").expect(Welcome, b.turn)
    connection = next(iter(b.front.clients.connections.values()))
    connection.heard_s -= 1000
    b.until("expiry", lambda: not b.front.clients.connections)


class Disk(FileOps):
    """A disk whose writes or flushes can be made to fail."""

    def __init__(self) -> None:
        self.write_errno = self.sync_errno = 0

    def write_once(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        if self.write_errno:
            raise OSError(self.write_errno, "injected")
        return super().write_once(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        if self.sync_errno:
            raise OSError(self.sync_errno, "injected")
        super().fdatasync(fd)


@pytest.mark.parametrize("number", [30, 28], ids=["read-only", "full"])
def test_a_disk_that_takes_nothing_refuses_samples_and_serves(bench: Make, number: int) -> None:
    disk = Disk()
    b = bench(ops=disk)
    engine = b.engine()
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    works(b, client)
    disk.write_errno = number
    client.send(*put_frames(2, 1))
    codes = []
    while "hello_required" not in codes:
        reply = client.receive(b.turn)
        codes += [reply.code] if isinstance(reply, Error) else []
    assert codes == ["read_only", "hello_required"]
    client.hello("cam")
    assert client.expect(Welcome, b.turn).ledger.received_seq == 1
    client.send(*put_frames(2, 1))
    assert client.refusal(b.turn) == "read_only"
    b.until("the gauge", lambda: b"eftraind_journal_read_only 1.0" in b.front.watch.page.text())
    assert not b.front.status()["conditions"]["journal_writable"]
    client.send(*Infer(5, images(1)[0]).frames())
    assert client.expect(Prediction, b.turn).request_id == 5
    assert engine.heard
    assert b'eftraind_events_total{topic="alarm"} 1.0' in b.front.watch.page.text()
    disk.write_errno = 0
    code = ""
    while not code.startswith("ack"):
        client.send(*put_frames(2, 1))
        reply = client.receive(b.turn)
        code = "ack" if isinstance(reply, Ack) else reply.code
        assert code in ("ack", "read_only")
    b.until("the gauge", lambda: b"eftraind_journal_read_only 0.0" in b.front.watch.page.text())


def test_a_failed_flush_ends_the_front_without_an_acknowledgement(bench: Make) -> None:
    disk = Disk()
    b = bench(ops=disk)
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    works(b, client)
    disk.sync_errno = 5
    client.send(*put_frames(2, 1))
    with pytest.raises(StorageError, match="the journal stops here"):
        while True:
            b.turn()
    while client.socket.poll(50):  # perhaps a refusal, if the front heard of that first
        reply = client.receive()
        assert isinstance(reply, Ack) or (isinstance(reply, Error) and reply.code == "read_only")
        assert reply.ledger is not None and reply.ledger.durable_seq == 1
    disk.sync_errno = 0


def test_no_journal_at_all_still_serves_inference(bench: Make, box: Path) -> None:
    class NoSpace(Disk):
        def open(self, path: Path, flags: int, mode: int = 0o640) -> int:
            if path.name.startswith("segment"):
                raise OSError(28, "No space left on device")
            return super().open(path, flags, mode)

    b = bench(ops=NoSpace())
    b.engine()
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    client.send(*put_frames(1, 0))
    assert client.refusal(b.turn) == "read_only"
    client.send(*Infer(5, images(1)[0]).frames())
    client.expect(Prediction, b.turn)
    b.front.log._ops = FileOps()
    b.front.log._retry_at_s = 0.0
    b.until("the journal", lambda: b.front.log.status()["open"])
    works(b, client)
