"""The C++ client behind the words of the Python one, so that a test can read like Python's."""

import json
import threading
from types import SimpleNamespace

import numpy as np
from sdk_build import Driver, hexed

from eftraind import errors
from eftraind.client import Prediction
from eftraind.client.results import POLICIES
from eftraind.keys import KeyFile

KINDS = {np.dtype(np.uint8): "u1", np.dtype(np.float32): "f4"}


class CppClient:
    """One process of client_driver; `open` is the constructor of the client in it.

    Calls from several threads take turns, as one line is answered before the next is read.
    """

    def __init__(self, programs, endpoint, producer="cam", **options):
        self._driver = Driver(programs / "client_driver")
        self._lock = threading.Lock()
        try:
            self.open(endpoint, producer, **options)
        except BaseException:
            self._driver.close()
            raise

    def open(
        self,
        endpoint,
        producer="cam",
        policy="block",
        max_pending_bytes=64 << 20,
        connect_timeout_s=10.0,
        push_timeout_s=60.0,
        events="-",
        keys=None,
    ):
        words = (producer, POLICIES.index(policy), max_pending_bytes, connect_timeout_s)
        if isinstance(keys, KeyFile):
            keys = f"{keys.server} {keys.public} {keys.secret}"
        self.ask("open", endpoint, *words, push_timeout_s, events, keys or "")

    def ask(self, *words):
        with self._lock:
            answer = json.loads(self._driver.ask(*words))
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"], code=answer["code"])
        return answer["result"]

    def push(self, sample, label=None):
        return self.ask("push", *pixels(sample), *([] if label is None else [label]))

    def push_batch(self, samples, labels=()):
        first, count = self.ask("batch", *pixels(samples), *map(int, labels))
        return range(first, first + count)

    def label(self, sids, labels):
        self.ask("label", np.size(sids), *np.atleast_1d(sids), *np.atleast_1d(labels))

    def withdraw(self, sids):
        self.ask("withdraw", np.size(sids), *np.atleast_1d(sids))

    def infer(self, samples, timeout_s=1.0):
        answer = SimpleNamespace(**self.ask("infer", timeout_s, *pixels(samples)))
        logits = np.frombuffer(bytes.fromhex(answer.logits), np.float32)
        prediction = Prediction(
            logits.reshape(len(answer.labels), -1), answer.version, answer.weights_hash
        )
        assert prediction.labels.tolist() == answer.labels
        shares = np.frombuffer(bytes.fromhex(answer.probabilities), np.float32)
        assert np.allclose(prediction.probabilities.ravel(), shares, atol=1e-6)
        return prediction

    def flush(self, level="durable", timeout_s=10.0):
        self.ask("flush", level, timeout_s)

    def listen(self, topic="-", habit="-"):
        self.ask("listen", topic, habit)

    def heard(self):
        return self.ask("heard")

    def stats(self):
        return SimpleNamespace(**self.ask("stats"))

    def close(self, flush_timeout_s=5.0):
        self.ask("close", flush_timeout_s)

    def end(self):
        """End the process, which destroys a client that is still there."""
        self._driver.close()

    def __enter__(self):
        return self

    def __exit__(self, *outcome):
        self._driver.__exit__(*outcome)


def pixels(samples):
    samples = np.ascontiguousarray(samples)
    return KINDS[samples.dtype], hexed(samples.tobytes())
