"""The real daemon as real processes: start, ask, kill parts of it, stop."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from eftraind import config as configuration
from eftraind.errors import EftraindError
from eftraind.fsio import FileOps
from eftraind.service.request import request
from eftraind.store.journal import Journal
from eftraind.wire_records import decode_record

BASE = {
    "model": {"network": "digits", "seed": 3},
    "device": {"threads": 1},
    "ingest": {"max_message_bytes": 262144, "window_bytes": 1048576, "max_producers": 64},
    "journal": {"size_bytes": 8388608, "segment_bytes": 1048576, "commit_s": 0.005},
    "train": {"batch": 16, "min_samples": 32, "learning_rate": 0.02, "max_lag_samples": 1000000},
    "gate": {"candidate_steps": 20, "min_samples": 32, "max_samples": 300},
    "metrics": {"listen": "127.0.0.1:0"},
    "supervise": {"restart_delay_s": 0.05},
}


def until(condition, timeout_s=30.0, what="condition"):
    """Wait for a condition by asking again; fails with its name after the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} not within {timeout_s} s"
        time.sleep(0.01)


class RealDaemon:
    """A daemon in a directory of its own; a context manager."""

    def __init__(self, **sections):
        self.home = Path(tempfile.mkdtemp(prefix="eft"))  # short: a socket's path has 107 bytes
        data = {name: dict(values) for name, values in BASE.items()}
        for name, values in sections.items():
            data[name] = data.get(name, {}) | values
        data |= {"state_dir": str(self.home / "state"), "run_dir": str(self.home / "run")}
        self.path = self.home / "daemon.yaml"
        self.path.write_text(yaml.safe_dump(data))
        self.config = configuration.load(self.path)
        self.process = None

    @property
    def endpoint(self):
        return self.config.listen_endpoints[0]

    def start(self):
        command = [sys.executable, "-m", "eftraind", "run", "--config", str(self.path)]
        self.log = (self.home / "log").open("ab")
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log)
        self.wait_ready()

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, (self.home / "log").read_text()
            status = self.status()
            return status if status and status["engine"].get("up") else None

        return until(ready, what="daemon ready")

    def status(self):
        """The daemon's status, or None while it cannot answer."""
        with contextlib.suppress(EftraindError):
            return request(self.config.control_endpoint, "status", timeout_s=2.0)
        return None

    def ask(self, command, **args):
        return request(self.config.control_endpoint, command, args, timeout_s=20.0)

    def kill(self, part):
        """SIGKILL to front or engine, and wait until its successor serves."""
        status = self.wait_ready()
        pid = status["engine"]["pid"] if part == "engine" else status["pid"]
        os.kill(pid, signal.SIGKILL)

        def replaced():
            now = self.status()
            if not now or not now["engine"].get("up"):
                return False
            return (now["engine"]["pid"] if part == "engine" else now["pid"]) != pid

        until(replaced, what=f"another {part}")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(20) == 0, (self.home / "log").read_text()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            if self.process is not None:
                self.process.kill()
            self.log.close()
            shutil.rmtree(self.home, ignore_errors=True)


def journal_records(config):
    """Every record on the disk of a daemon that has ended, decoded."""
    journal = Journal.open(
        f"{config.state_dir}/journal",
        size_bytes=config.journal.size_bytes,
        segment_bytes=config.journal.segment_bytes,
        ops=FileOps(),
        preamble=lambda: b"",
    )
    position = journal.first_seq
    while records := journal.read(position, 1 << 20):
        yield from (decode_record(payload) for _, payload in records)
        position = records[-1][0] + 1
    journal.close()


def resident_bytes(pid):
    """Memory a process holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
