"""The daemon as processes, its device an emulated board: samples in, steps, predictions out."""

import numpy as np
from realdaemon import RealDaemon, until

from eftraind.client import Client


def test_the_daemon_learns_and_serves_on_it(design: str) -> None:
    device = {"kind": "emulated-board", "emulate": design, "slice_s": 0.05}
    rng = np.random.default_rng(0)
    with RealDaemon(device=device, train={"batch": 8, "min_samples": 8}) as daemon:
        with Client(daemon.endpoint, producer="app") as client:
            for label in rng.integers(0, 10, 64):
                client.push(rng.integers(0, 255, (8, 8, 1), dtype=np.uint8), label=int(label))
            client.flush()
            answer = client.infer(np.zeros((8, 8, 1), np.uint8))
            assert 0 <= answer.label < 10
        status = until(lambda: trained(daemon), 60.0, "a training step")
        assert status["device"]["name"] == "board" and status["device"]["lanes"] == 16


def trained(daemon: RealDaemon) -> dict[str, object] | None:
    status = daemon.status()
    return status["engine"] if status and status["engine"].get("steps", 0) > 2 else None
