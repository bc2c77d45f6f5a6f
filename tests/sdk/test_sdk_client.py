"""The C++ client against a FakeDaemon: the same calls and guarantees as Python's."""

import threading

import numpy as np
import pytest
from client_helpers import images, until
from cppclient import CppClient

from eftraind.client import Client, FakeDaemon
from eftraind.errors import Backpressure, ClientError, Closed, Disconnected, Refused

LABELS = np.arange(16) % 10


def test_everything_once(daemon, client):
    first = client.push(images(1)[0])
    more = client.push_batch(images(4), [0, 1, -1, 3])
    client.label(first, 9)
    client.label([more[2], more[1]], [5, 6])
    client.withdraw(more[3])
    client.flush("received")
    client.flush()
    stored = daemon.samples()
    assert [(item.sid, item.label) for item in stored] == [(1, 9), (2, 0), (3, 6), (4, 5)]
    assert np.array_equal(stored[1].sample, images(4)[0])
    assert client.stats().durable == client.stats().pushed == 9
    assert client.stats().pending_bytes == 0


def test_predictions(daemon, client):
    batch = images(50)
    answer = client.infer(batch, timeout_s=5.0)
    assert answer.labels.tolist() == (batch.reshape(50, -1).sum(axis=1) % 10).tolist()
    assert (answer.version, answer.weights_hash) == (1, daemon.state.weights_hash.hex())


def test_floats(programs):
    with FakeDaemon(shape=(3, 2, 4), dtype="float32") as daemon:
        with CppClient(programs, daemon.endpoint) as client:
            batch = np.linspace(-1, 1, 5 * 24, dtype=np.float32).reshape(5, 3, 2, 4)
            client.push_batch(batch, range(5))
            client.flush()
            assert np.array_equal([item.sample for item in daemon.samples()], batch)
            with pytest.raises(Refused) as caught:
                client.push(np.full((3, 2, 4), np.nan, np.float32))
            assert caught.value.code == "nonfinite"
            with pytest.raises(Refused) as caught:
                client.push(np.zeros((3, 2, 4), np.uint8))
            assert caught.value.code == "dtype"


def test_singles_travel_together(daemon, client):
    for at, image in enumerate(images(200)):
        assert client.push(image, 1) == at + 1
    client.flush()
    assert [item.sid for item in daemon.samples()] == list(range(1, 201))


def test_a_batch_larger_than_a_message(programs):
    with FakeDaemon(max_message_bytes=64 + 68 * 10) as daemon:
        with CppClient(programs, daemon.endpoint) as client:
            assert client.push_batch(images(25), [1] * 25) == range(1, 26)
            client.flush()
            assert (len(daemon.samples()), daemon.state.puts) == (25, 3)


def test_numbering_continues_for_a_named_producer(programs, daemon):
    for start in (1, 17):
        with CppClient(programs, daemon.endpoint, producer="left") as client:
            assert client.push_batch(images(16), LABELS)[0] == start
            client.close()
    assert len(daemon.samples("left")) == 32


def test_a_client_without_a_name(programs, daemon):
    with CppClient(programs, daemon.endpoint, producer="-") as client:
        client.push_batch(images(2), [1, 2])
        client.flush()
    assert daemon.samples()[0].producer.startswith("anon-")


def test_events(daemon, client):
    client.listen("swapped")
    client.listen("-", "throw")

    def heard():
        daemon.swap(7)
        heard.words += client.heard()
        return len(heard.words) > 3

    heard.words = []
    until(heard)
    assert any(words.startswith('event swapped {"version": 7') for words in heard.words)
    assert any("a callback that throws" in words for words in heard.words)
    daemon.emit("score", {"nested": [1, {"x": None}]})
    until(lambda: any("nested" in words for words in client.heard()))
    client.push(images(1)[0], 1)
    client.flush()  # the thread outlived what its callbacks threw


def test_a_callback_cannot_wait(daemon, client):
    client.listen("swapped", "wait")

    def told():
        daemon.swap(2)
        return any("a callback cannot wait" in words for words in client.heard())

    until(told)


def test_refusals_are_told_and_raised(daemon, client):
    daemon.refuse("label")
    client.push_batch(images(4), [0, 1, 2, 3])
    client.push_batch(images(4), [0, 1, 2, 3])
    with pytest.raises(Refused) as caught:
        client.flush()
    assert caught.value.code == "label"
    assert "refused label 1 4" in client.heard()
    client.flush()
    assert [item.sid for item in daemon.samples()] == [5, 6, 7, 8]
    assert client.stats().refused == {"label": 4}


