"""A storm of swaps under inference load: no reply is lost or mixes versions, memory stays flat."""

import threading

import numpy as np
from realdaemon import RealDaemon, resident_bytes, until

from eftraind import networks
from eftraind.accel import open_device
from eftraind.client import Client
from eftraind.clock import Clock
from eftraind.demo.data import load as load_data
from eftraind.engine import offline
from eftraind.errors import EftraindError
from eftraind.fsio import FileOps
from eftraind.isa import Slot
from eftraind.store.checkpoint import CheckpointStore

SWAPS = 1000
WARM = 200


class Load(threading.Thread):
    """Asks for the same images all the time and keeps what each version said."""

    def __init__(self, endpoint, images):
        super().__init__()
        self.endpoint, self.images = endpoint, images
        self.stop = threading.Event()
        self.logits = {}
        self.replies = self.failures = self.mixed = 0

    def run(self):
        with Client(self.endpoint) as client:
            while not self.stop.is_set():
                try:
                    reply = client.infer(self.images, timeout_s=10.0)
                except EftraindError:
                    self.failures += 1
                    continue
                self.replies += 1
                key = (reply.version, reply.weights_hash)
                known = self.logits.setdefault(key, reply.logits)
                self.mixed += not np.array_equal(known, reply.logits)


def promote(daemon):
    """Swap as soon as the one before is on disk."""
    while True:
        try:
            return daemon.ask("promote")
        except EftraindError as error:
            assert "being written" in str(error)


def test_a_thousand_swaps_under_load():
    digits = load_data("digits")
    manual = {"min_samples": 10**6, "max_samples": 10**6, "candidate_steps": 10**6}
    with RealDaemon(gate=manual, checkpoint={"keep": SWAPS + 10}) as daemon:
        load = Load(daemon.endpoint, digits.x_test[:4])
        load.start()
        with Client(daemon.endpoint, producer="robot") as client:
            client.push_batch(digits.x_train[:500], digits.y_train[:500])
            client.flush()
            for count in range(SWAPS):
                if count % 20 == 0:  # so that weights differ from swap to swap
                    client.push_batch(digits.x_train[:40], digits.y_train[:40])
                promote(daemon)
                if count == WARM:
                    warm = resident_bytes(daemon.status()["engine"]["pid"])
        status = until(
            lambda: (s := daemon.status())["engine"]["swaps"] == SWAPS and s, what="swaps"
        )
        grown = resident_bytes(status["engine"]["pid"]) - warm
        load.stop.set()
        load.join(30)
        assert (load.failures, load.mixed) == (0, 0)
        assert load.replies > SWAPS / 10 and len(load.logits) > 20
        assert grown < 8 << 20, f"{grown / 2**20:.1f} MiB more after {SWAPS - WARM} swaps"
        daemon.stop()
        check_against_checkpoints(daemon, load)


def check_against_checkpoints(daemon, load):
    """What a version replied is what its checkpoint computes."""
    graph = networks.load("digits")
    store = CheckpointStore(
        f"{daemon.config.state_dir}/checkpoints", keep=10**6, ops=FileOps(), clock=Clock()
    )
    generations = {generation.about["version"]: generation for generation in store.generations()}
    executor = offline.executor_for(open_device("cpu", 1), graph)
    for (version, weights_hash), logits in list(load.logits.items())[::10]:
        generation = generations[version]
        assert generation.weights_hash.hex() == weights_hash
        executor.write_bank(Slot.SERVING, store.load(generation))
        expected = executor.infer(executor.pack(load.images), [Slot.SERVING], "offline")[0]
        assert np.array_equal(logits, expected)
