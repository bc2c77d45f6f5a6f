"""The SDK's session against the daemon's ingest, both without sockets, on a hostile world.

Connections break at any message, the journal refuses at random, the daemon dies and comes back
from what its journal holds. Whatever happens: what the client was told is durable is in the
journal exactly once and in order, and nothing is in there that was not sent.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from eftraind.client.pulse import Phase
from eftraind.client.results import Settings
from eftraind.client.session import Session
from eftraind.clock import FakeClock
from eftraind.config import Config, IngestConfig
from eftraind.errors import EftraindError, JournalFull, WireError
from eftraind.metrics import Metrics
from eftraind.service.clients import Clients
from eftraind.service.guard import Guard
from eftraind.service.ingest import Ingest, Outcome, Submission
from eftraind.service.sockets import Sent
from eftraind.wire import Buffer, Hello, Kind, Ping, Put, Stream
from eftraind.wire_decode import decode_request, split_header

STREAM = Stream((2, 2, 1), "uint8", 10, 4096)
CONFIG = IngestConfig(window_bytes=4096, max_message_bytes=4096, queue_bytes=16_384)


@dataclass
class Disk:
    """What survives: (producer, sequence number, first pixel) in journal order."""

    rng: np.random.Generator
    trouble: float
    entries: list[tuple[str, int, int]] = field(default_factory=list)
    waiting: list[tuple[Submission, Put]] = field(default_factory=list)
    stopped: dict[str, EftraindError] = field(default_factory=dict)

    def submit(self, submission: Submission, put: Put) -> None:
        if self.rng.random() < self.trouble:
            raise WireError("busy now", code="busy")
        self.waiting.append((submission, put))

    def commit(self) -> list[Outcome]:
        """Some of what waits, in order, as the committer does it."""
        outcomes = []
        for submission, put in self.waiting:
            name = submission.producer.name
            error = self.stopped.get(name)
            if error is None and self.rng.random() < self.trouble:
                error = self.stopped[name] = JournalFull("full now")
            if error is None:
                self.write(name, put)
            outcomes.append(Outcome(submission, error))
        self.waiting = []
        return outcomes

    def forget(self, name: str) -> None:
        raise AssertionError(f"there is room for {name}")

    def write(self, name: str, put: Put) -> None:
        assert put.samples is not None
        for offset in range(put.count):
            pixel = int(put.samples[offset, 0, 0, 0])
            self.entries.append((name, put.first_seq + offset, pixel))

    def crash(self) -> None:
        """Some of what waited was already written, a prefix; the rest is gone."""
        kept = int(self.rng.integers(0, len(self.waiting) + 1))
        for submission, put in self.waiting[:kept]:
            if submission.producer.name in self.stopped:
                continue
            self.write(submission.producer.name, put)
        self.waiting = []
        self.stopped = {}

    @property
    def last_seqs(self) -> dict[str, int]:
        return {name: seq for name, seq, _ in self.entries}


class Daemon:
    """Clients and Ingest, fed with frames; answers go to `wires`."""

    def __init__(self, disk: Disk, clock: FakeClock, wires: "Wires") -> None:
        self.disk = disk
        metrics = Metrics()
        guard = Guard(Config(), {}, metrics)
        self.clients = Clients(CONFIG, STREAM, wires.send, metrics, clock, guard, disk.forget)
        self.clients.recover(disk.last_seqs)
        self.ingest = Ingest(self.clients, STREAM, disk.submit, self.readmit, metrics)

    def readmit(self, name: str) -> None:
        self.disk.stopped.pop(name, None)

    def hear(self, identity: bytes, frames: Sequence[Buffer]) -> None:
        try:
            kind, header = split_header(frames[0])
            request = decode_request(frames)
            if isinstance(request, Hello):
                self.clients.hello(identity, request)
                return
            connection = self.clients.find(identity)
            if kind == Kind.PUT:
                self.ingest.put(connection, header, memoryview(frames[1]))
            elif isinstance(request, Ping):
                self.clients.ping(connection, request)
        except EftraindError as error:
            self.clients.refuse(identity, frames, error)


class Wires:
    """Both directions of each connection; a broken one swallows what is on it."""

    def __init__(self) -> None:
        self.up: dict[bytes, deque[list[bytes]]] = {}
        self.down: dict[bytes, deque[list[bytes]]] = {}
        self.slow: set[bytes] = set()

    def open(self, identity: bytes) -> None:
        self.up[identity], self.down[identity] = deque(), deque()

    def cut(self, identity: bytes) -> None:
        self.up.pop(identity, None)
        self.down.pop(identity, None)
        self.slow.discard(identity)

    def send(self, identity: bytes, frames: Sequence[Buffer]) -> Sent:
        if identity not in self.down:
            return Sent.GONE
        if identity in self.slow:
            return Sent.SLOW
        self.down[identity].append([bytes(frame) for frame in frames])
        return Sent.OK


class World:
    def __init__(self, seed: int, disk: type[Disk] = Disk) -> None:
        self.rng = np.random.default_rng(seed)
        self.clock = FakeClock()
        self.wires = Wires()
        self.disk = disk(self.rng, trouble=0.05)
        self.daemon = Daemon(self.disk, self.clock, self.wires)
        self.session = Session(Settings("robot", coalesce_s=0.0), self.clock.monotonic_s())
        self.identity = b""
        self.serial = 0
        self.sent: dict[int, int] = {}

    def step(self, calm: bool = False) -> None:
        now_s = self.clock.monotonic_s()
        if self.session.wants_connection(now_s):
            self.wires.cut(self.identity)
            self.serial += 1
            self.identity = b"peer-%d" % self.serial
            self.wires.open(self.identity)
            self.session.opened(now_s)
        if not calm:
            self.trouble()
            self.push()
        self.exchange(int(self.rng.integers(1, 6)))
        if self.rng.random() < 0.3 or calm:
            self.daemon.ingest.settle(self.disk.commit())
        self.daemon.clients.flush()
        self.session.tick(now_s)
        self.clock.advance(0.02)

    def push(self) -> None:
        if self.session.phase is not Phase.READY or self.rng.random() < 0.5:
            return
        count = int(self.rng.integers(1, 9))
        pixels = self.rng.integers(0, 256, count)
        images = np.broadcast_to(pixels[:, None, None, None], (count, 2, 2, 1)).astype("u1")
        offer = self.session.batch(images, np.zeros(count, "i4"))
        taken = self.session.offer(offer, self.clock.monotonic_s())
        if taken is not None:
            self.sent.update(zip(taken, (int(p) for p in pixels), strict=True))

    def trouble(self) -> None:
        fate = self.rng.random()
        if fate < 0.01:
            self.wires.cut(self.identity)
            self.session.broken(self.clock.monotonic_s())
        elif fate < 0.02:
            self.disk.crash()
            for identity in list(self.wires.up):
                self.wires.up[identity].clear()
            self.daemon = Daemon(self.disk, self.clock, self.wires)
        elif fate < 0.04:
            self.wires.slow ^= {self.identity}

    def exchange(self, count: int) -> None:
        now_s = self.clock.monotonic_s()
        for _ in range(count):
            message = self.session.next_message(now_s)
            if message is not None and self.identity in self.wires.up:
                self.wires.up[self.identity].append([bytes(frame) for frame in message])
        for identity in list(self.wires.up):
            queue = self.wires.up[identity]
            for _ in range(min(len(queue), count)):
                self.daemon.hear(identity, queue.popleft())
        answers = self.wires.down.get(self.identity, deque())
        for _ in range(min(len(answers), count)):
            self.session.receive(answers.popleft(), now_s)

    def check(self) -> None:
        seqs = [seq for _, seq, _ in self.disk.entries]
        assert seqs == sorted(set(seqs)), "stored twice or out of order"
        assert all(self.sent[seq] == pixel for _, seq, pixel in self.disk.entries)
        assert self.session.stats().durable <= len(seqs), "told durable, not stored"


def live(world: World) -> None:
    """Troubled times, then calm until nothing is pending; everything must be there."""
    for _ in range(600):
        world.step()
        world.check()
    world.disk.trouble = 0.0
    world.wires.slow.clear()
    for _ in range(3000):
        world.step(calm=True)
        if world.session.stats().pending == 0 and world.session.phase is Phase.READY:
            break
    world.check()
    stats = world.session.stats()
    assert stats.pending == 0, f"stuck with {stats}"
    assert not stats.refused
    assert [seq for _, seq, _ in world.disk.entries] == sorted(world.sent)
    assert world.daemon.ingest.queue_bytes == 0
    assert len(world.sent) > 100


@pytest.mark.parametrize("seed", range(20))
def test_every_operation_is_stored_exactly_once_whatever_breaks(seed: int) -> None:
    live(World(seed))


class GoesOn(Disk):
    """Broken: takes what comes after a record it did not take."""

    def commit(self) -> list[Outcome]:
        self.stopped = dict.fromkeys(())
        outcomes = []
        for submission, put in self.waiting:
            error = JournalFull("full now") if self.rng.random() < self.trouble else None
            if error is None:
                self.write(submission.producer.name, put)
            outcomes.append(Outcome(submission, error))
        self.waiting = []
        return outcomes


class TellsTooMuch(Disk):
    """Broken: after a crash it reports what was only waiting as stored, as a segment would that
    opens with the numbers received instead of those appended."""

    def crash(self) -> None:
        self.promised = {s.producer.name: s.last_seq for s, _ in self.waiting}
        self.waiting, self.stopped = [], {}

    @property
    def last_seqs(self) -> dict[str, int]:
        return {**super().last_seqs, **getattr(self, "promised", {})}


class ForgetsToCommit(Disk):
    """Broken: acknowledges what was never written."""

    def write(self, name: str, put: Put) -> None:
        if self.rng.random() > 0.05:
            super().write(name, put)


@pytest.mark.parametrize("broken", [GoesOn, TellsTooMuch, ForgetsToCommit])
def test_the_simulation_catches_a_broken_journal(broken: type[Disk]) -> None:
    caught = 0
    for seed in range(6):
        try:
            live(World(seed, broken))
        except AssertionError:
            caught += 1
    assert caught >= 4
