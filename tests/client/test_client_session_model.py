"""The sequence rule under every misfortune: session and daemon rules, no sockets, any schedule.

Whatever is lost, refused, crashed or reordered by reconnecting: in the end each operation is
stored exactly once, in order, or was reported as refused; nothing called durable ever disappears.
"""

from dataclasses import replace

import numpy as np
import pytest
from client_helpers import SHAPE, images
from hypothesis import given, settings
from hypothesis import strategies as st

from eftraind.client.fakestate import FakeState
from eftraind.client.outbox import Outbox
from eftraind.client.results import Settings
from eftraind.client.session import Session
from eftraind.wire import Stream

SAMPLES = images(8)
BATCH_BYTES = 64 + 4 * (4 + 64)


class World:
    def __init__(self, *, credit_bytes=3 * BATCH_BYTES, policy="block", max_pending_bytes=1 << 20):
        stream = Stream(SHAPE, "uint8", 10, BATCH_BYTES)
        self.daemon = FakeState(stream, credit_bytes, 1.0, "", lambda x: np.zeros((len(x), 10)))
        self.session = Session(
            Settings("cam", policy=policy, max_pending_bytes=max_pending_bytes), 0.0
        )
        self.now = 0.0
        self.peer = 0
        self.to_daemon, self.to_client = [], []
        self.pushed, self.refused = [], []

    def push(self, count):
        offer = self.session.batch(SAMPLES[:count], np.arange(count))
        sids = self.session.offer(offer, self.now)
        self.pushed += sids or ()

    def push_one(self):
        self.pushed.append(self.session.offer(self.session.sample(SAMPLES[0], 1), self.now))

    def client_turn(self):
        self.session.tick(self.now)
        if self.session.wants_connection(self.now):
            self.peer += 1
            self.to_daemon, self.to_client = [], []
            self.session.opened(self.now)
        while (message := self.session.next_message(self.now)) is not None:
            self.to_daemon.append([bytes(frame) for frame in message])

    def daemon_turn(self, count=100):
        for frames in self.to_daemon[:count]:
            self._answer(self.daemon.answer(b"%d" % self.peer, frames))
        del self.to_daemon[:count]
        self._answer(self.daemon.acknowledge())
        self.daemon.make_durable()
        self._answer(self.daemon.acknowledge())

    def hear(self, count=100):
        for frames in self.to_client[:count]:
            self.session.receive(frames, self.now)
        del self.to_client[:count]
        self.refused += list(self.session.notices)
        self.session.notices.clear()

    def break_connection(self):
        self.to_daemon, self.to_client = [], []
        self.session.broken(self.now)

    def settle(self):
        """Fair weather: everything arrives, time passes."""
        self.daemon.holds_durable = False
        self.daemon.refusals.clear()
        for _ in range(200):
            self.client_turn()
            self.daemon_turn()
            self.hear()
            self.now += 0.3
            if not self.session.stats().pending:
                return
        raise AssertionError(f"it never settled: {self.session.stats()}")

    def check(self):
        stats = self.session.stats()
        gone = {
            sid
            for item in self.refused
            for sid in range(item.first_seq, item.first_seq + item.count)
        }
        stored = [item.sid for item in self.daemon.stored()]
        assert stored == [sid for sid in self.pushed if sid not in gone]
        assert stats.pushed == len(self.pushed)
        assert stats.durable == len(stored)
        assert sum(stats.refused.values()) + stats.dropped == len(gone)
        assert stats.pending_bytes == 0

    def _answer(self, answers):
        self.to_client += [
            [bytes(frame) for frame in frames]
            for peer, frames in answers
            if peer == b"%d" % self.peer
        ]


def start(**arguments):
    world = World(**arguments)
    world.client_turn()
    world.daemon_turn()
    world.hear()
    return world


STEPS = st.one_of(
    st.tuples(st.just("push"), st.integers(1, 8)),
    st.tuples(st.just("push_one")),
    st.tuples(st.just("client_turn")),
    st.tuples(st.just("daemon_turn"), st.integers(0, 4)),
    st.tuples(st.just("hear"), st.integers(0, 4)),
    st.tuples(st.just("break")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("hold"), st.booleans()),
    st.tuples(st.just("lose"), st.sampled_from(["to_daemon", "to_client"])),
    st.tuples(st.just("refuse"), st.sampled_from(["busy", "journal_full", "label", "read_only"])),
    st.tuples(st.just("time"), st.sampled_from([0.01, 0.3, 1.1])),
)


