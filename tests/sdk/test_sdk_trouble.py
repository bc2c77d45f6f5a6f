"""The C++ client when the connection or the daemon fails, and when the daemon is hostile."""

import json
import tempfile

import numpy as np
import pytest
import zmq
from chaosproxy import ChaosProxy
from client_helpers import SHAPE, images, until
from cppclient import CppClient
from sdk_build import Driver, hexed

from eftraind import wire
from eftraind.client import FakeDaemon
from eftraind.errors import Disconnected, Refused
from eftraind.wire_decode import decode_request

LABELS = np.arange(16) % 10


def sids(daemon):
    return [item.sid for item in daemon.samples()]


def test_a_daemon_that_hangs_up(daemon, client):
    for at in range(10):
        client.push_batch(images(16, at), LABELS)
        daemon.disconnect()
    client.flush()
    assert sids(daemon) == list(range(1, 161))
    assert client.stats().reconnects >= 1


def test_a_daemon_that_stops_in_an_orderly_way(daemon, client):
    client.push_batch(images(16), LABELS)
    daemon.say_bye()
    client.push_batch(images(16), LABELS)
    client.flush()
    assert len(daemon.samples()) == 32


def test_a_crash_forgets_what_was_only_received(daemon, client):
    client.push_batch(images(16), LABELS)
    client.flush("durable")
    daemon.hold_durable()
    client.push_batch(images(16), LABELS)
    client.flush("received")
    assert client.stats().pending == 16
    daemon.crash()
    daemon.release_durable()
    client.flush("durable")
    assert sids(daemon) == list(range(1, 33))
    assert client.stats().resent == 16


def test_a_crash_loop_loses_and_doubles_nothing(daemon, client):
    for at in range(20):
        client.push_batch(images(16, at), LABELS)
        client.push(images(1, at)[0], 1)
        if at % 4 == 3:
            daemon.crash()
    client.flush()
    assert sids(daemon) == list(range(1, 341))
    assert client.stats().durable == 340


def test_lost_acknowledgements_heal_with_the_heartbeat(daemon, client):
    daemon.drop_acks(1000)
    client.push_batch(images(16), LABELS)
    client.flush()
    assert (client.stats().durable, client.stats().resent) == (16, 0)


def test_heartbeats_lost_mean_a_new_connection(daemon, client):
    daemon.freeze()
    until(lambda: not client.stats().connected)
    client.push_batch(images(16), LABELS)
    daemon.thaw()
    client.flush()
    assert len(daemon.samples()) == 16
    assert client.stats().reconnects >= 1


def test_inference_has_a_deadline(daemon, client):
    daemon.freeze()
    with pytest.raises(Disconnected):
        client.infer(images(1)[0], timeout_s=0.05)
    daemon.thaw()
    until(lambda: client.stats().connected)
    assert client.infer(images(1)[0], timeout_s=10.0).version == 1


def test_inference_is_asked_again(daemon, client):
    daemon.refuse_infer("engine_down", "busy")
    assert client.infer(images(1)[0], timeout_s=10.0).version == 1
    daemon.refuse_infer("shape")
    with pytest.raises(Refused) as caught:
        client.infer(images(1)[0])
    assert caught.value.code == "shape"
    daemon.refuse_infer(*["engine_down"] * 1000)
    with pytest.raises(Disconnected, match="a test wants this refused"):
        client.infer(images(1)[0], timeout_s=0.1)


def test_a_bad_network(programs):
    """Resets, then a black hole: over TCP, through the chaos proxy."""
    with FakeDaemon(endpoint="tcp://127.0.0.1:*", heartbeat_s=0.2) as daemon:
        proxy = ChaosProxy(daemon.endpoint)
        with CppClient(programs, proxy.endpoint) as client:
            for at in range(20):
                client.push_batch(images(16, at), LABELS)
                assert client.infer(images(1)[0], timeout_s=10.0).version == 1
                if at % 4 == 1:
                    proxy.reset()
            client.flush()
            proxy.mode = "black hole"
            client.push_batch(images(16), LABELS)
            until(lambda: not client.stats().connected)
            with pytest.raises(Disconnected, match="no connection"):
                client.flush(timeout_s=0.01)
            proxy.mode = "pass"
            proxy.reset()
            client.flush()
            assert sids(daemon) == list(range(1, 337))
            assert proxy.accepted >= 2
            client.close()
        proxy.close()


def hostile_messages(rng):
    """What a daemon could send by defect or by malice, without end."""
    ledger = wire.Ledger(0, 0, 10**6)
    stream = wire.Stream(SHAPE, "uint8", 10, 10**6)
    logits = np.zeros((2, 10), np.float32)
    honest = [
        wire.Welcome("cam", ledger, stream, 0.1, events="ipc://nowhere").frames(),
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


def test_a_hostile_daemon(programs):
    """1500 messages, each judged by a live client; then an honest daemon at the same address."""
    rng = np.random.default_rng(7)
    messages = hostile_messages(rng)
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    with tempfile.TemporaryDirectory(prefix="eft") as folder:
        endpoint = f"ipc://{folder}/s"
        router.bind(endpoint)
        with Driver(programs / "client_driver") as driver:
            driver.send("open", endpoint, "cam 1 1000000 60 1 -")
            sent, hellos = 0, 0
            while sent < 1500:
                assert router.poll(10_000), "the client fell silent"
                peer, *frames = router.recv_multipart()
                if isinstance(decode_request(frames), wire.Hello):
                    hellos += 1
                    welcome = wire.Welcome(
                        "cam", wire.Ledger(0, 0, 10**6), wire.Stream(SHAPE, "uint8", 10, 10**6), 0.1
                    )
                    router.send_multipart([peer, *welcome.frames()])
                    if hellos == 1:
                        assert driver.read() == '{"result":null}'
                    driver.send("batch u1", images(2).tobytes().hex(), "1 2")
                    driver.read()  # taken, refused or no connection: never a crash
                for _ in range(20):
                    router.send_multipart([peer, *next(messages)])
                    sent += 1
            router.close()
            context.term()
            driver.ask("destroy")
    assert hellos > 3


def test_messages_that_are_too_large_break_the_connection(programs):
    """The bound on a client's memory: libzmq drops the connection, and the client comes back."""
    huge = bytes((64 << 20) + 1)
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    with tempfile.TemporaryDirectory(prefix="eft") as folder:
        router.bind(f"ipc://{folder}/s")
        with Driver(programs / "client_driver") as driver:
            driver.send("open", f"ipc://{folder}/s", "cam 0 1000000 60 1 -")
            peer, *_ = router.recv_multipart()
            router.send_multipart([peer, bytes(64), huge])
            assert router.poll(10_000)
            again, *frames = router.recv_multipart()
            assert again != peer
            assert isinstance(decode_request(frames), wire.Hello)
            stream = wire.Stream(SHAPE, "uint8", 10, 10**6)
            welcome = wire.Welcome("cam", wire.Ledger(0, 0, 10**6), stream, 1.0)
            router.send_multipart([again, *welcome.frames()])
            assert driver.read() == '{"result":null}'
            router.close()
            context.term()


def test_a_hostile_greeting(programs):
    """The same messages where WELCOME is awaited: any of them may be believed, none may crash."""
    messages = hostile_messages(np.random.default_rng(8))
    phases = set()
    with Driver(programs / "session_driver") as driver:
        for now in range(500):
            driver.ask("new cam", now % 3, 1000)
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
