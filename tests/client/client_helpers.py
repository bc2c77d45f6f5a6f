"""What several client tests need: waiting with a deadline, samples, fast settings."""

import time

import numpy as np

from eftraind.client import Settings

SHAPE = (8, 8, 1)


def until(condition, timeout_s=10.0):
    """Poll, because the other side is a thread or a process of its own."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        time.sleep(0.002)


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 17, (count, *SHAPE), dtype=np.uint8)


def quick(producer="cam", **changes):
    """Settings with short waits; heartbeats are the daemon's to choose."""
    return Settings(producer, hello_timeout_s=0.3, retry_min_s=0.01, retry_max_s=0.05, **changes)
