"""Each client against a FakeDaemon: what users call, what they get, what they are told."""

from dataclasses import replace

import numpy as np
import pytest
from client_helpers import images, until
from rawdaemon import Opening

from eftraind import wire
from eftraind.client import FakeDaemon
from eftraind.errors import Backpressure, ClientError, Closed, Disconnected, Refused

ZEROS = np.zeros(64, int)


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
    assert np.array_equal([item.sample for item in stored[1:]], images(4)[:3])
    assert client.stats().durable == client.stats().pushed == 9
    assert client.stats().pending_bytes == 0


def test_predictions(daemon, client):
    batch = images(50)
    wanted = batch.reshape(50, -1).sum(axis=1) % 10
    answer = client.infer(batch, timeout_s=10.0)
    assert answer.labels.tolist() == wanted.tolist()
    assert np.allclose(answer.probabilities.sum(axis=1), 1.0)
    assert (answer.version, answer.weights_hash) == (1, daemon.state.weights_hash.hex())
    daemon.swap(2)
    after = client.infer(batch[0], timeout_s=10.0)
    assert (after.label, after.version) == (wanted[0], 2)
    assert after.weights_hash not in ("", answer.weights_hash)


def test_floats(make):
    with FakeDaemon(shape=(3, 2, 4), dtype="float32") as daemon, make(daemon.endpoint) as client:
        batch = np.linspace(-1, 1, 5 * 24, dtype=np.float32).reshape(5, 3, 2, 4)
        client.push_batch(batch, range(5))
        client.flush()
        assert np.array_equal([item.sample for item in daemon.samples()], batch)
        bad = np.full((3, 2, 4), np.nan, np.float32)
        for call in (client.push, client.infer, lambda x: client.push_batch(x[None], [1])):
            with pytest.raises(Refused) as caught:
                call(bad)
            assert caught.value.code == "nonfinite"
        with pytest.raises(Refused) as caught:
            client.push(np.zeros((3, 2, 4), np.uint8))
        assert caught.value.code == "dtype"


def test_singles_travel_together(daemon, client):
    for at, image in enumerate(images(200)):
        assert client.push(image, 1) == at + 1
    client.flush()
    assert [item.sid for item in daemon.samples()] == list(range(1, 201))


def test_a_batch_larger_than_a_message(make):
    with FakeDaemon(max_message_bytes=64 + 68 * 10) as daemon, make(daemon.endpoint) as client:
        assert client.push_batch(images(25), [1] * 25) == range(1, 26)
        client.flush()
        assert (len(daemon.samples()), daemon.state.puts) == (25, 3)
        with pytest.raises(Refused, match="do not fit one message") as caught:
            client.infer(images(20))
        assert caught.value.code == "too_large"


def test_numbering_continues_for_a_named_producer(make, daemon):
    for start in (1, 17):
        with make(daemon.endpoint, producer="left") as client:
            assert client.push_batch(images(16), [1] * 16)[0] == start
            client.close()
    assert len(daemon.samples("left")) == 32


# Refusals...


def test_refusals_are_told_and_raised(daemon, client):
    daemon.refuse("label")
    client.push_batch(images(4), [0, 1, 2, 3])
    client.push_batch(images(4), [0, 1, 2, 3])
    with pytest.raises(Refused, match="4 operations were refused") as caught:
        client.flush()
    assert caught.value.code == "label"
    assert client.heard() == ["refused label 1 4"]
    client.flush()  # said once
    assert [item.sid for item in daemon.samples()] == [5, 6, 7, 8]
    assert client.stats().refused == {"label": 4}


@pytest.mark.parametrize("code", ["busy", "journal_full", "read_only", "sequence", "no_credit"])
def test_a_refusal_for_now_is_tried_again(daemon, client, code):
    daemon.refuse(code, code, code)
    for at in range(5):
        client.push_batch(images(4, at), [1, 2, 3, 4])
    client.flush()
    assert [item.sid for item in daemon.samples()] == list(range(1, 21))
    assert client.stats().refused == {}
    assert client.stats().resent > 0


def test_stats_say_what_is_waited_for(daemon, client):
    daemon.refuse(*["journal_full"] * 1000)
    client.push_batch(images(4), [1, 2, 3, 4])
    until(lambda: client.stats().waiting_for == "journal_full")
    with pytest.raises(Backpressure) as caught:
        client.close(0.1)
    assert caught.value.code == "journal_full"


# Back-pressure...


def test_policy_block_waits_for_room(make, daemon):
    with make(daemon.endpoint, max_pending_bytes=10_000, push_timeout_s=20) as client:
        for _ in range(20):
            client.push_batch(images(64), ZEROS)
            assert client.stats().pending_bytes <= 10_000
        client.flush()
        assert client.stats().durable == len(daemon.samples()) == 20 * 64


def test_policy_block_has_a_deadline(make, daemon):
    daemon.hold_durable()
    with make(daemon.endpoint, max_pending_bytes=4450, push_timeout_s=0.1) as client:
        client.push_batch(images(64), ZEROS)
        with pytest.raises(Backpressure, match="wait for the daemon"):
            client.push_batch(images(64), ZEROS)
        daemon.release_durable()
        client.flush()
        client.push_batch(images(64), ZEROS)
        client.flush()
    assert len(daemon.samples()) == 128


