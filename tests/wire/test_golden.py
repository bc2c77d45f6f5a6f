"""The bytes of EFT/1, frozen. Files under tests/golden are only ever added, never rewritten.

Each holds one message: a line of hex for the header, one for the body. They are held against our
encoder, our decoder, and a second decoder below that knows docs/protocol.md and nothing else.
"""

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from eftraind import wire
from eftraind.wire import Op
from eftraind.wire_decode import decode_reply, decode_request

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
STREAM = wire.Stream((2, 2, 1), "uint8", 10, 8_388_608)
FLOATS = wire.Stream((1, 2, 1), "float32", 10, 8_388_608)
LEDGER = wire.Ledger(12, 8, 16_777_216)
HASH = bytes.fromhex("00112233445566778899aabbccddeeff")

MESSAGES = {
    "hello": wire.Hello("camera-left", "any text").frames(),
    "welcome": wire.Welcome(
        *("camera-left", LEDGER, STREAM, 1.0, 17, HASH.hex()), "ipc:///run/eftraind/events.sock"
    ).frames(),
    "put_samples": (
        wire.put_header(Op.SAMPLES, 13, 12, 2, 1, STREAM),
        wire.samples_body(np.array([3, -1]), np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)),
    ),
    "put_samples_float32": (
        wire.put_header(Op.SAMPLES, 1, 0, 1, 0, FLOATS),
        wire.samples_body(np.array([9]), np.array([[[[0.5], [-2.0]]]], np.float32)),
    ),
    "put_labels": (
        wire.put_header(Op.LABELS, 15, 14, 2, 1),
        wire.labels_body(np.array([14, 13]), np.array([7, 0])),
    ),
    "put_withdrawals": (
        wire.put_header(Op.WITHDRAWALS, 17, 16, 1, 1),
        wire.withdrawals_body(np.array([13])),
    ),
    "ack": wire.Ack(LEDGER).frames(),
    "error_put": wire.Error(
        *("label", "label 10 is out of range", "labels run from 0 to 9", False, 5, 4, 1),
        ledger=LEDGER,
    ).frames(),
    "error_infer": wire.Error(
        *("engine_down", "the engine is restarting", "ask again", True),
        request_id=99,
        ledger=LEDGER,
    ).frames(),
    "infer": wire.Infer(99, np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1), 250).frames(),
    "prediction": wire.Prediction(
        99, 17, HASH, np.array([[0.0, 1.5, -1.0], [2.0, 0.25, 0.0]], np.float32)
    ).frames(),
    "ping": wire.Ping(16).frames(),
    "pong": wire.Pong(16, LEDGER).frames(),
    "bye": wire.Bye().frames(),
}
WANTED_LEDGER = {"received_seq": 12, "durable_seq": 8, "credit_total": 16_777_216}
WANTED = {
    "hello": {"kind": 1, "versions": [1], "producer": "camera-left", "client": "any text"},
    "welcome": {
        "kind": 2,
        "version": 1,
        "producer": "camera-left",
        "max_message_bytes": 8_388_608,
        "heartbeat_s": 1.0,
        "sample": {"shape": [2, 2, 1], "dtype": "uint8"},
        "classes": 10,
        "model": {"version": 17, "hash": HASH.hex()},
        "events": "ipc:///run/eftraind/events.sock",
        **WANTED_LEDGER,
    },
    "put_samples": {
        "kind": 3,
        "operation": 1,
        "first_seq": 13,
        "follows": 12,
        "attempt": 1,
        "labels": [3, -1],
        "samples": list(range(8)),
        "shape": (2, 2, 1),
    },
    "put_samples_float32": {
        "kind": 3,
        "operation": 1,
        "first_seq": 1,
        "follows": 0,
        "attempt": 0,
        "labels": [9],
        "samples": [0.5, -2.0],
        "shape": (1, 2, 1),
    },
    "put_labels": {
        "kind": 3,
        "operation": 2,
        "first_seq": 15,
        "follows": 14,
        "attempt": 1,
        "targets": [14, 13],
        "labels": [7, 0],
    },
    "put_withdrawals": {
        "kind": 3,
        "operation": 3,
        "first_seq": 17,
        "follows": 16,
        "attempt": 1,
        "targets": [13],
    },
    "ack": {"kind": 4, **WANTED_LEDGER},
    "error_put": {
        "kind": 5,
        "code": "label",
        "message": "label 10 is out of range",
        "retryable": False,
        "remedy": "labels run from 0 to 9",
        "first_seq": 5,
        "count": 4,
        "attempt": 1,
        "request_id": 0,
        **WANTED_LEDGER,
    },
    "error_infer": {
        "kind": 5,
        "code": "engine_down",
        "message": "the engine is restarting",
        "retryable": True,
        "remedy": "ask again",
        "first_seq": 0,
        "count": 0,
        "attempt": 0,
        "request_id": 99,
        **WANTED_LEDGER,
    },
    "infer": {
        "kind": 6,
        "request_id": 99,
        "deadline_ms": 250,
        "samples": list(range(8)),
        "shape": (2, 2, 1),
    },
    "prediction": {
        "kind": 7,
        "request_id": 99,
        "version": 17,
        "hash": HASH.hex(),
        "classes": 3,
        "logits": [0.0, 1.5, -1.0, 2.0, 0.25, 0.0],
    },
    "ping": {"kind": 8, "token": 16},
    "pong": {"kind": 9, "token": 16, **WANTED_LEDGER},
    "bye": {"kind": 10},
}


