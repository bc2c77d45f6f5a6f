"""Each example runs as users run it, against a FakeDaemon."""

import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout


def test_send_samples(daemon):
    assert "durable=68" in run("send_samples.py", daemon.endpoint)
    assert len(daemon.samples("example-camera")) == 65


def test_predict(daemon):
    assert run("predict.py", daemon.endpoint).count("class ") == 4


def test_watch_events(daemon):
    finished = threading.Event()

    def publish():
        while not finished.wait(0.02):
            daemon.swap(3)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        printed = run("watch_events.py", daemon.endpoint, "2")
    finally:
        finished.set()
        thread.join()
    assert printed.count("swapped: {'version': 3") == 2


def test_sensor(daemon):
    """tests/sdk runs it beside the one in C++, and compares what they send."""
    printed = run("sensor.py", daemon.endpoint, "3")
    assert "52 operations durable" in printed
    assert len(daemon.samples("example-sensor")) == 47


def test_no_example_is_forgotten():
    tested = Path(__file__).read_text()
    assert all(path.name in tested for path in EXAMPLES.glob("*.py"))