def test_policy_refuse_says_so_at_once(make, daemon):
    daemon.hold_durable()
    with make(daemon.endpoint, policy="refuse", max_pending_bytes=4450) as client:
        client.push_batch(images(64), ZEROS)
        with pytest.raises(Backpressure):
            client.push(images(1)[0])
        daemon.release_durable()
        client.flush()
        client.push(images(1)[0], 1)
        client.flush()
    assert len(daemon.samples()) == 65


def test_policy_drop_oldest_keeps_the_newest_and_tells(make):
    with FakeDaemon(credit_bytes=5000, max_message_bytes=5000) as daemon:
        daemon.hold_durable()
        options = {"policy": "drop_oldest", "max_pending_bytes": 15_000}
        with make(daemon.endpoint, **options) as client:
            client.push_batch(images(64), ZEROS)
            until(lambda: client.stats().received == 64)  # the daemon's credit is used up
            for at in range(1, 10):
                client.push_batch(images(64), np.full(64, at))
            stats = client.stats()
            assert stats.dropped == 7 * 64
            assert stats.pending == 3 * 64
            daemon.release_durable()
            client.flush()
            told = client.heard()
        labels = [item.label for item in daemon.samples()]
        assert labels == [0] * 64 + [8] * 64 + [9] * 64
        assert {words.split()[1] for words in told} == {"dropped"}
        assert sum(int(words.split()[3]) for words in told) == 7 * 64


def test_credit_bounds_what_is_under_way(make):
    with FakeDaemon(credit_bytes=5000, max_message_bytes=5000) as daemon:
        daemon.hold_durable()
        with make(daemon.endpoint) as client:
            for _ in range(10):
                client.push_batch(images(64), ZEROS)
            until(lambda: client.stats().received == 64)
            assert client.stats().sent == 64
            daemon.release_durable()
            client.flush()
            assert client.stats().resent == 0
            assert len(daemon.samples()) == 640


def test_a_message_beyond_the_credit_waits_and_says_so(make):
    """No daemon of ours gives less credit than a message costs; a flush ends all the same."""
    with FakeDaemon(credit_bytes=1000) as daemon, make(daemon.endpoint) as client:
        client.push_batch(images(64), ZEROS)
        with pytest.raises(Disconnected, match="64 operations are not durable: no answer in time"):
            client.flush(timeout_s=0.1)
        assert client.infer(images(1)[0], timeout_s=10.0).version == 1
        client.close(flush_timeout_s=0)


# Events...


def test_events(daemon, client):
    client.listen("swapped")
    client.listen("-", "throw")  # hurts nobody
    words = []

    def heard():
        daemon.swap(7)
        words.extend(client.heard())
        return sum(word.startswith("event swapped") for word in words) > 3

    until(heard)
    daemon.emit("score", {"nested": [1, {"x": "y"}]})
    until(lambda: any("nested" in word for word in client.heard()))
    client.push(images(1)[0], 1)
    client.flush()  # the thread outlived what its callbacks threw


def test_events_of_a_daemon_that_came_back_elsewhere(make, raw):
    """WELCOME names another endpoint than before: subscribed to there as well."""
    with FakeDaemon() as first, FakeDaemon() as second:
        raw.welcome = replace(raw.welcome, events=first.events)
        opening = Opening(make, raw.endpoint)
        with raw.admit(opening) as client:
            client.listen("score")
            for daemon in (first, second):

                def heard(daemon=daemon):
                    daemon.emit("score", {"of": daemon.events})
                    return any(daemon.events in words for words in client.heard())

                until(heard)
                raw.welcome = replace(raw.welcome, events=second.events)
                raw.send(*wire.Bye().frames())
                raw.greet()
            client.close(flush_timeout_s=0)


def test_a_daemon_without_events(make, raw):
    opening = Opening(make, raw.endpoint)
    with raw.admit(opening) as client:
        with pytest.raises(ClientError, match="names no endpoint for events"):
            client.listen()
        client.close(flush_timeout_s=0)


def test_a_callback_cannot_wait(daemon, client):
    client.listen("swapped", "wait")

    def told():
        daemon.swap(2)
        return any("a callback cannot wait" in words for words in client.heard())

    until(told)


# Ends...


def test_closing(daemon, client):
    client.push_batch(images(4), [1] * 4)
    client.close()
    client.close()
    assert len(daemon.samples()) == 4
    for call in (lambda: client.push(images(1)[0], 1), lambda: client.infer(images(1)[0])):
        with pytest.raises(Closed):
            call()
    assert client.stats().durable == 4


def test_closing_tells_what_is_not_stored(daemon, client):
    daemon.hold_durable()
    client.push_batch(images(4), [1] * 4)
    with pytest.raises(Disconnected, match="4 operations are not durable"):
        client.close(0.2)
    assert client.heard() == ["refused closed 1 4"]


def test_closing_tells_what_a_failed_client_lost(make, daemon, client):
    """The user flushes nothing and listens to nothing, and hears of it all the same, once."""
    daemon.hold_durable()
    client.push_batch(images(4), [1] * 4)
    client.flush("received")
    with make(daemon.endpoint):
        until(lambda: not client.stats().connected)
        with pytest.raises(Refused, match="4 operations were refused") as caught:
            client.close()
        assert caught.value.code == "superseded"
        client.close()


@pytest.mark.parametrize(
    ("endpoint", "producer"),
    [("nonsense", "cam"), ("ipc:///tmp/x", "a/b"), ("ipc:///tmp/x", "x" * 65)],
)
def test_bad_arguments(make, endpoint, producer):
    with pytest.raises(ClientError):
        make(endpoint, producer)
