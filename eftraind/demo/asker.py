"""A process that plays the robot's eyes: asks for predictions all the time, and keeps the times.

Runs as `python -m eftraind.demo.asker`. Requests follow a schedule that does not wait for answers,
and latency counts from the intended moment, so a stall of the daemon shows in full. It asks about
test images, sees the shift when told "shift", and ends when its parent closes its input.
"""

import argparse
import sys
from dataclasses import dataclass, field

import numpy as np

from eftraind.client import Client
from eftraind.clock import Clock
from eftraind.demo import data
from eftraind.demo.children import Orders, report
from eftraind.demo.shifts import World
from eftraind.errors import ClientError

REPORT_INTERVAL_S = 0.25
DEADLINE_S = 10.0
STREAM = 2


@dataclass
class Book:
    """Everything asked and answered so far."""

    asked: int = 0
    failed: int = 0
    right: int = 0
    latencies_s: list[float] = field(default_factory=list)
    versions: dict[int, set[str]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    def facts(self) -> dict[str, object]:
        times_ms = 1e3 * np.array(self.latencies_s or [np.nan])
        known = bool(self.latencies_s)
        return {
            "asked": self.asked,
            "answered": len(self.latencies_s),
            "failed": self.failed,
            "right": self.right,
            "p50_ms": float(np.percentile(times_ms, 50)) if known else None,
            "p99_ms": float(np.percentile(times_ms, 99)) if known else None,
            "max_ms": float(times_ms.max()) if known else None,
            "versions": sorted(self.versions),
            "mixed_versions": sum(len(hashes) > 1 for hashes in self.versions.values()),
            "errors": self.errors,
        }


def ask(client: Client, book: Book, image: np.ndarray, label: int) -> bool:
    """One question; False if it failed."""
    book.asked += 1
    try:
        answer = client.infer(image, timeout_s=DEADLINE_S)
    except ClientError as error:
        book.failed += 1
        book.errors[error.code] = book.errors.get(error.code, 0) + 1
        return False
    book.right += int(answer.labels[0] == label)
    book.versions.setdefault(answer.version, set()).add(answer.weights_hash)
    return True


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="eftraind.demo.asker")
    for name in ("endpoint", "data", "shift"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args(argv)
    dataset, orders, clock, book = data.load(options.data), Orders(sys.stdin), Clock(), Book()
    rng = np.random.default_rng([options.seed, 3])
    world = World("none", dataset.shape, seed=options.seed)
    with Client(options.endpoint, producer="demo-asker") as client:
        started_s = reported_s = clock.monotonic_s()
        while not orders.closed.is_set():
            if orders.taken("shift"):
                world = World(options.shift, dataset.shape, seed=options.seed, stream=STREAM)
            due_s = started_s + book.asked / options.rate
            clock.sleep(max(0.0, due_s - clock.monotonic_s()))
            at = int(rng.integers(len(dataset.x_test)))
            image = world.look(dataset.x_test[at : at + 1])
            if ask(client, book, image, int(dataset.y_test[at])):
                book.latencies_s.append(clock.monotonic_s() - due_s)
            if clock.monotonic_s() - reported_s >= REPORT_INTERVAL_S:
                reported_s = clock.monotonic_s()
                report("answers", **book.facts())
    report("answered", **book.facts())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
