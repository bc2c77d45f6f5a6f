"""The C++ session takes every decision as Python's does: the same frames, times, counts, refusals.

Both run the same schedule of misfortunes against one daemon, without sockets; Both compares them
after every call. The C++ side runs with the address and undefined-behaviour sanitizers.
"""

import numpy as np
import pytest
import zmq
from bothsessions import Both
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_build import Driver, hexed
from test_client_session_model import BATCH_BYTES, SAMPLES, World, step

from eftraind import wire
from eftraind.client.pulse import Phase

STEPS = st.one_of(
    st.tuples(st.just("push"), st.integers(1, 8)),
    st.tuples(st.just("push_one")),
    st.tuples(st.just("label"), st.integers(1, 3)),
    st.tuples(st.just("withdraw"), st.integers(1, 3)),
    st.tuples(st.just("infer"), st.sampled_from([0.05, 1.03])),
    st.tuples(st.just("flush"), st.sampled_from(["received", "durable"])),
    st.tuples(st.just("client_turn")),
    st.tuples(st.just("daemon_turn"), st.integers(0, 4)),
    st.tuples(st.just("hear"), st.integers(0, 4)),
    st.tuples(st.just("break")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("hold"), st.booleans()),
    st.tuples(st.just("lose"), st.sampled_from(["to_daemon", "to_client"])),
    st.tuples(st.just("refuse"), st.sampled_from(["busy", "sequence", "label", "read_only"])),
    st.tuples(st.just("refuse_infer"), st.sampled_from(["engine_down", "shape"])),
    st.tuples(st.just("time"), st.sampled_from([0.0107, 0.3011, 1.1013, 3.7, -2.3])),
)


class TwoClients(World):
    """One daemon, and both sessions in the place of one client."""

    def __init__(self, driver, **arguments):
        super().__init__(**arguments)
        names = ("policy", "max_pending_bytes")
        self.session = Both(driver, **{k: v for k, v in arguments.items() if k in names})
        self.client_turn()
        self.daemon_turn()
        self.hear()

    def push_one(self):
        sid = self.session.offer(self.session.sample(SAMPLES[0], 1), self.now)
        self.pushed += [] if sid is None else [sid]

    def label(self, count):
        self._target(lambda sids: self.session.late_label(sids, [7] * count), count)

    def withdraw(self, count):
        self._target(self.session.withdrawal, count)

    def _target(self, make, count):
        sids = (self.pushed or [10**6])[:1] * count
        self.session.offer(make(sids), self.now)

    def infer(self, wait_s):
        self.session.infer(SAMPLES[:2], self.now + wait_s, self.now)

    def flush(self, level):
        self.session.flush(level, self.now + 1.5, self.now)

    def say(self, message):
        self.session.receive([bytes(frame) for frame in message.frames()], self.now)

    def refuse_infer(self, code):
        self.daemon.infer_refusals.append(code)

    def play(self, steps):
        for name, *arguments in steps:
            step(self, name, *arguments)
        self.settle()


NUMBERS = st.sampled_from([*range(10), 12, 2**31, 2**63 - 1, 2**64 - 1])
LEDGERS = st.builds(wire.Ledger, NUMBERS, NUMBERS, NUMBERS)
CODES = ("busy", "sequence", "label", "shape", "superseded", "forbidden", "hello_required", "new")
STREAMS = st.builds(
    wire.Stream,
    st.sampled_from([(8, 8, 1), (65535, 65535, 65535), (1, 1, 1)]),
    st.sampled_from(["uint8", "float32"]),
    st.sampled_from([1, 10, 2**64 - 1]),
    st.sampled_from([0, 64, BATCH_BYTES, 2**64 - 1]),
)
SAID = st.one_of(
    st.builds(wire.Ack, LEDGERS),
    st.builds(wire.Pong, NUMBERS, LEDGERS),
    st.builds(
        wire.Error,
        *(st.sampled_from(CODES), st.just("as hostile as can be"), st.just(""), st.booleans()),
        *(NUMBERS, NUMBERS, NUMBERS, NUMBERS, LEDGERS),
    ),
    st.builds(
        lambda number, rows: wire.Prediction(number, 1, bytes(16), np.eye(rows, dtype="<f4")),
        *(st.integers(0, 4), st.integers(1, 3)),
    ),
    st.builds(wire.Welcome, st.just("cam"), LEDGERS, STREAMS, st.floats(0, 1e300)),
    st.just(wire.Bye()),
)
HOSTILE = st.one_of(STEPS, st.tuples(st.just("say"), SAID))