def golden(name):
    header, body, *rest = (GOLDEN / f"{name}.hex").read_text().split("\n")
    assert rest == [""]
    return bytes.fromhex(header), bytes.fromhex(body)


def decode_from_the_page(header, body):
    """Sections 2 and 3 of docs/protocol.md, with struct alone."""

    def u64(at):
        return struct.unpack_from("<Q", header, at)[0]

    def u32(at):
        return struct.unpack_from("<I", header, at)[0]

    def samples(at, count):
        shape = struct.unpack_from("<HHH", header, 10)
        letter = {1: "B", 2: "f"}[header[9]]
        elements = count * shape[0] * shape[1] * shape[2]
        assert len(body) == at + elements * struct.calcsize(letter)
        return {
            "samples": list(struct.unpack_from(f"<{elements}{letter}", body, at)),
            "shape": shape,
        }

    assert (len(header), header[:5], header[6:8]) == (64, b"EFT1\x01", b"\x00\x00")
    kind = header[5]
    found = {"kind": kind}
    if kind in (2, 4, 5, 9):
        found |= {"received_seq": u64(16), "durable_seq": u64(24), "credit_total": u64(32)}
    if kind in (1, 2, 5):
        found |= json.loads(body)
    if kind in (8, 9):
        found |= {"token": u64(40)}
    if kind == 3:
        operation, count = header[8], u32(32)
        found |= {"operation": operation, "first_seq": u64(16)}
        found |= {"follows": u64(24), "attempt": u32(36)}
        at = 0
        if operation in (2, 3):
            found["targets"] = list(struct.unpack_from(f"<{count}Q", body, 0))
            at = 8 * count
        if operation in (1, 2):
            found["labels"] = list(struct.unpack_from(f"<{count}i", body, at))
        if operation == 1:
            found |= samples(4 * count, count)
    if kind == 6:
        found |= {"request_id": u64(16), "deadline_ms": u32(24), **samples(0, u32(32))}
    if kind == 7:
        found |= {"request_id": u64(16), "version": u64(24), "hash": header[40:56].hex()}
        found |= {"classes": u32(36)}
        found["logits"] = list(struct.unpack(f"<{u32(32) * u32(36)}f", body))
    return found


@pytest.mark.parametrize("name", MESSAGES)
def test_we_write_these_bytes(name):
    assert tuple(bytes(frame) for frame in MESSAGES[name]) == golden(name)


@pytest.mark.parametrize("name", MESSAGES)
def test_we_read_these_bytes(name):
    frames = golden(name)
    if frames[0][5] in (1, 3, 6, 8):
        decode_request(frames)
    else:
        decode_reply(frames)


@pytest.mark.parametrize("name", WANTED)
def test_the_page_reads_these_bytes(name):
    assert decode_from_the_page(*golden(name)) == WANTED[name]


def test_no_file_without_a_test():
    assert {path.stem for path in GOLDEN.iterdir()} == set(MESSAGES) == set(WANTED)


def test_the_page_lists_our_codes():
    page = (ROOT / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", page, re.MULTILINE)
    assert {code: retryable == "yes" for code, retryable in rows} == dict(wire.CODES)


def test_the_page_lists_our_kinds():
    page = (ROOT / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \|", page, re.MULTILINE)
    assert {name: int(number) for number, name in rows} == {k.name: int(k) for k in wire.Kind}
