"""Client against FakeDaemon: what users call, what they get, what they are told."""

import threading

import numpy as np
import pytest
from client_helpers import images, quick, until

from eftraind.client import (
    Backpressure,
    Client,
    ClientError,
    Closed,
    Disconnected,
    FakeDaemon,
    Refused,
    Settings,
)


def test_pushed_samples_arrive_with_their_labels(daemon, client):
    batch = images(20)
    sids = [client.push(image, label=at % 10) for at, image in enumerate(batch[:5])]
    sids += client.push_batch(batch[5:], np.arange(15) % 10)
    client.flush()
    assert sids == list(range(1, 21))
    stored = daemon.samples("cam")
    assert [item.sid for item in stored] == sids
    assert [item.label for item in stored] == [*range(5), *(np.arange(15) % 10)]
    np.testing.assert_array_equal([item.sample for item in stored], batch)


def test_labels_may_come_later_and_be_taken_back(daemon, client):
    first = client.push(images(1)[0])
    more = client.push_batch(images(4))
    client.label(first, 3)
    client.label(more, [0, 1, 2, 3])
    client.withdraw(more[3])
    client.withdraw(more[1:3])
    client.flush()
    assert [(item.sid, item.label) for item in daemon.samples()] == [(1, 3), (2, 0)]


def test_single_pushes_share_messages(daemon):
    with Client(daemon.endpoint, settings=Settings("cam", coalesce_s=10.0)) as client:
        for image in images(1000):
            client.push(image, 1)
        client.flush()
    assert daemon.state.puts == 1
    assert len(daemon.samples()) == 1000


def test_a_batch_beyond_the_message_limit_is_split():
    with FakeDaemon(max_message_bytes=1000) as daemon, Client(daemon.endpoint) as client:
        assert client.push_batch(images(100), np.zeros(100, int)) == range(1, 101)
        client.flush()
        assert len(daemon.samples()) == 100
        assert daemon.state.puts == 8
        with pytest.raises(Refused, match="do not fit one message") as caught:
            client.infer(images(20))
        assert caught.value.code == "too_large"


def test_images_without_a_channel_axis_are_taken(daemon, client):
    client.push(images(1)[0, :, :, 0], 1)
    client.push_batch(images(2)[:, :, :, 0], [1, 2])
    assert len(client.infer(images(3)[:, :, :, 0]).labels) == 3
    client.flush()
    assert len(daemon.samples()) == 3


