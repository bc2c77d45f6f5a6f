"""FakeDaemon: a daemon for your own unit tests, in your process, that really speaks EFT/1.

    with FakeDaemon(shape=(8, 8, 1)) as daemon, Client(daemon.endpoint) as client:
        client.push(image, label=3)
        client.flush()
        assert daemon.samples()[0].label == 3

It can refuse, stall, hang up, crash and forget on demand. It predicts the class "sum of the
sample modulo classes" unless it is given a model. It learns nothing.
"""

import heapq
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import zmq

from eftraind.client.fakestate import Answer, FakeState, Model, Stored
from eftraind.clock import Clock
from eftraind.errors import ClientError
from eftraind.wire import Array, Shape, Stream

_STEP_TIMEOUT_S = 10.0


class FakeDaemon:
    def __init__(
        self,
        shape: Shape = (8, 8, 1),
        dtype: str = "uint8",
        classes: int = 10,
        *,
        endpoint: str | None = None,
        credit_bytes: int = 16 << 20,
        max_message_bytes: int = 8 << 20,
        heartbeat_s: float = 1.0,
        model: Model | None = None,
        clock: Clock | None = None,
        context: "zmq.Context[Any] | None" = None,
    ) -> None:
        self._dir = tempfile.mkdtemp(prefix="eft")
        self.endpoint = endpoint or f"ipc://{self._dir}/eft.sock"
        self.events = f"ipc://{self._dir}/events.sock"
        self._classes = classes
        stream = Stream(shape, dtype, classes, max_message_bytes)
        model = model or self._sum_modulo_classes
        self.state = FakeState(stream, credit_bytes, heartbeat_s, self.events, model)
        self._clock = clock or Clock()
        self._own_context = context is None
        self._context = zmq.Context() if context is None else context
        self._lock = threading.Lock()
        self._delay_s = 0.0
        self._frozen = False
        self._late: list[tuple[float, int, Answer]] = []
        self._answers = 0
        self._tasks: list[tuple[Callable[[], None], threading.Event]] = []
        self._waker, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._router = self._bind(zmq.ROUTER, self.endpoint)
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self._publisher = self._bind(zmq.PUB, self.events)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="eftraind-fake", daemon=True)
        self._thread.start()

    # Looking...

    def samples(self, producer: str | None = None) -> list[Stored]:
        """Every stored sample that was not withdrawn: (producer, sid, label, sample)."""
        with self._lock:
            stored = self.state.stored()
        return [item for item in stored if producer in (None, item.producer)]

    # Misbehaving...

    def refuse(self, *codes: str) -> None:
        """Refuse the next PUTs, one with each code."""
        with self._lock:
            self.state.refusals.extend(codes)

    def refuse_infer(self, *codes: str) -> None:
        with self._lock:
            self.state.infer_refusals.extend(codes)

    def drop_acks(self, count: int) -> None:
        """Say nothing where the next `count` ACKs would have been."""
        with self._lock:
            self.state.acks_to_drop = count

    def hold_durable(self) -> None:
        """From now on samples are received but do not become durable."""
        with self._lock:
            self.state.holds_durable = True

    def release_durable(self) -> None:
        with self._lock:
            self.state.holds_durable = False
        self._in_thread(lambda: None)

    def delay(self, seconds: float) -> None:
        """Answer everything this much later."""
        with self._lock:
            self._delay_s = seconds

    def freeze(self) -> None:
        """Stop answering, as a hung process does; connections stay open."""
        self._in_thread(lambda: setattr(self, "_frozen", True))

    def thaw(self) -> None:
        self._in_thread(lambda: setattr(self, "_frozen", False))

    def disconnect(self) -> None:
        """Drop every connection, forget nothing."""
        self._in_thread(self.state.disconnected, self._rebind)

    def crash(self) -> None:
        """What kill -9 and a restart do: whatever was not durable is gone."""
        self._in_thread(self.state.crashed, self._rebind)

    def say_bye(self) -> None:
        """Stop in an orderly way and start again."""
        self._in_thread(
            lambda: self._send(self.state.goodbyes()), self.state.disconnected, self._rebind
        )

    def swap(self, version: int) -> None:
        """Serve another version of the weights, and publish that as an event."""
        with self._lock:
            self.state.version = version
            data = {"version": version, "hash": self.state.weights_hash.hex()}
        self.emit("swapped", data)

    def emit(self, topic: str, data: Any) -> None:
        frames = [topic.encode(), json.dumps(data).encode()]
        self._in_thread(lambda: self._publish(frames))

    def stop(self) -> None:
        """Idempotent."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        self._waker.send(b"w")
        self._thread.join()
        shutil.rmtree(self._dir, ignore_errors=True)

    def __enter__(self) -> "FakeDaemon":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # The thread...

    def _run(self) -> None:
        while not self._stopping:
            poller = zmq.Poller()
            poller.register(self._wakes, zmq.POLLIN)
            if not self._frozen:
                poller.register(self._router, zmq.POLLIN)
            ready = dict(poller.poll(self._timeout_ms()))
            if self._wakes.fileno() in ready:
                self._wakes.recv(4096)
            with self._lock:
                tasks, self._tasks = self._tasks, []
            for task, finished in tasks:
                task()
                finished.set()
            if not self._frozen:
                self._serve()
        for open_socket in (self._router, self._publisher, self._waker, self._wakes):
            open_socket.close()
        if self._own_context:
            self._context.term()

    def _serve(self) -> None:
        for _ in range(256):
            try:
                peer, *frames = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            with self._lock:
                answers = list(self.state.answer(peer, frames))
            self._send(answers)
        with self._lock:
            acks = list(self.state.acknowledge())  # received
            self.state.make_durable()
            acks += self.state.acknowledge()
        self._send(acks)
        while self._late and self._late[0][0] <= self._clock.monotonic_s():
            self._router.send_multipart([self._late[0][2][0], *heapq.heappop(self._late)[2][1]])

    def _send(self, answers: Sequence[Answer]) -> None:
        for peer, frames in answers:
            if self._delay_s:
                due = self._clock.monotonic_s() + self._delay_s
                self._answers += 1
                heapq.heappush(self._late, (due, self._answers, (peer, frames)))
            else:
                self._router.send_multipart([peer, *frames])

    def _timeout_ms(self) -> int | None:
        if not self._late or self._frozen:
            return None
        return max(0, int((self._late[0][0] - self._clock.monotonic_s()) * 1000) + 1)

    def _in_thread(self, *steps: Callable[[], None]) -> None:
        """Run steps in the thread that owns the sockets, and wait for it."""
        events = []
        with self._lock:
            for step in steps:
                events.append(threading.Event())
                self._tasks.append((step, events[-1]))
        self._waker.send(b"w")
        for event in events:
            if not event.wait(_STEP_TIMEOUT_S):
                raise ClientError("the fake daemon's thread does not answer", code="internal")

    def _publish(self, frames: list[bytes]) -> None:
        self._publisher.send_multipart(frames)

    def _rebind(self) -> None:
        self._late.clear()
        self._router.close(100)
        self._router = self._bind(zmq.ROUTER, self.endpoint)

    def _bind(self, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
        """libzmq frees a TCP port some time after close() returns."""
        give_up_s = self._clock.monotonic_s() + _STEP_TIMEOUT_S
        bound = self._context.socket(kind)
        bound.setsockopt(zmq.LINGER, 100)
        bound.setsockopt(zmq.SNDHWM, 10_000)
        while True:
            try:
                bound.bind(endpoint)
                return bound
            except zmq.ZMQError:
                if self._clock.monotonic_s() > give_up_s:
                    bound.close(0)
                    raise
                self._clock.sleep(0.001)

    def _sum_modulo_classes(self, samples: Array) -> Array:
        sums = np.abs(samples.reshape(len(samples), -1).sum(axis=1)).astype(np.int64)
        logits = np.zeros((len(samples), self._classes), np.float32)
        logits[np.arange(len(samples)), sums % self._classes] = 5.0
        return logits
