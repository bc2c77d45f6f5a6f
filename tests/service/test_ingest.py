"""Samples into a real Front over real sockets: the rule, credit, durability, refusals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import STREAM, put_frames

from eftraind.errors import ConfigError, StateLocked
from eftraind.service.front import Front
from eftraind.service.heart import Heart
from eftraind.wire import (
    Ack,
    Bye,
    Error,
    Op,
    Ping,
    Pong,
    Welcome,
    labels_body,
    put_header,
    withdrawals_body,
)
from eftraind.wire_records import decode_record

Make = Callable[..., Any]


def durable(bench: Any, client: Any, seq: int) -> Any:
    """Read ACKs until `seq` is durable; received must never be behind durable."""
    while True:
        ledger = client.expect(Ack, bench.turn).ledger
        assert ledger.durable_seq <= ledger.received_seq
        if ledger.durable_seq >= seq:
            return ledger


def stored(bench: Any) -> list[tuple[str, int, int]]:
    records = [decode_record(payload) for _, payload in bench.front.log.read(0, 1 << 30)]
    return [(r.producer, r.first_seq, r.count) for r in records]


def test_welcome_tells_what_a_client_needs(bench: Make) -> None:
    b = bench()
    welcome = b.client("cam").expect(Welcome, b.turn)
    assert welcome.stream == STREAM
    assert (welcome.ledger.received_seq, welcome.ledger.credit_total) == (0, 1 << 20)
    assert welcome.events == b.config.events_endpoint


def test_samples_labels_and_withdrawals_become_durable_in_order(bench: Make) -> None:
    b = bench()
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    client.send(*put_frames(1, 0, 5))
    targets = np.array([1, 2], "<u8")
    labels = labels_body(targets, np.array([3, 4], "<i4"))
    client.send(put_header(Op.LABELS, 6, 5, 2), labels)
    client.send(put_header(Op.WITHDRAWALS, 8, 7, 1), withdrawals_body(targets[:1]))
    ledger = durable(b, client, 8)
    assert ledger.received_seq == 8
    assert ledger.credit_total > 1 << 20
    assert stored(b) == [("cam", 1, 5), ("cam", 6, 2), ("cam", 8, 1)]


def test_received_comes_before_durable(bench: Make) -> None:
    b = bench(journal={"commit_s": 0.3})
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    client.send(*put_frames(1, 0))
    first = client.expect(Ack, b.turn).ledger
    assert (first.received_seq, first.durable_seq) == (1, 0)
    assert durable(b, client, 1).received_seq == 1


def test_a_duplicate_is_acknowledged_and_not_stored_again(bench: Make) -> None:
    b = bench()
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    for _ in range(3):
        client.send(*put_frames(1, 0, 4))
        durable(b, client, 4)
    assert stored(b) == [("cam", 1, 4)]


@pytest.mark.parametrize(
    ("first_seq", "follows", "count"),
    [(9, 8, 1), (3, 0, 4), (3, 2, 4), (9, 3, 1), (2, 0, 4)],
    ids=["gap", "overlap", "middle", "follows-middle", "straddles"],
)
def test_what_does_not_follow_is_refused(
    bench: Make, first_seq: int, follows: int, count: int
) -> None:
    b = bench()
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    client.send(*put_frames(1, 0, 4))
    durable(b, client, 4)
    client.send(*put_frames(first_seq, follows, count))
    error = client.expect(Error, b.turn)
    assert (error.code, error.retryable, error.ledger.received_seq) == ("sequence", True, 4)
    assert (error.first_seq, error.count) == (first_seq, count)


def test_a_refused_batch_may_be_skipped(bench: Make) -> None:
    b = bench()
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    header, body = put_frames(1, 0, 2)
    client.send(header, b"\x63" + body[1:])
    assert client.refusal(b.turn) == "label"
    client.send(*put_frames(3, 2, 2))
    assert client.refusal(b.turn) == "sequence"
    client.send(*put_frames(3, 0, 2))
    durable(b, client, 4)
    assert stored(b) == [("cam", 3, 2)]


def test_credit_is_enforced_and_comes_back(bench: Make) -> None:
    b = bench(ingest={"window_bytes": 1 << 18}, journal={"commit_s": 0.2, "commit_records": 1000})
    client = b.client("cam")
    credit = client.expect(Welcome, b.turn).ledger.credit_total
    sent, seq, codes = 0, 0, []
    while sent <= credit:
        frames = put_frames(seq + 1, seq, 1000)
        client.send(*frames)
        sent, seq = sent + sum(map(len, frames)), seq + 1000
    while "no_credit" not in codes:
        reply = client.receive(b.turn)
        codes += [reply.code] if isinstance(reply, Error) else []
    taken = seq - 1000
    ledger = durable(b, client, taken)
    assert ledger.credit_total >= sent
    client.send(*put_frames(taken + 1, taken, 1000))
    durable(b, client, seq)


def test_sequence_numbers_survive_a_restart(bench: Make) -> None:
    b = bench()
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    client.send(*put_frames(1, 0, 7))
    durable(b, client, 7)
    b.reopen()
    assert client.receive(b.turn).__class__ is Bye
    client.send(*put_frames(1, 0, 7))
    assert client.refusal(b.turn) == "hello_required"
    client.hello("cam")
    ledger = client.expect(Welcome, b.turn).ledger
    assert (ledger.received_seq, ledger.durable_seq) == (7, 7)
    client.send(*put_frames(1, 0, 7))
    durable(b, client, 7)
    client.send(*put_frames(8, 7, 1))
    durable(b, client, 8)
    assert stored(b) == [("cam", 1, 7), ("cam", 8, 1)]


def test_the_producer_table_outlives_the_records(bench: Make) -> None:
    """After the ring has lapped, the first producer's number is only in the segments' preambles."""
    b = bench(journal={"size_bytes": 4 << 20, "commit_records": 1})
    engine = b.engine()
    old = b.client("old")
    old.expect(Welcome, b.turn)
    old.send(*put_frames(1, 0, 3))
    durable(b, old, 3)
    busy = b.client("busy")
    busy.expect(Welcome, b.turn)
    seq = 0
    while b.front.log.first_seq < 3:
        busy.send(*put_frames(seq + 1, seq, 3000))
        seq += 3000
        durable(b, busy, seq)
        b.until("consumption", lambda: engine.next_seq > b.front.log.durable_seq)
    assert all(producer == "busy" for producer, _, _ in stored(b))
    b.reopen()
    ledger = b.client("old").expect(Welcome, b.turn).ledger
    assert ledger.durable_seq == 3
    assert b.client("busy").expect(Welcome, b.turn).ledger.durable_seq == seq


def test_a_producer_that_was_forgotten_numbers_anew(bench: Make) -> None:
    """Also after restarts, and the one that was silent longest goes first."""
    b = bench(ingest={"max_producers": 2})
    client = b.client("a")
    client.expect(Welcome, b.turn)
    client.send(*put_frames(1, 0, 7))
    durable(b, client, 7)
    for name in ("b", "c", "a"):  # c takes the place of a, then a that of b
        client.hello(name)
        assert client.expect(Welcome, b.turn).ledger.received_seq == 0
        client.send(*put_frames(1, 0, 2))
        durable(b, client, 2)
    assert set(b.front.clients.producers) == {"c", "a"}
    b.reopen()
    client = b.client("a")
    assert client.expect(Welcome, b.turn).ledger.received_seq == 2
    assert [name for name, *_ in stored(b)] == ["a", "b", "c", "a"]
    assert list(b.front.log.last_seqs) == ["b", "c", "a"]  # b is still in the journal
    assert set(b.front.clients.producers) == {"c", "a"}


def test_a_full_journal_refuses_until_the_engine_has_caught_up(bench: Make) -> None:
    b = bench(journal={"size_bytes": 4 << 20})
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    seq, code = 0, ""
    while not code:
        client.send(*put_frames(seq + 1, seq, 2000))
        reply = client.expect(Ack | Error, b.turn)  # type: ignore[arg-type]
        while isinstance(reply, Ack) and reply.ledger.durable_seq < seq + 2000:
            reply = client.receive(b.turn)
        if isinstance(reply, Error):
            code = reply.code
        else:
            seq += 2000
    assert code == "journal_full"
    assert seq > 2000
    engine = b.engine()
    b.until("consumption", lambda: engine.next_seq > b.front.log.durable_seq)
    b.turn()
    client.send(*put_frames(seq + 1, seq, 2000))
    durable(b, client, seq + 2000)
    counts = [count for _, _, count in stored(b)]
    assert set(counts) == {2000}


def test_a_second_connection_supersedes_the_first(bench: Make) -> None:
    b = bench()
    first, second = b.client("cam"), b.client()
    first.expect(Welcome, b.turn)
    first.send(*put_frames(1, 0))
    durable(b, first, 1)
    second.hello("cam")
    assert second.expect(Welcome, b.turn).ledger.received_seq == 1
    assert first.refusal(b.turn) == "superseded"
    first.send(*put_frames(2, 1))
    assert first.refusal(b.turn) == "hello_required"
    second.send(*put_frames(2, 1))
    durable(b, second, 2)


def test_ping_tells_the_ledger(bench: Make) -> None:
    b = bench()
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    client.send(*Ping(77).frames())
    pong = client.expect(Pong, b.turn)
    assert (pong.token, pong.ledger.received_seq) == (77, 0)


def test_a_second_front_is_told_who_is_in_the_way(bench: Make) -> None:
    b = bench()
    with pytest.raises(StateLocked, match="in use by another daemon"):
        Front(b.config, clock=b.front._clock, ops=b.ops, heart=Heart(None, b.front._clock))


def test_an_endpoint_that_cannot_be_used_is_a_configuration_error(bench: Make) -> None:
    with pytest.raises(ConfigError, match="cannot listen on ipc:///proc/none/eft.sock"):
        bench(listen=["ipc:///proc/none/eft.sock"])
