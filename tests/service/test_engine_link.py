"""The front's dealings with an engine: inference, records, control, its coming and going."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zmq
from harness import STREAM, images, put_frames

from eftraind import link
from eftraind.service.request import RequestFailed, request
from eftraind.wire import Ack, Error, Infer, Prediction, Welcome
from eftraind.wire_records import decode_record

Make = Callable[..., Any]


def connected(bench: Any, producer: str = "cam") -> Any:
    client = bench.client(producer)
    client.expect(Welcome, bench.turn)
    return client


def ask(bench: Any, command: str, **args: Any) -> dict[str, Any]:
    """A control request while the test turns the front."""
    socket = bench.context.socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(bench.config.control_endpoint)
    socket.send_json({"command": command, "args": args})
    bench.until("an answer", lambda: socket.poll(0))
    answer: dict[str, Any] = socket.recv_json()
    socket.close()
    return answer


def test_a_prediction_comes_back_to_who_asked(bench: Make) -> None:
    b = bench()
    b.engine()
    one, two = connected(b, "one"), connected(b, "two")
    first, second = images(3, 1)[0], images(2, 2)[0]
    b.until("the engine", lambda: b.front.session.up)
    one.send(*Infer(7, first).frames())
    two.send(*Infer(7, second).frames())
    for client, samples in ((two, second), (one, first)):
        prediction = client.expect(Prediction, b.turn)
        assert (prediction.request_id, prediction.version) == (7, 1)
        np.testing.assert_array_equal(prediction.logits, samples.reshape(-1, 64)[:, :10])
    assert b.front.predict.in_flight == 0


def test_without_an_engine_inference_is_refused_and_samples_are_taken(bench: Make) -> None:
    b = bench()
    client = connected(b)
    client.send(*Infer(1, images(1)[0]).frames())
    error = client.expect(Error, b.turn)
    assert (error.code, error.retryable, error.request_id) == ("engine_down", True, 1)
    client.send(*put_frames(1, 0))
    client.expect(Ack, b.turn)


def test_inference_in_flight_fails_when_the_engine_goes(bench: Make) -> None:
    b = bench()
    engine = b.engine()
    engine.answer = False
    client = connected(b)
    b.until("the engine", lambda: b.front.session.up)
    client.send(*Infer(1, images(1)[0]).frames())
    b.until("the request", lambda: b.front.predict.in_flight)
    b.engines.remove(engine)
    engine.close()
    assert client.refusal(b.turn) == "engine_down"
    newer = b.engine()
    b.until("the next engine", lambda: b.front.session.up)
    client.send(*Infer(2, images(1)[0]).frames())
    assert client.expect(Prediction, b.turn).request_id == 2
    assert newer.heard


def test_a_silent_engine_counts_as_down(bench: Make) -> None:
    b = bench(supervise={"engine_deadline_s": 0.3})
    b.engine()
    b.until("the engine", lambda: b.front.session.up)
    b.engines.clear()
    b.until("its end", lambda: not b.front.session.up)


def test_a_deadline_ends_the_wait(bench: Make) -> None:
    b = bench()
    b.engine().answer = False
    client = connected(b)
    b.until("the engine", lambda: b.front.session.up)
    client.send(*Infer(1, images(1)[0], deadline_ms=50).frames())
    assert client.refusal(b.turn) == "deadline"
    assert b.front.predict.in_flight == 0


def test_inference_in_flight_is_bounded(bench: Make) -> None:
    b = bench()
    b.engine().answer = False
    client = connected(b)
    b.until("the engine", lambda: b.front.session.up)
    for number in range(70):
        client.send(*Infer(number, images(1)[0]).frames())
    assert client.refusal(b.turn) == "busy"
    assert b.front.predict.in_flight == 64


def test_bad_inference_never_reaches_the_engine(bench: Make) -> None:
    b = bench()
    engine = b.engine()
    client = connected(b)
    b.until("the engine", lambda: b.front.session.up)
    client.send(*Infer(9, np.zeros((1, 4, 4, 1), "u1")).frames())
    error = client.expect(Error, b.turn)
    assert (error.code, error.request_id) == ("shape", 9)
    assert not any(isinstance(message, link.Infer) for message in engine.heard)


@pytest.mark.parametrize(
    "answer", [("zz", 2, bytes(80)), ("00" * 16, 1, bytes(40)), ("00" * 16, 2, bytes(40))]
)
def test_an_engine_that_answers_nonsense_fails_one_request(bench: Make, answer: Any) -> None:
    b = bench()
    engine = b.engine()
    engine.answer = False
    client = connected(b)
    b.until("the engine", lambda: b.front.session.up)
    client.send(*Infer(1, images(2)[0]).frames())
    found = b.until(
        "the request", lambda: [m for m in engine.heard if isinstance(m, link.Infer)]
    )
    engine.socket.send_multipart([b"{nope", b""])
    engine.say(link.Prediction(found[0].id, 1, *answer))
    assert client.refusal(b.turn) == "internal"
    b.until("counting", lambda: b"eftraind_link_errors_total 1.0" in b.front.watch.page.text())


def test_the_engine_gets_every_durable_record_once_and_in_order(bench: Make) -> None:
    b = bench()
    client = connected(b)
    client.send(*put_frames(1, 0, 5))
    client.send(*put_frames(6, 5, 5))
    engine = b.engine()
    b.until("two records", lambda: len(engine.records) == 2)
    client.send(*put_frames(11, 10, 3))
    b.until("three records", lambda: len(engine.records) == 3)
    decoded = [decode_record(payload) for _, payload in engine.records]
    assert [(r.producer, r.first_seq, r.count) for r in decoded] == [
        ("cam", 1, 5), ("cam", 6, 5), ("cam", 11, 3),
    ]  # fmt: skip
    assert b.until("consumption", lambda: b.front.session.consumed_seq == 3)


def test_after_a_restart_of_front_the_engine_says_hello_again(bench: Make) -> None:
    b = bench()
    engine = b.engine()
    client = connected(b)
    client.send(*put_frames(1, 0, 5))
    b.until("a record", lambda: len(engine.records) == 1)
    b.reopen()
    b.until("the engine again", lambda: b.front.session.up)
    late = connected(b, "late")
    late.send(*put_frames(1, 0, 2))
    b.until("the next record", lambda: len(engine.records) == 2)


def test_an_engine_for_another_network_is_not_used(bench: Make) -> None:
    b = bench()
    engine = b.engine()
    b.until("the engine", lambda: b.front.session.up)
    other = b.engine()
    other.hello(digest="0" * 32)
    for _ in range(20):
        b.turn()
    assert b.front.session.up
    assert engine.heard


def test_events_are_published(bench: Make) -> None:
    b = bench()
    engine = b.engine()
    listener = b.context.socket(zmq.SUB)
    listener.setsockopt(zmq.SUBSCRIBE, b"swapped")
    listener.connect(b.config.events_endpoint)
    b.peers.append(listener)

    def heard() -> Any:
        engine.say(link.Event("swapped", {"version": 2}))
        return listener.poll(5)

    b.until("the event", heard)
    assert listener.recv_multipart() == [b"swapped", b'{"version": 2}']


def test_control_goes_to_the_engine_and_back(bench: Make) -> None:
    b = bench()
    b.engine()
    b.until("the engine", lambda: b.front.session.up)
    for command in ("pause", "resume", "promote", "rollback", "checkpoint", "set"):
        assert ask(b, command) == {"ok": True, "result": {"did": command}}
    status = ask(b, "status")["result"]
    assert status["engine"]["did"] == "status"
    assert status["conditions"] == {"engine_up": True, "journal_writable": True}
    assert "eftraind_engine_up 1.0" in ask(b, "metrics")["result"]["text"]


def test_control_without_an_engine(bench: Make) -> None:
    b = bench()
    assert ask(b, "status")["result"]["engine"] == {"up": False}
    assert ask(b, "pause")["error"]["code"] == "engine_down"
    assert ask(b, "explode")["error"]["code"] == "command"


@pytest.mark.parametrize("frame", [b"", b"{", b"[]", b'{"command": 3}', b'{"command": "x" }' * 2])
def test_malformed_control_requests(bench: Make, frame: bytes) -> None:
    b = bench()
    socket = b.context.socket(zmq.DEALER)
    b.peers.append(socket)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(b.config.control_endpoint)
    socket.send(frame)
    b.until("an answer", lambda: socket.poll(0))
    assert socket.recv_json()["error"]["code"] == "malformed"


def test_asking_nobody_times_out(box: Any) -> None:
    with pytest.raises(RequestFailed, match="no socket"):
        request(f"ipc://{box}/none.sock", "status", timeout_s=0.05)
    (box / "stale.sock").touch()
    with pytest.raises(RequestFailed, match="no answer"):
        request(f"ipc://{box}/stale.sock", "status", timeout_s=0.05)
    assert STREAM.classes == 10


def test_a_swap_is_known_before_anyone_asks_for_a_prediction(bench: Make) -> None:
    b = bench()
    engine = b.engine()
    b.until("the engine", lambda: b.front.clients.model.version == 1)
    for data in ({}, {"version": "9", "hash": "aa"}, {"version": 9}):
        engine.say(link.Event("swapped", data))
    engine.say(link.Event("candidate", {"version": 7, "hash": "bb"}))
    engine.say(link.Event("swapped", {"version": 2, "hash": "cc" * 16}))
    b.until("the swap", lambda: b.front.clients.model.version != 1)
    assert (b.front.clients.model.version, b.front.clients.model.weights_hash) == (2, "cc" * 16)
