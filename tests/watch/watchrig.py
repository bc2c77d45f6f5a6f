"""A learning daemon with a power sensor made of files, and a Prometheus that watches it."""

import contextlib
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from realdaemon import RealDaemon, until

from eftraind.client import Client
from eftraind.demo.data import load
from eftraind.errors import EftraindError

ROOT = Path(__file__).parents[2]
PROMETHEUS = shutil.which("prometheus")


@contextlib.contextmanager
def learning_daemon(root: Path) -> Iterator[Any]:
    """Has swapped, has answered predictions, and has a rail of 2.5 W below `root`."""
    chip = root / "class" / "hwmon" / "hwmon0"
    chip.mkdir(parents=True)
    (chip / "name").write_text("ina226\n")
    (chip / "power1_input").write_text("2500000\n")
    (chip / "power1_label").write_text("VCCINT\n")
    power = {"sysfs_root": str(root), "interval_s": 0.05, "budget_watts": 4.0}
    with RealDaemon(power=power) as daemon:
        work(daemon, "cam")
        with Client(daemon.endpoint, producer="cam"):
            yield daemon


def work(daemon: Any, producer: str) -> None:
    """Let it learn, predict, swap, and roll back."""
    digits = load("digits")
    steps = daemon.status()["engine"]["steps"]
    with Client(daemon.endpoint, producer=producer) as client:
        client.push_batch(digits.x_train[:256], digits.y_train[:256])
        client.flush()
        until(lambda: daemon.status()["engine"]["steps"] > steps + 20, what="training")
        client.infer(digits.x_test[:4], timeout_s=20.0)
    until(lambda: done(daemon, "promote"), what="a swap")
    until(lambda: done(daemon, "rollback"), what="a rollback")


def done(daemon: Any, command: str) -> bool:
    """Whether the daemon did it; it says no while a checkpoint is under way."""
    with contextlib.suppress(EftraindError):
        daemon.ask(command)
        return True
    return False


class Prometheus:
    """The real one, with the shipped rules, scraping one port every second."""

    def __init__(self, home: Path, port: int) -> None:
        assert PROMETHEUS is not None
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "configs" / "prometheus" / "rules.yml")],
            "scrape_configs": [
                {"job_name": "eftraind", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            ],
        }
        (home / "prometheus.yml").write_text(json.dumps(config))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.log = home / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROMETHEUS, f"--config.file={home / 'prometheus.yml'}",
                 f"--storage.tsdb.path={home / 'tsdb'}", f"--web.listen-address={self.address}"],
                stderr=log, stdout=log,
            )  # fmt: skip

    def get(self, path: str, **parameters: str) -> Any:
        """`data` of an answer, or None while it does not answer."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                return None
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        except (urllib.error.URLError, ConnectionError):
            assert self.process.poll() is None, self.log.read_text()
            return None

    def query(self, expression: str) -> list[Any]:
        data = self.get("query", query=expression)
        return [] if data is None else data["result"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
