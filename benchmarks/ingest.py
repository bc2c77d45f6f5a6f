"""How fast one client's samples become received and durable, and whether the front's memory stays.

Starts the real front process with a consumer in the engine's place that releases everything, so
that the ring never fills and no training takes the cores. One client process pushes 32x32x3 images
in batches; the front's memory is read before, half way and after.

    python benchmarks/ingest.py [--json F] [--seconds S] [--batch N] [--dir D]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import zmq

from eftraind import config as configuration
from eftraind import link, networks
from eftraind.client import Client

MIB = 1 << 20
SIDE, CHANNELS = 32, 3


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="eft", dir=options.dir) as box:
        path = write_config(Path(box), options)
        config = configuration.load(path)
        command = [sys.executable, "-m", "eftraind", "front", "--config", str(path)]
        front = subprocess.Popen(command)
        stop = threading.Event()
        consumer = threading.Thread(target=consume, args=(config, stop), daemon=True)
        try:
            wait_for_socket(config.link_endpoint, front)
            consumer.start()
            figures = measure(front.pid, str(path), options)
        finally:
            stop.set()
            front.terminate()
            front.wait()
    for name, value in figures.items():
        print(f"{name:32} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure ingest.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dir", help="where the journal is (the default temporary directory)")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        sys.exit(push(options))
    return options


def write_config(box: Path, options: argparse.Namespace) -> Path:
    path = box / "config.yaml"
    data = {
        "state_dir": str(box / "state"),
        "run_dir": str(box),
        "model": {"network": "cifar1x"},
        "metrics": {"listen": None},
        "log": {"level": "warning"},
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def wait_for_socket(endpoint: str, front: "subprocess.Popen[bytes]") -> None:
    path = Path(endpoint.removeprefix("ipc://"))
    deadline_s = time.monotonic() + 120
    while not path.exists():
        if front.poll() is not None or time.monotonic() > deadline_s:
            sys.exit("the front did not start")
        time.sleep(0.05)


def consume(config: configuration.Config, stop: threading.Event) -> None:
    """In the engine's place: everything is consumed as soon as it is durable."""
    net = networks.load(config.model.network)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(config.link_endpoint)
    hello = link.Hello(
        os.getpid(), "none", 0, net.name, net.digest, 0, "0" * 32,
        list(net.input.shape), net.input.dtype, net.classes,
    )  # fmt: skip
    socket.send_multipart(link.encode(hello))
    while not stop.wait(0.02):
        socket.send_multipart(link.encode(link.Consumed(2**62)))
        while socket.poll(0):
            socket.recv_multipart()
    socket.close()
    context.term()


def measure(pid: int, config_path: str, options: argparse.Namespace) -> dict[str, float]:
    before_mb = rss_mb(pid)
    command = [sys.executable, __file__, "--client", config_path]
    command += ["--seconds", str(options.seconds), "--batch", str(options.batch)]
    started_s, cpu_s = time.monotonic(), front_cpu_s(pid)
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    halfway_mb = 0.0
    while client.poll() is None:
        if not halfway_mb and time.monotonic() - started_s > options.seconds / 2:
            halfway_mb = rss_mb(pid)
        time.sleep(0.05)
    assert client.stdout is not None
    figures: dict[str, float] = json.loads(client.stdout.read())
    figures["front_cpu_s"] = round(front_cpu_s(pid) - cpu_s, 2)
    figures["front_rss_before_mb"] = before_mb
    figures["front_rss_halfway_mb"] = halfway_mb
    figures["front_rss_after_mb"] = rss_mb(pid)
    return figures


def push(options: argparse.Namespace) -> int:
    """The client process: as many batches as the time allows, then until all are durable."""
    config = configuration.load(options.client)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.batch, SIDE, SIDE, CHANNELS), dtype=np.uint8)
    labels = np.arange(options.batch) % 10
    with Client(config.listen_endpoints[0], max_pending_bytes=32 * MIB) as client:
        burst_s, burst = burst_rate(client, images, labels)
        started_s, cpu_s = time.perf_counter(), time.process_time()
        pushed = 0
        while time.perf_counter() - started_s < options.seconds:
            client.push_batch(images, labels)
            pushed += options.batch
        client.flush("received", timeout_s=60)
        received_s = time.perf_counter() - started_s
        client.flush("durable", timeout_s=60)
        durable_s = time.perf_counter() - started_s
        stats = client.stats()
    figures = {
        "samples": pushed,
        "sample_bytes": SIDE * SIDE * CHANNELS,
        "batch": options.batch,
        "burst_received_samples_per_s": round(burst / burst_s),
        "received_samples_per_s": round(pushed / received_s),
        "durable_samples_per_s": round(pushed / durable_s),
        "durable_mb_per_s": round(pushed * SIDE * SIDE * CHANNELS / durable_s / 1e6, 1),
        "resent": stats.resent,
        "refused": sum(stats.refused.values()),
        "client_cpu_s": round(time.process_time() - cpu_s, 2),
    }
    print(json.dumps(figures))
    return 0


def burst_rate(client: Client, images: object, labels: "np.ndarray") -> tuple[float, int]:
    """Seconds and samples until as much as fits the credit window is received."""
    batches = 12 * MIB // (len(labels) * SIDE * SIDE * CHANNELS)
    started_s = time.perf_counter()
    for _ in range(batches):
        client.push_batch(images, labels)
    client.flush("received")
    burst_s = time.perf_counter() - started_s
    client.flush("durable")
    return burst_s, batches * len(labels)


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def front_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