@pytest.fixture(scope="module")
def driver(programs):
    with Driver(programs / "session_driver") as driver:
        yield driver


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(STEPS, max_size=40))
def test_both_decide_alike(driver, steps):
    TwoClients(driver).play(steps)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    steps=st.lists(STEPS, max_size=40),
    policy=st.sampled_from(["drop_oldest", "refuse"]),
    credit_batches=st.integers(1, 4),
)
def test_both_decide_alike_when_there_is_no_room(driver, steps, policy, credit_batches):
    arguments = {"policy": policy, "max_pending_bytes": 2 * BATCH_BYTES}
    TwoClients(driver, credit_bytes=credit_batches * BATCH_BYTES, **arguments).play(steps)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(HOSTILE, max_size=30))
def test_both_judge_a_hostile_daemon_alike(driver, steps):
    """Messages that are well formed and lie: whatever is believed, both believe it."""
    world = TwoClients(driver)
    for name, *arguments in steps:
        step(world, name, *arguments)
    for _ in range(5):
        world.now += 0.7003
        world.client_turn()


def test_a_difference_would_be_caught(driver):
    """The control: one of the two hears an ACK that the other does not."""
    world = TwoClients(driver)
    world.push(4)
    world.client_turn()
    ack = wire.Ack(wire.Ledger(4, 4, 10**6)).frames()
    driver.ask("receive", 0.0, 2, *(hexed(frame) for frame in ack))
    with pytest.raises(AssertionError):
        world.client_turn()


def test_a_script_of_everything(driver):
    """The interop script: each kind of message of a client is sent, and is the same."""
    world = TwoClients(driver, credit_bytes=1 << 20)
    world.push(8)
    world.push(3)
    world.push_one()
    world.label(3)
    world.label(1)
    world.withdraw(2)
    world.infer(1.03)
    world.flush("durable")
    world.settle()
    world.now += 1.2
    world.client_turn()
    world.session.end()
    # HELLO, INFER, two PUTs for 8 samples, the other operations, PING; BYE is end's
    assert world.session.frames >= 9
    assert world.session.stats().durable == 8 + 3 + 1 + 3 + 1 + 2


def welcomed_back(world, received_seq):
    """A new connection, on which the daemon tells this number."""
    world.break_connection()
    world.session.opened(world.now)
    stream = wire.Stream((8, 8, 1), "uint8", 10, BATCH_BYTES)
    welcome = wire.Welcome("cam", wire.Ledger(received_seq, 0, 10**6), stream, 1.0)
    world.session.receive([bytes(frame) for frame in welcome.frames()], world.now)


@pytest.mark.parametrize(("sent", "received_seq"), [(True, 5), (False, 4), (True, 4)])
def test_numbers_that_another_client_has_used(driver, sent, received_seq):
    """More than was numbered, or than was sent: somebody else. The last case is none of these."""
    world = TwoClients(driver, credit_bytes=1 << 20)
    world.push(4)
    if sent:
        world.client_turn()
    world.session.flush("durable", 9.0, 0.0)
    welcomed_back(world, received_seq)
    assert (world.session.phase is Phase.READY) == (sent and received_seq == 4)
    if world.session.failure is not None:
        assert world.session.failure.code == "superseded"


def test_a_put_lost_with_nothing_behind_it_heals_by_ping(driver):
    world = TwoClients(driver)
    world.push(4)
    world.client_turn()
    world.to_daemon.clear()
    world.now += 1.1
    world.client_turn()
    world.daemon_turn()
    world.hear()
    world.settle()
    assert (world.session.stats().durable, world.session.stats().resent) == (4, 4)


def test_dropping_when_all_is_on_its_way(driver):
    """Nothing can be dropped: what is new is taken all the same, and credit bounds it."""
    arguments = {"policy": "drop_oldest", "max_pending_bytes": BATCH_BYTES}
    world = TwoClients(driver, credit_bytes=1 << 20, **arguments)
    for _ in range(3):
        world.push(4)
        world.client_turn()
    assert (world.session.stats().pending, world.session.stats().dropped) == (12, 0)


