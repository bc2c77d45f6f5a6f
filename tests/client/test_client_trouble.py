"""Client when the connection or the daemon fails: reconnect, resend, no duplicates, no silence."""

import tempfile
import threading

import numpy as np
import pytest
import zmq
from chaosproxy import ChaosProxy
from client_helpers import SHAPE, images, quick, until

from eftraind import wire
from eftraind.client import Client, Disconnected, FakeDaemon, Refused
from eftraind.wire_decode import decode_request

LABELS = np.arange(16) % 10


@pytest.fixture
def proxied():
    with FakeDaemon(endpoint="tcp://127.0.0.1:*", heartbeat_s=0.2) as daemon:
        proxy = ChaosProxy(daemon.endpoint)
        client = Client(proxy.endpoint, settings=quick())
        yield daemon, proxy, client
        client.close(flush_timeout_s=0)
        proxy.close()


def test_a_daemon_that_hangs_up(daemon, client):
    for at in range(10):
        client.push_batch(images(16, at), LABELS)
        daemon.disconnect()
    client.flush()
    assert [item.sid for item in daemon.samples()] == list(range(1, 161))
    assert client.stats().reconnects >= 1


def test_a_daemon_that_stops_in_an_orderly_way(daemon, client):
    client.push_batch(images(16), LABELS)
    daemon.say_bye()
    client.push_batch(images(16), LABELS)
    client.flush()
    assert len(daemon.samples()) == 32


def test_a_daemon_that_crashes_forgets_what_was_only_received(daemon, client):
    client.push_batch(images(16), LABELS)
    client.flush("durable")
    daemon.hold_durable()
    client.push_batch(images(16), LABELS)
    client.flush("received")
    assert client.stats().pending == 16
    daemon.crash()
    daemon.release_durable()
    client.flush("durable")
    assert [item.sid for item in daemon.samples()] == list(range(1, 33))
    assert client.stats().resent == 16


def test_a_crash_loop_loses_and_doubles_nothing(daemon, client):
    for at in range(20):
        client.push_batch(images(16, at), LABELS)
        client.push(images(1, at)[0], 1)
        if at % 4 == 3:
            daemon.crash()
    client.flush()
    assert [item.sid for item in daemon.samples()] == list(range(1, 341))
    assert client.stats().durable == 340


def test_numbering_continues_for_a_named_producer(daemon):
    for start in (1, 17):
        with Client(daemon.endpoint, producer="cam-left") as client:
            assert client.push_batch(images(16), LABELS)[0] == start
    assert len(daemon.samples("cam-left")) == 32


def test_a_newer_client_supersedes(daemon):
    old = Client(daemon.endpoint, settings=quick())
    old.push(images(1)[0], 1)
    old.flush()
    with Client(daemon.endpoint, producer="cam") as new:
        until(lambda: not old.stats().connected)
        with pytest.raises(Refused) as caught:
            old.push(images(1)[0], 1)
        assert caught.value.code == "superseded"
        assert new.push(images(1)[0], 2) == 2
    old.close()


def test_lost_acknowledgements_heal_with_the_heartbeat(daemon, client):
    daemon.drop_acks(1000)
    client.push_batch(images(16), LABELS)
    client.flush(timeout_s=5)
    assert client.stats().durable == 16
    assert client.stats().resent == 0


def test_heartbeats_lost_mean_a_new_connection(daemon, client):
    daemon.freeze()
    until(lambda: not client.stats().connected)
    client.push_batch(images(16), LABELS)
    daemon.thaw()
    client.flush()
    assert len(daemon.samples()) == 16
    assert client.stats().reconnects >= 1


def test_an_idle_connection_stays(daemon, client):
    marks = client._session._pinged_at
    until(lambda: client._session._pinged_at > marks + 0.5)
    assert client.stats().reconnects == 0


def test_inference_has_a_deadline(daemon, client):
    daemon.freeze()
    with pytest.raises(Disconnected):
        client.infer(images(1)[0], timeout_s=0.05)
    daemon.thaw()
    until(lambda: client.stats().connected)
    assert client.infer(images(1)[0], timeout_s=5.0).version == 1


def test_inference_is_asked_again(daemon, client):
    daemon.refuse_infer("engine_down", "busy")
    assert client.infer(images(1)[0], timeout_s=5.0).version == 1
    daemon.refuse_infer("shape")
    with pytest.raises(Refused) as caught:
        client.infer(images(1)[0])
    assert caught.value.code == "shape"
    daemon.refuse_infer(*["engine_down"] * 1000)
    with pytest.raises(Disconnected, match="a test wants this refused"):
        client.infer(images(1)[0], timeout_s=0.1)


