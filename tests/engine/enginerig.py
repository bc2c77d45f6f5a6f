"""An engine in this process, fed with journal records as front would, on a real device."""

import os

import numpy as np
import pytest

from eftraind import config, isa, networks, wire, wire_records
from eftraind.accel import open_device
from eftraind.clock import FakeClock
from eftraind.engine.boot import boot
from eftraind.errors import DeviceUnavailable
from eftraind.fsio import FileOps
from eftraind.metrics import Metrics

KIND = os.environ.get("EFTRAIND_TEST_DEVICE", "cpu")
"""`reference` runs these tests where the native library is not built."""


def whole_device(kind):
    """The kind itself; the test is skipped where that device lacks an operation."""
    try:
        missing = set(isa.Op) - open_device(kind, 1).capabilities.ops
    except DeviceUnavailable as error:
        pytest.skip(str(error))
    if missing:
        pytest.skip(f"{kind} lacks {sorted(op.name for op in missing)}")
    return kind


STREAM = wire.Stream((8, 8, 1), "uint8", 10, 1 << 20)
PROTOTYPES = np.random.default_rng(42).integers(0, 256, (10, 8, 8, 1))


def labelled_images(rng, count, world=0):
    """Noisy class prototypes; another world shows the same classes by other prototypes."""
    labels = rng.integers(0, 10, count)
    noise = rng.integers(-40, 41, (count, 8, 8, 1))
    images = np.roll(PROTOTYPES, world, axis=0)[labels] + noise
    return np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int32)


def configuration(state_dir, **sections):
    data = {
        "state_dir": str(state_dir),
        "run_dir": str(state_dir),
        "model": {"network": "digits", "seed": 3},
        "device": {"kind": KIND, "threads": 1},
        "train": {"batch": 16, "min_samples": 32, "learning_rate": 0.02},
        "gate": {"candidate_steps": 20, "min_samples": 32, "max_samples": 300},
    }
    for name, values in sections.items():
        data[name] = data.get(name, {}) | values
    return config.from_mapping(data)


class Rig:
    """Feeds one producer's operations in order and runs the engine until it rests."""

    def __init__(self, state_dir, ops=None, **sections):
        self.config = configuration(state_dir, **sections)
        self.metrics = Metrics(owner="engine")
        self.events = []
        self.stages = 0
        self.engine = boot(
            self.config,
            metrics=self.metrics,
            clock=FakeClock(),
            emit=lambda topic, data: self.events.append((topic, dict(data))),
            ops=ops or FileOps(),
            graph=networks.load(self.config.model.network),
            progress=self.stage,
        )
        self.seq = 0
        self.number = 0

    def stage(self):
        self.stages += 1

    def topics(self, topic):
        return [data for name, data in self.events if name == topic]

    def payload(self, op, count, body):
        header = wire.put_header(op, self.number + 1, self.number, count, 0, STREAM)
        self.number += count
        self.seq += 1
        return b"".join(bytes(p) for p in wire_records.encode_record("cam", header, body))

    def feed(self, payload, *, rest=True):
        self.engine.feed(self.seq, payload)
        if rest:
            self.rest()

    def samples(self, images, labels, *, rest=True):
        body = wire.samples_body(labels, np.ascontiguousarray(images))
        self.feed(self.payload(wire.Op.SAMPLES, len(labels), body), rest=rest)

    def label(self, targets, labels):
        body = wire.labels_body(np.asarray(targets), np.asarray(labels))
        self.feed(self.payload(wire.Op.LABELS, len(labels), body))

    def withdraw(self, targets):
        body = wire.withdrawals_body(np.asarray(targets))
        self.feed(self.payload(wire.Op.WITHDRAWALS, len(targets), body))

    def rest(self):
        """Until nothing is left to do; a checkpoint on its way to the disk is waited for."""
        while self.engine.has_work or self.engine.promoter.writing:
            self.engine.work()

    def stream(self, rng, batches, size=40, world=0):
        for _ in range(batches):
            self.samples(*labelled_images(rng, size, world))

    def accuracy(self, rng, world=0, count=200):
        images, labels = labelled_images(rng, count, world)
        logits = self.engine.infer(self.engine.pack(images))
        return float((logits.argmax(axis=1) == labels).mean())

    def value(self, name, **labels):
        """A metric's value; None where it is absent."""
        return self.metrics.registry.get_sample_value(f"eftraind_{name}", labels)

    def close(self):
        self.engine.close()
