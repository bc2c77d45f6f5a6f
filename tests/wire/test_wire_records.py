"""Journal records: a PUT in, the same operations out, damage noticed."""

import numpy as np
import pytest

from eftraind import wire
from eftraind.errors import WireError
from eftraind.wire import Op
from eftraind.wire_decode import decode_request
from eftraind.wire_records import (
    decode_producers,
    decode_record,
    encode_producers,
    encode_put_record,
    encode_record,
)

STREAM = wire.Stream((2, 3, 1), "uint8", 10, 4096)


def record(producer="cam"):
    samples = np.arange(12, dtype=np.uint8).reshape(2, 2, 3, 1)
    header = wire.put_header(Op.SAMPLES, 5, 4, 2, 0, STREAM)
    body = wire.samples_body(np.array([3, -1]), samples)
    return encode_put_record(producer, decode_request((header, body), STREAM))


def test_samples_survive():
    payload = b"".join(record())
    got = decode_record(payload)
    assert (got.producer, got.op, got.first_seq, got.last_seq, got.count) == ("cam", 1, 5, 6, 2)
    assert got.labels.tolist() == [3, -1]
    assert got.samples.tobytes() == bytes(range(12))
    assert np.shares_memory(got.samples, np.frombuffer(payload, np.uint8))


def test_the_body_is_not_copied():
    body = wire.withdrawals_body(np.array([1, 2]))
    parts = encode_record("cam", wire.put_header(Op.WITHDRAWALS, 3, 2, 2), body)
    assert parts[-1] is body
    got = decode_record(b"".join(parts))
    assert (got.op, got.targets.tolist(), got.labels, got.samples) == (3, [1, 2], None, None)


def test_every_cut_is_noticed():
    payload = b"".join(record("a-longer-name"))
    for length in range(len(payload)):
        with pytest.raises(WireError):
            decode_record(payload[:length])
    with pytest.raises(WireError):
        decode_record(wire.Ping().frames()[0] + b"\x01a")


def test_the_table_of_producers():
    table = {"cam": 7, "b" * 64: 2**63 - 1, "anon-0": 0}
    payload = encode_producers(table)
    assert decode_producers(payload) == table
    assert list(decode_producers(payload)) == list(table), "those silent longest first"
    assert decode_producers(encode_producers({})) == {}
    for broken in (*(payload[:n] for n in range(len(payload))), payload + b"x"):
        with pytest.raises(WireError):
            decode_producers(broken)
