"""Fixtures of the service tests."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from harness import Daemon, RawClient, StubEngine, small_config, write_config

import eftraind
from eftraind.clock import Clock
from eftraind.fsio import FileOps
from eftraind.service.front import Front
from eftraind.service.heart import Heart


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes find this package, installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(Path(eftraind.__file__).parent.parent))


@pytest.fixture
def box() -> Iterator[Path]:
    """A directory whose name is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="eft"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def context() -> Iterator[Any]:
    with zmq.Context() as made:
        yield made


class Bench:
    """A Front in this process, turned by the test, and its peers."""

    def __init__(self, box: Path, context: Any, **sections: Any) -> None:
        self.ops = sections.pop("ops", None) or FileOps()
        self.config = small_config(box, **sections)
        self.context = context
        self.peers: list[Any] = []
        self.engines: list[StubEngine] = []
        self.open()

    def open(self) -> None:
        clock = Clock()
        self.front = Front(self.config, clock=clock, ops=self.ops, heart=Heart(None, clock))

    def reopen(self) -> None:
        """As after a clean restart."""
        self.front.finish()
        self.front.close()
        self.open()

    def turn(self) -> None:
        self.front.turn(1)
        for engine in self.engines:
            engine.turn()

    def client(self, producer: str = "", **options: Any) -> RawClient:
        peer = RawClient(self.context, self.front.doors.clients.endpoints[0], **options)
        self.peers.append(peer)
        if producer:
            peer.hello(producer)
        return peer

    def engine(self) -> StubEngine:
        engine = StubEngine(self.config, self.context)
        self.peers.append(engine)
        self.engines.append(engine)
        engine.hello()
        return engine

    def until(self, what: str, check: Callable[[], Any]) -> Any:
        from harness import until

        def turned() -> Any:
            self.turn()
            return check()

        return until(what, turned, 10.0)

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.front.close()


@pytest.fixture
def bench(box: Path, context: Any) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**sections: Any) -> Bench:
        made.append(Bench(box, context, **sections))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def daemon(box: Path) -> Iterator[Callable[..., Daemon]]:
    made: list[Daemon] = []

    def make(command: str = "front", **sections: Any) -> Daemon:
        made.append(Daemon(write_config(box, **sections), command))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.kill()
