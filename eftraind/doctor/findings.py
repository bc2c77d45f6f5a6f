"""What the doctor finds, and the files it looks at.

Owns the four levels and reading below a root directory, so that any machine can be shown to it.
Judges nothing.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

TEXT_MAX_BYTES = 1 << 20


class Level(Enum):
    """`UNKNOWN`: it could not be found out, which is neither good nor bad."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """`check` is a stable name for scripts. What is not OK has a remedy."""

    check: str
    level: Level
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.level is not Level.OK and not self.remedy:
            raise ValueError(f"{self.check} has no remedy")


def ok(check: str, text: str) -> Finding:
    return Finding(check, Level.OK, text)


def warn(check: str, text: str, remedy: str) -> Finding:
    return Finding(check, Level.WARN, text, remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    return Finding(check, Level.FAIL, text, remedy)


def unknown(check: str, text: str, remedy: str) -> Finding:
    return Finding(check, Level.UNKNOWN, text, remedy)


def free_bytes(path: Path) -> int:
    """What an ordinary user may still write below a directory."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


@dataclass(frozen=True)
class Machine:
    """/proc, /sys, /dev, /run and /etc below `root`; paths are as on the machine itself."""

    root: Path = Path("/")
    free_bytes: Callable[[Path], int] = free_bytes

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def exists(self, path: str) -> bool:
        return self.place(path).exists()

    def text(self, path: str) -> str | None:
        """A file's text, stripped, its first MiB; None if it cannot be read."""
        try:
            with self.place(path).open("rb") as file:
                data = file.read(TEXT_MAX_BYTES)
        except OSError:
            return None
        return data.decode("utf-8", "replace").strip("\0 \n")

    def names(self, path: str) -> list[str]:
        """What is in a directory, sorted; nothing where there is none."""
        try:
            return sorted(entry.name for entry in self.place(path).iterdir())
        except OSError:
            return []

    def fields(self, path: str) -> dict[str, str]:
        """The `Name: value` lines of a file such as /proc/meminfo; empty if it cannot be read."""
        pairs = (line.partition(":") for line in (self.text(path) or "").splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}
