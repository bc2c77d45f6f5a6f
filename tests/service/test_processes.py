"""The daemon as processes: killed at any instant, supervised, started twice, stopped."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import STUB, Daemon, images, until, write_config

from eftraind.client import Client
from eftraind.clock import Clock
from eftraind.config import SuperviseConfig
from eftraind.fsio import FileOps
from eftraind.sdnotify import Notifier
from eftraind.service.supervise import Supervisor
from eftraind.store.journal import Journal
from eftraind.wire_records import decode_record

Make = Callable[..., Any]
CLI = [sys.executable, "-m", "eftraind"]


def journalled(daemon: Daemon) -> list[tuple[str, int, int, int]]:
    """(producer, sequence number, label, first pixels) of each sample in the ring, in order."""
    config = daemon.config
    journal = Journal.open(
        Path(config.state_dir) / "journal",
        size_bytes=config.journal.size_bytes,
        segment_bytes=config.journal.segment_bytes,
        ops=FileOps(),
        preamble=bytes,
    )
    found = []
    for _, payload in journal.read(0, 1 << 40):
        record = decode_record(payload)
        assert record.samples is not None and record.labels is not None
        for offset in range(record.count):
            mark = int.from_bytes(bytes(record.samples[offset].reshape(-1)[:4]), "little")
            label = int(record.labels[offset])
            found.append((record.producer, record.first_seq + offset, label, mark))
    journal.close()
    return found


def marked(first: int, count: int) -> np.ndarray[Any, Any]:
    """Images whose first four bytes are their number."""
    samples, _ = images(count, first)
    flat = samples.reshape(count, -1)
    flat[:, :4] = np.arange(first, first + count, dtype="<u4").view("u1").reshape(count, 4)
    return flat.reshape(samples.shape)


def test_kill_9_of_front_in_a_loop_loses_and_doubles_nothing(daemon: Make) -> None:
    front = daemon("front", journal={"size_bytes": 32 << 20, "commit_s": 0.002})
    front.ready()
    rng = np.random.default_rng(7)
    stop = threading.Event()
    pushed = 0
    durable = 0
    with Client(front.endpoint, producer="cam", max_pending_bytes=1 << 20) as client:

        def stream() -> None:
            nonlocal pushed
            while not stop.is_set():
                count = int(rng.integers(1, 40))
                samples = marked(pushed, count)
                client.push_batch(samples, np.arange(pushed, pushed + count) % 10)
                pushed += count

        streamer = threading.Thread(target=stream)
        streamer.start()
        for _ in range(6):
            before = client.stats().durable
            until("progress", lambda before=before: client.stats().durable > before + 200)
            time.sleep(float(rng.random()) * 0.02)  # any instant will do
            front.kill()
            durable = client.stats().durable
            front.start()
        until("progress", lambda: client.stats().durable > durable + 200)
        stop.set()
        streamer.join()
        client.flush(timeout_s=30)
        stats = client.stats()
        assert stats.durable == pushed and not stats.refused
        assert stats.reconnects >= 6
    assert front.stop() == 0
    found = journalled(front)
    assert found == [("cam", n + 1, n % 10, n) for n in range(pushed)]


def test_kill_9_of_front_and_engine_in_turn_under_load(daemon: Make) -> None:
    """The whole daemon, real engine: all samples once, every question answered, still serving."""
    whole = daemon(
        "run",
        device={"kind": "cpu"},
        journal={"size_bytes": 64 << 20, "segment_bytes": 4 << 20},
    )
    until("the engine", lambda: whole.ready()["engine"]["up"], 60.0)
    stop = threading.Event()
    pushed = answered = 0
    failures: list[Exception] = []
    with (
        Client(whole.endpoint, producer="cam", max_pending_bytes=1 << 20) as client,
        Client(whole.endpoint) as asker,
    ):

        def stream() -> None:
            nonlocal pushed
            while not stop.wait(0.004):
                client.push_batch(marked(pushed, 16), np.arange(pushed, pushed + 16) % 10)
                pushed += 16

        def ask() -> None:
            nonlocal answered
            while not stop.wait(0.002):
                try:
                    asker.infer(images(1)[0], timeout_s=30)
                except Exception as error:
                    failures.append(error)
                answered += 1

        threads = [threading.Thread(target=work) for work in (stream, ask)]
        for thread in threads:
            thread.start()
        for name in ("front", "engine", "engine", "front"):
            before, asked = client.stats().durable, answered
            until(
                "progress",
                lambda b=before, a=asked: client.stats().durable > b + 200 and answered > a + 20,
                60.0,
            )
            os.kill(child_pid(whole, name), signal.SIGKILL)
        asked = answered
        until("answers", lambda: answered > asked + 20, 60.0)
        stop.set()
        for thread in threads:
            thread.join()
        client.flush(timeout_s=60)
        assert client.stats().durable == pushed
        assert not failures
    assert whole.stop() == 0
    assert journalled(whole) == [("cam", n + 1, n % 10, n) for n in range(pushed)]


def child_pid(whole: Daemon, name: str) -> int:
    """The process of this name that the daemon has running, once it has."""

    def found() -> int:
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
                words = (path.parent / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if int(fields[1]) == whole.process.pid and name.encode() in words:
                return int(path.parent.name)
        return 0

    return until(f"a running {name}", found)


def test_what_was_durable_at_the_kill_is_there(daemon: Make) -> None:
    """Nothing is resent after the kill: only what was on disk counts."""
    front = daemon("front", journal={"commit_s": 0.001})
    front.ready()
    client = Client(front.endpoint, producer="cam")
    total = 0
    while client.stats().durable < 500:
        client.push_batch(marked(total, 50), np.zeros(50, "i4"))
        total += 50
    front.kill()
    durable = client.stats().durable
    with pytest.raises(Exception, match="."):
        client.close(flush_timeout_s=0.01)
    found = journalled(front)
    assert len(found) >= durable > 0
    assert [seq for _, seq, _, _ in found] == list(range(1, len(found) + 1))


def test_sigterm_makes_everything_received_durable(daemon: Make) -> None:
    front = daemon("front", journal={"commit_s": 30.0, "commit_records": 60_000})
    front.ready()
    with Client(front.endpoint, producer="cam") as client:
        client.push_batch(marked(0, 100), np.zeros(100, "i4"))
        client.flush("received")
        assert client.stats().durable == 0
        assert front.stop() == 0
        until("the last ACK", lambda: client.stats().durable == 100)
    assert len(journalled(front)) == 100


def test_a_second_daemon_on_the_same_state_says_so(daemon: Make, box: Path) -> None:
    front = daemon("front")
    front.ready()
    second = subprocess.run(
        [*CLI, "front", "--config", str(box / "config.yaml")], capture_output=True, text=True
    )
    assert second.returncode == 75
    line = second.stderr.strip().splitlines()[-1]
    assert "in use by another daemon" in line and str(front.process.pid) in line
    whole = subprocess.run(
        [*CLI, "run", "--config", str(box / "config.yaml")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert whole.returncode == 75
    front.ready()


def test_a_small_tmpfs_that_is_full_still_serves(daemon: Make, box: Path) -> None:
    state = box / "state"
    state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(state)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        front = daemon("front")
        journal = front.ready()["journal"]
        assert not journal["writable"]
        assert "No space left" in journal["reason"]
        with Client(front.endpoint, policy="refuse") as client:
            client.push(marked(0, 1)[0], 1)
            until("the refusal", lambda: client.stats().waiting_for == "read_only")
            client.close(flush_timeout_s=0)
        assert front.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


class Supervised:
    """A Supervisor of the real front and a stub engine, in a thread."""

    def __init__(self, box: Path, *stub: str, deadline_s: float = 2.0) -> None:
        path = write_config(box)
        commands = {
            "front": [*CLI, "front", "--config", str(path)],
            "engine": [sys.executable, str(STUB), "--config", str(path), *stub],
        }
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(box / "notify"))
        self.notified.settimeout(20)
        self.supervisor = Supervisor(
            commands,
            SuperviseConfig(engine_deadline_s=deadline_s, restart_delay_s=0.05),
            clock=Clock(),
            notifier=Notifier(str(box / "notify")),
        )
        self.status: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.status = self.supervisor.run()

    def pid(self, name: str) -> int:
        for child in self.supervisor._children:
            if child.name == name and child.process is not None:
                return child.process.pid
        return 0

    def notification(self, start: str) -> None:
        deadline_s = time.monotonic() + 30
        while not self.notified.recv(1000).decode().startswith(start):
            assert time.monotonic() < deadline_s, f"no {start}"

    def stop(self) -> int | None:
        self.supervisor.stop()
        self._thread.join(30)
        self.notified.close()
        return self.status


def test_the_supervisor_restarts_whoever_dies_and_stops_both(box: Path) -> None:
    run = Supervised(box)
    try:
        run.notification("READY=1")
        run.notification("WATCHDOG=1")
        endpoint = f"ipc://{box}/eft.sock"
        with Client(endpoint, producer="cam") as client:
            for name in ("engine", "front", "engine"):
                before = run.pid(name)
                os.kill(before, signal.SIGKILL)
                until(
                    f"another {name}",
                    lambda n=name, b=before: run.pid(n) not in (0, b),
                )
                client.push(images(1)[0][0], 1)
                client.flush(timeout_s=20)
                label = until("an answer", lambda: answer(client), 20.0)
                assert label >= 0
        pids = [run.pid("front"), run.pid("engine")]
    finally:
        assert run.stop() == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def answer(client: Client) -> int | None:
    try:
        return client.infer(images(1)[0][0]).label + 1
    except Exception:
        return None


def test_a_hanging_engine_is_killed_and_restarted(box: Path) -> None:
    hang = box / "hang"
    run = Supervised(box, "--hang-file", str(hang), deadline_s=0.6)
    try:
        run.notification("READY=1")
        before = run.pid("engine")
        hang.touch()
        until("another engine", lambda: run.pid("engine") not in (0, before))
    finally:
        assert run.stop() == 0


def test_an_engine_that_keeps_failing_leaves_one_that_serves(box: Path) -> None:
    path = write_config(box)
    stub = [sys.executable, str(STUB), "--config", str(path)]
    supervisor = Supervisor(
        {"engine": [*stub, "--exit", "3"]},
        SuperviseConfig(restart_delay_s=0.0, restart_burst=3),
        clock=Clock(),
        notifier=Notifier(),
        fallbacks={"engine": stub},
    )
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    (child,) = supervisor._children
    try:
        until("the other engine", lambda: child.ready)
        assert child.command == stub and len(child.ends_s) == 3
    finally:
        supervisor.stop()
        thread.join(30)


def test_a_configuration_error_of_a_child_ends_everything(box: Path) -> None:
    run = Supervised(box, "--exit", "78")
    until("the end", lambda: run.status is not None)
    assert run.stop() == 78


def test_children_end_when_the_supervisor_is_killed(daemon: Make) -> None:
    whole = daemon("run")
    front_pid = whole.ready()["pid"]
    whole.kill()

    def ended() -> bool:
        try:
            os.kill(front_pid, 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{front_pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    until("the front's end", ended)
