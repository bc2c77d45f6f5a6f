"""Streamer and asker as real processes, against the SDK's fake daemon."""

import os
import queue
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eftraind.client.fake import FakeDaemon
from eftraind.demo import data, shifts
from eftraind.demo.children import Child, Inbox, Message
from eftraind.demo.streamer import passes

TIMEOUT_S = 60.0


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    with FakeDaemon(shape=(8, 8, 1), classes=10) as daemon:
        yield daemon


def start(tmp_path: Path, daemon: FakeDaemon, name: str, *arguments: str) -> tuple[Child, Inbox]:
    inbox: Inbox = queue.Queue()
    common = ["--endpoint", daemon.endpoint, "--data", "digits", "--shift", "invert", "--seed", "1"]
    child = Child(
        name,
        ["-m", f"eftraind.demo.{name}", *common, *arguments],
        inbox=inbox,
        log=tmp_path / "log",
        environment=os.environ,
    )
    return child, inbox


def until(inbox: Inbox, kind: str) -> Message:
    while (message := inbox.get(timeout=TIMEOUT_S)).kind != kind:
        assert message.kind != "exit", message
    return message


def test_the_streamer_sends_every_sample_and_shifts_when_told(
    tmp_path: Path, daemon: FakeDaemon
) -> None:
    counts = ("--samples", "150", "--shift-at", "60", "--rate", "2000")
    child, inbox = start(tmp_path, daemon, "streamer", *counts)
    before = until(inbox, "at_shift")
    assert (before.data["sent"], before.data["durable"]) == (60, 60)
    child.tell("go")
    done = until(inbox, "done")
    assert (done.data["sent"], done.data["durable"], done.data["refused"]) == (150, 150, 0)
    assert until(inbox, "exit").data["status"] == 0
    child.stop(terminate=False)
    stored = daemon.samples()
    digits = data.load("digits")
    order = passes(digits.y_train, np.random.default_rng([1, 2]))
    chosen = [next(order) for _ in range(150)]
    world = shifts.World("invert", digits.shape, seed=1)
    for at, (sample, index) in enumerate(zip(stored, chosen, strict=True)):
        image = digits.x_train[index : index + 1]
        expected = world.look(image) if at >= 60 else image
        np.testing.assert_array_equal(sample.sample, expected[0])
        assert sample.label == digits.y_train[index]


def test_the_streamer_goes_when_its_parent_does(tmp_path: Path, daemon: FakeDaemon) -> None:
    counts = ("--samples", "100000", "--shift-at", "90000", "--rate", "200")
    child, inbox = start(tmp_path, daemon, "streamer", *counts)
    until(inbox, "progress")
    assert child.stop(terminate=False, timeout_s=TIMEOUT_S) in (0, 1)


def test_the_asker_counts_every_answer(tmp_path: Path, daemon: FakeDaemon) -> None:
    child, inbox = start(tmp_path, daemon, "asker", "--rate", "200")
    child.tell("shift")
    until(inbox, "answers")
    assert child.stop(terminate=False, timeout_s=TIMEOUT_S) == 0
    answered = until(inbox, "answered").data
    assert answered["asked"] == answered["answered"] > 0
    assert answered["failed"] == 0 and len(answered["versions"]) == 1
    assert 0 < answered["p50_ms"] <= answered["p99_ms"] <= answered["max_ms"]