def test_inference_survives_a_crash(daemon, client):
    daemon.delay(0.2)
    daemon.disconnect()
    assert client.infer(images(1)[0], timeout_s=5.0).version == 1


# Over TCP, through the chaos proxy...


def test_resets(proxied):
    daemon, proxy, client = proxied
    for at in range(20):
        client.push_batch(images(16, at), LABELS)
        if at % 4 == 1:
            proxy.reset()
    client.flush()
    assert [item.sid for item in daemon.samples()] == list(range(1, 321))
    assert proxy.accepted >= 2


def test_a_black_hole(proxied):
    daemon, proxy, client = proxied
    client.push_batch(images(16), LABELS)
    client.flush()
    proxy.mode = "black hole"
    client.push_batch(images(16), LABELS)
    until(lambda: not client.stats().connected)
    with pytest.raises(Disconnected, match="no connection"):
        client.flush(timeout_s=0.01)
    proxy.mode = "pass"
    proxy.reset()
    client.flush()
    assert [item.sid for item in daemon.samples()] == list(range(1, 33))


def test_resets_while_predictions_are_asked_for(proxied):
    _, proxy, client = proxied
    for at in range(20):
        if at % 5 == 2:
            proxy.reset()
        assert client.infer(images(1)[0], timeout_s=10.0).version == 1


# A daemon that speaks nonsense: a raw ROUTER...


class Raw:
    def __init__(self, tmp):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.endpoint = f"ipc://{tmp}"
        self.socket.bind(self.endpoint)
        self.welcome = wire.Welcome(
            "cam", wire.Ledger(0, 0, 10**6), wire.Stream(SHAPE, "uint8", 10, 10**6), 0.1
        )

    def receive(self, kind):
        while True:
            assert self.socket.poll(5000), f"no {kind.__name__} came"
            self.peer, *frames = self.socket.recv_multipart()
            request = decode_request(frames)
            if isinstance(request, kind):
                return request

    def send(self, *frames):
        self.socket.send_multipart([self.peer, *frames])

    def close(self):
        self.socket.close(0)
        self.context.term()


@pytest.fixture
def raw():
    with tempfile.TemporaryDirectory(prefix="eft") as folder:
        daemon = Raw(f"{folder}/s")
        yield daemon
        daemon.close()


@pytest.fixture
def raw_client(raw):
    clients = []
    thread = threading.Thread(target=lambda: clients.append(Client(raw.endpoint, settings=quick())))
    thread.start()
    raw.receive(wire.Hello)
    raw.send(*raw.welcome.frames())
    thread.join()
    yield clients[0]
    clients[0].close(flush_timeout_s=0)


@pytest.mark.parametrize(
    "frames",
    [(b"nonsense", b""), (b"",), wire.Hello("x").frames(), wire.Error("internal", "?").frames()],
    ids=["garbage", "one part", "a client's message", "error about nothing"],
)
def test_nonsense_means_a_new_connection(raw, raw_client, frames):
    raw_client.push(images(1)[0], 1)
    assert raw.receive(wire.Put).first_seq == 1
    raw.send(*frames)
    raw.receive(wire.Hello)
    raw.send(*raw.welcome.frames())
    put = raw.receive(wire.Put)
    assert (put.first_seq, put.follows) == (1, 0)
    raw.send(*wire.Ack(wire.Ledger(1, 1, 10**6)).frames())
    raw_client.flush()


def test_hello_required_means_hello(raw, raw_client):
    raw_client.push(images(1)[0], 1)
    raw.receive(wire.Put)
    raw.send(*wire.Error("hello_required", "who are you", retryable=True).frames())
    assert raw.receive(wire.Hello).producer == "cam"


def test_a_hello_refused_for_good():
    with tempfile.TemporaryDirectory(prefix="eft") as folder:
        raw = Raw(f"{folder}/s")
        errors = []

        def connect():
            try:
                Client(raw.endpoint, settings=quick())
            except Refused as error:
                errors.append(error.code)

        thread = threading.Thread(target=connect)
        thread.start()
        raw.receive(wire.Hello)
        raw.send(*wire.Error("version", "too old").frames())
        thread.join()
        raw.close()
    assert errors == ["version"]


def test_byes_are_said(raw, raw_client):
    raw_client.close(flush_timeout_s=0)
    raw.receive(wire.Bye)