def test_policy_block(programs, daemon):
    daemon.hold_durable()
    with CppClient(programs, daemon.endpoint, max_pending_bytes=4450, push_timeout_s=0.1) as client:
        client.push_batch(images(64), np.zeros(64, int))
        with pytest.raises(Backpressure):
            client.push_batch(images(64), np.zeros(64, int))
        daemon.release_durable()
        client.flush()
        client.push_batch(images(64), np.zeros(64, int))
        client.flush()
    assert len(daemon.samples()) == 128


def test_policy_refuse(programs, daemon):
    daemon.hold_durable()
    options = {"policy": "refuse", "max_pending_bytes": 4450}
    with CppClient(programs, daemon.endpoint, **options) as client:
        client.push_batch(images(64), np.zeros(64, int))
        with pytest.raises(Backpressure):
            client.push(images(1)[0])
        daemon.release_durable()


def test_policy_drop_oldest(programs):
    with FakeDaemon(credit_bytes=4600) as daemon:
        daemon.hold_durable()
        options = {"policy": "drop_oldest", "max_pending_bytes": 10_000}
        with CppClient(programs, daemon.endpoint, **options) as client:
            for _ in range(10):
                client.push_batch(images(64), np.zeros(64, int))
                assert client.stats().pending_bytes <= 10_000
            until(lambda: client.stats().received)
            daemon.release_durable()
            client.flush()
            stats = client.stats()
            assert stats.durable + stats.dropped == stats.pushed == 640
            assert stats.dropped >= 64
            told = [words for words in client.heard() if words.startswith("refused dropped")]
            assert sum(int(words.split()[3]) for words in told) == stats.dropped


def test_no_daemon(programs):
    nobody = "ipc:///tmp/eft-nobody-listens"
    with pytest.raises(Disconnected, match="did not answer"):
        CppClient(programs, nobody, connect_timeout_s=0.2)


@pytest.mark.parametrize(
    ("endpoint", "options", "words"),
    [
        ("nonsense", {}, "cannot connect"),
        ("ipc:///tmp/x", {"producer": "a/b"}, "no producer name"),
        ("ipc:///tmp/x", {"producer": "x" * 65}, "no producer name"),
        ("ipc:///tmp/x", {"keys": ("short", "x" * 40, "x" * 40)}, "has 5 characters"),
    ],
)
def test_bad_arguments(programs, endpoint, options, words):
    with pytest.raises(ClientError, match=words):
        CppClient(programs, endpoint, **options)


def test_closing(daemon, client):
    client.push_batch(images(4), [1] * 4)
    client.close()
    client.close()
    assert len(daemon.samples()) == 4
    with pytest.raises(Closed):
        client.push(images(1)[0], 1)
    with pytest.raises(Closed):
        client.infer(images(1)[0])
    assert client.stats().durable == 4


def test_closing_tells_what_is_not_stored(daemon, client):
    daemon.hold_durable()
    client.push_batch(images(4), [1] * 4)
    with pytest.raises(Disconnected, match="4 operations are not durable"):
        client.close(0.2)
    assert "refused closed 1 4" in client.heard()


def test_the_destructor_waits_for_durability(daemon, client):
    client.push_batch(images(4), [1] * 4)
    client.ask("destroy")
    assert len(daemon.samples()) == 4


def test_the_destructor_never_throws(daemon, client):
    daemon.refuse("label")
    client.push_batch(images(4), [1] * 4)
    client.ask("destroy")
    assert client.heard() == ["refused label 1 4"]


def test_an_exception_is_not_held_up_by_the_destructor(daemon, client):
    daemon.hold_durable()
    client.push_batch(images(4), [1] * 4)
    client.ask("unwind")
    assert client.heard() == ["refused closed 1 4"]


def test_a_newer_client_supersedes(programs, daemon, client):
    client.push(images(1)[0], 1)
    client.flush()
    with CppClient(programs, daemon.endpoint) as newer:
        until(lambda: not client.stats().connected)
        with pytest.raises(Refused) as caught:
            client.push(images(1)[0], 1)
        assert caught.value.code == "superseded"
        assert newer.push(images(1)[0], 2) == 2


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