def test_predictions(daemon, client):
    batch = images(5)
    prediction = client.infer(batch)
    wanted = batch.reshape(5, -1).sum(axis=1) % 10
    np.testing.assert_array_equal(prediction.labels, wanted)
    np.testing.assert_allclose(prediction.probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert client.infer(batch[0]).label == wanted[0]
    assert prediction.version == 1
    daemon.swap(2)
    after = client.infer(batch[0])
    assert after.version == 2
    assert after.weights_hash not in ("", prediction.weights_hash)
    with pytest.raises(ValueError, match="5 samples"):
        prediction.label  # noqa: B018


LOCAL = {
    "shape": lambda c: c.push(np.zeros((8, 7, 1), np.uint8), 1),
    "batch shape": lambda c: c.push_batch(np.zeros((8, 8, 1), np.uint8)[None, None]),
    "empty batch": lambda c: c.push_batch(np.zeros((0, 8, 8, 1), np.uint8)),
    "dtype": lambda c: c.push(np.zeros((8, 8, 1), np.float32), 1),
    "label above": lambda c: c.push(images(1)[0], 10),
    "label below": lambda c: c.push(images(1)[0], -1),
    "label type": lambda c: c.push(images(1)[0], 1.5),
    "labels above": lambda c: c.push_batch(images(2), [0, 10]),
    "labels type": lambda c: c.push_batch(images(2), [0.5, 1]),
    "labels missing": lambda c: c.push_batch(images(2), [1]),
    "target": lambda c: c.label(99, 1),
    "late label": lambda c: c.label(c.push(images(1)[0]), -1),
    "no sid": lambda c: c.withdraw("x"),
    "infer dtype": lambda c: c.infer(np.zeros((8, 8, 1))),
}


@pytest.mark.parametrize("name", LOCAL)
def test_what_cannot_be_right_is_refused_on_the_spot(name, client):
    with pytest.raises(Refused) as caught:
        LOCAL[name](client)
    assert caught.value.remedy


def test_floats_must_be_finite():
    with FakeDaemon(dtype="float32") as daemon, Client(daemon.endpoint) as client:
        client.push(np.ones((8, 8, 1)), 1)
        bad = np.full((8, 8, 1), np.nan)
        for call in (client.push, client.infer, lambda x: client.push_batch(x[None])):
            with pytest.raises(Refused) as caught:
                call(bad)
            assert caught.value.code == "nonfinite"
        client.flush()
        assert daemon.samples()[0].sample.dtype == np.float32


def test_refusals_are_never_silent(daemon):
    told = []
    with Client(daemon.endpoint, settings=quick(), on_refused=told.append) as client:
        daemon.refuse("label")
        client.push_batch(images(3), [1, 2, 3])
        client.push_batch(images(2), [4, 5])
        with pytest.raises(Refused, match="3 operations were refused") as caught:
            client.flush()
        assert caught.value.code == "label"
        client.flush()  # said once
        assert [(item.code, item.first_seq, item.count) for item in told] == [("label", 1, 3)]
        assert client.stats().refused == {"label": 3}
        assert [item.sid for item in daemon.samples()] == [4, 5]


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
        client.flush(timeout_s=0.1)
    assert caught.value.code == "journal_full"


# Back-pressure...


def test_policy_block_waits_for_room(daemon):
    daemon.hold_durable()
    settings = quick(max_pending_bytes=10_000)
    with Client(daemon.endpoint, settings=settings, push_timeout_s=20) as client:
        for _ in range(2):
            client.push_batch(images(64), np.zeros(64, int))
        sids = []
        thread = threading.Thread(
            target=lambda: sids.extend(client.push_batch(images(64), np.zeros(64, int)))
        )
        thread.start()
        until(lambda: client.stats().received == 128)
        assert not sids
        daemon.release_durable()
        thread.join()
        assert sids == list(range(129, 193))


def test_policy_block_has_a_deadline(daemon):
    daemon.hold_durable()
    settings = quick(max_pending_bytes=5000)
    with Client(daemon.endpoint, settings=settings, push_timeout_s=0.05) as client:
        client.push_batch(images(64), np.zeros(64, int))
        with pytest.raises(Backpressure, match="wait for the daemon"):
            client.push_batch(images(64), np.zeros(64, int))
        daemon.release_durable()
        client.flush()
    assert len(daemon.samples()) == 64


def test_policy_refuse_says_so_at_once(daemon):
    daemon.hold_durable()
    settings = quick(policy="refuse", max_pending_bytes=4450)
    with Client(daemon.endpoint, settings=settings) as client:
        client.push_batch(images(64), np.zeros(64, int))
        with pytest.raises(Backpressure):
            client.push(images(1)[0], 1)
        daemon.release_durable()
        client.flush()
        client.push(images(1)[0], 1)
    assert len(daemon.samples()) == 65


def test_policy_drop_oldest_keeps_the_newest_and_tells():
    told = []
    with FakeDaemon(credit_bytes=5000, max_message_bytes=5000) as daemon:
        daemon.hold_durable()
        settings = quick(policy="drop_oldest", max_pending_bytes=15_000)
        with Client(daemon.endpoint, settings=settings, on_refused=told.append) as client:
            client.push_batch(images(64), np.zeros(64, int))
            until(lambda: client.stats().received == 64)  # the daemon's credit is used up
            for at in range(1, 10):
                client.push_batch(images(64), np.full(64, at))
            stats = client.stats()
            assert stats.dropped == 7 * 64
            assert stats.pending == 3 * 64
            daemon.release_durable()
            client.flush()
        labels = [item.label for item in daemon.samples()]
        assert labels == [0] * 64 + [8] * 64 + [9] * 64
        assert sum(item.count for item in told) == 7 * 64
        assert {item.code for item in told} == {"dropped"}


def test_credit_bounds_what_is_under_way(daemon):
    with FakeDaemon(credit_bytes=5000, max_message_bytes=5000) as daemon:
        daemon.hold_durable()
        with Client(daemon.endpoint, settings=quick()) as client:
            for _ in range(10):
                client.push_batch(images(64), np.zeros(64, int))
            until(lambda: client.stats().received == 64)
            assert client.stats().sent == 64
            daemon.release_durable()
            client.flush()
            assert client.stats().resent == 0
            assert len(daemon.samples()) == 640


# Events and ends...


def test_events(daemon, client):
    swapped, everything = [], []
    client.on_event("swapped", lambda topic, data: swapped.append(data["version"]))
    client.on_event("", lambda topic, data: everything.append(topic))

    def heard():
        daemon.emit("score", {"accuracy": 0.5})
        daemon.swap(7)
        return "score" in everything and 7 in swapped

    until(heard)
    assert set(swapped) == {7}


def test_a_failing_callback_hurts_nobody(daemon, client, caplog):
    client.on_event("score", lambda topic, data: 1 / 0)

    def logged():
        daemon.emit("score", {})
        return "a callback of the client failed" in caplog.text

    until(logged)
    assert client.infer(images(1)[0]).version == 1


def test_a_callback_may_push_but_not_wait(daemon):
    outcome = []

    def on_refused(refusal):
        outcome.append(client.push(images(1)[0], 1))
        try:
            client.flush()
        except ClientError as error:
            outcome.append(str(error))

    with Client(daemon.endpoint, settings=quick(), on_refused=on_refused) as client:
        daemon.refuse("label")
        client.push(images(1)[0], 1)
        until(lambda: len(outcome) == 2)
        with pytest.raises(Refused):
            client.flush()
    assert outcome[0] == 2
    assert "callback cannot wait" in outcome[1]


def test_leaving_the_block_waits_for_durability(daemon):
    with Client(daemon.endpoint) as client:
        client.push_batch(images(50), np.zeros(50, int))
    assert len(daemon.samples()) == 50
    client.close()
    for call in (lambda: client.push(images(1)[0], 1), lambda: client.infer(images(1)[0])):
        with pytest.raises(Closed):
            call()


def test_closing_without_delivery_is_not_silent(daemon):
    told = []
    client = Client(daemon.endpoint, settings=quick(), on_refused=told.append)
    daemon.freeze()
    client.push_batch(images(5), np.zeros(5, int))
    with pytest.raises((Disconnected, Backpressure)):
        client.close(flush_timeout_s=0.05)
    assert [(item.code, item.count) for item in told] == [("closed", 5)]
    daemon.thaw()


def test_no_daemon_no_client(tmp_path):
    with pytest.raises(Disconnected, match="did not answer") as caught:
        Client("ipc:///tmp/eft-nobody-listens", connect_timeout_s=0.1)
    assert caught.value.remedy


@pytest.mark.parametrize("arguments", [{"policy": "hope"}, {"producer": "a b"}])
def test_bad_arguments(arguments):
    with pytest.raises(ClientError):
        Client("ipc:///tmp/eft-nobody-listens", **arguments)


def test_many_threads_share_a_client(daemon, client):
    def work(seed):
        for at, image in enumerate(images(100, seed)):
            client.push(image, at % 10)
            if at % 25 == 0:
                assert client.infer(image).version == 1

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.flush()
    assert [item.sid for item in daemon.samples()] == list(range(1, 401))
