"""A hostile daemon, against a live client of each SDK: no message may crash or silence it."""

import contextlib
import json
import tempfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from client_helpers import images, until
from cppclient import CppClient
from rawdaemon import STREAM, Opening, RawDaemon
from sdk_build import Driver, hexed

from eftraind import wire
from eftraind.errors import ClientError


def hostile_messages(rng):
    """What a daemon could send by defect or by malice, without end."""
    ledger = wire.Ledger(0, 0, 10**6)
    logits = np.zeros((2, 10), np.float32)
    honest = [
        wire.Welcome("cam", ledger, STREAM, 0.1, events="ipc://nowhere").frames(),
        wire.Welcome("cam", ledger, wire.Stream((65535,) * 3, "float32", 1, 0), 0.0).frames(),
        wire.Ack(wire.Ledger(2**64 - 1, 2**64 - 1, 2**64 - 1)).frames(),
        wire.Error("label", "x" * 9000, first_seq=1, count=2**32 - 1, ledger=ledger).frames(),
        wire.Error("sequence", "again", retryable=True, first_seq=1, count=1).frames(),
        wire.Error("busy", "later", retryable=True, request_id=1).frames(),
        wire.Prediction(1, 2**64 - 1, bytes(16), logits).frames(),
        wire.Pong(2**64 - 1, ledger).frames(),
        wire.Bye().frames(),
    ]
    while True:
        frames = [bytearray(frame) for frame in honest[rng.integers(len(honest))]]
        for frame in frames:
            while frame and rng.random() < 0.4:
                frame[rng.integers(len(frame))] = rng.integers(256)
        if rng.random() < 0.05:
            frames = [rng.bytes(int(rng.integers(100))) for _ in range(rng.integers(1, 5))]
        yield [bytes(frame) for frame in frames]


@pytest.mark.parametrize("seed", range(2))
def test_a_hostile_daemon(make, seed):
    """1000 messages, each judged by a live client, which never falls silent."""
    messages = hostile_messages(np.random.default_rng(seed))
    with tempfile.TemporaryDirectory(prefix="eft") as folder:
        raw = RawDaemon(f"ipc://{folder}/s")
        opening = Opening(lambda endpoint: make(endpoint, policy="drop_oldest"), raw.endpoint)
        with raw.admit(opening) as client:
            hellos = 0
            for _ in range(50):
                with contextlib.suppress(ClientError):
                    client.push_batch(images(2), [1, 2])
                if isinstance(raw.receive_any(), wire.Hello):
                    hellos += 1
                    raw.send(*raw.welcome.frames())
                for _ in range(20):
                    raw.send(*next(messages))
            raw.send(*wire.Bye().frames())
            raw.greet()
            until(lambda: client.stats().connected)
            client.close(flush_timeout_s=0)
        raw.close()
    assert hellos > 3


def test_hostile_events(daemon, client):
    client.listen()

    def publish(*frames):
        daemon._in_thread(lambda: daemon._publish(list(frames)))

    def heard():
        publish(b"one frame")
        publish(b"three", b"{}", b"")
        publish(b"score", b"no JSON")
        publish(b"score", b"[" * 100_000)
        publish(b"score", b'"\xff"')
        publish(b"\xff", b"{}")
        publish(b"score", b"1")
        return any(words == "event score 1" for words in client.heard())

    until(heard)
    assert client.infer(images(1)[0], timeout_s=10.0).version == 1


@pytest.mark.parametrize("events", ["nonsense", "tcp://", "tcp://a b:1", "ipc://" + "x" * 200])
def test_an_endpoint_for_events_that_is_none(make, raw, events):
    """Without events, samples still go their way."""
    raw.welcome = replace(raw.welcome, events=events)
    opening = Opening(make, raw.endpoint)
    with raw.admit(opening) as client:
        client.listen()
        assert client.push(images(1)[0], 1) == 1
        raw.receive(wire.Put)
        client.close(flush_timeout_s=0)


def test_an_event_that_is_too_large(programs, daemon):
    """Parsed it would take a hundred times its size."""
    with CppClient(programs, daemon.endpoint) as client:
        client.listen()

        def told():
            daemon.emit("score", [0] * 600_000)
            return any("an event has" in words for words in client.heard())

        until(told)


def test_messages_that_are_too_large_break_the_connection(programs, raw):
    """The bound on a C++ client's memory: libzmq drops the connection; the client comes back."""
    opening = Opening(partial(CppClient, programs), raw.endpoint)
    raw.receive(wire.Hello)
    before = raw.peer
    raw.send(bytes(64), bytes((64 << 20) + 1))
    with raw.admit(opening) as client:
        assert raw.peer != before
        client.close(flush_timeout_s=0)


def test_a_hostile_greeting(programs):
    """The same messages where WELCOME is awaited: any of them may be believed, none may crash."""
    messages = hostile_messages(np.random.default_rng(8))
    phases = set()
    with Driver(programs / "session_driver") as driver:
        for now in range(500):
            driver.ask("new cam", now % 3, 1000, "one")
            driver.ask("opened", 0.0)
            for at in range(6):
                frames = next(messages)
                driver.ask("receive", 0.1 * at, len(frames), *map(hexed, frames))
                driver.ask("one", 0.1 * at, images(1).tobytes().hex(), 1)
                driver.ask("batch", 0.1 * at, images(5).tobytes().hex(), "1 2 3 4 5")
                driver.ask("tick", 0.1 * at)
                answer = json.loads(driver.ask("next", 0.1 * at))
                phases.add(answer["state"]["phase"])
    assert phases == {"IDLE", "GREETING", "READY", "ENDED"}
