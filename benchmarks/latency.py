"""Inference latency through the whole daemon: idle, and while it trains without pause.

Starts the real daemon on the "1X" network, asks for one image at a fixed rate, takes each latency
from the moment the question was due (a stall counts for every question it delayed). The two
phases alternate, so that a slow spell of the machine falls on both.

    python benchmarks/latency.py [--json F] [--seconds S] [--rate HZ] [--slice-s S] [--network N]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from eftraind import config as configuration
from eftraind import networks
from eftraind.client import Client
from eftraind.errors import EftraindError
from eftraind.service.request import request

ROUNDS = 5


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="eft") as box:
        path = write_config(Path(box), options)
        config = configuration.load(path)
        daemon = subprocess.Popen([sys.executable, "-m", "eftraind", "run", "-c", str(path)])
        try:
            wait_ready(config, daemon)
            figures = measure(config, options)
        finally:
            daemon.terminate()
            daemon.wait()
    for name, value in figures.items():
        print(f"{name:32} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure inference latency.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each phase of each round")
    parser.add_argument("--rate", type=float, default=100.0, help="questions per second")
    parser.add_argument("--slice-s", type=float, default=0.002)
    parser.add_argument("--network", default="cifar1x")
    return parser.parse_args()


def write_config(box: Path, options: argparse.Namespace) -> Path:
    path = box / "config.yaml"
    data = {
        "state_dir": str(box / "state"),
        "run_dir": str(box),
        "model": {"network": options.network},
        "device": {"slice_s": options.slice_s, "threads": 1},
        # Every sample owes many steps: a push keeps the trainer busy until it is paused.
        "train": {"steps_per_sample": 1000.0, "batch": 64, "max_lag_samples": 10**6},
        "gate": {"min_samples": 10**6, "max_samples": 10**6, "candidate_steps": 10**6},
        "metrics": {"listen": None},
        "log": {"level": "warning"},
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def wait_ready(config: configuration.Config, daemon: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + 120
    while True:
        try:
            if request(config.control_endpoint, "status", timeout_s=1.0)["engine"].get("up"):
                return
        except EftraindError:
            pass
        if daemon.poll() is not None or time.monotonic() > deadline_s:
            sys.exit("the daemon did not start")
        time.sleep(0.05)


def measure(config: configuration.Config, options: argparse.Namespace) -> dict[str, float]:
    net = networks.load(config.model.network)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (256, *net.input.shape), dtype=np.uint8)
    labels = rng.integers(0, net.classes, len(images)).astype(np.int32)
    latencies: dict[str, list[float]] = {"idle": [], "training": []}
    with Client(config.listen_endpoints[0]) as client:
        client.push_batch(images, labels)
        client.flush()
        steps = [status(config)["steps"]]
        for _ in range(ROUNDS):
            for phase, command in (("idle", "pause"), ("training", "resume")):
                request(config.control_endpoint, command)
                latencies[phase] += ask(client, images[:1], options)
        steps.append(status(config)["steps"])
        request(config.control_endpoint, "pause")
    figures: dict[str, float] = {"slice_ms": options.slice_s * 1e3}
    for phase, values in latencies.items():
        p50, p99, worst = np.percentile(values, [50, 99, 100]) * 1e3
        figures |= {f"{phase}_p50_ms": p50, f"{phase}_p99_ms": p99, f"{phase}_max_ms": worst}
    figures["p99_bound_ms"] = 2 * figures["idle_p99_ms"] + figures["slice_ms"]
    figures["p99_over_bound"] = figures["training_p99_ms"] / figures["p99_bound_ms"]
    figures["steps_while_training"] = steps[1] - steps[0]
    return {name: round(float(value), 3) for name, value in figures.items()}


def status(config: configuration.Config) -> dict[str, int]:
    engine: dict[str, int] = request(config.control_endpoint, "status")["engine"]
    return engine


def ask(client: Client, image: np.ndarray, options: argparse.Namespace) -> list[float]:
    """Latencies of questions due at a fixed rate, several possibly under way."""
    count = int(options.seconds * options.rate)
    out = [0.0] * count
    began_s = time.perf_counter() + 0.05

    def one(worker: int, workers: int) -> None:
        for index in range(worker, count, workers):
            due_s = began_s + index / options.rate
            time.sleep(max(0.0, due_s - time.perf_counter()))
            client.infer(image, timeout_s=10.0)
            out[index] = time.perf_counter() - due_s

    threads = [threading.Thread(target=one, args=(worker, 2)) for worker in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


if __name__ == "__main__":
    sys.exit(main())
