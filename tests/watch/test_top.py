"""`eftraind top` on a real pseudo-terminal beside a real daemon, and its lines by themselves."""

import doctest
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watchrig import until

from eftraind.top import view
from eftraind.top.feed import EVENTS, ROWS, Feed


def answer(start: str = "a", following: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "start": start, "next": following, "now": {"conditions": {"engine_up": True}},
        "columns": ["uptime_s", "serving", "golden", "paused", "watts VCC"],
        "rows": [[1.0, 0.5, 0.25, 0, 2.5], [2.0, 0.75, None, 0, None]],
        "events": [{"uptime_s": 1.5, "topic": "swapped", "text": "version 2"}], **more,
    }  # fmt: skip


def shown(feed: Feed, width: int = 80, height: int = 40) -> str:
    return view.text(view.screen(feed, width=width, height=height, wall_s=1.7e9))


def test_the_examples() -> None:
    assert doctest.testmod(view).failed == 0


def test_a_feed_grows_is_bounded_and_starts_anew_with_another_daemon() -> None:
    feed = Feed()
    assert feed.take(answer()) and feed.since == 2
    assert feed.take(answer(following=3, rows=[[3.0, 1.0, 0.5, 0, 1.0]] * 700, events=[{}] * 60))
    assert len(feed.rows) == ROWS and len(feed.events) == EVENTS
    assert not feed.take(answer(start="b", rows=[])), "its older rows have to be asked for"
    assert feed.since == 0 and feed.rows == []
    assert feed.take(answer(start="b")) and len(feed.rows) == 2
    assert feed.series("serving") == [0.5, 0.75] and feed.series("nothing") == []


def test_the_screen_says_what_is_known_and_what_is_not() -> None:
    feed = Feed()
    feed.take(answer())
    text = shown(feed)
    assert "serving and learning" in text and "75.0%" in text
    assert "swapped" in text and "VCC -" in text, "no reading now"
    feed.take(answer(now={"conditions": {"engine_up": False}}))
    assert "not engine up" in shown(feed)
    feed.lost = "it is gone"
    assert "no answer: it is gone" in shown(feed)
    assert "no sensors" in shown(Feed()) and "starting" in shown(Feed())


@given(width=st.integers(0, 200), height=st.integers(0, 60))
def test_it_fits_any_terminal(width: int, height: int) -> None:
    feed = Feed()
    feed.take(answer())
    lines = view.screen(feed, width=width, height=height, wall_s=1.7e9)
    assert len(lines) <= height
    assert all(sum(len(piece.text) for piece in line) <= width for line in lines)


@given(st.lists(st.none() | st.floats(-1, 10)), st.integers(0, 50), st.none() | st.just(1.0))
def test_a_spark_line_has_one_bar_a_value(
    values: list[float | None], width: int, top: float | None
) -> None:
    line = view.spark(values, width, top)
    assert len(line) == min(len(values), width) and set(line) <= set(view.BARS)


class Screen:
    """A child on a pseudo-terminal, and what it has written."""

    def __init__(self, path: Path, *arguments: str, term: str = "xterm-256color") -> None:
        self.master, slave = pty.openpty()
        self.resize(100, 40)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-m", "eftraind", "top", "--config", str(path), *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": term, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        self.written = b""

    def resize(self, width: int, height: int) -> None:
        size = struct.pack("HHHH", height, width, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def until(self, what: str, check: Callable[[], Any], timeout_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not check():
            assert time.monotonic() < deadline_s, (what, self.written[-3000:])
            ready, _, _ = select.select([self.master], [], [], 0.1)
            if ready:
                self.written += os.read(self.master, 65536)

    def sees(self, text: str) -> None:
        self.until(text, lambda: text.encode() in self.written)

    def ended(self) -> int:
        self.until("its end", lambda: self.process.poll() is not None)
        return int(self.process.returncode)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def screen(learning: Any) -> Iterator[Callable[..., Screen]]:
    made: list[Screen] = []

    def make(*arguments: str, **options: str) -> Screen:
        made.append(Screen(learning.path, *arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_it_fills_a_terminal_follows_its_size_and_gives_it_back(
    learning: Any, screen: Callable[..., Screen]
) -> None:
    top = screen("--interval", "0.2")
    top.sees("serving and learning")
    top.sees("rolled back")
    top.sees("2.50 W")
    top.sees("cam")
    for width, height in ((20, 5), (1, 1), (200, 60)):
        top.resize(width, height)
        top.process.send_signal(signal.SIGWINCH)
        top.until("a look", lambda: bool(select.select([top.master], [], [], 0.05)[0]))
    learning.ask("pause")
    top.sees("training paused")
    os.write(top.master, b"q")
    assert top.ended() == 0
    top.sees("\x1b[?1049l")
    after = termios.tcgetattr(top.slave)
    assert after[3] & termios.ECHO and after[3] == top.before[3]


def test_it_says_when_the_daemon_goes_and_waits_for_the_next(
    learning: Any, screen: Callable[..., Screen]
) -> None:
    top = screen("--interval", "0.2")
    top.sees("serving and learning")
    learning.stop()
    top.sees("no answer")
    top.written = b""
    learning.log.close()  # start opens another
    learning.start()
    top.sees("serving and learning")
    top.process.send_signal(signal.SIGINT)
    assert top.ended() == 0


def test_a_dumb_terminal_gets_lines(screen: Callable[..., Screen]) -> None:
    top = screen("--interval", "0.1", term="dumb")
    top.until("lines", lambda: top.written.count(b"\n") > 3)
    assert b"served" in top.written and b"\x1b" not in top.written
    top.process.send_signal(signal.SIGINT)
    assert top.ended() == 0


def test_once_prints_one_screen(learning: Any) -> None:
    until(lambda: learning.ask("live")["rows"], 60.0, "the first row")
    command = [sys.executable, "-m", "eftraind", "top", "--config", str(learning.path), "--once"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "serving and learning" in run.stdout and "\x1b" not in run.stdout
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    plain = subprocess.run(command, capture_output=True, env=latin, timeout=60)
    assert plain.returncode == 0 and plain.stdout.decode("latin-1").isascii()


def test_without_a_daemon_it_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"run_dir: {tmp_path}\nstate_dir: {tmp_path}\n")
    command = [sys.executable, "-m", "eftraind", "top", "--config", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and run.stderr.count("\n") == 1 and "no daemon" in run.stderr
    run = subprocess.run([*command, "--interval", "0"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 78 and "--interval" in run.stderr
