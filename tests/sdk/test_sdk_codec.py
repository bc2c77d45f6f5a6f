"""The C++ codec against the golden bytes, and against Python's decoder on bytes that are wrong.

The program under test runs with the address and undefined-behaviour sanitizers.
"""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_build import Driver, hexed

from eftraind import wire
from eftraind.errors import WireError
from eftraind.wire_decode import decode_reply

GOLDEN = Path(__file__).parents[1] / "golden"
REPLIES = ("welcome", "ack", "error_put", "error_infer", "prediction", "pong", "bye")
BLACK = "1 2 2 1"  # dtype, height, width, channels of the golden samples
REQUESTS = {
    "hello": ("hello", hexed(b"camera-left"), hexed(b"any text")),
    "put_samples": ("put 1 13 12 1", BLACK, hexed(range(8)), 0, "3 -1"),
    "put_samples_float32": (
        "put 1 1 0 0",
        "2 1 2 1",
        hexed(struct.pack("<2f", 0.5, -2.0)),
        "0 9",
    ),
    "put_labels": ("put 2 15 14 1", BLACK, "- 2 14 13 7 0"),
    "put_withdrawals": ("put 3 17 16 1", BLACK, "- 1 13"),
    "infer": ("infer 99 250 2", BLACK, hexed(range(8))),
    "ping": ("ping 16",),
    "bye": ("bye",),
}


def golden(name):
    header, body, _ = (GOLDEN / f"{name}.hex").read_text().split("\n")
    return bytes.fromhex(header), bytes.fromhex(body)


@pytest.fixture(scope="module")
def codec(programs):
    with Driver(programs / "codec_driver") as driver:
        yield driver


def facts(frames):
    """What Python reads in these frames, in the words of the driver."""
    try:
        reply = decode_reply(frames)
    except WireError as error:
        return {"kind": "WireError", "code": error.code}
    found = {"kind": type(reply).__name__, **vars(reply)}
    if "ledger" in found:
        found["ledger"] = list(vars(found["ledger"]).values())
    if "logits" in found:
        found["shape"] = list(found["logits"].shape)
        found["logits"] = found["logits"].tobytes().hex()
        found["weights_hash"] = found["weights_hash"].hex()
    if "stream" in found:
        found |= vars(found.pop("stream"))
        found["shape"] = list(found["shape"])
    return found


def decoded(codec, frames):
    return json.loads(codec.ask("decode", len(frames), *map(hexed, frames)))


def test_every_golden_message_is_written_or_read():
    assert {*REPLIES, *REQUESTS} == {path.stem for path in GOLDEN.iterdir()}


@pytest.mark.parametrize("name", REQUESTS)
def test_it_writes_these_bytes(codec, name):
    header, body = golden(name)
    assert codec.ask(*REQUESTS[name]) == f"{header.hex()} {body.hex() or '-'}"


@pytest.mark.parametrize("name", REPLIES)
def test_it_reads_these_bytes(codec, name):
    found = decoded(codec, golden(name))
    assert found["kind"] != "WireError"
    assert found == facts(golden(name))


@pytest.mark.parametrize("name", sorted(REQUESTS.keys() - {*REPLIES}))
def test_it_refuses_what_only_clients_send(codec, name):
    assert decoded(codec, golden(name)) == {"kind": "WireError", "code": "kind"}


def welcome(**changes):
    header, body = golden("welcome")
    return header, json.dumps(json.loads(body) | changes).encode()


def error(text):
    """An ERROR whose message is this JSON text."""
    header, _ = golden("error_put")
    return header, b'{"code":"label","retryable":false,"message":' + text + b"}"


