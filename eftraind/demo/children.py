"""The demo's child processes: started, listened to, and never left behind.

A child speaks JSON lines on its standard output; a thread per child puts them, and finally its
exit, into one queue. Its standard error goes to a file, so that it cannot break the screen. What
the lines mean is decided elsewhere.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

from eftraind.errors import EftraindError

KIND = "kind"
EXIT = "exit"
TAIL_LINES = 12


class ChildFailed(EftraindError):
    """A process of the demo ended on its own with an error."""

    code = "child_failed"


@dataclass(frozen=True)
class Message:
    """A line from a child, or from another source that shares the queue."""

    source: str
    data: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.data.get(KIND, ""))


Inbox = queue.Queue[Message]


class Child:
    """One process. Lines written to it reach its standard input; end of file tells it to stop."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        inbox: Inbox,
        log: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.log = log
        self.stopping = False
        with log.open("wb") as errors:
            # Its own session: Ctrl-C in the terminal reaches the demo alone, which then stops
            # its children in order.
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=dict(environment),
                start_new_session=True,
            )
        self._inbox = inbox
        self._reader = threading.Thread(target=self._read, name=f"{name} reader", daemon=True)
        self._reader.start()

    def tell(self, word: str) -> None:
        """Send a line; a child that is gone shows as its exit in the inbox."""
        stdin = _open(self._process.stdin)
        try:
            stdin.write(f"{word}\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def failure(self, status: int) -> ChildFailed:
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        return ChildFailed(
            f"the {self.name} ended with status {status}: " + ("\n".join(tail) or "said nothing"),
            remedy="run again with --keep-state to see all of its log",
        )

    def stop(self, *, terminate: bool, timeout_s: float = 10.0) -> int:
        """Ask it to end (end of file, or SIGTERM), kill it if it does not; its exit status."""
        self.stopping = True
        if terminate and self._process.poll() is None:
            self._process.terminate()
        try:
            _open(self._process.stdin).close()
        except BrokenPipeError:
            pass
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join()
        _open(self._process.stdout).close()
        return status

    def _read(self) -> None:
        for line in _open(self._process.stdout):
            try:
                data = json.loads(line)
            except ValueError:
                data = None
            if isinstance(data, dict):
                self._inbox.put(Message(self.name, data))
        status = self._process.wait()
        self._inbox.put(Message(self.name, {KIND: EXIT, "status": status}))


def report(kind: str, **facts: Any) -> None:
    """A child's side: one JSON line to whoever started it."""
    sys.stdout.write(json.dumps({KIND: kind, **facts}) + "\n")
    sys.stdout.flush()


class Orders:
    """A child's side: the lines it is told, and whether its parent is still there."""

    def __init__(self, stream: TextIO) -> None:
        self._words: queue.Queue[str] = queue.Queue()
        self.closed = threading.Event()
        threading.Thread(target=self._read, args=(stream,), name="orders", daemon=True).start()

    def taken(self, word: str) -> bool:
        """True once per time the word was said; other words are dropped."""
        while not self._words.empty():
            if self._words.get() == word:
                return True
        return False

    def wait_for(self, word: str, timeout_s: float) -> bool:
        """False when the parent went away or said nothing in time."""
        try:
            return self._words.get(timeout=timeout_s) == word
        except queue.Empty:
            return False

    def _read(self, stream: TextIO) -> None:
        for line in stream:
            self._words.put(line.strip())
        self.closed.set()
        self._words.put("")


def _open(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise ChildFailed("a stream of a child was not opened as a pipe")
    return stream
