"""Every message survives the trip, every malformed one gets its own code."""

import numpy as np
import pytest

from eftraind import wire
from eftraind.errors import JournalFull, WireError
from eftraind.wire import Op
from eftraind.wire_decode import decode_reply, decode_request, refuse

STREAM = wire.Stream((4, 3, 2), "uint8", 10, 4096)
FLOATS = wire.Stream((2, 2, 1), "float32", 3, 4096)
LEDGER = wire.Ledger(7, 5, 2**40)


def put(count=3, *, stream=STREAM, label=1, first_seq=8, follows=7, op=Op.SAMPLES):
    header = wire.put_header(op, first_seq, follows, count, 2, stream)
    labels = np.full(count, label, np.int32)
    samples = np.zeros((count, *stream.shape), stream.dtype)
    return header, wire.samples_body(labels, samples)


def patched(frames, at, value):
    header = bytearray(frames[0])
    header[at : at + len(value)] = value
    return bytes(header), frames[1]


@pytest.mark.parametrize(
    "message", [wire.Hello("cam-1", "a client"), wire.Ping(2**63), wire.Bye()], ids=repr
)
def test_requests_survive_the_trip(message):
    assert decode_request(message.frames()) == message


@pytest.mark.parametrize(
    "message",
    [
        wire.Welcome("cam", LEDGER, STREAM, 0.5, 3, "ab" * 16, "ipc:///tmp/e"),
        wire.Ack(LEDGER),
        wire.Pong(9, LEDGER),
        wire.Error("busy", "full", "wait", True, 8, 3, 2, 0, LEDGER),
        wire.Bye(),
    ],
    ids=repr,
)
def test_replies_survive_the_trip(message):
    assert decode_reply(message.frames()) == message


def test_put_of_samples():
    samples = np.arange(3 * 24, dtype=np.uint8).reshape(3, 4, 3, 2)
    labels = np.array([-1, 0, 9])
    header = wire.put_header(Op.SAMPLES, 8, 5, 3, 2, STREAM)
    got = decode_request((header, wire.samples_body(labels, samples)), STREAM)
    assert (got.op, got.first_seq, got.last_seq, got.follows, got.attempt) == (1, 8, 10, 5, 2)
    np.testing.assert_array_equal(got.labels, labels)
    np.testing.assert_array_equal(got.samples, samples)
    assert got.nbytes == 64 + 3 * 28


def test_decoding_copies_nothing():
    frames = put()
    got = decode_request(frames, STREAM)
    assert np.shares_memory(got.samples, np.frombuffer(frames[1], np.uint8))


def test_put_of_labels_and_withdrawals():
    targets = np.array([1, 2, 7])
    header = wire.put_header(Op.LABELS, 8, 7, 3)
    got = decode_request((header, wire.labels_body(targets, np.array([0, 9, 1]))), STREAM)
    assert got.targets.tolist() == [1, 2, 7]
    assert got.labels.tolist() == [0, 9, 1]
    header = wire.put_header(Op.WITHDRAWALS, 8, 7, 3)
    got = decode_request((header, wire.withdrawals_body(targets)), STREAM)
    assert got.targets.tolist() == [1, 2, 7]
    assert got.labels is None


def test_infer_and_prediction():
    samples = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 2, 2, 1)
    got = decode_request(wire.Infer(5, samples, 250).frames(), FLOATS)
    assert (got.request_id, got.deadline_ms) == (5, 250)
    np.testing.assert_array_equal(got.samples, samples)
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    got = decode_reply(wire.Prediction(5, 3, b"h" * 16, logits).frames())
    assert (got.request_id, got.version, got.weights_hash) == (5, 3, b"h" * 16)
    np.testing.assert_array_equal(got.logits, logits)


