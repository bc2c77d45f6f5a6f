"""Readers that are slow, many or rude, against a real daemon that goes on taking samples."""

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watchrig import until

from eftraind.client import Client
from eftraind.demo.data import load
from eftraind.service import web

SLOW = 60


def threads(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("Threads:")[2].split()[0])


@contextlib.contextmanager
def hammers(port: int, count: int) -> Iterator[None]:
    """Threads that ask for everything, as fast as it comes, and do not mind being turned away."""
    stop = threading.Event()
    url = f"http://127.0.0.1:{port}/live.json"

    def ask() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(url, timeout=20) as one:
                    one.read()

    running = [threading.Thread(target=ask) for _ in range(count)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join()


def test_samples_and_predictions_go_on(learning: Any) -> None:
    status = learning.status()
    port, pid = status["endpoints"]["metrics_port"], status["pid"]
    calm = threads(pid)
    digits = load("digits")
    with contextlib.ExitStack() as stack:
        for number in range(SLOW):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            with contextlib.suppress(OSError):  # turned away already
                one.sendall(b"GET /metrics HTTP/1.1\r\n" if number % 2 else b"G")
        stack.enter_context(hammers(port, 4))
        client = stack.enter_context(Client(learning.endpoint, producer="lidar"))
        for first in range(0, 200, 20):
            part = slice(first, first + 20)
            client.push_batch(digits.x_train[part], digits.y_train[part])
            client.flush(timeout_s=60.0)
            assert len(client.infer(digits.x_test[:2], timeout_s=60.0).logits) == 2
            assert threads(pid) <= calm + web.READERS
        assert learning.status()["pid"] == pid

    def healthy() -> bool:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
                return bool(answer.status == 200)
        return False

    until(healthy, 60.0, "the page to come back")


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n"])
def test_an_endless_header_is_refused(learning: Any, line: bytes) -> None:
    port = learning.status()["endpoints"]["metrics_port"]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        answer = b""
        with contextlib.suppress(ConnectionError):
            one.sendall(line)
            while part := one.recv(65536):
                answer += part
    assert b" 200 " not in answer.partition(b"\r\n")[0]
