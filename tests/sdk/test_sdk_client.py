"""What only the C++ client has: a destructor, threads of its own, and Python's frames to match."""

import threading

import numpy as np
import pytest
from client_helpers import images
from cppclient import CppClient

from eftraind.client import Client, FakeDaemon


@pytest.fixture
def client(programs, daemon):
    with CppClient(programs, daemon.endpoint) as client:
        yield client


def test_a_client_without_a_name(programs, daemon):
    with CppClient(programs, daemon.endpoint, producer="-") as client:
        client.push_batch(images(2), [1, 2])
        client.flush()
    assert daemon.samples()[0].producer.startswith("anon-")


def test_the_destructor_waits_for_durability(daemon, client):
    client.push_batch(images(4), [1] * 4)
    client.ask("destroy")
    assert len(daemon.samples()) == 4


def test_the_destructor_never_throws(daemon, client):
    daemon.refuse("label")
    client.push_batch(images(4), [1] * 4)
    client.ask("destroy")
    refused, logged = client.heard()
    assert refused == "refused label 1 4"
    assert logged.startswith("log closing failed: 4 operations were refused")


def test_an_exception_is_not_held_up_by_the_destructor(daemon, client):
    daemon.hold_durable()
    client.push_batch(images(4), [1] * 4)
    client.ask("unwind")
    assert client.heard() == ["refused closed 1 4"]


def script(client):
    """Operations of every kind; each flush ends a message: no clock decides what it holds."""
    sids = client.push_batch(images(7), [0, 1, 2, -1, -1, 5, 6])
    client.flush()
    for image in images(3, seed=1):
        client.push(image, 4)
        client.flush("received")
    client.label([sids[3], sids[4]], [3, 4])
    client.label(sids[5], 9)
    client.flush()
    client.withdraw([sids[0], sids[1]])
    client.withdraw(sids[2])
    client.push_batch(images(40), np.arange(40) % 10)  # more than one message
    client.flush()


def test_the_same_script_gives_the_same_frames(programs):
    """Every PUT of the Python and of the C++ client, byte for byte, over real sockets."""
    puts = []
    for make in (Client, lambda endpoint, producer: CppClient(programs, endpoint, producer)):
        with FakeDaemon(max_message_bytes=64 + 68 * 16) as daemon:
            with make(daemon.endpoint, producer="cam") as client:
                script(client)
            puts.append([(put.header, bytes(put.body)) for _, put in daemon.state._log])
    assert len(puts[0]) == 1 + 3 + 2 + 2 + 3
    assert puts[0] == puts[1]


def test_many_threads_share_a_client(programs, daemon):
    with CppClient(programs, daemon.endpoint, producer="threads") as client:
        stop = threading.Event()

        def swaps():
            while not stop.wait(0.01):
                daemon.swap(3)

        client.listen()
        noise = threading.Thread(target=swaps)
        noise.start()
        try:
            client.ask("storm", 8, 25, "u1", images(1)[0].tobytes().hex())
        finally:
            stop.set()
            noise.join()
        assert client.stats().durable == 8 * 25 * 3
    assert len(daemon.samples("threads")) == 8 * 25 * 2
    assert all(item.label >= 0 for item in daemon.samples("threads"))


def test_a_close_ends_every_call_that_waits(programs, daemon):
    """Sometimes it comes before them, sometimes while they wait: never does one wait on."""
    daemon.hold_durable()
    daemon.refuse_infer(*["engine_down"] * 100_000)
    for _ in range(20):
        with CppClient(programs, daemon.endpoint) as client:
            assert client.ask("leave", 6, "u1", images(1)[0].tobytes().hex()) == 6
