"""AsyncClient: the same words in an event loop, without ever blocking it."""

import asyncio
import inspect

import numpy as np
import pytest
from client_helpers import images, quick

from eftraind.client import (
    AsyncClient,
    Backpressure,
    Client,
    Closed,
    Disconnected,
    FakeDaemon,
    Refused,
)


async def eventually(condition, timeout_s=10.0):
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + timeout_s
    while not condition():
        assert loop.time() < give_up_s, "it did not happen in time"
        await asyncio.sleep(0.002)


def test_everything_once(daemon):
    async def main():
        swapped = []
        async with AsyncClient(daemon.endpoint, producer="cam") as client:
            client.on_event("swapped", lambda topic, data: swapped.append(data["version"]))
            first = await client.push(images(1)[0])
            more = await client.push_batch(images(4), [0, 1, 2, 3])
            await client.label(first, 9)
            await client.withdraw(more[3])
            await client.flush()
            assert (await client.infer(images(1)[0])).version == 1
            assert client.stats().durable == 7

            def heard():
                daemon.swap(2)
                return bool(swapped)

            await eventually(heard)
        with pytest.raises(Closed):
            await client.push(images(1)[0])

    asyncio.run(main())
    assert [(item.sid, item.label) for item in daemon.samples()] == [(1, 9), (2, 0), (3, 1), (4, 2)]


def test_refusals_arrive_in_the_loop(daemon):
    async def main():
        told, loop = [], asyncio.get_running_loop()

        def on_refused(refusal):
            assert asyncio.get_running_loop() is loop
            told.append(refusal.code)

        async with AsyncClient(daemon.endpoint, on_refused=on_refused) as client:
            daemon.refuse("label")
            await client.push_batch(images(4), [0, 1, 2, 3])
            with pytest.raises(Refused):
                await client.flush()
            await eventually(lambda: told == ["label"])

    asyncio.run(main())


def test_many_questions_at_once(daemon):
    async def main():
        async with AsyncClient(daemon.endpoint) as client:
            batch = images(50)
            answers = await asyncio.gather(*(client.infer(x, timeout_s=5.0) for x in batch))
            wanted = batch.reshape(50, -1).sum(axis=1) % 10
            assert [answer.label for answer in answers] == wanted.tolist()

    asyncio.run(main())


def test_waiting_for_room_does_not_block_the_loop(daemon):
    async def main():
        daemon.hold_durable()
        settings = quick(max_pending_bytes=4450)
        async with AsyncClient(daemon.endpoint, settings=settings) as client:
            await client.push_batch(images(64), np.zeros(64, int))
            waiting = asyncio.ensure_future(client.push_batch(images(64), np.zeros(64, int)))
            cancelled = asyncio.ensure_future(client.push_batch(images(64), np.zeros(64, int)))
            await asyncio.sleep(0)
            assert (await client.infer(images(1)[0])).version == 1
            assert not waiting.done()
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            daemon.release_durable()
            assert await waiting == range(65, 129)

    asyncio.run(main())
    assert len(daemon.samples()) == 128


def test_policy_refuse(daemon):
    async def main():
        daemon.hold_durable()
        settings = quick(policy="refuse", max_pending_bytes=4450)
        async with AsyncClient(daemon.endpoint, settings=settings) as client:
            await client.push_batch(images(64), np.zeros(64, int))
            with pytest.raises(Backpressure):
                await client.push(images(1)[0])
            daemon.release_durable()

    asyncio.run(main())


def test_a_crash(daemon):
    async def main():
        async with AsyncClient(daemon.endpoint, settings=quick()) as client:
            for at in range(10):
                await client.push_batch(images(16, at), np.zeros(16, int))
                daemon.crash()
            await client.flush()
            assert client.stats().reconnects >= 1

    asyncio.run(main())
    assert [item.sid for item in daemon.samples()] == list(range(1, 161))


def test_no_daemon():
    async def main():
        with pytest.raises(Disconnected):
            async with AsyncClient("ipc:///tmp/eft-nobody-listens", connect_timeout_s=0.1):
                pass
        with pytest.raises(Disconnected, match="not open"):
            await AsyncClient("ipc:///tmp/eft-nobody-listens").push(images(1)[0])

    asyncio.run(main())


def test_a_loop_that_is_busy_keeps_its_connection():
    async def main():
        with FakeDaemon(heartbeat_s=0.25) as daemon:
            async with AsyncClient(daemon.endpoint) as client:
                marks = client._session._pulse.pinged_at
                while client._session._pulse.pinged_at < marks + 0.8:
                    pass  # the user's fault, and not the connection's
                assert client.stats().reconnects == 0

    asyncio.run(main())


def test_both_clients_have_the_same_words():
    def words(cls):
        return {name for name in vars(cls) if not name.startswith("_")}

    assert words(AsyncClient) - {"aclose", "connect"} == words(Client) - {"close"}
    for name in words(Client) - {"close"}:
        ours, theirs = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    assert (
        inspect.signature(Client.__init__).parameters
        == inspect.signature(AsyncClient.__init__).parameters
    )
