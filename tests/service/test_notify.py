"""What systemd hears from the real processes, on a real datagram socket."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Daemon, put_frames, small_config, until, write_config

from eftraind.clock import Clock, FakeClock
from eftraind.fsio import FileOps
from eftraind.sdnotify import Notifier
from eftraind.service.front import DISK_DEADLINE_S, Front
from eftraind.service.heart import Heart

STALLING = Path(__file__).parent / "stalling.py"


class Ear:
    """systemd's end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def receive(self, within_s: float) -> str | None:
        self._socket.settimeout(within_s)
        try:
            text = self._socket.recv(4096).decode()
        except (TimeoutError, BlockingIOError):
            return None
        self.heard.append(text)
        return text

    def wait_for(self, start: str) -> str:
        """The next message that starts so."""
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            text = self.receive(1.0)
            if text is not None and text.startswith(start):
                return text
        raise AssertionError(f"no {start}; heard {self.heard[-10:]}")

    def drain(self) -> None:
        while self.receive(0.0001) is not None:
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(box: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    made = Ear(box / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield made
    made.close()


def test_front_from_its_start_to_its_end(daemon: Callable[..., Daemon], ear: Ear) -> None:
    front = daemon("front")
    ready = ear.wait_for("READY=1")
    assert "STATUS=degraded: no engine" in ready
    before = ear.heard[:-1]
    assert before and all(text.startswith("EXTEND_TIMEOUT_USEC=") for text in before)
    for _ in range(3):
        ear.wait_for("WATCHDOG=1")
    asked_us = int(time.monotonic() * 1e6)
    front.process.send_signal(signal.SIGHUP)
    reloading = ear.wait_for("RELOADING=1")
    stamp = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", reloading)
    assert stamp and asked_us <= int(stamp[1]) <= int(time.monotonic() * 1e6)
    ear.wait_for("READY=1")
    assert front.stop() == 0
    ear.wait_for("STOPPING=1")


def test_the_engine_says_what_it_does(daemon: Callable[..., Daemon], ear: Ear) -> None:
    engine = daemon("engine")
    assert "STATUS=version 1 serves, 0 samples behind" in ear.wait_for("READY=1")
    assert ear.heard[0].startswith("EXTEND_TIMEOUT_USEC=")
    ear.wait_for("WATCHDOG=1")
    engine.process.send_signal(signal.SIGHUP)  # front tells it what changed; this is not its end
    ear.drain()
    ear.wait_for("WATCHDOG=1")
    assert engine.stop() == 0
    ear.wait_for("STOPPING=1")


def test_each_stage_of_a_slow_start_gets_more_time(ear: Ear) -> None:
    """And a start that stands still gets none."""
    clock = FakeClock()
    heart = Heart(None, clock, Notifier(str(ear.path)))
    for _ in range(3):
        heart.starting()
        heart.starting()  # at once: the same stage
        clock.advance(50.0)
    ear.drain()
    assert ear.heard == ["EXTEND_TIMEOUT_USEC=60000000"] * 3


def test_a_whole_daemon_is_one_service(daemon: Callable[..., Daemon], ear: Ear) -> None:
    whole = daemon("run")
    ear.wait_for("READY=1")
    ear.wait_for("WATCHDOG=1")
    assert whole.stop() == 0
    ear.wait_for("STOPPING=1")
    ear.drain()
    assert sum(text.startswith("READY=1") for text in ear.heard) == 1


@pytest.mark.parametrize("part", ["front", "engine"])
def test_a_loop_that_stands_still_stops_feeding(part: str, box: Path, ear: Ear) -> None:
    stop = box / "stop"
    port = 0
    if part == "front":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    config = write_config(box, metrics={"listen": f"127.0.0.1:{port}"})
    command = [sys.executable, str(STALLING), str(stop), part, "--config", str(config)]
    with (box / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        ear.wait_for("WATCHDOG=1")
        stop.touch()
        until("silence", lambda: ear.receive(1.0) is None)  # ten feeds would fit into it
        if part == "front":  # the process lives, only its loop does not
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).close()
        # Also lets the page's thread end: faulthandler may stumble over a thread that runs.
        assert ear.receive(1.0) is None
        process.send_signal(signal.SIGABRT)  # as systemd's watchdog does
        assert process.wait(30) == -signal.SIGABRT
    finally:
        process.kill()
        process.wait()
    dump = (box / "log").read_text()
    assert "Fatal Python error: Aborted" in dump and "in standing_still" in dump


class SetForward(Clock):
    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class StuckDisk(FileOps):
    """Flushes wait until `free`."""

    def __init__(self) -> None:
        self.free, self.waiting = threading.Event(), threading.Event()
        self.free.set()

    def fdatasync(self, fd: int) -> None:
        if not self.free.is_set():
            self.waiting.set()
        assert self.free.wait(60)
        super().fdatasync(fd)


def test_a_disk_that_hangs_stops_feeding_though_the_loop_turns(
    box: Path, ear: Ear, context: Any
) -> None:
    from harness import RawClient

    clock, disk = SetForward(), StuckDisk()
    notifier = Notifier.from_environ(os.environ)
    heart = Heart(None, clock, notifier)
    front = Front(small_config(box), clock=clock, ops=disk, heart=heart)
    client = RawClient(context, front.doors.clients.endpoints[0])
    try:
        client.hello("cam")
        client.receive(lambda: front.turn(1))
        disk.free.clear()
        client.send(*put_frames(1, 0))
        until("a flush", lambda: front.turn(1) or disk.waiting.is_set())

        def fed() -> bool:
            ear.drain()
            ear.heard.clear()
            clock.ahead_s += 1.0
            front.turn(1)
            ear.drain()
            return "WATCHDOG=1" in ear.heard

        assert fed()
        clock.ahead_s += DISK_DEADLINE_S
        assert not fed()
        disk.free.set()
        until("food", fed)
    finally:
        disk.free.set()
        client.close()
        front.close()


def test_the_watchdog_of_another_process_is_not_fed() -> None:
    given = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert Notifier.from_environ(given).watchdog_s is None
