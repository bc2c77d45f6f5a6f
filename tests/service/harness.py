"""Helpers of the service tests: short directories, configurations, processes, raw clients."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zmq

from eftraind import config as configuration
from eftraind import link, networks
from eftraind.config import Config
from eftraind.service.request import RequestFailed, request
from eftraind.wire import Array, Error, Hello, Op, Reply, Stream, put_header, samples_body
from eftraind.wire_decode import decode_reply

T = TypeVar("T")
STUB = Path(__file__).parent / "stub_engine.py"
STREAM = Stream((8, 8, 1), "uint8", 10, 1 << 18)


def until(what: str, check: Callable[[], T], timeout_s: float = 20.0) -> T:
    """The first true value of `check`, or a failure that says what was waited for."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


def settings(box: Path, **sections: Any) -> dict[str, Any]:
    """A small daemon in `box`; sections are merged over it."""
    data: dict[str, Any] = {
        "state_dir": str(box / "state"),
        "run_dir": str(box),
        "model": {"network": "digits"},
        "device": {"kind": "reference"},
        "ingest": {
            "max_message_bytes": 1 << 18,
            "window_bytes": 1 << 20,
            "queue_bytes": 4 << 20,
            "max_producers": 100,
        },
        "journal": {"size_bytes": 8 << 20, "segment_bytes": 1 << 20, "commit_s": 0.01},
        "metrics": {"listen": "127.0.0.1:0"},
        "supervise": {"engine_deadline_s": 5.0, "restart_delay_s": 0.1},
    }
    for name, section in sections.items():
        if isinstance(section, Mapping):
            data[name] = {**data.get(name, {}), **section}
        else:
            data[name] = section
    return data


def small_config(box: Path, **sections: Any) -> Config:
    return configuration.from_mapping(settings(box, **sections))


def write_config(box: Path, **sections: Any) -> Path:
    path = box / "config.yaml"
    path.write_text(json.dumps(settings(box, **sections)), encoding="utf-8")
    return path


class Daemon:
    """A child process of `python -m eftraind ...`, or of another command line."""

    def __init__(self, path: Path, *command: str) -> None:
        self.config = configuration.load(path)
        self.log = path.with_suffix(f".{command[0]}.log")
        self._command = [sys.executable, "-m", "eftraind", *command, "--config", str(path)]
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log, stdout=log)

    @property
    def endpoint(self) -> str:
        return self.config.listen_endpoints[0]

    def status(self) -> dict[str, Any]:
        return request(self.config.control_endpoint, "status", timeout_s=5.0)

    def ready(self) -> dict[str, Any]:
        """Wait until it answers `status`."""

        def answered() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return request(self.config.control_endpoint, "status", timeout_s=0.5)
            except RequestFailed:
                return None

        return until("the daemon's status", answered, 60.0)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def images(count: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, 256, (count, *STREAM.shape), dtype=np.uint8)
    return samples, (np.arange(count) % STREAM.classes).astype("<i4")


def put_frames(first_seq: int, follows: int, count: int = 1, seed: int = 0) -> list[Any]:
    samples, labels = images(count, seed)
    header = put_header(Op.SAMPLES, first_seq, follows, count, 0, STREAM)
    return [header, samples_body(labels, samples)]


class RawClient:
    """A DEALER socket and the protocol's words, with none of the SDK's manners."""

    def __init__(self, context: Any, endpoint: str, *, receive_hwm: int = 1000) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, receive_hwm)
        self.socket.connect(endpoint)

    def send(self, *frames: Any) -> None:
        self.socket.send_multipart(list(frames))

    def hello(self, producer: str) -> None:
        self.send(*Hello(producer, "raw").frames())

    def receive(self, turn: Callable[[], None] = lambda: None, timeout_s: float = 10.0) -> Reply:
        deadline_s = time.monotonic() + timeout_s
        while not self.socket.poll(1):
            assert time.monotonic() < deadline_s, "no answer"
            turn()
        return decode_reply(self.socket.recv_multipart())

    def expect(self, kind: type[T], turn: Callable[[], None] = lambda: None) -> T:
        reply = self.receive(turn)
        assert isinstance(reply, kind), reply
        return reply

    def refusal(self, turn: Callable[[], None] = lambda: None) -> str:
        return self.expect(Error, turn).code

    def close(self) -> None:
        self.socket.close()


class StubEngine:
    """Speaks the link like an engine whose logits are the first `classes` bytes of a sample."""

    def __init__(self, config: Config, context: Any, pid: int = 0) -> None:
        self.graph = networks.load(config.model.network)
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(config.link_endpoint)
        self.pid = pid or os.getpid()
        self.next_seq = 0
        self.records: list[tuple[int, bytes]] = []
        self.heard: list[link.Message] = []
        self.consume = True
        self.answer = True
        self.version = 1
        self._beat_s = 0.0

    def say(self, message: link.Message) -> None:
        self.socket.send_multipart(link.encode(message))

    def hello(self, digest: str = "") -> None:
        net = self.graph
        self.say(
            link.Hello(
                self.pid, "stub", 1, net.name, digest or net.digest, self.version, "00" * 16,
                list(net.input.shape), net.input.dtype, net.classes,
            )
        )  # fmt: skip

    def fetch(self) -> None:
        self.say(link.Fetch(self.next_seq, 1 << 20))

    def turn(self, timeout_ms: int = 0) -> None:
        """Handle what has come; answers infer and control as configured."""
        if time.monotonic() > self._beat_s:
            self._beat_s = time.monotonic() + 0.5
            self.say(link.Heartbeat())
        while self.socket.poll(timeout_ms):
            timeout_ms = 0
            message = link.decode(self.socket.recv_multipart())
            self.heard.append(message)
            if isinstance(message, link.Identify):
                self.hello()
            elif isinstance(message, link.Welcome):
                self.fetch()
            elif isinstance(message, link.Records):
                self._records(message)
            elif isinstance(message, link.Infer) and self.answer:
                self._infer(message)
            elif isinstance(message, link.Control):
                self.say(link.Reply(message.id, True, {"did": message.command}))

    def _records(self, message: link.Records) -> None:
        if message.from_seq == self.next_seq:
            self.records += [(seq, bytes(payload)) for seq, payload in message.payloads()]
            self.next_seq = message.next_seq
            if self.consume:
                self.say(link.Consumed(message.next_seq - 1))
        self.fetch()

    def _infer(self, message: link.Infer) -> None:
        samples = np.frombuffer(message.body, np.uint8).reshape(message.count, -1)
        logits = samples[:, : self.graph.classes].astype("<f4")
        self.say(
            link.Prediction(
                message.id, self.version, "00" * 16, message.count, logits.tobytes()
            )
        )

    def close(self) -> None:
        self.socket.close()
