"""Whatever bytes come in: a message or a WireError, and no more memory than the message has."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eftraind import wire
from eftraind.errors import WireError
from eftraind.wire import Kind, Op
from eftraind.wire_decode import decode_reply, decode_request, refuse
from eftraind.wire_records import decode_producers, decode_record, encode_record

STREAM = wire.Stream((2, 2, 1), "float32", 10, 1 << 16)
RUNS = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def valid_messages():
    samples, labels = np.zeros((2, 2, 2, 1), np.float32), np.zeros(2, np.int32)
    ledger = wire.Ledger(3, 2, 1)
    return [
        wire.Hello("cam").frames(),
        wire.Welcome("cam", ledger, STREAM, 1.0).frames(),
        (wire.put_header(Op.SAMPLES, 1, 0, 2, 0, STREAM), wire.samples_body(labels, samples)),
        (wire.put_header(Op.LABELS, 3, 2, 2), wire.labels_body(np.array([1, 2]), labels)),
        (wire.put_header(Op.WITHDRAWALS, 3, 2, 1), wire.withdrawals_body(np.array([1]))),
        wire.Ack(ledger).frames(),
        wire.Error("busy", "message").frames(),
        wire.Infer(1, samples).frames(),
        wire.Prediction(1, 1, bytes(16), np.zeros((2, 3))).frames(),
        wire.Ping(1).frames(),
        wire.Pong(1, ledger).frames(),
        wire.Bye().frames(),
    ]


VALID = valid_messages()
HEADER = st.builds(
    lambda kind, rest: b"EFT1\x01" + bytes([kind]) + rest,
    st.integers(0, 12),
    st.binary(min_size=58, max_size=58),
)
PARTS = st.lists(st.one_of(HEADER, st.binary(max_size=200)), max_size=4)
SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
JSON = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.just("shape"), SCALARS))
FIELDS = (
    "versions producer client version max_message_bytes heartbeat_s sample shape dtype classes"
    " model hash events code message remedy retryable first_seq count attempt request_id"
).split()


@st.composite
def mutated(draw):
    """A valid message with a few bytes changed, cut off or added."""
    frames = [bytearray(frame) for frame in draw(st.sampled_from(VALID))]
    for _ in range(draw(st.integers(1, 4))):
        frame = draw(st.sampled_from(frames))
        if frame:
            frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        body = frames[1]
        del body[draw(st.integers(0, len(body))) :]
    return [bytes(frame) for frame in frames]


def attempt(decode, *arguments):
    try:
        return decode(*arguments)
    except WireError:
        return None


@RUNS
@given(st.one_of(PARTS, mutated()))
def test_nothing_but_wire_errors(frames):
    attempt(decode_request, frames, STREAM)
    attempt(decode_request, frames)
    attempt(decode_reply, frames)
    decode_reply(refuse(frames, WireError("no")))


@RUNS
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)),
    st.sampled_from(["HELLO", "WELCOME", "ERROR"]),
)
def test_no_json_hurts(body, kind):
    header = [frames[0] for frames in VALID if frames[0][5] == Kind[kind]][0]
    text = wire._json(body)
    attempt(decode_request, (header, text))
    attempt(decode_reply, (header, text))


@RUNS
@given(st.one_of(st.binary(max_size=300), mutated().map(lambda f: f[0] + b"\x03cam" + f[1])))
def test_nothing_but_wire_errors_from_a_journal(payload):
    attempt(decode_record, payload)
    attempt(decode_producers, payload)
    attempt(decode_producers, b"EFP1" + payload)


@pytest.mark.parametrize("count", [65_536, 2**32 - 1])
@pytest.mark.parametrize("op", list(Op))
def test_a_lie_about_the_size_allocates_nothing(op, count):
    huge = wire.Stream((65_535, 65_535, 65_535), "float32", 10, 1 << 62)
    frames = (wire.put_header(op, 2**40, 1, count, 0, huge), bytes(1000))
    tracemalloc.start()
    try:
        assert attempt(decode_request, frames) is None
        assert attempt(decode_record, b"".join(encode_record("cam", *frames))) is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
