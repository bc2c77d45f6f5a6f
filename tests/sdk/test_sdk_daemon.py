"""The C++ client and the real daemon, as processes: kill -9, late labels, predictions, events."""

import json
import sys
import threading

import numpy as np
import pytest
from cppclient import CppClient
from realdaemon import RealDaemon, journal_records, until
from sdk_build import ROOT, run

from eftraind.client import Client
from eftraind.demo.data import load as load_data
from eftraind.wire import Op


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def journal_operations(config):
    """Every operation on the disk: (sequence number, op, label, pixels or target)."""
    found = []
    for record in journal_records(config):
        for at in range(record.count):
            label = None if record.labels is None else int(record.labels[at])
            is_samples = record.op == Op.SAMPLES
            what = record.samples[at].tobytes() if is_samples else int(record.targets[at])
            found.append((record.first_seq + at, record.op, label, what))
    return found


def test_killing_front_and_engine_loses_and_doubles_nothing(programs, digits):
    rng = np.random.default_rng(0)
    sent = []
    allowed = [0]
    stop = threading.Event()

    def stream(client):
        """Batches with labels, then one whose labels come late, one of them taken back."""
        while not stop.is_set():
            until(lambda: stop.is_set() or len(sent) < allowed[0], what="leave to go on")
            pick = rng.integers(0, len(digits.x_train), 20)
            images, labels = digits.x_train[pick], digits.y_train[pick]
            pixels = [image.tobytes() for image in images]
            sids = client.push_batch(images, labels)
            sent.extend(zip(sids, [Op.SAMPLES] * 20, map(int, labels), pixels, strict=True))
            later = client.push_batch(images[:3])
            sent.extend(zip(later, [Op.SAMPLES] * 3, [-1] * 3, pixels[:3], strict=True))
            client.label(later, labels[:3])
            at = later[-1] + 1
            sent.extend((at + i, Op.LABELS, int(labels[i]), later[i]) for i in range(3))
            client.withdraw(sids[7])
            sent.append((at + 3, Op.WITHDRAWALS, None, sids[7]))

    with RealDaemon() as daemon:
        options = {"producer": "robot", "max_pending_bytes": 20_000}
        with CppClient(programs, daemon.endpoint, **options) as client:
            thread = threading.Thread(target=stream, args=(client,))
            thread.start()
            try:
                for part, reconnects in [("engine", 0), ("front", 1), ("front", 2), ("engine", 2)]:
                    before = len(sent)
                    allowed[0] = before + 2000
                    until(lambda before=before: len(sent) >= before + 100, what="flow")
                    daemon.kill(part)
                    until(lambda n=reconnects: client.stats().reconnects >= n, what="reconnecting")
            finally:
                stop.set()
                thread.join(30)
            client.flush("durable", timeout_s=30.0)
            stats = client.stats()
            assert stats.durable == stats.pushed == len(sent)
            assert not stats.refused and not stats.dropped
            client.close()
        daemon.stop()
        found = journal_operations(daemon.config)
    assert len(found) == len(sent)
    assert found == sorted(sent)


def test_the_sensor_apps(programs):
    """The examples as users run them, one after the other under one producer name."""
    with RealDaemon() as daemon:
        for command in (
            [sys.executable, str(ROOT / "examples" / "sensor.py")],
            [str(programs.parent / "examples" / "sensor")],
        ):
            last = run(*command, daemon.endpoint, "3").splitlines()[-1]
            assert last.startswith("52 operations durable"), last
        daemon.stop()
        stored = [op for _, op, _, _ in journal_operations(daemon.config)]
    assert len(stored) == 2 * 52
    assert [stored.count(op) for op in Op] == [2 * 48, 2 * 3, 2 * 1]


def test_predictions_and_events_are_those_that_python_sees(programs, digits):
    with RealDaemon() as daemon:
        with (
            CppClient(programs, daemon.endpoint, producer="robot") as client,
            Client(daemon.endpoint) as python,
        ):
            client.listen()
            heard = []

            def swapped():
                client.push_batch(digits.x_train[:50], digits.y_train[:50])
                heard.extend(word.split(" ", 2) for word in client.heard())
                return any(topic == "swapped" for _, topic, _ in heard)

            until(swapped, what="a swap")
            client.flush()
            events = {topic: json.loads(text) for _, topic, text in heard}
            assert {"score", "swapped"} <= events.keys()
            assert events["swapped"]["version"] >= 1

            def both():
                """The two answers, when no swap came between them."""
                ours = client.infer(digits.x_test[:8], timeout_s=20.0)
                theirs = python.infer(digits.x_test[:8], timeout_s=20.0)
                return ours.version == theirs.version and (ours, theirs)

            ours, theirs = until(both, what="answers of one version")
            assert ours.weights_hash == theirs.weights_hash
            assert np.array_equal(ours.logits, theirs.logits)
