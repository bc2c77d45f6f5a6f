"""The C++ client when the system interrupts it, or libzmq drops half a message."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest
from client_helpers import images
from cppclient import CppClient

LABELS = np.arange(16) % 10


@pytest.fixture
def client(programs, daemon):
    with CppClient(programs, daemon.endpoint) as client:
        yield client


def test_interrupted_calls_are_made_again(daemon, client):
    client.listen()
    client.ask("faults", 3, 0, 0)
    for at in range(20):
        client.push_batch(images(16, at), LABELS)
        assert client.infer(images(1)[0], timeout_s=10.0).version == 1
        daemon.swap(1)
        if at % 4 == 3:
            daemon.crash()
    client.flush()
    assert client.ask("faults", 0, 0, 0) > 100  # they were interrupted indeed
    assert [item.sid for item in daemon.samples()] == list(range(1, 321))
    assert not [words for words in client.heard() if not words.startswith("event swapped")]


def test_a_body_that_goes_with_its_connection_ends_nothing(daemon, client):
    client.ask("faults", 0, 3, 0)
    for at in range(5):
        client.push_batch(images(16, at), LABELS)
    client.flush()
    assert client.infer(images(1)[0], timeout_s=10.0).version == 1
    assert len(daemon.samples()) == 80


def test_no_descriptors_for_a_while_are_no_end(daemon, client):
    """The connection is lost, and new sockets cannot be made: tried again, samples wait."""
    client.ask("faults", 0, 0, 5)
    daemon.disconnect()
    client.push_batch(images(16), LABELS)
    client.flush()
    assert client.stats().reconnects == 1
    assert len(daemon.samples()) == 16


def test_signals_find_the_threads_of_the_program(client):
    """The client's thread takes none but those of its own crash."""
    process = Path(f"/proc/{client._driver.process.pid}")
    tasks = sorted((process / "task").iterdir(), key=lambda task: int(task.name))
    # The oldest of that name: threads that it makes begin with it.
    thread = next(t for t in tasks if (t / "comm").read_text().strip() == "eftraind-client")

    def blocks(task, number):
        mask = re.search(r"^SigBlk:\s*(\w+)", (task / "status").read_text(), re.MULTILINE)
        return bool(int(mask[1], 16) >> (number - 1) & 1)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD):
        assert blocks(thread, number)
        assert not blocks(process, number)
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT):
        assert not blocks(thread, number)


def test_a_closed_client_leaves_nothing_open(client):
    """Of its descriptors only the two of the pipe are left, until it is destroyed."""
    folder = Path(f"/proc/{client._driver.process.pid}/fd")
    client.push(images(1)[0], 1)
    client.listen()
    client.close()
    held = len(list(folder.iterdir()))
    client.ask("destroy")
    assert held - len(list(folder.iterdir())) == 2