MALFORMED = {
    "no parts": ((), "malformed"),
    "one part": ((put()[0],), "malformed"),
    "three parts": ((*put(), b""), "malformed"),
    "short header": ((put()[0][:63], b""), "malformed"),
    "magic": (patched(put(), 0, b"EFT2"), "malformed"),
    "version": (patched(put(), 4, b"\x02"), "version"),
    "unknown kind": (patched(put(), 5, b"\x0b"), "kind"),
    "kind of the daemon": (wire.Ack(LEDGER).frames(), "kind"),
    "flags": (patched(put(), 6, b"\x01"), "malformed"),
    "reserved": (patched(put(), 63, b"\x01"), "malformed"),
    "operation": (patched(put(), 8, b"\x04"), "malformed"),
    "dtype": (patched(put(), 9, b"\x07"), "dtype"),
    "another dtype": (patched(put(), 9, b"\x02"), "dtype"),
    "empty side": (patched(put(), 10, b"\x00\x00"), "shape"),
    "another shape": (patched(put(), 10, b"\x05\x00"), "shape"),
    "first_seq 0": (patched(put(), 16, bytes(8)), "malformed"),
    "follows itself": (patched(put(), 24, b"\x08"), "malformed"),
    "huge first_seq": (patched(put(), 16, b"\xff" * 8), "malformed"),
    "count 0": (patched(put(), 32, bytes(4)), "count"),
    "count too large": (patched(put(), 32, b"\xff\xff\xff\xff"), "count"),
    "count and size": (patched(put(), 32, b"\x04"), "size"),
    "unaligned": ((put()[0], put()[1][:-1]), "size"),
    "too large": (put(200), "too_large"),
    "label above": (put(label=10), "label"),
    "label below": (put(label=-2), "label"),
    "target 0": (
        (wire.put_header(Op.WITHDRAWALS, 8, 7, 1), wire.withdrawals_body(np.array([0]))),
        "target",
    ),
    "target later": (
        (wire.put_header(Op.WITHDRAWALS, 8, 7, 1), wire.withdrawals_body(np.array([8]))),
        "target",
    ),
    "no label for a label": (
        (wire.put_header(Op.LABELS, 8, 7, 1), wire.labels_body(np.array([1]), np.array([-1]))),
        "label",
    ),
    "shape in labels": (
        patched(
            (wire.put_header(Op.LABELS, 8, 7, 1), wire.labels_body(np.ones(1), np.ones(1))),
            10,
            b"\x01",
        ),
        "malformed",
    ),
    "ping with a body": ((wire.Ping().frames()[0], b"x"), "size"),
    "no JSON": ((wire.Hello("a").frames()[0], b"{"), "malformed"),
    "JSON list": ((wire.Hello("a").frames()[0], b"[]"), "malformed"),
    "deep JSON": ((wire.Hello("a").frames()[0], b"[" * 16_000), "malformed"),
    "NaN in JSON": ((wire.Hello("a").frames()[0], b'{"versions":NaN}'), "malformed"),
    "long JSON": ((wire.Hello("a").frames()[0], b" " * 20_000), "too_large"),
    "no common version": (wire.Hello("a", versions=(2, 3)).frames(), "version"),
    "producer": (wire.Hello("a b").frames(), "malformed"),
    "long producer": (wire.Hello("a" * 65).frames(), "malformed"),
    "infer of nothing": (
        wire.Infer(1, np.zeros((0, 4, 3, 2), np.uint8)).frames(),
        "count",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_get_their_code(name):
    frames, code = MALFORMED[name]
    with pytest.raises(WireError) as caught:
        decode_request(frames, STREAM)
    assert caught.value.code == code
    assert caught.value.remedy
    assert code in wire.CODES


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_must_be_finite(value):
    samples = np.zeros((2, 2, 2, 1), np.float32)
    samples[1, 1, 0, 0] = value
    header = wire.put_header(Op.SAMPLES, 1, 0, 2, 0, FLOATS)
    with pytest.raises(WireError) as caught:
        decode_request((header, wire.samples_body(np.zeros(2), samples)), FLOATS)
    assert caught.value.code == "nonfinite"
    with pytest.raises(WireError) as caught:
        decode_request(wire.Infer(1, samples).frames(), FLOATS)
    assert caught.value.code == "nonfinite"


def test_malformed_replies():
    for frames in (
        wire.Hello("a").frames(),
        (wire.Ack(LEDGER).frames()[0], b"x"),
        (wire.Error("a", "b").frames()[0], b'{"code":1}'),
        (wire.Welcome("a", LEDGER, STREAM, 1.0).frames()[0], b"{}"),
        (wire.Prediction(1, 1, bytes(16), np.zeros((1, 2))).frames()[0], b"1234"),
    ):
        with pytest.raises(WireError):
            decode_reply(frames)


@pytest.mark.parametrize("key", ["heartbeat_s", "classes", "max_message_bytes", "sample"])
def test_a_welcome_lacking_something_is_refused(key):
    header, body = wire.Welcome("a", LEDGER, STREAM, 1.0).frames()
    for value in (b'"x"', b"-1", b"1e999", b"[1]", b"true"):
        broken = body.replace(b'"%s":' % key.encode(), b'"%s":%s,"was":' % (key.encode(), value))
        with pytest.raises(WireError):
            decode_reply((header, broken))


def test_a_refusal_names_what_it_refuses():
    error = decode_reply(refuse(put(), JournalFull("full", remedy="wait"), LEDGER))
    assert (error.code, error.retryable) == ("journal_full", True)
    assert (error.first_seq, error.count, error.attempt) == (8, 3, 2)
    assert error.ledger == LEDGER
    infer = wire.Infer(77, np.zeros((1, 9, 9, 9), np.uint8)).frames()
    error = decode_reply(refuse(infer, WireError("x", code="shape")))
    assert (error.request_id, error.retryable) == (77, False)


@pytest.mark.parametrize("frames", [(), (b"",), (b"x" * 64, b""), (put()[0], b"", b"")])
def test_a_refusal_is_possible_for_anything(frames):
    assert decode_reply(refuse(frames, WireError("x" * 5000, remedy="y" * 5000))).message
