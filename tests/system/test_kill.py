"""kill -9 of engine and front while samples stream: nothing acknowledged is lost or doubled."""

import threading

import numpy as np
from realdaemon import RealDaemon, journal_records, until

from eftraind.client import Client
from eftraind.demo.data import load as load_data
from eftraind.errors import EftraindError


def journal_samples(config):
    """(producer, sequence number) -> (label, pixels) of every sample, as the disk has it."""
    found = []
    for record in journal_records(config):
        for offset in range(record.count):
            key = (record.producer, record.first_seq + offset)
            found.append((key, int(record.labels[offset]), record.samples[offset].tobytes()))
    return found


def test_killing_engine_and_front_loses_and_doubles_nothing():
    digits = load_data("digits")
    rng = np.random.default_rng(0)
    sent = {}
    stop = threading.Event()

    def stream(client):
        while not stop.is_set() and len(sent) < 8000:
            pick = rng.integers(0, len(digits.x_train), 25)
            sids = client.push_batch(digits.x_train[pick], digits.y_train[pick])
            sent.update(zip(sids, pick, strict=True))

    with RealDaemon() as daemon:
        with Client(daemon.endpoint, producer="robot", max_pending_bytes=20_000) as client:
            thread = threading.Thread(target=stream, args=(client,))
            thread.start()
            try:
                for part in ["engine", "front", "front", "engine", "front", "engine"]:
                    before = len(sent)
                    until(lambda before=before: len(sent) >= min(before + 100, 8000), what="flow")
                    daemon.kill(part)
            finally:
                stop.set()
                thread.join(30)
            client.flush("durable", timeout_s=30.0)
            stats = client.stats()
            assert stats.durable == stats.pushed == len(sent)
            assert not stats.refused and not stats.dropped
            status = until(
                lambda: (
                    (s := daemon.wait_ready())["engine"]["replay"]["samples"] >= len(sent) and s
                ),
                what="all samples in replay",
            )
            assert status["engine"]["replay"]["samples"] == len(sent)
            prediction = client.infer(digits.x_test[:8], timeout_s=5.0)
            assert prediction.weights_hash == status["engine"]["weights_hash"]
        daemon.stop()
        found = journal_samples(daemon.config)
    assert [key for key, _, _ in found] == [("robot", sid) for sid in sorted(sent)]
    for (_, sid), label, pixels in found:
        assert label == digits.y_train[sent[sid]]
        assert pixels == digits.x_train[sent[sid]].tobytes()


def test_last_good_weights_serve_after_a_kill():
    digits = load_data("digits")
    with RealDaemon() as daemon, Client(daemon.endpoint, producer="robot") as client:
        for start in range(0, 1200, 50):
            client.push_batch(
                digits.x_train[start : start + 50], digits.y_train[start : start + 50]
            )
        status = until(
            lambda: (
                (s := daemon.wait_ready())["engine"]["swaps"] >= 1
                and s["engine"]["scored_samples"] == 1200
                and s["engine"]["lag_samples"] == 0
                and s
            ),
            what="a swap",
        )
        daemon.kill("engine")
        again = daemon.wait_ready()["engine"]
        assert again["weights_hash"] == status["engine"]["weights_hash"]
        assert again["version"] == status["engine"]["version"]


def test_inference_during_an_engine_s_death_is_answered_or_refused_never_lost():
    digits = load_data("digits")
    outcomes = {"answered": 0, "refused": 0}
    with RealDaemon() as daemon, Client(daemon.endpoint) as client:
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    client.infer(digits.x_test[:2], timeout_s=20.0)
                    outcomes["answered"] += 1
                except EftraindError:
                    outcomes["refused"] += 1

        thread = threading.Thread(target=ask)
        thread.start()
        daemon.kill("engine")
        before = outcomes["answered"]
        until(lambda: outcomes["answered"] > before, what="answers after the restart")
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
    assert outcomes["refused"] == 0  # the SDK asks again until its deadline
