"""Each client when the connection or the daemon fails: resend, no doubles, no silence."""

import os
import socket
import tempfile
from dataclasses import replace

import numpy as np
import pytest
from chaosproxy import ChaosProxy
from client_helpers import images, until
from rawdaemon import Opening, RawDaemon

from eftraind import wire
from eftraind.client import FakeDaemon
from eftraind.errors import Disconnected, Refused

LABELS = np.arange(16) % 10


def sids(daemon):
    return [item.sid for item in daemon.samples()]


@pytest.fixture
def proxied(make):
    with FakeDaemon(endpoint="tcp://127.0.0.1:*", heartbeat_s=0.2) as daemon:
        proxy = ChaosProxy(daemon.endpoint)
        with make(proxy.endpoint) as client:
            yield daemon, proxy, client
        proxy.close()


@pytest.fixture
def raw_client(make, raw):
    opening = Opening(make, raw.endpoint)
    with raw.admit(opening) as client:
        yield client
        client.close(flush_timeout_s=0)


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


def test_a_newer_client_supersedes(make, daemon, client):
    client.push(images(1)[0], 1)
    client.flush()
    with make(daemon.endpoint) as newer:
        until(lambda: not client.stats().connected)
        with pytest.raises(Refused) as caught:
            client.push(images(1)[0], 1)
        assert caught.value.code == "superseded"
        assert newer.push(images(1)[0], 2) == 2


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


def test_an_idle_connection_stays(make, raw):
    raw.welcome = replace(raw.welcome, heartbeat_s=0.4)
    with raw.admit(Opening(make, raw.endpoint)) as client:
        for _ in range(4):  # longer than silence may last
            ping = raw.receive_any()
            assert isinstance(ping, wire.Ping)
            raw.send(*wire.Pong(ping.token, raw.welcome.ledger).frames())
        assert client.stats().reconnects == 0


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


def test_inference_survives_a_crash(daemon, client):
    daemon.delay(0.2)
    daemon.disconnect()
    assert client.infer(images(1)[0], timeout_s=10.0).version == 1


# Over TCP, through the chaos proxy...


def test_resets(proxied):
    daemon, proxy, client = proxied
    for at in range(20):
        client.push_batch(images(16, at), LABELS)
        assert client.infer(images(1)[0], timeout_s=10.0).version == 1
        if at % 4 == 1:
            proxy.reset()
    client.flush()
    assert sids(daemon) == list(range(1, 321))
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
    assert sids(daemon) == list(range(1, 33))


# A daemon that speaks nonsense...


@pytest.mark.parametrize(
    "frames",
    [(b"nonsense", b""), (b"",), wire.Hello("x").frames(), wire.Error("internal", "?").frames()],
    ids=["garbage", "one part", "a client's message", "error about nothing"],
)
def test_nonsense_means_a_new_connection(raw, raw_client, frames):
    raw_client.push(images(1)[0], 1)
    assert raw.receive(wire.Put).first_seq == 1
    raw.send(*frames)
    raw.greet()
    put = raw.receive(wire.Put)
    assert (put.first_seq, put.follows) == (1, 0)
    raw.send(*wire.Ack(wire.Ledger(1, 1, 10**6)).frames())
    raw_client.flush()


def test_hello_required_means_hello(raw, raw_client):
    raw_client.push(images(1)[0], 1)
    raw.receive(wire.Put)
    raw.send(*wire.Error("hello_required", "who are you", retryable=True).frames())
    assert raw.receive(wire.Hello).producer == "cam"


def test_a_client_says_at_each_hello_which_one_it_is(make, raw, raw_client):
    instances = set()
    for _ in range(2):
        raw.receive(wire.Ping)
        raw.send(*wire.Bye().frames())
        instances.add(raw.greet().instance)
    assert len(instances) == 1 and len(instances.pop()) == 16


def test_a_hello_refused_for_good(make, raw):
    opening = Opening(make, raw.endpoint)
    with pytest.raises(Refused) as caught:
        raw.reply(opening, wire.Error("version", "too old"))
    assert caught.value.code == "version"


def test_a_ledger_that_no_daemon_can_have(make, raw):
    """Its numbers would wrap around: not believed, asked again."""
    opening = Opening(make, raw.endpoint)
    honest = raw.welcome
    raw.receive(wire.Hello)
    raw.send(*wire.Welcome("cam", wire.Ledger(2**64 - 1, 0, 0), honest.stream, 1.0).frames())
    with raw.admit(opening) as client:
        assert client.push(images(1)[0], 1) == 1
        client.close(flush_timeout_s=0)


def test_byes_are_said(raw, raw_client):
    raw_client.close(flush_timeout_s=0)
    raw.receive(wire.Bye)


def test_a_daemon_at_an_address_of_ipv6(make):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    raw = RawDaemon("tcp://[::1]:*")
    opening = Opening(make, raw.endpoint)
    with raw.admit(opening) as client:
        assert client.stats().connected
        client.close(flush_timeout_s=0)
    raw.close()


def test_no_daemon(make):
    with pytest.raises(Disconnected, match="did not answer") as caught:
        make("ipc:///tmp/eft-nobody-listens", connect_timeout_s=0.2)
    assert "is eftraind running" in str(caught.value)


def test_a_daemon_that_comes_later(make):
    """It hangs up on the first attempt and is gone; the client goes on trying."""
    with tempfile.TemporaryDirectory(prefix="eft") as folder:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/s")
            listener.listen()
            opening = Opening(make, f"ipc://{folder}/s")
            listener.accept()[0].close()
        os.unlink(f"{folder}/s")
        raw = RawDaemon(f"ipc://{folder}/s")
        with raw.admit(opening) as client:
            assert client.stats().connected
            client.close(flush_timeout_s=0)
        raw.close()