ODD = {
    "no frames": (),
    "one frame": golden("ack")[:1],
    "three frames": (*golden("ack"), b""),
    "an empty header": (b"", b""),
    "a body that should be empty": (golden("ack")[0], b"x"),
    "a long JSON body": (golden("error_put")[0], b" " * 16_385),
    "an array": (golden("welcome")[0], b"[]"),
    "unknown keys": welcome(new=[1, {"deep": [None, True, 1.5e3, -0, "x"]}]),
    "a shape of two": welcome(sample={"shape": [2, 2], "dtype": "uint8"}),
    "a side of 0": welcome(sample={"shape": [2, 0, 1], "dtype": "uint8"}),
    "a side too long": welcome(sample={"shape": [2, 65_536, 1], "dtype": "uint8"}),
    "the longest sides": welcome(sample={"shape": [65_535] * 3, "dtype": "float32"}),
    "a side of true": welcome(sample={"shape": [2, True, 1], "dtype": "uint8"}),
    "a new dtype": welcome(sample={"shape": [2, 2, 1], "dtype": "float16"}),
    "no model": welcome(model={}),
    "a model that is null": welcome(model=None),
    "a whole heartbeat": welcome(heartbeat_s=2),
    "a negative heartbeat": welcome(heartbeat_s=-1.0),
    "the largest number": welcome(classes=2**64 - 1),
    "a number too large": welcome(classes=2**64),
    "a real for an integer": welcome(classes=10.0),
    "a boolean for an integer": welcome(classes=True),
    "escapes": error(rb'"\"\\\/\b\f\n\r\t\u00E9\u20ac\ud83d\ude00"'),
    "letters": error('"é€😀"'.encode()),
    "an unknown escape": error(rb'"\x41"'),
    "an escape that ends": error(rb'"\u00e'),
    "a control character": error(b'"a\nb"'),
    "half a letter": error(b'"\xe2\x82"'),
    "a zero byte": error(b'"a\0b"'),
    "NaN": (golden("welcome")[0], b'{"heartbeat_s":NaN}'),
    "a negative count": error(b'"x","count":-1'),
    "leading zeros": error(b'"x","count":01'),
    "a bare minus": error(b'"x","count":-'),
    "a heartbeat beyond doubles": (
        golden("welcome")[0],
        golden("welcome")[1].replace(b'"heartbeat_s":1.0', b'"heartbeat_s":1e999'),
    ),
    "the last of two keys": error(b'"x","count":1,"count":2'),
    "a trailing comma": error(b'"x",'),
    "words after the end": (golden("error_put")[0], golden("error_put")[1] + b"x"),
    "a deep body": (golden("error_put")[0], b"[" * 16_000),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_messages_are_read_as_python_reads_them(codec, name):
    assert decoded(codec, ODD[name]) == facts(ODD[name])


def test_hostile_bytes_are_judged_as_python_judges_them(codec):
    """Mutations of every golden message: same verdict, same values, and no finding."""
    rng = np.random.default_rng(6)
    refused = 0
    for round_number in range(4000):
        header, body = golden((*REPLIES, *REQUESTS)[round_number % 15])
        frames = [mutated(rng, header, 0.5), mutated(rng, body, 0.7)]
        found, wanted = decoded(codec, frames), facts(frames)
        if not halves_of_letters(frames[1]):
            assert found == wanted, frames
        refused += wanted["kind"] == "WireError"
    assert 1000 < refused < 3900  # the mutations are neither all fatal nor all harmless


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
NAMES = (
    *("code", "message", "remedy", "retryable", "first_seq", "count", "attempt", "request_id"),
    *("version", "producer", "max_message_bytes", "heartbeat_s", "sample", "classes", "model"),
    *("events", "shape", "dtype", "hash"),
)
CHANGES = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3)


@settings(max_examples=200, derandomize=True, database=None)
@given(kind=st.sampled_from(["welcome", "error_put"]), changes=CHANGES, inner=CHANGES)
def test_any_json_is_read_as_python_reads_it(codec, kind, changes, inner):
    """Fields of any type, missing, doubled in depth; NaN and infinities, which are no JSON."""
    header, body = golden(kind)
    fields = json.loads(body)
    if "sample" in fields:
        fields["sample"] |= inner
    text = json.dumps(fields | changes).encode()
    if not halves_of_letters(text):
        assert decoded(codec, (header, text)) == facts((header, text))


@settings(max_examples=400, derandomize=True, database=None)
@given(frames=st.lists(st.binary(max_size=80), max_size=4), kind=st.integers(0, 11))
def test_any_bytes_are_read_as_python_reads_them(codec, frames, kind):
    frames = [wire.MAGIC + bytes((1, kind, 0, 0)) + f[:56].ljust(56, b"\0") for f in frames]
    frames[1:] = [frame[8:] for frame in frames[1:]]
    if not any(map(halves_of_letters, frames)):
        assert decoded(codec, frames) == facts(frames)


def halves_of_letters(body):
    """Python's json keeps half a surrogate pair, which is no UTF-8; the SDK does not."""
    return b"\xed" in body or b"\\ud" in body.lower()


def mutated(rng, data, probability):
    data = bytearray(data)
    while rng.random() < probability:
        kind = rng.integers(5)
        at = int(rng.integers(len(data) + 1))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << int(rng.integers(8))
        elif kind == 1 and data:
            data[at % len(data)] = rng.choice([0, 0x7F, 0xFF, *b'"\\{}[]:,019-.eE'])
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 9))]
        elif kind == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 4:
            data[at:at] = data[at : at + 16]
    return bytes(data)


def test_the_fields_of_a_header_reach_their_limits(codec):
    ledger = wire.Ledger(2**64 - 1, 2**63, 2**32)
    for message in (wire.Ack(ledger), wire.Pong(2**64 - 1, ledger)):
        assert decoded(codec, message.frames()) == facts(message.frames())
