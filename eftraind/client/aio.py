"""AsyncClient: the SDK for asyncio programs, with the words of Client and `await` before them.

The sockets stay in the carrier's thread, so that a busy event loop costs neither the connection
nor throughput; this module only turns outcomes into futures of the loop it was entered in.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import zmq

from eftraind.client.carrier import Carrier
from eftraind.client.curve import Keys
from eftraind.client.listeners import EventCallback
from eftraind.client.offers import Offer
from eftraind.client.pulse import Phase
from eftraind.client.results import (
    Level,
    Policy,
    Prediction,
    Refusal,
    Settings,
    Stats,
    check_level,
    make_settings,
)
from eftraind.client.session import Session
from eftraind.clock import Clock
from eftraind.errors import ClientError, Disconnected

T = TypeVar("T")


class AsyncClient:
    """`async with AsyncClient(endpoint) as client: await client.push(image, label=3)`.

    Arguments and methods are those of Client; callbacks run in the event loop.
    """

    def __init__(
        self,
        endpoint: str,
        producer: str | None = None,
        policy: Policy = "block",
        *,
        keys: Keys | None = None,
        max_pending_bytes: int = 64 << 20,
        events: str | None = None,
        on_refused: Callable[[Refusal], None] | None = None,
        connect_timeout_s: float = 10.0,
        push_timeout_s: float = 60.0,
        settings: Settings | None = None,
        clock: Clock | None = None,
        context: "zmq.Context[Any] | None" = None,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings or make_settings(producer, policy, max_pending_bytes)
        self._events = events
        self._keys = keys
        self._on_refused = on_refused
        self._connect_timeout_s = connect_timeout_s
        self._push_timeout_s = push_timeout_s
        self._clock = clock or Clock()
        self._context = context
        self._opened: Carrier | None = None

    async def connect(self) -> "AsyncClient":
        """Open the connection; `async with` does it too."""
        loop = asyncio.get_running_loop()
        self._opened = Carrier(
            self._endpoint,
            self._settings,
            keys=self._keys,
            events=self._events,
            on_refused=self._on_refused,
            post=lambda callback: _post(loop, callback),
            clock=self._clock,
            context=self._context,
        )
        try:
            await self._ask(self._session.when_ready, timeout_s=self._connect_timeout_s)
        except BaseException:
            await loop.run_in_executor(None, self._opened.close)
            raise
        return self

    async def push(self, sample: Any, label: int | None = None) -> int:
        return await self._put(self._session.sample(sample, label))

    async def push_batch(self, samples: Any, labels: Any = None) -> range:
        return await self._put(self._session.batch(samples, labels))

    async def label(self, sid: Any, label: Any) -> None:
        await self._put(self._session.late_label(sid, label))

    async def withdraw(self, sid: Any) -> None:
        await self._put(self._session.withdrawal(sid))

    async def infer(self, samples: Any, timeout_s: float = 1.0) -> Prediction:
        question = self._session.question(samples)
        prediction: Prediction = await self._ask(self._session.infer, question, timeout_s=timeout_s)
        return prediction

    async def flush(self, level: Level = "durable", timeout_s: float = 10.0) -> None:
        await self._ask(self._session.flush, check_level(level), timeout_s=timeout_s)

    def on_event(self, topic: str, callback: EventCallback) -> None:
        self._carrier.subscribe(topic, callback)

    def stats(self) -> Stats:
        return self._carrier.read(self._session.stats)

    async def aclose(self, flush_timeout_s: float = 5.0) -> None:
        try:
            if flush_timeout_s > 0:
                if self._session.phase is Phase.ENDED:
                    self._carrier.read(self._session.report)
                else:
                    await self.flush(timeout_s=flush_timeout_s)
        finally:
            await asyncio.get_running_loop().run_in_executor(None, self._carrier.close)

    async def __aenter__(self) -> "AsyncClient":
        return await self.connect()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose(flush_timeout_s=5.0 if kind is None else 0.0)

    @property
    def _carrier(self) -> Carrier:
        if self._opened is None:
            raise Disconnected("the client is not open", remedy="use `async with` or connect()")
        return self._opened

    @property
    def _session(self) -> Session:
        return self._carrier.session

    async def _put(self, offer: Offer[T]) -> T:
        taken: T | None = self._carrier.call(self._session.offer, offer)
        if taken is not None:
            return taken
        waited: T = await self._ask(self._session.when_taken, offer, timeout_s=self._push_timeout_s)
        return waited

    async def _ask(self, method: Callable[..., None], *args: Any, timeout_s: float) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: ClientError | None) -> None:
            if future.done():  # its caller was cancelled
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        def done(result: Any, error: ClientError | None) -> None:
            _post(loop, lambda: settle(result, error))

        self._carrier.ask(method, *args, timeout_s=timeout_s, done=done)
        try:
            return await future
        except asyncio.CancelledError:
            self._carrier.read(partial(self._session.forget, done))
            raise


def _post(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return  # the loop was closed: nobody is left to hear it
