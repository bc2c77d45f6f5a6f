"""What only Python's Client has: arrays of many kinds, exceptions in callbacks, `with`.

What both SDKs promise is in tests/sdk/test_both_*.py.
"""

import errno
import threading

import numpy as np
import pytest
import zmq
from client_helpers import images, quick, until

from eftraind.client import (
    Client,
    ClientError,
    Closed,
    Refused,
    Settings,
)


def test_single_pushes_share_messages(daemon):
    with Client(daemon.endpoint, settings=Settings("cam", coalesce_s=10.0)) as client:
        for image in images(1000):
            client.push(image, 1)
        client.flush()
    assert daemon.state.puts == 1
    assert len(daemon.samples()) == 1000


def test_images_without_a_channel_axis_are_taken(daemon, client):
    client.push(images(1)[0, :, :, 0], 1)
    client.push_batch(images(2)[:, :, :, 0], [1, 2])
    assert len(client.infer(images(3)[:, :, :, 0]).labels) == 3
    client.flush()
    assert len(daemon.samples()) == 3


def test_the_label_of_many_is_none(client):
    with pytest.raises(ValueError, match="5 samples"):
        client.infer(images(5)).label  # noqa: B018


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


def test_a_close_ends_every_call_that_waits(daemon):
    daemon.hold_durable()
    daemon.refuse_infer(*["engine_down"] * 100_000)
    closed = []

    def ask():
        with pytest.raises(Closed):
            client.infer(images(1)[0], timeout_s=60)
        closed.append("infer")

    def store():
        with pytest.raises(Closed):
            client.push(images(1)[0])
            client.flush(timeout_s=60)
        closed.append("flush")

    for _ in range(10):
        client = Client(daemon.endpoint, settings=quick())
        threads = [threading.Thread(target=work) for work in (ask, store) * 3]
        for thread in threads:
            thread.start()
        client.close(flush_timeout_s=0)
        for thread in threads:
            thread.join()
    assert len(closed) == 60


class Poor(zmq.Context):
    """A context that cannot make so many sockets."""

    lacking = 0

    def socket(self, *arguments, **options):
        if Poor.lacking:
            Poor.lacking -= 1
            raise zmq.ZMQError(errno.EMFILE)
        return super().socket(*arguments, **options)


def test_no_descriptors_for_a_while_are_no_end(daemon):
    with Poor() as context, Client(daemon.endpoint, settings=quick(), context=context) as client:
        Poor.lacking = 5
        daemon.disconnect()
        client.push(images(1)[0], 1)
        client.flush()
        assert (client.stats().reconnects, Poor.lacking) == (1, 0)
