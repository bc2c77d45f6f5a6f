"""A process that plays the robot's labelling sensor: pushes labelled images at a steady rate.

Runs as `python -m eftraind.demo.streamer`. Passes over the training images in an order drawn anew
each time; test images never leave here. At the shift it waits until everything is durable, says
so, and goes on when told "go". It ends when its parent does.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eftraind.client import Client
from eftraind.clock import Clock
from eftraind.demo import data
from eftraind.demo.children import Orders, report
from eftraind.demo.shifts import World

BATCHES_PER_S = 20.0
MAX_BATCH = 64
FLUSH_TIMEOUT_S = 60.0
STREAM = 1


class Streamer:
    """Pushes `count` samples at a time of one world, on schedule."""

    def __init__(self, client: Client, clock: Clock, orders: Orders, rate: float) -> None:
        self._client = client
        self._clock = clock
        self._orders = orders
        self._rate = rate
        self._batch = int(np.clip(rate / BATCHES_PER_S, 1, MAX_BATCH))
        self.sent = 0

    def push(self, dataset: data.Dataset, indices: Iterator[int], count: int, world: World) -> None:
        started_s, first = self._clock.monotonic_s(), self.sent
        while self.sent - first < count and not self._orders.closed.is_set():
            due_s = started_s + (self.sent - first) / self._rate
            self._clock.sleep(max(0.0, due_s - self._clock.monotonic_s()))
            wanted = min(self._batch, count - (self.sent - first))
            chosen = [next(indices) for _ in range(wanted)]
            images = world.look(dataset.x_train[chosen])
            self._client.push_batch(images, dataset.y_train[chosen])
            self.sent += wanted
            self.tell("progress")

    def settle(self, kind: str) -> None:
        self._client.flush(timeout_s=FLUSH_TIMEOUT_S)
        self.tell(kind)

    def tell(self, kind: str) -> None:
        stats = self._client.stats()
        lost = stats.dropped + sum(stats.refused.values())
        report(kind, sent=self.sent, durable=stats.durable, refused=lost, resent=stats.resent)


def passes(labels: NDArray[np.int32], rng: np.random.Generator) -> Iterator[int]:
    """Every index once in random order, then again in another, for ever."""
    while True:
        yield from rng.permutation(len(labels)).tolist()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="eftraind.demo.streamer")
    for name in ("endpoint", "data", "shift"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seed", "samples", "shift-at"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args(argv)
    dataset, orders = data.load(options.data), Orders(sys.stdin)
    indices = passes(dataset.y_train, np.random.default_rng([options.seed, 2]))
    before, after = (
        World(name, dataset.shape, seed=options.seed, stream=STREAM)
        for name in ("none", options.shift)
    )
    with Client(options.endpoint, producer="demo-streamer") as client:
        streamer = Streamer(client, Clock(), orders, options.rate)
        streamer.push(dataset, indices, options.shift_at, before)
        streamer.settle("at_shift")
        if not orders.wait_for("go", FLUSH_TIMEOUT_S):
            return 1
        streamer.push(dataset, indices, options.samples - options.shift_at, after)
        streamer.settle("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