def test_an_end_is_told_to_all_that_wait(driver):
    world = TwoClients(driver)
    world.push(4)
    world.infer(9.0)
    world.flush("durable")
    world.session.end()
    world.infer(9.0)
    world.flush("durable")
    assert world.session.offer(world.session.batch(SAMPLES[:2], [0, 1]), 0.0) is None


def test_nothing_revives_a_session_that_ended(driver):
    """A user may close while the carrier is making a socket: it would go on for ever."""
    session = Both(driver)
    assert session.wants_connection(0.0)
    session.end()
    session.opened(0.0)
    session.cannot_connect(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 0, True, 0.1)
    session.broken(0.2)
    assert not session.wants_connection(9.0)
    assert session.phase is Phase.ENDED


def test_what_is_refused_on_the_spot(driver):
    session = TwoClients(driver).session
    too_wide = np.zeros((1, 8, 9, 1), np.uint8)
    for make in (
        lambda: session.batch(SAMPLES[:2], [0, 10]),
        lambda: session.batch(SAMPLES[:2], [0, -2]),
        lambda: session.batch(SAMPLES[:2], [0, 1, 2]),
        lambda: session.batch(too_wide, [0]),
        lambda: session.batch(SAMPLES[:0], []),
        lambda: session.sample(SAMPLES[0], 10),
        lambda: session.sample(too_wide[0], 1),
        lambda: session.late_label([99], [1]),
        lambda: session.late_label([0], [1]),
        lambda: session.withdrawal([5]),
        lambda: session.withdrawal([]),
        lambda: session.sample(SAMPLES[:2], 1),
        lambda: session.late_label([1, 1], [1]),
    ):
        assert session.offer(make(), 0.0) is None
    session.infer(np.zeros((5, 8, 8, 1), np.uint8), 1.0, 0.0)  # more than one message holds


@pytest.mark.parametrize(
    "reply",
    [
        wire.Error("superseded", "a newer one"),
        wire.Error("hello_required", "who are you", retryable=True),
        wire.Error("internal", "a defect"),
        wire.Error("forbidden", "the roles were changed"),
        wire.Error("label", "no such PUT", first_seq=77, count=4),
        wire.Error("busy", "an echo", retryable=True, first_seq=1, count=4, attempt=9),
        wire.Ack(wire.Ledger(2**64 - 1, 2**64 - 1, 2**64 - 1)),
        wire.Ack(wire.Ledger(0, 0, 0)),
        wire.Pong(7, wire.Ledger(0, 0, 0)),
        wire.Bye(),
    ],
    ids=lambda reply: f"{type(reply).__name__} {getattr(reply, 'code', '')}".strip(),
)
def test_odd_replies(driver, reply):
    world = TwoClients(driver)
    world.push(4)
    world.client_turn()
    world.session.receive([bytes(frame) for frame in reply.frames()], world.now)
    world.session.flush("durable", world.now + 1.0, world.now)
    for _ in range(4):
        world.now += 0.4007
        world.client_turn()


@pytest.mark.parametrize("received_seq", [2**63 - 2, 2**63 - 1, 2**64 - 1])
def test_a_ledger_that_no_daemon_can_have(driver, received_seq):
    session = Both(driver)
    session.opened(0.0)
    stream = wire.Stream((8, 8, 1), "uint8", 10, BATCH_BYTES)
    welcome = wire.Welcome("cam", wire.Ledger(received_seq, 0, 0), stream, 1.0)
    session.receive([bytes(frame) for frame in welcome.frames()], 0.0)


@pytest.mark.parametrize("welcome", [False, True], ids=["before WELCOME", "after it"])
@pytest.mark.parametrize("has_keys", [False, True])
@pytest.mark.parametrize(
    ("event", "value"),
    [
        (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 300),
        (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400),
        (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, 0x11000001),
        (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 0),
    ],
)
def test_handshakes_that_fail(driver, welcome, has_keys, event, value):
    """The same judgement, and the reason in what waits."""
    world = TwoClients(driver)
    session = world.session if welcome else Both(driver)
    if welcome:
        world.push(4)
        session.flush("durable", 1.0, 0.0)
    else:
        session.opened(0.0)
    session.cannot_connect(event, value, has_keys, 0.5)
    session.tick(1.5)
