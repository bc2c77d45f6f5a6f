"""A device that dies under the engine: real front, real engine, real supervisor; the device's run
is made to raise. The front goes on, the question is answered, and the engine comes back."""

import logging
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import RawClient, images, until, write_config

from eftraind import config as configuration
from eftraind.client import Client
from eftraind.clock import Clock, FakeClock
from eftraind.config import SuperviseConfig
from eftraind.errors import Disconnected
from eftraind.sdnotify import Notifier
from eftraind.service.request import RequestFailed, request
from eftraind.service.supervise import EXIT_DEVICE, LONGEST_DELAY_S, Supervisor, _Child
from eftraind.wire import Error, Infer, Reply, Welcome

DYING = Path(__file__).parent / "dying.py"


class Robot:
    """Front and engine under a supervisor; `switch` is the file that kills the device."""

    def __init__(self, box: Path) -> None:
        path = write_config(box)
        self.config = configuration.load(path)
        self.switch = box / "dead"
        dying = [sys.executable, str(DYING), str(self.switch)]
        self.supervisor = Supervisor(
            {
                "front": [sys.executable, "-m", "eftraind", "front", "--config", str(path)],
                "engine": [*dying, "engine", "--config", str(path)],
            },
            SuperviseConfig(engine_deadline_s=20.0, restart_delay_s=0.05),
            clock=Clock(),
            notifier=Notifier(),
        )
        self.status: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.status = self.supervisor.run()

    @property
    def endpoint(self) -> str:
        return self.config.listen_endpoints[0]

    def engine(self) -> dict[str, Any]:
        try:
            return dict(request(self.config.control_endpoint, "status", timeout_s=0.5)["engine"])
        except RequestFailed:
            return {"up": False}

    @property
    def child(self) -> _Child:
        return next(child for child in self.supervisor._children if child.name == "engine")

    def stop(self) -> None:
        self.supervisor.stop()
        self._thread.join(60)


@pytest.fixture
def robot(box: Path) -> Iterator[Robot]:
    one = Robot(box)
    yield one
    one.stop()


@contextmanager
def raw_client(robot: Robot, context: Any) -> Iterator[RawClient]:
    client = RawClient(context, robot.endpoint)
    try:
        client.hello("asker")
        client.expect(Welcome)
        yield client
    finally:
        client.close()


def ask(asker: RawClient) -> Reply:
    """What a client gets on the wire; the SDK would ask again."""
    asker.send(*Infer(1, images(1)[0]).frames())
    return asker.receive(timeout_s=30)


def fails_again(robot: Robot, asker: RawClient) -> bool:
    answer = ask(asker)
    assert isinstance(answer, Error) and answer.code == "engine_down"
    return len(robot.child.ends_s) >= 2


def page(robot: Robot) -> str:
    status = request(robot.config.control_endpoint, "status", timeout_s=5)
    port = status["endpoints"]["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("way", ["timeout", "lost"])
def test_the_front_goes_on_and_the_engine_comes_back(
    robot: Robot, way: str, context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    until("the engine", lambda: robot.engine()["up"], 60.0)
    samples, labels = images(8)
    with raw_client(robot, context) as asker, Client(robot.endpoint, producer="cam") as client:
        before = client.infer(samples[0], timeout_s=20)
        robot.switch.write_text(way)
        answer = ask(asker)
        assert isinstance(answer, Error) and answer.code == "engine_down" and answer.retryable
        assert answer.message == "the device is lost: commands 0..3 did not end"

        until("an attempt that fails again", lambda: fails_again(robot, asker), 60.0)
        client.push_batch(samples, labels)
        client.flush(timeout_s=30)  # acknowledged, so durable, without an engine
        counted = re.search(rf'engine_device_lost_total{{code="device_{way}"}} (\S+)', page(robot))
        assert counted and float(counted[1]) >= 1

        robot.switch.unlink()
        until("the engine again", lambda: robot.engine()["up"], 60.0)
        after = client.infer(samples[0], timeout_s=20)
        assert (after.label, after.weights_hash) == (before.label, before.weights_hash)
    assert robot.status is None
    assert f"engine ended with status {EXIT_DEVICE}, its device is lost, and" in caplog.text


def test_a_board_that_cannot_be_opened_again_does_not_end_the_front(robot: Robot) -> None:
    until("the engine", lambda: robot.engine()["up"], 60.0)
    samples, labels = images(4)
    robot.switch.write_text("open")
    with Client(robot.endpoint, producer="cam") as client:
        with pytest.raises(Disconnected, match="engine"):
            client.infer(samples[0], timeout_s=1.0)  # asked again until then
        until("two attempts to open it", lambda: len(robot.child.ends_s) >= 3, 60.0)
        client.push_batch(samples, labels)
        client.flush(timeout_s=30)
        assert robot.status is None
        robot.switch.unlink()
        until("the engine again", lambda: robot.engine()["up"], 60.0)


def test_the_exit_status_and_the_line(box: Path) -> None:
    path, switch = write_config(box), box / "dead"
    switch.write_text("boot")
    done = subprocess.run(
        [sys.executable, DYING, switch, "engine", "--config", path],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == EXIT_DEVICE == os.EX_IOERR
    lines = done.stderr.splitlines()
    assert lines[-1] == "eftraind: commands 0..3 did not end (reset the board)"
    assert "Traceback" not in done.stderr


def test_attempts_become_rarer() -> None:
    clock = FakeClock()
    options = SuperviseConfig(restart_delay_s=1.0, restart_burst=100)
    supervisor = Supervisor({"engine": []}, options, clock=clock, notifier=Notifier())
    (child,) = supervisor._children
    delays = []
    for child.lost_device in [False] * 2 + [True] * 8:
        supervisor._plan_restart(child)
        delays.append(child.start_at_s - clock.monotonic_s())
    assert delays == [1, 1, 4, 8, 16, 32, *[LONGEST_DELAY_S] * 4]
    clock.advance(options.restart_interval_s + 1)
    supervisor._plan_restart(child)
    assert child.start_at_s - clock.monotonic_s() == 1, "a loss long ago is forgotten"