def step(world, name, *arguments):
    if name == "break":
        world.break_connection()
    elif name == "crash":
        world.daemon.crashed()
        world.break_connection()
    elif name == "hold":
        world.daemon.holds_durable = arguments[0]
    elif name == "lose":
        del getattr(world, arguments[0])[:1]
    elif name == "refuse":
        world.daemon.refusals.append(arguments[0])
    elif name == "time":
        world.now += arguments[0]
    else:
        getattr(world, name)(*arguments)


@settings(max_examples=250, deadline=None, derandomize=True, database=None)
@given(st.lists(STEPS, max_size=40))
def test_each_operation_is_stored_once_or_reported(steps):
    world = start()
    for name, *arguments in steps:
        step(world, name, *arguments)
    world.settle()
    world.check()


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(STEPS, max_size=40))
def test_dropping_the_oldest_is_reported_too(steps):
    world = start(policy="drop_oldest", max_pending_bytes=2 * BATCH_BYTES)
    for name, *arguments in steps:
        step(world, name, *arguments)
    world.settle()
    stats = world.session.stats()
    assert stats.durable + stats.dropped + sum(stats.refused.values()) == stats.pushed
    stored = [item.sid for item in world.daemon.stored()]
    assert stored == sorted(stored)
    told = sum(item.count for item in world.refused if item.code == "dropped")
    assert told == stats.dropped


def test_a_broken_rule_would_be_caught():
    """The control: a daemon that stores duplicates fails the check above."""
    world = start()
    world.push(4)
    world.client_turn()
    put = world.to_daemon[-1]
    world.daemon_turn()
    world.daemon._producers["cam"].received_seq = 0
    world.to_daemon.append(put)
    world.daemon_turn()
    with pytest.raises(AssertionError, match="stored twice"):
        world.check()


def test_echoes_of_a_refusal_cause_one_resend():
    world = start(credit_bytes=1 << 20)
    for _ in range(10):
        world.push(4)
    world.daemon.refusals.append("label")
    for _ in range(60):
        world.client_turn()
        world.daemon_turn(1)
        world.hear(1)
    world.settle()
    world.check()
    stats = world.session.stats()
    assert stats.refused == {"label": 4}
    assert stats.resent == 36


def test_a_lost_tail_is_found_by_the_next_heartbeat():
    world = start()
    world.push(4)
    world.client_turn()
    world.to_daemon.clear()
    for _ in range(3):
        world.now += 1.1
        world.client_turn()
        world.daemon_turn()
        world.hear()
    assert world.session.stats().durable == 4
    assert world.session.stats().reconnects == 0


def test_a_state_directory_that_was_wiped_gets_what_is_left():
    world = start()
    world.push(8)
    world.settle()
    world.daemon._producers.clear()
    world.break_connection()
    world.push(4)
    world.settle()
    assert world.session.stats().durable == 12


def test_another_client_with_our_name_is_noticed():
    world = start()
    world.push(4)
    world.settle()
    world.daemon._producers["cam"].received_seq = 100
    world.break_connection()
    world.now += 1
    world.client_turn()
    world.daemon_turn()
    world.hear()
    assert world.session.failure.code == "superseded"


def crash_after_received():
    world = start()
    world.daemon.holds_durable = True
    world.push(4)
    world.client_turn()
    world.daemon_turn()
    world.hear()
    assert (world.session.stats().received, world.session.stats().pending) in ((4, 4), (4, 0))
    world.daemon.crashed()
    world.break_connection()
    world.settle()
    world.check()


def test_received_is_not_durable():
    crash_after_received()


def test_a_client_that_forgets_at_received_would_be_caught(monkeypatch):
    honest = Outbox.apply

    def hasty(self, ledger):
        honest(self, replace(ledger, durable_seq=ledger.received_seq))

    monkeypatch.setattr(Outbox, "apply", hasty)
    with pytest.raises(AssertionError):
        crash_after_received()
