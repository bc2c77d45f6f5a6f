"""The engine process: the device on one side, the link to front on the other, in one thread.

Every turn of the loop takes what the link brought, answers all inference that waits, and otherwise
does one short piece of work. It has no network and serves no client itself.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zmq

from eftraind import link, networks
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.engine.boot import boot
from eftraind.engine.core import Engine
from eftraind.errors import DeviceLost, EftraindError
from eftraind.fsio import FileOps
from eftraind.graph import Graph
from eftraind.metrics import Metrics
from eftraind.plan.memory import INFER_SIZES
from eftraind.service import logs
from eftraind.service.samplelog import prepare_directories

FETCH_BYTES = 1 << 20
FETCH_BELOW_SAMPLES = 512
"""Fetch more when fewer samples than this are queued: enough to never run dry, little to hold."""
IDLE_MS = 100
DISK_MS = 2
"""How often to look whether the disk is done: a thread cannot wake the link's poll."""
REPORT_S = 1.0
PULSE_S = 0.1
MESSAGES_PER_TURN = 64


@dataclass(frozen=True, eq=False)
class Request:
    """One inference that waits for the device."""

    id: int
    samples: Any
    arrived_s: float


class EngineService:
    """The loop. `pulse` hears that it turned, and what it is doing, `progress` of each stage of the
    start.

    With `serve_only` nothing is fetched from the journal and nothing trained: what an engine does
    that failed too often, so that predictions go on.
    """

    def __init__(
        self,
        config: Config,
        graph: Graph,
        *,
        metrics: Metrics,
        clock: Clock,
        ops: FileOps,
        pulse: Callable[[str], None],
        progress: Callable[[], None],
        serve_only: bool = False,
    ) -> None:
        self._graph = graph
        self._metrics = metrics
        self._clock = clock
        self._pulse = pulse
        self._outbox: deque[link.Message] = deque()
        self._requests: deque[Request] = deque()
        self._dtype = np.dtype("u1" if graph.input.dtype == "uint8" else "<f4")
        self.engine: Engine = boot(
            config,
            metrics=metrics,
            clock=clock,
            emit=self._emit,
            ops=ops,
            graph=graph,
            progress=progress,
        )
        self._serve_only = serve_only
        metrics.gauge("engine_serve_only").set(1 if serve_only else 0)
        if serve_only:
            self.engine.pause()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 500)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.connect(config.link_endpoint)
        self._fetching = False
        self._next_seq = 0
        self._head_seq = 0
        self._samples_per_record = 1.0
        self._consumed_told = 0
        self._report_s = self._pulse_s = -1e9
        self._stopping = False

    def _emit(self, topic: str, data: Mapping[str, Any]) -> None:
        self._outbox.append(link.Event(topic, dict(data)))

    def stop(self, *_: object) -> None:
        """End the loop after this turn; a signal handler."""
        self._stopping = True

    def run(self) -> None:
        self._send(self._hello())
        try:
            while not self._stopping:
                self.turn()
        except DeviceLost as error:
            self._report_lost(error)
            raise
        finally:
            self.engine.close()
            self._socket.close()
            self._context.term()

    def _report_lost(self, error: DeviceLost) -> None:
        """What waits is answered; front learns why this process ends."""
        message = f"the device is lost: {error.message}"
        for request in self._requests:
            remedy = "try again; it is being opened anew"
            self._send(link.InferError(request.id, "engine_down", message, remedy))
        self._send(link.Event("alarm", {"code": error.code, "message": message}))
        self._send(link.Lost(error.code, str(error)))

    def turn(self) -> None:
        """One turn: messages, then inference or one piece of work, then what is due."""
        if self._requests or self.engine.has_work:
            timeout_ms = 0
        else:
            timeout_ms = DISK_MS if self.engine.promoter.writing else IDLE_MS
        if self._socket.poll(timeout_ms):
            self._receive()
        if self._requests:
            self._infer()
        elif self.engine.has_work:
            self.engine.work()
        self._tell()

    def _receive(self) -> None:
        for _ in range(MESSAGES_PER_TURN):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._handle(link.decode(frames))

    def _handle(self, message: link.Message) -> None:
        match message:
            case link.Infer(id=number, count=count, body=body):
                samples = np.frombuffer(body, self._dtype)
                samples = samples.reshape(count, *self._graph.input.shape)
                self._requests.append(Request(number, samples, self._clock.monotonic_s()))
            case link.Records():
                self._take_records(message)
            case link.Control(id=number, command=command, args=args):
                self._send(self._control(number, command, args))
            case link.Identify():
                self._send(self._hello())
            case link.Welcome(head_seq=head_seq):
                self._fetching = False
                self._head_seq = head_seq
                self._consumed_told = 0
                self.engine.forget_learnt_beyond(head_seq)
            case _:
                pass

    def _take_records(self, records: link.Records) -> None:
        if records.from_seq != self._next_seq:
            return  # the answer to a question asked before front was restarted
        self._fetching = False
        operations = 0
        for seq, payload in records.payloads():
            operations += self.engine.feed(seq, payload)
        self._next_seq, self._head_seq = records.next_seq, records.head_seq
        if records.seqs:
            mean = operations / len(records.seqs)
            self._samples_per_record += 0.1 * (mean - self._samples_per_record)
        behind = max(0, self._head_seq - self._next_seq + 1) * self._samples_per_record
        self.engine.set_behind(behind)
        self._metrics.gauge("train_lag_samples").set(self.engine.lag_samples)

    def _infer(self) -> None:
        """All that wait, as many to a device batch as fit: one version answers each."""
        taken: list[Request] = []
        samples = 0
        while self._requests and (not taken or samples < INFER_SIZES[-1]):
            if taken and samples + len(self._requests[0].samples) > INFER_SIZES[-1]:
                break
            taken.append(self._requests.popleft())
            samples += len(taken[-1].samples)
        began_s = self._clock.monotonic_s()
        try:
            rows = self.engine.pack(np.concatenate([request.samples for request in taken]))
            logits = self.engine.infer(rows)
        except DeviceLost:
            self._requests.extendleft(reversed(taken))  # so that they are answered at the end
            raise
        except EftraindError as error:
            self._metrics.counter("device_errors_total").inc(1, error.code)
            for request in taken:
                self._send(link.InferError(request.id, error.code, error.message, error.remedy))
            return
        ended_s = self._clock.monotonic_s()
        version, digest = self.engine.version, self.engine.weights_hash.hex()
        first = 0
        for request in taken:
            part = logits[first : first + len(request.samples)]
            first += len(request.samples)
            body = part.astype("<f4").tobytes()
            self._send(link.Prediction(request.id, version, digest, len(part), body))
            waited = self._metrics.histogram("infer_wait_duration_seconds")
            waited.observe(began_s - request.arrived_s)
        self._metrics.histogram("infer_device_duration_seconds").observe(ended_s - began_s)
        self._metrics.counter("infer_samples_total").inc(samples)

    def _control(self, number: int, command: str, args: Mapping[str, Any]) -> link.Reply:
        engine = self.engine
        try:
            if command == "promote":
                engine.promoter.promote_now()
            elif command == "rollback":
                to_golden = bool(args.get("golden", False))
                engine.promoter.rollback(to_golden=to_golden, reason="operator")
            elif command == "checkpoint":
                engine.promoter.checkpoint("operator")
            elif command == "pause":
                engine.pause()
            elif command == "reload":
                self._reload(args)
                return link.Reply(number, True, {"changed": dict(args)})
            elif command == "resume" and self._serve_only:
                raise EftraindError(
                    "this engine only serves", remedy="start the usual one instead", code="degraded"
                )
            elif command == "resume":
                engine.resume()
            elif command == "set":
                engine.set_rates(args)
            elif command != "status":
                raise EftraindError(f"unknown command {command!r}", remedy="see --help")
        except DeviceLost:
            raise
        except EftraindError as error:
            facts = {"code": error.code, "message": error.message, "remedy": error.remedy}
            return link.Reply(number, False, error=facts)
        return link.Reply(number, True, {**engine.status(), "serve_only": self._serve_only})

    def _reload(self, changed: Mapping[str, Any]) -> None:
        rates = {key: value for key, value in changed.items() if key.startswith("train.")}
        if rates:
            self.engine.set_rates(rates)
        logs.set_levels(changed)

    def _summary(self) -> str:
        if self._serve_only:
            return f"degraded: version {self.engine.version} serves, nothing is learnt"
        return f"version {self.engine.version} serves, {self.engine.lag_samples:.0f} samples behind"

    def _hello(self) -> link.Hello:
        capabilities, spec = self.engine.capabilities, self._graph.input
        return link.Hello(
            pid=os.getpid(),
            device=capabilities.name,
            lanes=capabilities.lanes,
            network=self._graph.name,
            network_digest=self._graph.digest,
            version=self.engine.version,
            weights_hash=self.engine.weights_hash.hex(),
            shape=list(spec.shape),
            dtype=spec.dtype,
            classes=self._graph.classes,
        )

    def _tell(self) -> None:
        while self._outbox:
            self._send(self._outbox.popleft())
        if (
            not self._serve_only
            and not self._fetching
            and self.engine.samples_queued < FETCH_BELOW_SAMPLES
        ):
            self._fetching = True
            self._send(link.Fetch(self._next_seq, FETCH_BYTES))
        now_s = self._clock.monotonic_s()
        if now_s - self._pulse_s >= PULSE_S:
            self._pulse_s = now_s
            self._pulse(self._summary())
            if self.engine.consumed_seq > self._consumed_told:
                self._consumed_told = self.engine.consumed_seq
                self._send(link.Consumed(self._consumed_told))
        if now_s - self._report_s >= REPORT_S:
            self._report_s = now_s
            self._send(link.Heartbeat())
            self._send(link.MetricsSnapshot(self._metrics.snapshot()))

    def _send(self, message: link.Message) -> None:
        self._socket.send_multipart(link.encode(message))


def create(
    config: Config,
    *,
    clock: Clock,
    pulse: Callable[[str], None],
    progress: Callable[[], None],
    serve_only: bool = False,
) -> EngineService:
    """The engine process's service. Raises EftraindError with cause and remedy."""
    if serve_only and config.device.kind not in ("cpu", "reference"):
        config = replace(config, device=replace(config.device, kind="cpu"))
    graph = networks.load(config.model.network)
    prepare_directories(config, ["state_dir"])
    metrics = Metrics(owner="engine")
    return EngineService(
        config,
        graph,
        metrics=metrics,
        clock=clock,
        ops=FileOps(),
        pulse=pulse,
        progress=progress,
        serve_only=serve_only,
    )
