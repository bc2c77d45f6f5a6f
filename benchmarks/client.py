"""What the SDK itself costs: one client process against a FakeDaemon process over ipc.

The fake writes nothing to disk, so these are the limits of client, wire and socket. CPU seconds
are the client's own; they carry over to a machine on which something else is running.

    python benchmarks/client.py [--json FILE] [--quick]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eftraind.client import Client, FakeDaemon

SHAPE, BATCH = (32, 32, 3), 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory(prefix="eft") as box:
        endpoint = f"ipc://{box}/eft.sock"
        command = [sys.executable, __file__, "--serve", endpoint]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as daemon:
            figures = measure(endpoint, 0.5 if options.quick else 3.0)
            daemon.communicate()
    for name, value in figures.items():
        print(f"{name:32} {value:12,.1f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def serve(endpoint: str) -> None:
    with FakeDaemon(shape=SHAPE, endpoint=endpoint) as daemon:
        daemon.state.keeps = False
        sys.stdin.read()


def measure(endpoint: str, duration_s: float) -> dict[str, float]:
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (BATCH, *SHAPE), dtype=np.uint8)
    labels = rng.integers(0, 10, BATCH)
    with Client(endpoint, connect_timeout_s=30) as client:

        def singles() -> None:
            for sample in samples:
                client.push(sample, 3)

        figures = rates(
            client, "push_batch", lambda: client.push_batch(samples, labels), duration_s
        )
        figures |= rates(client, "push", singles, duration_s)
        waits_s = []
        give_up_s = time.perf_counter() + duration_s
        while time.perf_counter() < give_up_s:
            asked_s = time.perf_counter()
            client.infer(samples[0], timeout_s=30)
            waits_s.append(time.perf_counter() - asked_s)
    for percent in (50, 99):
        figures[f"infer_p{percent}_ms"] = 1e3 * float(np.percentile(waits_s, percent))
    return figures


def rates(
    client: Client, name: str, send: Callable[[], object], duration_s: float
) -> dict[str, float]:
    """Samples per second until durable, and per second of the client's CPU time."""
    started_s, cpu_s, before = time.perf_counter(), busy_s(), client.stats().durable
    while time.perf_counter() < started_s + duration_s:
        send()
    client.flush(timeout_s=60)
    count = client.stats().durable - before
    return {
        f"{name}_samples_per_s": count / (time.perf_counter() - started_s),
        f"{name}_samples_per_cpu_s": count / (busy_s() - cpu_s),
    }


def busy_s() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    main()
