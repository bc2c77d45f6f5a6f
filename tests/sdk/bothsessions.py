"""Python's session and the C++ session side by side: same calls, same answers, or a failure.

Used in place of a Session by the world of tests/client/test_client_session_model.py.
"""

import json
import math
from collections import deque

import numpy as np
import pytest
from sdk_build import hexed

from eftraind.client import curve
from eftraind.client.pulse import Phase
from eftraind.client.results import POLICIES, Settings
from eftraind.client.session import Session
from eftraind.errors import ClientError
from eftraind.wire import Kind


class Both:
    def __init__(self, driver, policy="block", max_pending_bytes=1 << 20):
        self._driver = driver
        self._python = Session(
            Settings("cam", policy=policy, max_pending_bytes=max_pending_bytes), 0.0, "one"
        )
        self._told = []
        self._asked = 0
        self.notices = deque()
        self.frames = 0
        self._compare(None, "new", "cam", POLICIES.index(policy), max_pending_bytes, "one")

    # What the carrier calls...

    def tick(self, now):
        self._compare(self._python.tick(now), "tick", now)

    def wants_connection(self, now):
        return self._compare(self._python.wants_connection(now), "wants", now)

    def opened(self, now):
        self._compare(self._python.opened(now), "opened", now)

    def broken(self, now):
        self._compare(self._python.broken(now), "broken", now)

    def cannot_connect(self, event, value, has_keys, now):
        trouble, for_good = curve.explain(event, value, has_keys or None)
        self._python.cannot_connect(trouble, for_good, now)
        self._compare(None, "handshake", now, int(event), value, int(has_keys))

    def receive(self, frames, now):
        words = ("receive", now, len(frames), *map(hexed, frames))
        self._compare(self._python.receive(frames, now), *words)

    def next_message(self, now):
        message = self._python.next_message(now)
        self.frames += message is not None
        self._compare(None if message is None else written(message), "next", now)
        return message

    def end(self):
        message = self._python.end()
        self._compare(None if message is None else written(message), "end", 0.0)

    # What users call...

    def batch(self, samples, labels):
        words = (hexed(samples.tobytes()), *map(int, labels))
        return lambda: self._python.batch(samples, labels), "batch", words

    def sample(self, sample, label):
        words = (hexed(sample.tobytes()), *([] if label is None else [label]))
        return lambda: self._python.sample(sample, label), "one", words

    def late_label(self, sids, labels):
        words = (np.size(sids), *np.atleast_1d(sids), *np.atleast_1d(labels))
        return lambda: self._python.late_label(sids, labels), "label", words

    def withdrawal(self, sids):
        words = (np.size(sids), *np.atleast_1d(sids))
        return lambda: self._python.withdrawal(sids), "withdraw", words

    def offer(self, offer, now):
        """What Python's session returns; refusals on the spot are compared and come as None."""
        make, command, words = offer
        before = self._python._outbox.next_seq
        try:
            taken = self._python.offer(make(), now)
        except ClientError as error:
            self._compare(f"error {error.code}", command, now, *words)
            return None
        self._compare(None if taken is None else before, command, now, *words)
        return taken

    def infer(self, samples, deadline, now):
        name, done = self._asking()
        try:
            self._python.infer(self._python.question(samples), deadline, done)
            wanted = None
        except ClientError as error:
            wanted = f"error {error.code}"
        self._compare(wanted, "infer", now, name, deadline, hexed(samples.tobytes()))

    def flush(self, level, deadline, now):
        name, done = self._asking()
        try:
            self._python.flush(level, deadline, done)
            wanted = None
        except ClientError as error:
            wanted = f"error {error.code}"
        self._compare(wanted, "flush", now, name, deadline, level)

    def stats(self):
        return self._python.stats()

    @property
    def phase(self):
        return self._python.phase

    @property
    def failure(self):
        return self._python.failure

    # Inside...

    def _asking(self):
        self._asked += 1
        name = f"q{self._asked}"

        def done(result, error):
            if error is not None:
                outcome = error.code
            else:
                outcome = "done" if result is True else f"{result.version}:{result.labels[0]}"
            self._told.append(f"{name} {outcome}")

        return name, done

    def _compare(self, result, *words):
        answer = json.loads(self._driver.ask(*words))
        if words[0] in ("next", "end") and answer["result"]:
            answer["result"] = without_client(*map(unhexed, answer["result"].split()))
        assert answer["result"] == result, words
        state, stats = answer["state"], self._python.stats()
        assert state["phase"] == self._python.phase.name, words
        if self._python.phase is not Phase.ENDED:
            wake_at = math.inf if state["wake_at"] is None else state["wake_at"]
            assert wake_at == pytest.approx(self._python.wake_at(), abs=1e-9), words
        assert state["stats"] == [
            *(stats.pushed, stats.sent, stats.resent, stats.received, stats.durable),
            *(stats.dropped, stats.pending, stats.pending_bytes, stats.reconnects),
            stats.waiting_for,
        ], words
        assert state["refused"] == dict(stats.refused), words
        notices = list(self._python.notices)
        self._python.notices.clear()
        self.notices += notices
        assert state["notices"] == [[n.code, n.first_seq, n.count] for n in notices], words
        told, self._told = self._told, []
        assert state["told"] == told, words
        return result


def unhexed(word):
    return b"" if word == "-" else bytes.fromhex(word)


def written(message):
    return without_client(bytes(message[0]), bytes(message[1]))


def without_client(header, body):
    """A message as text; HELLO without the name of the SDK, the one thing that differs."""
    if header[5] == Kind.HELLO:
        hello = json.loads(body)
        assert hello.pop("client").startswith("eftraind")
        return f"{header.hex()} {hello}"
    return f"{header.hex()} {body.hex()}"
